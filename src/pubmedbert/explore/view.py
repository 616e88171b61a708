"""A model opened to look into: attentions of all layers and heads, and what it would say at each place."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.explore.heads import Guess, TunedHead, VocabularyHead
from pubmedbert.explore.rows import Row, RowReader
from pubmedbert.infer.engine import Encoder, open_encoder, open_explorer
from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint
from pubmedbert.infer.labels.said import Prediction
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.checkpoint import read_config
from pubmedbert.model.config import ModelError
from pubmedbert.model.head import check_tuned
from pubmedbert.model.locate import locate

Kind = Literal["mlm", "tuned", "encoder"]
"""A model that fills masks, a fine-tuned one, or one without any head that can be shown."""


@dataclass(frozen=True)
class View:
    """What a model computes for a row."""

    row: Row
    """The T word pieces."""
    attentions: NDArray[np.float32]
    """`[layers, H, T, T]`: how much each place (third axis) looks at each (fourth); rows add up to 1."""
    hidden: NDArray[np.float32]
    """`[layers + 1, T, D]`: the embeddings, and the states after each layer."""
    guesses: list[list[Guess]] | None
    """What would be predicted at each place, the best first; None where the model has no head for it."""
    says: Prediction | None
    """What a fine-tuned model says of the row: `pubmedbert.infer.labels.predict.Predictor.predict_texts` has the form;
    an entity has also `places`, those of its pieces. None for any other model."""
    notices: tuple[str, ...]
    """A sentence on each thing that was not done as asked."""


class ExploredModel:
    """A model to look into, in fp32, without torch. Threads may share it.

    Args:
        model: a folder in Hugging Face layout, "bundled" or a hub id; see `pubmedbert.model.locate`.
        threads: processor threads used; None is one for each core.
        longest: cut texts to rows of so many places; the maps of a row of T are `layers * H * T * T` numbers.

    Raises:
        InputError: the folder has no tokenizer, or one that does not fit the model; `longest` is too short.
        ModelError: there is no such model.
    """

    def __init__(self, model: str | Path, *, threads: int | None = None, longest: int | None = None) -> None:
        self.folder = locate(str(model))
        tuned = _is_tuned(self.folder)
        self.fingerprint = fingerprint(self.folder)
        checkpoint = read_checkpoint(self.folder, "tuned" if tuned else "encoder")
        self.config = checkpoint.config
        self.kind: Kind = "tuned" if tuned else "mlm" if checkpoint.has_vocabulary else "encoder"
        self.tokenizer = ModelTokenizer(self.folder, self.config.vocab_size)
        self.tuned = TunedHead(self.folder, threads) if tuned else None
        self.vocabulary = VocabularyHead(checkpoint, self.tokenizer) if self.kind == "mlm" else None
        self._part: Literal["encoder", "tuned"] = "tuned" if tuned else "encoder"
        self._explorer = open_explorer(self.folder, part=self._part, threads=threads)
        self._threads = threads
        self._opening = threading.Lock()
        most = self.tuned.max_length if self.tuned else self.config.max_positions
        tags = self.tuned is not None and self.tuned.head.level == "tokens"
        pairs = self.config.token_types > 1 and not tags
        self._reader = RowReader(self.tokenizer, min(most, longest or most), pairs=pairs, literal=tuned)

    def read(self, text: str, text_b: str | None = None, masks: Sequence[int] = ()) -> tuple[Row, list[str]]:
        """The row of a text, or of two, and notices; see `pubmedbert.explore.rows.RowReader.read`."""
        return self._reader.read(text, text_b, masks)

    def view(
        self, text: str, text_b: str | None = None, *, masks: Sequence[int] = (), predictions: bool = True
    ) -> View:
        """Everything about a text, or a pair.

        Args:
            text: what is read; in a model that fills masks, a spelled [MASK] is one.
            text_b: a second text, or none.
            masks: places, [CLS] counted, where [MASK] stands instead of the text's piece.
            predictions: whether `guesses` and `says` are wanted.

        Raises:
            InputError: a text is not valid Unicode; there are two and the model reads one; the model computes what is
                no number.
        """
        row, notices = self.read(text, text_b, masks)
        ids = row.ids(self.tokenizer.mask_id)
        (views,) = self._explorer.views([ids], [row.second])
        if not np.isfinite(views.hidden[-1]).all():  # what is no number in any layer is none in those after it
            raise InputError(
                "the model's states are no finite numbers: its weights are damaged; train or fetch it anew"
            )
        guesses = self.vocabulary.guesses(views.hidden[-1]) if predictions and self.vocabulary else None
        says = self.tuned.says(row, (text, text_b or ""), ids) if predictions and self.tuned else None
        return View(row, views.attentions, views.hidden, guesses, says, tuple(notices))

    @cached_property
    def _opened_encoder(self) -> Encoder:
        return open_encoder(self.folder, part=self._part, precision="fp32", backend="onnx", threads=self._threads)

    @property
    def encoder(self) -> Encoder:
        """The model without its heads, for many rows at once; opened when it is first asked for."""
        with self._opening:
            return self._opened_encoder


def _is_tuned(folder: Path) -> bool:
    try:
        check_tuned(read_config(folder))
    except ModelError:
        return False
    return True
