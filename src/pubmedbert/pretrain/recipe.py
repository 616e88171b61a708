"""What a pretraining run is: one dataclass, filled from a TOML file and `--set key=value`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.model.config import SIZES, ModelConfig
from pubmedbert.settings import Settings, overrides, read_toml
from pubmedbert.shards.samples import Masking

RECIPES = Path(__file__).with_name("recipes")
OBJECTIVES = ("mlm", "mlm+nsp", "electra")
OPTIMIZERS = ("adamw", "lamb", "muon")
SCHEDULES = ("linear", "cosine", "wsd")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Phase(Settings):
    """A part of a run with rows of its own length; what is left out, or 0, is as in the recipe."""

    share: float
    """Of the run: of its steps, or of its minutes."""
    length: int = 0
    """Longest row."""
    rows: int = 0
    """Rows in a step."""
    mask_share: float = 0.0
    """Share of word pieces to predict, without a change on the way."""
    lr: float = 1.0
    """Factor on the schedule's learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._within("share", 1e-6, 1)
        self._within("lr", 1e-6, 1e3)


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Settings of a pretraining run, each of which `--set key=value` changes."""

    size: str = "mini"
    """Shape of the model: tiny, mini, small, medium, base or large; with `init` the shape is that model's."""
    objective: str = "mlm"
    """mlm, mlm+nsp (also next-sentence prediction; rows of two segments) or electra."""
    generator: float = 0.25
    """electra: the generator's share of the discriminator's heads, width and feed-forward width."""
    detection_weight: float = 50.0
    """electra: weight of the discriminator's loss beside the generator's."""
    two_segments: bool = False
    """Rows of two segments, as of sentence pairs in fine-tuning; otherwise of one."""
    init: str = ""
    """A model folder or hub id to go on from (continual pretraining); empty: from scratch."""
    dropout: float = 0.1
    """Share of hidden activations dropped."""
    attention_dropout: float = 0.1
    """Share of attention probabilities dropped."""
    max_positions: int = 512
    """Learned positions of the model."""
    initializer_range: float = 0.02
    """Standard deviation of the initial weights."""
    unigram_bias: bool = False
    """Whether the head's bias starts at the logarithms of the pieces' shares of the text, not at 0: untrained, the
    model then predicts as word frequencies do, which it would have to learn first. No part of a model with `init`."""
    neighbours: int = 0
    """If not 0, the model starts from how often pieces stand within so many pieces of each other: word embeddings are
    vectors made of these counts, and layers and head come near the identity, so that the untrained model predicts a
    piece by those around it. Counting takes seconds, which `minutes` includes. No part of a model with `init`."""
    length: int = 128
    """Longest row in word pieces, [CLS] and [SEP]s included."""
    phases: tuple[Phase, ...] = ()
    """Parts of the run one after the other, such as 90% of it with rows of 128 and 10% with rows of 512."""
    mask_share: float = 0.15
    """Share of word pieces to predict."""
    mask_share_end: float = 0.0
    """If not 0, the share moves evenly from `mask_share` to this over the run."""
    as_mask: float = 0.8
    """Share of the pieces to predict that become [MASK]."""
    as_random: float = 0.1
    """Share of the pieces to predict that become a random piece; the rest stays."""
    rows: int = 256
    """Rows in a step: the batch of one optimizer update."""
    rows_start: int = 0
    """If not 0, the first step has this many rows, and the number rises evenly over `ramp` of the run."""
    ramp: float = 0.1
    """Share of the run in which the number of rows rises."""
    pack_tokens: int = 8192
    """Most word pieces in one forward pass; a step's gradients are accumulated over its packs."""
    packs: int = 1
    """If not 1, a step has a multiple of so many packs, all about equally large. Set it to the number of processes, and
    they do not wait for each other."""
    steps: int = 1000
    """Optimizer updates in the run."""
    minutes: float = 0.0
    """If not 0, the run lasts this many minutes of training instead of `steps`."""
    schedule: str = "linear"
    """How the learning rate falls to zero after the warm-up: linear, cosine, or wsd (constant, then linear)."""
    warmup: float = 0.1
    """Share of the run in which the learning rate rises linearly from zero."""
    decay: float = 0.2
    """Share of the run in which the learning rate of wsd falls."""
    optimizer: str = "adamw"
    """adamw, lamb, or muon (hidden matrices by Muon, the rest by AdamW)."""
    lr: float = 6e-4
    """Highest learning rate."""
    beta1: float = 0.9
    """Decay of the first moment."""
    beta2: float = 0.98
    """Decay of the second moment."""
    eps: float = 1e-6
    """Epsilon of the optimizer."""
    momentum: float = 0.95
    """Muon's momentum."""
    weight_decay: float = 0.01
    """Decay of the matrices; biases and norms have none."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.0
    """If not 0, evaluations and exports are of an exponential average of the weights with this decay a step."""
    spike: float = 10.0
    """A gradient norm or loss of more than this many times the recent median is a spike: the first in a row is skipped,
    the others are taken with clipped gradients; 0: none is."""
    most_skips: int = 8
    """Steps skipped or spikes in a row before the run goes back to its last checkpoint and on with the rows that
    follow."""
    most_rollbacks: int = 2
    """How often a run goes back before it stops."""
    seed: int = 0
    """Decides the initial weights, the order, the masks and the dropout."""
    evaluate_every: int = 200
    """Steps between evaluations on held-out documents; the last step is always evaluated."""
    evaluate_rows: int = 2048
    """Held-out rows in an evaluation."""
    evaluate_mask_share: float = 0.15
    """Share of word pieces predicted in an evaluation."""
    evaluate_length: int = 0
    """Longest held-out row; 0: as in the phase at hand."""
    checkpoint_every: int = 200
    """Steps between checkpoints; the last step always leaves one."""
    keep: int = 2
    """Newest checkpoints kept."""
    precision: str = "auto"
    """Matrix products: fp32, bf16 (bfloat16, the weights staying in fp32), or auto: bf16 on a GPU and on a CPU that
    multiplies a third faster in it, as measured when the run starts, fp32 on any other."""
    repeatable: bool = True
    """On a GPU: only kernels that give the same bits every time, or an error where torch has none."""
    recompute: bool = False
    """Keep each layer's input only and compute the rest again in the backward pass: less memory, a third more work."""
    shard: bool = False
    """Each rank keeps the optimizer's state of a part of the parameters only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "phases", _phases(self.phases))
        self._one_of("size", SIZES)
        self._one_of("objective", OBJECTIVES)
        self._one_of("optimizer", OPTIMIZERS)
        self._one_of("schedule", SCHEDULES)
        self._one_of("precision", PRECISIONS)
        self._within("max_positions", 4, 2**16)
        self._within("seed", 0, 2**31)
        self._within("initializer_range", 1e-4, 1)
        for name in ("rows", "steps", "evaluate_every", "evaluate_rows", "checkpoint_every", "keep", "most_skips"):
            self._within(name, 1, 2**40)
        self._within("rows_start", 0, self.rows)
        self._within("neighbours", 0, 64)
        self._within("most_rollbacks", 0, 2**40)
        self._within("mask_share_end", 0, 0.9)
        for name in ("as_mask", "as_random"):
            self._within(name, 0, 1)
        self._within("as_mask", 0, 1 - self.as_random + 1e-9)
        for name in ("dropout", "attention_dropout", "beta1", "beta2", "momentum", "average"):
            self._within(name, 0, 0.999999)
        self._within("ramp", 0, 1)
        self._within("warmup", 0, 0.99)
        self._within("decay", *((0.001, 1 - self.warmup) if self.schedule == "wsd" else (0, 1)))
        self._within("weight_decay", 0, 10)
        self._within("generator", 0.01, 1)
        self._within("detection_weight", 0, 1e6)
        self._within("minutes", 0, 1e6)
        self._within("spike", 0, 1e9)
        for name in ("lr", "eps", "clip"):
            self._within(name, 1e-12, 1e6)
        if self.objective == "electra" and self.neighbours:
            raise InputError("recipe: neighbours starts a masked language model; leave it out for electra")
        if self.objective == "mlm+nsp" and not self.two_segments:
            raise InputError("recipe: the objective mlm+nsp needs rows of two segments: set two_segments = true")
        self._check_lengths()

    def _check_lengths(self) -> None:
        """Lengths and masked shares, of the recipe and of its phases."""
        for part in (self, *self.stages()):
            part._within("length", 8 if self.two_segments else 4, self.max_positions)
            part._within("rows", 1, 2**40)
            part._within("mask_share", 0.01, 0.9)
        self._within("evaluate_mask_share", 0.01, 0.9)
        if self.evaluate_length:
            self._within("evaluate_length", 8 if self.two_segments else 4, self.max_positions)
        self._within("packs", 1, 2**20)
        self._within("pack_tokens", max(self.evaluate_length, *(stage.length for stage in self.stages())), 2**24)

    def stages(self) -> tuple[Phase, ...]:
        """The phases with nothing left out; one over the whole run where the recipe names none."""
        return tuple(
            replace(
                phase,
                length=phase.length or self.length,
                rows=phase.rows or self.rows,
                mask_share=phase.mask_share or self.mask_share,
            )
            for phase in self.phases or (Phase(share=1.0),)
        )

    def masking(self, share: float) -> Masking:
        """How pieces are masked, for a share of them."""
        return Masking(share, self.as_mask, self.as_random)

    def model(self, vocab_size: int, pad_id: int) -> ModelConfig:
        """The model's shape for a vocabulary of that size."""
        return replace(
            SIZES[self.size],
            vocab_size=vocab_size,
            pad_id=pad_id,
            max_positions=self.max_positions,
            initializer_range=self.initializer_range,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
        )


def load_recipe(name: str, given: Iterable[str] = ()) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        name: one of the recipes in the package ("mini"), or a TOML file.
        given: overrides `key=value`, the value written as in TOML; text may go without quotes.

    Raises:
        InputError: no such recipe, no TOML, an unknown key, a value out of range, or both steps and minutes are given.
    """
    known = {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}
    if name not in known and not Path(name).is_file():
        raise InputError(f"no recipe {name!r}: it is no file, and none of {', '.join(known)}")
    asked = overrides(given)
    if "steps" in asked and asked.get("minutes"):
        raise InputError("--set steps and --set minutes both say how long a run is: give one of them")
    values = read_toml(known.get(name, Path(name))) | ({"minutes": 0} if "steps" in asked else {}) | asked
    return Recipe.made(values, f"recipe {name}")


def _phases(given: object) -> tuple[Phase, ...]:
    """The phases of TOML tables, whose shares must add up to the whole run."""
    if not isinstance(given, list | tuple) or not all(isinstance(phase, Mapping | Phase) for phase in given):
        raise InputError("recipe: phases must be tables, such as [[phases]] with share = 0.9 and length = 128")
    phases = tuple(phase if isinstance(phase, Phase) else _phase(phase) for phase in given)
    if phases and abs((total := sum(phase.share for phase in phases)) - 1) > 1e-6:
        raise InputError(f"recipe: the shares of the phases add up to {total:g} instead of 1")
    return phases


def _phase(values: Mapping[str, Any]) -> Phase:
    if "share" not in values:
        raise InputError("recipe: a phase needs its share of the run, such as share = 0.9")
    return Phase.made(values, "recipe, a phase")
