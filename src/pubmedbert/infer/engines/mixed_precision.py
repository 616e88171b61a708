"""Which matrices of a model are rounded to 8 bits: as many as agreement with fp32 allows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.infer.engines.converted import Converted
from pubmedbert.infer.engines.gate import BAR, SCORE_BAR, Agreement, Questions, answer, compare
from pubmedbert.infer.engines.graph import build
from pubmedbert.infer.engines.onnx_engine import OnnxEngine
from pubmedbert.infer.engines.weight_file import matrices, write_weights
from pubmedbert.infer.engines.weights import Checkpoint
from pubmedbert.progress import progress

_COST_ROWS = 8  # rows by which a single matrix is judged


@dataclass(frozen=True)
class Choice:
    """Which matrices are rounded, and what that costs."""

    int8: frozenset[str]
    fp32: tuple[str, ...]
    """The matrices that stay, the costliest first."""
    agreement: Agreement

    def report(self) -> dict[str, object]:
        """The figures, for a JSON file."""
        return {"bar": BAR, "score_bar": SCORE_BAR, **asdict(self.agreement), "fp32_matrices": list(self.fp32)}


def choose(checkpoint: Checkpoint, questions: Questions, work: Path, threads: int) -> Choice:
    """Round as many matrices as the bar allows.

    All of them at first. If that agrees too seldom, each is judged by what rounding it alone does to the scores, and
    the costliest 1, 2, 4, ... stay in fp32, up to half of them.

    Args:
        checkpoint: a model that fills masks.
        questions: what both are asked, from `gate.ask`.
        work: an empty folder for the weights in both forms.
        threads: processor threads used.

    Raises:
        InputError: with half of the matrices in fp32 the answers still agree too seldom, or a weight is no number.
        OSError: the disk is full.
    """
    candidates = _Candidates(checkpoint, work, threads)
    names = candidates.names
    reference = answer(candidates.engine(()), questions)
    first = tried = compare(reference, candidates.engine(names), questions)
    if first.passes:
        return Choice(frozenset(names), (), first)
    order = candidates.costliest(questions.first(_COST_ROWS))
    count = 1
    while count <= len(names) // 2:
        tried = compare(reference, candidates.engine(order[count:]), questions)
        if tried.passes:
            return Choice(frozenset(order[count:]), tuple(order[:count]), tried)
        count *= 2
    raise InputError(
        f"the int8 answers of this model differ too much from fp32: {first}; with {count // 2} of {len(names)} "
        f"matrices in fp32, {tried}; at least {BAR:.0%}, and at most {SCORE_BAR} in the mean, are wanted; use fp32"
    )


class _Candidates:
    """A model with any of its matrices in int8: the weights lie there in both forms, a candidate is a small graph."""

    def __init__(self, checkpoint: Checkpoint, work: Path, threads: int) -> None:
        self._config = checkpoint.config
        self._work = work
        self._threads = threads
        self.names = list(matrices(checkpoint.config, vocabulary=True))
        self._fp32 = write_weights(checkpoint, work / "fp32.bin")
        self._int8 = write_weights(checkpoint, work / "int8.bin", self.names)

    def engine(self, int8: Collection[str], *, one_shot: bool = False) -> OnnxEngine:
        """The model with these matrices in int8."""
        chosen = {f"{name}.{part}" for name in int8 for part in ("int8", "scales")}
        weights = self._fp32 | {name: self._int8[name] for name in chosen}
        graph = build(self._config, weights, "logits")
        (self._work / "logits.onnx").write_bytes(graph.SerializeToString())
        sizes = (self._config.vocab_size, self._config.width, self._config.layers, self._config.max_positions)
        converted = Converted(self._work, "int8", *sizes, outputs=("logits",))
        return OnnxEngine(converted, self._threads, one_shot=one_shot)

    def costliest(self, questions: Questions) -> list[str]:
        """The matrices, the one first whose rounding alone moves the scores most."""
        reference = answer(self.engine((), one_shot=True), questions)
        costs = {}
        with progress("judging matrices for int8", len(self.names), "matrices") as advance:
            for name in self.names:
                engine = self.engine((name,), one_shot=True)
                costs[name] = compare(reference, engine, questions).score_error_mean
                advance()
        return sorted(self.names, key=costs.__getitem__, reverse=True)
