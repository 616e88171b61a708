"""The torch model as an engine: the reference that the others are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pubmedbert.model import hf
from pubmedbert.model.encoder import Encoder
from pubmedbert.model.tuned_hf import load_tuned


def use(threads: int | None) -> None:
    """Set how many threads torch uses, in this process; None leaves it to torch."""
    if threads is not None:
        torch.set_num_threads(threads)


class TorchEncoder:
    """An encoder in torch; see `pubmedbert.infer.engine.Encoder`.

    Args:
        encoder: in evaluation mode.
    """

    name = "torch fp32"

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.width = encoder.config.width
        self.max_positions = encoder.config.max_positions

    def hidden(
        self,
        rows: Sequence[Sequence[int]],
        where: Sequence[Sequence[int]] | None = None,
        seconds: Sequence[int] | None = None,
    ) -> list[NDArray[np.float32]]:
        """States of the last layer; see `pubmedbert.infer.engine.Encoder`."""
        places = [range(len(row)) for row in rows] if where is None else where
        states: NDArray[np.float32] = self._states(rows, places, seconds).numpy()  # [M, D]
        ends = np.cumsum([len(chosen) for chosen in places])
        return np.split(states, ends[:-1])

    def _states(
        self, rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]], seconds: Sequence[int] | None
    ) -> Tensor:
        """States at the places of each row, `[M, D]`."""
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # rows of one length side by side
        lengths = [len(rows[row]) for row in order]
        starts, total = [0] * len(rows), 0
        for row, length in zip(order, lengths, strict=True):
            starts[row], total = total, total + length
        chosen = [starts[row] + place for row, places in enumerate(where) for place in places]
        tokens = torch.tensor([token for row in order for token in rows[row]])  # [N]
        positions = torch.cat([torch.arange(length) for length in lengths])  # [N]
        second = [len(rows[row]) if seconds is None else seconds[row] for row in order]
        types = (positions >= torch.tensor(second).repeat_interleave(torch.tensor(lengths))).long()  # [N]
        ascending, places = torch.tensor(chosen, dtype=torch.long).sort()  # [M], as the encoder wants them
        with torch.inference_mode():
            states: Tensor = self._encoder(tokens, positions, types, lengths, ascending)
            return states[places.argsort()]


class TorchEngine(TorchEncoder):
    """A model that fills masks, in torch; see `pubmedbert.infer.engine.Engine`.

    Args:
        folder: the model in Hugging Face layout.

    Raises:
        ModelError: the folder holds no BERT with a masked-language-model head.
    """

    def __init__(self, folder: Path) -> None:
        self._model = hf.load(folder, need_vocabulary=True)
        super().__init__(self._model.encoder)
        self.vocab_size = self._model.config.vocab_size

    def logits(self, rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Score the vocabulary; see `pubmedbert.infer.engine.Engine`."""
        with torch.inference_mode():
            scores: NDArray[np.float32] = self._model.logits(self._states(rows, where, None)).numpy()  # [M, V]
        return scores


def open_encoder(folder: Path, part: Literal["encoder", "tuned"]) -> TorchEncoder:
    """The encoder of a model folder.

    Raises:
        ModelError: it holds no such model.
    """
    return TorchEncoder(load_tuned(folder)[0].encoder if part == "tuned" else hf.load(folder).encoder)
