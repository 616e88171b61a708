"""What computes the logits: a small interface, and torch behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Engine(Protocol):
    """A model that scores the vocabulary at chosen positions; it knows word pieces only as numbers."""

    vocab_size: int
    """V, the size of the model's vocabulary, unused ids included."""
    max_positions: int
    """The longest row, [CLS] and [SEP] included."""

    def logits(self, rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Score the vocabulary.

        Args:
            rows: word-piece ids of each row, [CLS] and [SEP] included; at least one id, at most `max_positions`.
            where: the positions to score in each row; M in all.

        Returns:
            `[M, V]` logits, in the order of the rows and of the positions given for each.
        """


class TorchEngine:
    """The torch model behind `Engine`.

    Args:
        folder: the model in Hugging Face layout.

    Raises:
        ModelError: the folder holds no BERT with a masked-language-model head.
    """

    def __init__(self, folder: Path) -> None:
        from pubmedbert.model import hf

        self._model = hf.load(folder, need_vocabulary=True)
        self.vocab_size = self._model.config.vocab_size
        self.max_positions = self._model.config.max_positions

    def logits(self, rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Score the vocabulary; see `Engine.logits`."""
        import torch

        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # rows of one length side by side
        lengths = [len(rows[row]) for row in order]
        starts, total = [0] * len(rows), 0
        for row, length in zip(order, lengths, strict=True):
            starts[row], total = total, total + length
        chosen = [starts[row] + place for row, places in enumerate(where) for place in places]
        tokens = torch.tensor([token for row in order for token in rows[row]])  # [N]
        positions = torch.cat([torch.arange(length) for length in lengths])  # [N]
        with torch.inference_mode():
            hidden = self._model(tokens, positions, torch.zeros_like(tokens), lengths)  # [N, D]
            scores: NDArray[np.float32] = self._model.logits(hidden[chosen]).numpy()  # [M, V]
        return scores
