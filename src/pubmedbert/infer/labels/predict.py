"""What a fine-tuned model says of texts and of words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.infer.engine import Backend
from pubmedbert.infer.labels.rows import FoundPieces, Long, RowEncoder
from pubmedbert.infer.labels.said import Prediction, classes, softmax, tags
from pubmedbert.infer.labels.tuned import TunedModel
from pubmedbert.infer.labels.words import spaced
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.head import Head
from pubmedbert.model.locate import locate


@dataclass(frozen=True)
class Pieces:
    """What a model that tags words says of every word piece of a text."""

    tokens: list[str]
    """The P pieces as the vocabulary writes them, without [CLS] and [SEP]."""
    spans: list[tuple[int, int]]
    """The characters `[start, end)` of each in the text."""
    words: list[int]
    """The number of the word each is of, as the corpus that the model was tuned on has its words."""
    probabilities: NDArray[np.float64]
    """`[P, C]` of each label, in the order of the head's labels."""


class Predictor:
    """A fine-tuned model: texts, pairs of texts or words in, labels and entities out. It needs no torch.

    Inputs longer than the model reads are cut into overlapping windows: each word is tagged where it has most context,
    the windows of a text are averaged; where the model was tuned on cut texts (`"long": "truncate"`), so are these.

    Args:
        model: a folder in Hugging Face layout, ours or one that transformers wrote, or a hub id; see
            `pubmedbert.model.locate`.
        backend: what computes the encoder.
        threads: how many it may use; None is one for each core.

    Raises:
        InputError: the folder has no tokenizer, or one that does not fit the model; its tags are of no scheme.
        ModelError: there is no such model, or it is no fine-tuned one.
    """

    head: Head
    """What the model says."""
    engine: str
    """The name of what computes the encoder, such as "onnx fp32"."""
    pairs: bool | None
    """Whether each text must have a second one; False where none may, None where that is not known: folders that others
    wrote do not tell."""

    def __init__(
        self,
        model: str | Path,
        *,
        backend: Backend = "auto",
        threads: int | None = None,
    ) -> None:
        folder = locate(str(model))
        self._model = TunedModel(folder, backend=backend, threads=threads)
        self.head, self.engine = self._model.head, self._model.encoder.name
        extra, config = self._model.extra, self._model.config
        self.pairs = False if self.head.level == "tokens" or config.token_types < 2 else _pairs(extra, folder)
        self._long = _long(extra, folder)
        self._rows = RowEncoder(ModelTokenizer(folder, config.vocab_size), self._model.max_length)

    def predict_texts(self, texts: Sequence[str | tuple[str, str | None]]) -> list[Prediction]:
        """What the model says of each text, or pair of texts.

        Returns:
            From a model that tags words: `{"entities": [{"entity", "start", "end", "text", "score"}]}`, the entities
            `text[start:end]` of the original text: the first piece of a word speaks for it. Words are those of the
            corpus that the model was tuned on (`pubmedbert.infer.labels.words`). Where they are parted at all marks,
            and of folders that others wrote, entities are those of transformers' aggregation strategy "first". The
            score is the mean, over the words of the entity, of the probability of the tag predicted for each. Of a
            model of a class for each word, that spells no entities (`NOUN`), they are the runs of one class but O.

            From a model that classifies texts: `{"label", "score", "scores"}`, the label most probable;
            `{"labels", "scores"}`, each label more probable than not (a logit above 0), where several may hold;
            `{"score"}`, a number, from a regression. `scores` holds the probability of every label.

        Raises:
            InputError: a text is not valid Unicode, or there are two texts and the model reads one, or the other way.
        """
        if self.head.level == "text":
            return [classes(self.head, logits) for logits in self.text_logits(texts)]
        found = self._rows.found_words_batch([text for text, _ in self._checked(texts)], self._model.words)
        logits = self._model.logits([rows for rows, _ in found])
        return [
            self._entities(text, spans, scores)
            for (text, _), (_, spans), scores in zip(self._checked(texts), found, logits, strict=True)
        ]

    def text_logits(self, texts: Sequence[str | tuple[str, str | None]]) -> list[NDArray[np.float64]]:
        """What `predict_texts` makes labels and scores of.

        Returns:
            `[C]` logits of each text, or pair of texts.

        Raises:
            InputError: as in `predict_texts`, or the model tags words.
        """
        if self.head.level == "tokens":
            raise InputError("this model tags words and does not classify texts")
        return self._model.logits(self._rows.text_batch(self._checked(texts), self._long))

    def predict_pieces(self, texts: Sequence[str]) -> list[Pieces]:
        """What a model that tags words says of every word piece, not of the first of each word alone.

        Raises:
            InputError: a text is not valid Unicode, or the model classifies texts.
        """
        if self.head.level == "text":
            raise InputError("this model classifies texts and does not tag words")
        found = self._rows.found_pieces_batch(texts)
        logits = self._model.logits([each.rows for each in found])
        return [
            Pieces(each.tokens, each.spans, self._words(text, each), softmax(scores))
            for text, each, scores in zip(texts, found, logits, strict=True)
        ]

    def _words(self, text: str, found: FoundPieces) -> list[int]:
        """The number of the word that each piece is of."""
        if self._model.words == "pieces":
            return found.words
        starts = [start for start, _ in spaced(text)]
        return [bisect_right(starts, start) for start, _ in found.spans]

    def _checked(self, texts: Sequence[str | tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        """Texts with the second that belongs to each, or None."""
        pairs = [(text, None) if isinstance(text, str) else text for text in texts]
        if self.pairs is False and any(b is not None for _, b in pairs):
            raise InputError("this model reads one text at a time, not a pair; leave text_b out")
        if self.pairs is True and any(b is None for _, b in pairs):
            raise InputError("this model was tuned on pairs of texts; give each its second text, text_b")
        return pairs

    def predict_words(self, sentences: Sequence[Sequence[str]]) -> list[Prediction]:
        """What a model that tags words says of words that are given one by one.

        Returns:
            `{"tags": [...], "entities": [{"entity", "first", "end", "text", "score"}]}`: a tag for each word, in IOB2
            whatever the model's scheme (where it was tuned on a class for each word, that class), and the entities
            `words[first:end]`; the score is that of `predict_texts`.

        Raises:
            InputError: a word is not valid Unicode, or the model classifies texts.
        """
        if self.head.level == "text":
            raise InputError("this model classifies texts, not words; give it texts")
        results: list[Prediction] = []
        for words, logits in zip(sentences, self._model.logits(self._rows.words_batch(sentences)), strict=True):
            named, scores = tags(self.head, logits)
            found = [
                {
                    "entity": kind,
                    "first": first,
                    "end": end,
                    "text": " ".join(words[first:end]),
                    "score": float(scores[first:end].mean()),
                }
                for kind, first, end in self._model.entities(named)
            ]
            results.append({"tags": self._model.written(named), "entities": found})
        return results

    def _entities(self, text: str, spans: Sequence[tuple[int, int]], logits: NDArray[np.float64]) -> Prediction:
        """The entities of a text whose words are at `spans`."""
        named, scores = tags(self.head, logits)
        found = []
        for kind, first, last in self._model.entities(named):
            start, end = spans[first][0], spans[last - 1][1]
            score = float(scores[first:last].mean())
            found.append({"entity": kind, "start": start, "end": end, "text": text[start:end], "score": score})
        return {"entities": found}


def _long(extra: dict[str, object], folder: Path) -> Long:
    value = extra.get("long", "windows")
    if value == "windows":
        return "windows"
    if value == "truncate":
        return "truncate"
    raise InputError(f"{folder / 'config.json'}: long must be windows or truncate, not {value!r}")


def _pairs(extra: dict[str, object], folder: Path) -> bool | None:
    """Whether the model was tuned on pairs of texts, as `texts` in config.json says, or its task alone."""
    texts = extra.get("texts", 2 if extra.get("task") in ("pairs", "similarity") else None)
    if texts is None or (texts in (1, 2) and not isinstance(texts, bool)):
        return None if texts is None else texts == 2
    raise InputError(f"{folder / 'config.json'}: texts must be 1 or 2, not {texts!r}")
