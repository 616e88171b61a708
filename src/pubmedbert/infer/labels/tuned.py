"""A fine-tuned model without torch: an encoder behind the engines' interface, the small layers on it in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.infer.engine import Backend, Encoder, check_finite, open_encoder
from pubmedbert.infer.engines.weights import Checkpoint, fingerprint, opened_later, read_checkpoint
from pubmedbert.infer.labels.logits import gather
from pubmedbert.infer.labels.rows import SHORTEST_ROW, Row, batches
from pubmedbert.infer.labels.spans import entities, from_scheme
from pubmedbert.infer.labels.words import Words
from pubmedbert.model.head import Head, read_extra

PACK_TOKENS = 8192
"""Most word pieces computed at once: all their states may have to be kept."""


class TunedModel:
    """A fine-tuned model.

    Args:
        folder: in Hugging Face layout, ours or one that transformers wrote.
        backend: what computes the encoder.
        threads: how many it may use; None is one for each core.

    Raises:
        InputError: its config.json names a longest row that the model cannot have; its tags are of no scheme.
        ModelError: the folder holds no fine-tuned model.
    """

    def __init__(
        self,
        folder: Path,
        *,
        backend: Backend = "auto",
        threads: int | None = None,
    ) -> None:
        checkpoint = read_checkpoint(folder, "tuned")
        assert checkpoint.head is not None
        self.head: Head = checkpoint.head
        self.config = checkpoint.config
        self.extra = read_extra(checkpoint.values)
        self.max_length = _max_length(self.extra, self.config.max_positions, folder)
        """The longest row it was tuned on, in word pieces."""
        self.words: Words = _words(self.extra, folder)
        """How the words of a running text are found, as in the corpus it was tuned on."""
        self._classes = self.extra.get("task") == "words"  # of words, which need not spell entities
        self._spelt = self.head.level == "text" or _spelt(self.head.labels, folder, must=not self._classes)
        self._folder, self._backend, self._threads = folder, backend, threads
        self._mark = fingerprint(folder)
        self._pooler = _dense(checkpoint, "bert.pooler.dense") if self.head.has_pooler else None
        self._classifier = _dense(checkpoint, "classifier")

    @cached_property
    def encoder(self) -> Encoder:
        """What computes the states; opened when it is first asked for.

        Raises:
            FaultError: the backend is none, or is not installed; or the folder does not hold this model any more.
        """
        with opened_later(self._folder, self._mark):
            return open_encoder(self._folder, part="tuned", backend=self._backend, threads=self._threads)

    def logits(self, examples: Sequence[Sequence[Row]]) -> list[NDArray[np.float64]]:
        """Logits of each example: `[W, C]` for its W words at token level, `[C]` at text level.

        Args:
            examples: the windows of each; numbered from 0 in this order.

        Raises:
            InputError: they are no finite numbers.
        """
        return gather(self.head, examples, self._scored([row for rows in examples for row in rows]))

    def logits_of(self, row: Row, states: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits of a text that is one row, as `logits` has them, from states that are there already.

        Args:
            row: all of the text.
            states: `[T, D]` of the last layer.

        Raises:
            InputError: they are no finite numbers.
        """
        (places,) = self._places([row]) or [tuple(range(len(states)))]
        return gather(self.head, [[row]], [(row, self._classified(states[list(places)]))])[0]

    def entities(self, named: Sequence[str]) -> list[tuple[str, int, int]]:
        """The entities that tags spell: type, first word, the one past the last; of classes of words the runs of each.

        Args:
            named: a label for each word, as predicted.
        """
        return entities(named if self._spelt else [name if name == "O" else f"I-{name}" for name in named])

    def written(self, named: Sequence[str]) -> list[str]:
        """Predicted labels of words in the form that is written and scored: IOB2, or the classes as they are."""
        return list(named) if self._classes else from_scheme(named)

    def _scored(self, rows: Sequence[Row]) -> Iterator[tuple[Row, NDArray[np.float32]]]:
        """Each row with its logits, in any order."""
        for chosen in batches([[row] for row in rows], PACK_TOKENS):
            packed = [rows[number] for number in chosen]
            hidden = self.encoder.hidden(
                [row.tokens for row in packed], self._places(packed), [row.second for row in packed]
            )
            for row, states in zip(packed, hidden, strict=True):
                yield row, self._classified(states)

    def _classified(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits of a row, `[W, C]` or `[C]`, from its states at the places asked for.

        Raises:
            InputError: they are no finite numbers.
        """
        weight, bias = self._classifier
        with np.errstate(over="ignore", invalid="ignore"):  # it is looked at just below
            chosen = states if self.head.level == "tokens" else self._pooled(states)  # [W, D] or [D]
            logits: NDArray[np.float32] = chosen @ weight.T + bias
        check_finite(logits)
        return logits

    def _places(self, rows: Sequence[Row]) -> list[tuple[int, ...]] | None:
        """The places whose states are needed, in each row; None where all are."""
        if self.head.level == "tokens":
            return [row.where for row in rows]
        return None if self.head.pooling in ("mean", "max") else [(0,)] * len(rows)

    def _pooled(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """The state of a text, `[D]`, from those of its row at the places asked for."""
        pooled: NDArray[np.float32] = states[0]
        if self.head.pooling == "mean":
            pooled = states.mean(axis=0)
        elif self.head.pooling == "max":
            pooled = states.max(axis=0)
        elif self._pooler is not None:
            weight, bias = self._pooler
            pooled = np.tanh(pooled @ weight.T + bias)
        return pooled


def _max_length(extra: Mapping[str, object], max_positions: int, folder: Path) -> int:
    value = extra.get("max_length", max_positions)
    if isinstance(value, int) and not isinstance(value, bool) and SHORTEST_ROW <= value <= max_positions:
        return value
    raise InputError(
        f"{folder / 'config.json'}: max_length must be from {SHORTEST_ROW} to {max_positions}, not {value!r}"
    )


def _words(extra: dict[str, object], folder: Path) -> Words:
    value = extra.get("words", "pieces")
    if value == "pieces":
        return "pieces"
    if value == "spaces":
        return "spaces"
    raise InputError(f"{folder / 'config.json'}: words must be pieces or spaces, not {value!r}")


def _spelt(labels: Sequence[str], folder: Path, *, must: bool) -> bool:
    """Whether labels are tags of a scheme."""
    try:
        entities(labels)
    except InputError as error:
        if must:
            raise InputError(f"{folder / 'config.json'}: the model cannot name entities, as {error}") from error
        return False
    return True


def _dense(checkpoint: Checkpoint, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The weight and the bias of a layer, copied: the file need not stay mapped for them."""
    return checkpoint.tensors[f"{name}.weight"].copy(), checkpoint.tensors[f"{name}.bias"].copy()
