"""Fill-mask: what transformers' pipeline answers, words of several pieces, and joint fillings of several masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, product
from pathlib import Path

import numpy as np

from pubmedbert.errors import InputError
from pubmedbert.infer.engine import Backend, Engine, open_engine
from pubmedbert.infer.engines.forms import Precision
from pubmedbert.infer.masks import decode
from pubmedbert.infer.masks.answers import Answer, ApiFilled, Filling, answer, api_form, filling
from pubmedbert.infer.masks.decode import ORDERS, Order
from pubmedbert.infer.masks.masked_text import MaskedText, read_all
from pubmedbert.infer.masks.packs import best, log_normaliser, scored
from pubmedbert.infer.masks.pseudo_likelihood import SCORINGS, Scoring, Target, pseudo_log_likelihoods
from pubmedbert.infer.masks.words import AnyWord, ListedWords
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.locate import locate
from pubmedbert.vocab.folder import SPECIALS

BEAM = 10
"""Hypotheses kept by default; never fewer than the answers asked for."""
WIDEST_BEAM = 1000
MOST_PIECES = 16
"""Most pieces of a word that is searched for."""

_Form = Callable[[MaskedText, int, tuple[int, ...], float], Answer]
"""`answer` with a tokenizer."""


class FillMask:
    """Fills [MASK] in texts.

    Scores are a softmax over all V logits. Ids that the tokenizer does not know (a vocabulary padded to a round size)
    keep their share of the probability, as in transformers, but are never answered.

    Args:
        model: "bundled", a folder in Hugging Face layout, or a hub id; see `pubmedbert.model.locate`.
        precision: "fp32" or "int8"; None takes int8 where the folder has an int8 export.
        backend: what computes: "onnx", "torch", or "auto": onnx, and torch where onnxruntime is not installed.
        threads: of the backend; None leaves it to it.
        one_shot: the fastest from start to first answer, slower for many.
        engine: a model that is open already; `model` then only names the folder of its tokenizer.

    Raises:
        InputError: the folder has no tokenizer, or one that does not fit the model.
        ModelError: there is no such model, or it cannot fill masks.
    """

    def __init__(
        self,
        model: str | Path = "bundled",
        *,
        precision: Precision | None = None,
        backend: Backend = "auto",
        threads: int | None = None,
        one_shot: bool = False,
        engine: Engine | None = None,
    ) -> None:
        folder = locate(str(model))
        if engine is None:
            engine = open_engine(folder, precision=precision, backend=backend, threads=threads, one_shot=one_shot)
        self._engine = engine
        self._tokenizer = ModelTokenizer(folder, self._engine.vocab_size)

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        top_k: int = 5,
        targets: Sequence[str] | None = None,
        pieces: int | None = None,
    ) -> ApiFilled | list[ApiFilled]:
        """Fill the masks of one or several texts, answered in the Hugging Face API's form; otherwise as `fill`.

        Returns:
            For one text with one mask, the best answers; with several masks, one such list for each. For several texts
            a list of these; for a list of one text, that text's answer, as transformers has it.
        """
        given = [texts] if isinstance(texts, str) else texts
        filled = self.fill(given, top_k=top_k, targets=targets, pieces=pieces, written=False)
        return api_form(filled, several=self.several(targets, pieces))

    def several(self, targets: Sequence[str] | None, pieces: int | None) -> bool:
        """Whether words may have several pieces where these are asked for: by what is asked, not by what wins."""
        return pieces is not None or (targets is not None and len(self._targets(targets)[-1]) > 1)

    def fill(
        self,
        texts: Sequence[str],
        *,
        top_k: int = 5,
        targets: Sequence[str] | None = None,
        pieces: int | None = None,
        scoring: Scoring = "word-l2r",
        beam: int = BEAM,
        written: bool = True,
    ) -> list[list[list[Answer]]]:
        """Fill each mask by itself: the other masks of its text stay masks.

        Answers are single word pieces, as in transformers, unless `pieces` or a target of several pieces is given;
        words of different numbers of pieces are compared by the geometric mean of their pieces' probabilities.

        Args:
            texts: each with at least one [MASK].
            top_k: answers for each mask, fewer where there are fewer targets or words.
            targets: the only words to answer, of any number of pieces. Repeated ones count once.
            pieces: search for whole words of 1 to so many pieces, which the model has been trained on as such.
            scoring: of targets of several pieces; see `pubmedbert.infer.masks.pseudo_likelihood`.
            beam: width of the search for words; see `pubmedbert.infer.masks.decode`.
            written: whether the `text` of an answer is wanted; it is empty if not. Each is a copy of the text given.

        Returns:
            For each text and each of its masks the answers, the best first; equal scores in the order of their ids.

        Raises:
            TextError: a text is empty, too long or has no [MASK].
            InputError: a target is unknown, or there are none; an option is out of range.
        """
        _one_of(scoring, SCORINGS, "scoring")
        _not_both(targets, pieces)
        form = partial(answer, self._tokenizer, written=written)
        if pieces is not None:
            return self._search_words(texts, top_k, pieces, beam, form)
        words = None if targets is None else self._targets(targets)
        _within(top_k, "top_k", self._tokenizer.size, " (the vocabulary)")
        if words is not None and len(words[-1]) > 1:
            return self._score_targets(texts, top_k, words, scoring, form)
        return self._fill_pieces(texts, top_k, words, form)

    def fill_jointly(
        self,
        texts: Sequence[str],
        *,
        top_k: int = 5,
        targets: Sequence[str] | None = None,
        pieces: int | None = None,
        beam: int = BEAM,
        order: Order = "left-to-right",
    ) -> list[list[Filling]]:
        """Fill all masks of a text together, so that the words agree with each other.

        Args:
            texts: each with at least one [MASK]. A mask that touches the word or mask before it ("imat[MASK]")
                continues that word.
            top_k: fillings for each text.
            targets: the only words to fill in; no special tokens.
            pieces: words have 1 to so many; None means 1.
            beam: hypotheses kept after each step, at least `top_k`.
            order: of filling; see `pubmedbert.infer.masks.decode`, which also says what is maximised.

        Returns:
            For each text its best fillings, the best first.

        Raises:
            TextError: a text is empty, too long or has no [MASK].
            InputError: a target is unknown; an option is out of range.
        """
        _one_of(order, ORDERS, "order")
        _not_both(targets, pieces)
        if targets is None:
            most = 1 if pieces is None else _within(pieces, "pieces", MOST_PIECES)
            lengths: Sequence[int] = range(1, most + 1)
            words: decode.Words = AnyWord(self._tokenizer)
        else:
            listed = self._targets(targets)
            names = [self._tokenizer.pieces.id_to_token(ids[0]) for ids in listed]
            if special := next((name for name in names if name in SPECIALS), None):
                raise InputError(f"the target {special} is no word and is never filled in together with others")
            lengths = sorted({len(target) for target in listed})
            words = ListedWords(listed)
        beam = self._check_beam(beam, top_k)
        given = self._read(texts, lengths, joint=True)
        problems = [
            [text.puzzle(dict(enumerate(shape))) for shape in product(lengths, repeat=len(text.places))]
            for text in given
        ]
        solved = decode.search(self._engine, problems, words, beam=beam, order=order)
        return [
            [filling(self._tokenizer, text, solution) for solution in solutions[:top_k]]
            for text, solutions in zip(given, solved, strict=True)
        ]

    def _fill_pieces(
        self, texts: Sequence[str], top_k: int, targets: Sequence[Target] | None, form: _Form
    ) -> list[list[list[Answer]]]:
        """The best single pieces."""
        candidates = None if targets is None else np.array([ids[0] for ids in targets])
        given = self._read(texts)
        filled = []
        for text, logits in scored(self._engine, ((text, text.row, text.places) for text in given)):
            masks = []
            for mask, place in enumerate(logits):  # [V]
                among = place[: self._tokenizer.size] if candidates is None else place[candidates]
                found = best(among, top_k)
                ids = found if candidates is None else candidates[found]
                logs = among[found].astype(np.float64) - log_normaliser(place)
                pairs = zip(ids.tolist(), logs.tolist(), strict=True)
                masks.append([form(text, mask, (piece,), log) for piece, log in pairs])
            filled.append(masks)
        return filled

    def _score_targets(
        self, texts: Sequence[str], top_k: int, targets: Sequence[Target], scoring: Scoring, form: _Form
    ) -> list[list[list[Answer]]]:
        """The targets by their pseudo-log-likelihood for each piece."""
        lengths = np.array([len(target) for target in targets])
        given = self._read(texts, [int(lengths.max())])
        filled = []
        scores = pseudo_log_likelihoods(self._engine, given, targets, self._tokenizer, scoring)
        for text, masks in zip(given, scores, strict=True):  # [masks, targets]
            ranks = enumerate(best(logs / lengths, top_k).tolist() for logs in masks)
            filled.append(
                [[form(text, mask, targets[one], float(masks[mask, one])) for one in rank] for mask, rank in ranks]
            )
        return filled

    def _search_words(
        self, texts: Sequence[str], top_k: int, pieces: int, beam: int, form: _Form
    ) -> list[list[list[Answer]]]:
        """The best words of 1 to `pieces` pieces."""
        lengths = range(1, _within(pieces, "pieces", MOST_PIECES) + 1)
        beam = self._check_beam(beam, top_k)
        given = self._read(texts, lengths)
        masks = [(text, mask) for text in given for mask in range(len(text.places))]
        problems = [[text.puzzle({mask: length}) for length in lengths] for text, mask in masks]
        solved = decode.search(self._engine, problems, AnyWord(self._tokenizer), beam=beam)
        answers = iter(
            [form(text, mask, one.words[0], one.logs[0]) for one in solutions[:top_k]]
            for (text, mask), solutions in zip(masks, solved, strict=True)
        )
        return [list(islice(answers, len(text.places))) for text in given]

    def _read(self, texts: Sequence[str], lengths: Sequence[int] = (1,), *, joint: bool = False) -> list[MaskedText]:
        return read_all(texts, self._tokenizer, self._engine.max_positions, lengths, joint=joint)

    def _targets(self, targets: Sequence[str]) -> list[Target]:
        """The pieces of each target once, in the order of their numbers and ids."""
        words = [targets] if isinstance(targets, str) else targets
        if not words:
            raise InputError("targets is empty; name at least one word, or leave it out for the whole vocabulary")
        return sorted({self._tokenizer.target(word) for word in words}, key=lambda ids: (len(ids), ids))

    def _check_beam(self, beam: int, top_k: int) -> int:
        return max(_within(beam, "beam", WIDEST_BEAM), _within(top_k, "top_k", WIDEST_BEAM, " (the widest beam)"))


def _within(value: int, name: str, most: int, why: str = "") -> int:
    if not 1 <= value <= most:
        raise InputError(f"{name} must be from 1 to {most}{why}, not {value}")
    return value


def _not_both(targets: Sequence[str] | None, pieces: int | None) -> None:
    if targets is not None and pieces is not None:
        raise InputError("targets have the pieces that they have; leave either targets or pieces out")


def _one_of(value: str, known: Sequence[str], name: str) -> None:
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, not {value!r}")
