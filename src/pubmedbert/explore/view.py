"""A model opened to look into: attentions of all layers and heads, and what it would say at each place."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pubmedbert.explore.heads import Guess, TunedHead, VocabularyHead
from pubmedbert.explore.rows import Row, RowReader, check_longest
from pubmedbert.infer.engine import Encoder, check_finite, open_encoder, open_explorer
from pubmedbert.infer.engines.weights import fingerprint, is_tuned, opened_later, read_checkpoint
from pubmedbert.infer.labels.rows import SHORTEST_ROW
from pubmedbert.infer.labels.said import Prediction
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.checkpoint import read_config
from pubmedbert.model.head import Level
from pubmedbert.model.locate import locate

if TYPE_CHECKING:
    from pubmedbert.infer.engines.onnx_engine import Explorer

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
    heads: NDArray[np.float32]
    """`[layers, T, D]`: what the heads of each layer give, side by side, before they are mixed."""
    guesses: list[list[Guess]] | None
    """What would be predicted at each place, the best first; None where the model has no head for it."""
    says: Prediction | None
    """What a fine-tuned model says of the row: `pubmedbert.infer.labels.predict.Predictor.predict_texts` has the form;
    an entity has also `places`, those of its pieces. None for any other model."""
    notices: tuple[str, ...]
    """A sentence on each thing that was not done as asked."""


class ExploredModel:
    """A model to look into, in fp32, without torch. Threads may share it. What computes is opened when it is needed.

    Args:
        model: a folder in Hugging Face layout, "bundled" or a hub id; see `pubmedbert.model.locate`.
        threads: processor threads used; None is one for each core.
        longest: cut texts to rows of so many places.
        numbers: cut texts to rows whose maps are at most so many numbers, `layers * H * T * T` of a row of T places.

    Raises:
        InputError: `longest` is too short; the folder has no tokenizer, or one that does not fit the model.
        ModelError: there is no such model.
    """

    longest: int
    """The longest row, in word pieces with [CLS] and [SEP]."""
    pairs: bool
    """Whether a second text may be given."""

    def __init__(
        self,
        model: str | Path,
        *,
        threads: int | None = None,
        longest: int | None = None,
        numbers: int | None = None,
    ) -> None:
        self.folder = locate(str(model))
        tuned = is_tuned(read_config(self.folder))
        self.fingerprint = fingerprint(self.folder)
        self._checkpoint = read_checkpoint(self.folder, "tuned" if tuned else "encoder")
        self.config = self._checkpoint.config
        self.tokenizer = ModelTokenizer(self.folder, self.config.vocab_size)
        self.kind: Kind = "tuned" if tuned else "mlm" if self._checkpoint.has_vocabulary else "encoder"
        self.tuned = TunedHead(self.folder, threads) if tuned else None
        self._part: Literal["encoder", "tuned"] = "tuned" if tuned else "encoder"
        self._threads = threads
        self._opening = threading.Lock()
        most = self.tuned.max_length if self.tuned else self.config.max_positions
        if numbers is not None:
            most = min(most, max(SHORTEST_ROW, math.isqrt(numbers // (self.config.layers * self.config.heads))))
        self.longest = min(most, longest or most)
        check_longest(self.longest)
        self.pairs = self.config.token_types > 1 and self.level != "tokens"

    @property
    def level(self) -> Level | None:
        """Whether a fine-tuned model speaks of words or of texts; None for any other model."""
        return self.tuned.head.level if self.tuned else None

    @cached_property
    def vocabulary(self) -> VocabularyHead | None:
        """The head that fills masks, where there is one."""
        return VocabularyHead(self._checkpoint, self.tokenizer) if self.kind == "mlm" else None

    @cached_property
    def _reader(self) -> RowReader:
        literal = self.kind == "tuned"
        words = self.tuned.words if self.tuned else "pieces"
        return RowReader(self.tokenizer.pieces, self.longest, pairs=self.pairs, literal=literal, words=words)

    @cached_property
    def _index_reader(self) -> RowReader:
        """Sentences of an index: what they spell is text, and their words are as BERT's pre-tokeniser parts them."""
        return RowReader(self.tokenizer.pieces, self.longest, pairs=False, literal=True)

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
        (views,) = self._explorer().views([ids], [row.second])
        check_finite(views.hidden[-1])  # what is no number in any layer is none in those after it
        guesses = self.vocabulary.guesses(views.hidden[-1]) if predictions and self.vocabulary else None
        says = self.tuned.says(row, (text, text_b or ""), views.hidden[-1]) if predictions and self.tuned else None
        return View(row, views.attentions, views.hidden, views.heads, guesses, says, tuple(notices))

    def attention(self, text: str, layer: int) -> tuple[Row, NDArray[np.float32]]:
        """The row of a sentence of an index and its attentions in one layer, from 0: `[H, T, T]`, no other layer kept.

        Raises:
            InputError: the text is not valid Unicode; the model computes what is no number.
        """
        row, _ = self._index_reader.read(text)
        maps = self._explorer().attention(row.ids(self.tokenizer.mask_id), layer)
        check_finite(maps)
        return row, maps

    def _explorer(self) -> Explorer:
        with self._opening:
            return self._opened_explorer

    @cached_property
    def _opened_explorer(self) -> Explorer:
        with opened_later(self.folder, self.fingerprint):
            return open_explorer(self.folder, part=self._part, threads=self._threads)

    @cached_property
    def _opened_encoder(self) -> Encoder:
        part, threads = self._part, self._threads
        with opened_later(self.folder, self.fingerprint):
            return open_encoder(self.folder, part=part, precision="fp32", backend="onnx", threads=threads)

    @property
    def encoder(self) -> Encoder:
        """The model without its heads, for many rows at once; opened when it is first asked for."""
        with self._opening:
            return self._opened_encoder
