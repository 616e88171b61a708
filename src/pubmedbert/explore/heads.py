"""What a model says of the states of a row: pieces at each place, or the labels of a fine-tuned model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pubmedbert.explore.rows import Row
from pubmedbert.infer.engine import check_finite
from pubmedbert.infer.engines.weights import Checkpoint
from pubmedbert.infer.labels.rows import Row as LabelRow
from pubmedbert.infer.labels.said import Prediction, classes, tags
from pubmedbert.infer.labels.tuned import TunedModel
from pubmedbert.infer.masks.packs import best, log_normaliser
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.names import BIAS, DECODER, WORDS

GUESSES = 5
"""Pieces that are named at a place."""
_TRANSFORM = "cls.predictions.transform."
_CHUNK = 64  # places whose [V] logits are in memory at a time
_erf = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True, slots=True)
class Guess:
    """A piece that the model would write at a place."""

    id: int
    piece: str
    probability: float


class VocabularyHead:
    """The head that fills masks, on states that are there already: no second pass, and pairs too.

    Args:
        checkpoint: with a masked-language-model head.
        tokenizer: of the model.
    """

    def __init__(self, checkpoint: Checkpoint, tokenizer: ModelTokenizer) -> None:
        tensors = checkpoint.tensors
        self._dense = (tensors[f"{_TRANSFORM}dense.weight"], tensors[f"{_TRANSFORM}dense.bias"])
        self._norm = (tensors[f"{_TRANSFORM}LayerNorm.weight"], tensors[f"{_TRANSFORM}LayerNorm.bias"])
        self._decoder = (tensors[WORDS if checkpoint.config.tied else DECODER], tensors[BIAS])
        self._epsilon = checkpoint.config.norm_eps
        self._tokenizer = tokenizer

    def logits(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores `[M, V]` of the vocabulary from `[M, D]` states of the last layer.

        Raises:
            InputError: they are no numbers.
        """
        weight, bias = self._dense
        state: NDArray[np.float32] = states @ weight.T + bias
        state *= (1 + _erf(state * np.float32(0.5**0.5)).astype(np.float32)) / 2  # GELU, exact
        state -= state.mean(axis=1, keepdims=True)
        state /= np.sqrt(np.square(state).mean(axis=1, keepdims=True) + np.float32(self._epsilon))
        weight, bias = self._norm
        state = state * weight + bias
        weight, bias = self._decoder
        logits: NDArray[np.float32] = state @ weight.T + bias
        check_finite(logits)
        return logits

    def guesses(self, states: NDArray[np.float32]) -> list[list[Guess]]:
        """The best pieces at each of M places, the best first, as fill-mask finds them.

        Args:
            states: `[M, D]` of the last layer.
        """
        found = []
        for first in range(0, len(states), _CHUNK):
            for logits in self.logits(states[first : first + _CHUNK]):
                ids = best(logits[: self._tokenizer.size], GUESSES)
                shares = np.exp(logits[ids].astype(np.float64) - log_normaliser(logits))
                found.append([self._guess(*pair) for pair in zip(ids.tolist(), shares.tolist(), strict=True)])
        return found

    def _guess(self, piece: int, probability: float) -> Guess:
        return Guess(piece, str(self._tokenizer.pieces.id_to_token(piece)), probability)


class TunedHead:
    """What a fine-tuned model says of a row, masks and all. Its encoder is opened for `logits` alone.

    Args:
        folder: of the model.
        threads: processor threads used.

    Raises:
        ModelError: the folder holds no fine-tuned model.
    """

    def __init__(self, folder: Path, threads: int | None) -> None:
        self._model = TunedModel(folder, threads=threads)
        self.head = self._model.head
        self.max_length = self._model.max_length
        self.words = self._model.words if self.head.level == "tokens" else "pieces"

    def logits(self, row: Row, ids: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
        """Logits of a row in several versions, batched.

        Args:
            row: what its places are.
            ids: the word pieces of each version.

        Returns:
            `[W, C]` for the W words of the row, or `[C]` where texts are classified.
        """
        return self._model.logits([[self._label_row(row, version, number)] for number, version in enumerate(ids)])

    def _label_row(self, row: Row, ids: Sequence[int], number: int) -> LabelRow:
        firsts = [places[0] for places in row.words().values()] if self.head.level == "tokens" else []
        return LabelRow(tuple(ids), row.second, number, tuple(firsts), tuple(range(len(firsts))))

    def log_shares(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-probabilities of the labels, of `logits`' shape; a regression has its score."""
        if self.head.problem == "regression":
            return logits
        if self.head.problem == "multi":
            odds: NDArray[np.float64] = -np.logaddexp(0, -logits)
            return odds
        top = logits - logits.max(axis=-1, keepdims=True)
        logs: NDArray[np.float64] = top - np.log(np.exp(top).sum(axis=-1, keepdims=True))
        return logs

    def says(self, row: Row, texts: Sequence[str], states: NDArray[np.float32]) -> Prediction:
        """The answer to a row, in the form of `pubmedbert.infer.labels.predict.Predictor.predict_texts`.

        Args:
            row: what is answered.
            texts: those it is of.
            states: `[T, D]` of the last layer, which are there already: it takes no second pass.
        """
        logits = self._model.logits_of(self._label_row(row, [], 0), states)
        if self.head.level == "text":
            return classes(self.head, logits)
        return self._entities(row, texts, logits)

    def _entities(self, row: Row, texts: Sequence[str], logits: NDArray[np.float64]) -> Prediction:
        """The entities that the `[W, C]` logits of the words spell, with the places of their pieces."""
        words = list(row.words().values())
        named, scores = tags(self.head, logits)
        found = []
        for kind, first, end in self._model.entities(named):
            places = [place for word in words[first:end] for place in word]
            start, after = row.tokens[places[0]].start, row.tokens[places[-1]].end
            found.append(
                {
                    "entity": kind,
                    "start": start,
                    "end": after,
                    "text": texts[row.tokens[places[0]].text][start:after],
                    "score": float(scores[first:end].mean()),
                    "places": places,
                }
            )
        return {"entities": found}
