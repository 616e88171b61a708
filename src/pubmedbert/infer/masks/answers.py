"""The forms of answers: ours, and the Hugging Face API's."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import TypedDict

from pubmedbert.infer.masks.decode import Solution
from pubmedbert.infer.masks.masked_text import MaskedText
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.vocab.folder import PREFIX


class Answer(TypedDict):
    """One word for one mask. The first four parts are those of the Hugging Face API."""

    score: float
    """Probability among the whole vocabulary of the model; for a word of several pieces their geometric mean."""
    token: int
    """Id of the word piece; of the first where there are several."""
    token_str: str
    """The word as text."""
    sequence: str
    """The normalised text with this mask filled; where there are several masks, with [CLS], [SEP] and the others."""
    text: str
    """The text as it was given, with this mask replaced; a blank stands before a word that does not continue the one
    before it."""
    start: int
    """The mask's first character in the text that was given."""
    end: int
    """One past its last."""
    tokens: list[int]
    """Ids of the word's pieces."""
    pieces: int
    """How many these are."""
    log_probability: float
    """The sum of their log-probabilities, in nats."""


class Word(TypedDict):
    """A word in a joint filling."""

    token_str: str
    tokens: list[int]
    pieces: int
    log_probability: float
    """The sum over its pieces, in nats, each given what was filled before it."""
    start: int
    end: int


class Filling(TypedDict):
    """Words for all masks of a text together."""

    score: float
    """Joint probability by the chain rule; a word of several pieces counts with their geometric mean."""
    log_probability: float
    """The sum over all pieces, in nats."""
    sequence: str
    """The normalised text, filled."""
    text: str
    """The text as it was given, its masks replaced."""
    words: list[Word]
    """One for each mask."""


ApiAnswer = dict[str, object]
"""`score`, `token`, `token_str`, `sequence`; where words may have several pieces, `tokens`, `log_probability` too."""

ApiFilled = list[ApiAnswer] | list[list[ApiAnswer]]
"""The API's answer to one text: the best words for its mask, or for each of its masks where it has several."""

_API_KEYS = ("score", "token", "token_str", "sequence")


def answer(
    tokenizer: ModelTokenizer, text: MaskedText, mask: int, ids: tuple[int, ...], log: float, *, written: bool = True
) -> Answer:
    """A word for one mask.

    Args:
        tokenizer: of the model.
        text: what is filled.
        mask: its number among the masks of the text.
        ids: the pieces of the word.
        log: the sum of their log-probabilities.
        written: whether `text` is wanted; it is empty if not.
    """
    word = tokenizer.decode(ids)
    place, (start, end) = text.places[mask], text.spans[mask]
    words = [text.text[first:last] for first, last in text.spans]
    if written:
        words[mask] = _joined(tokenizer, text, mask, word)
    row = (*text.row[:place], *ids, *text.row[place + 1 :])
    return {
        "score": exp(log / len(ids)),
        "token": ids[0],
        "token_str": word,
        "sequence": _sequence(tokenizer, row, clean=len(text.places) == 1),
        "text": text.written(words) if written else "",
        "start": start,
        "end": end,
        "tokens": list(ids),
        "pieces": len(ids),
        "log_probability": log,
    }


def filling(tokenizer: ModelTokenizer, text: MaskedText, solution: Solution) -> Filling:
    """Words for all masks of a text."""
    strings = [tokenizer.decode(ids) for ids in solution.words]
    words: list[Word] = [
        {"token_str": word, "tokens": list(ids), "pieces": len(ids), "log_probability": log, "start": start, "end": end}
        for word, ids, log, (start, end) in zip(strings, solution.words, solution.logs, text.spans, strict=True)
    ]
    return {
        "score": exp(solution.objective),
        "log_probability": sum(solution.logs),
        "sequence": _sequence(tokenizer, solution.row, clean=True),
        "text": text.written([_joined(tokenizer, text, mask, word) for mask, word in enumerate(strings)]),
        "words": words,
    }


def _sequence(tokenizer: ModelTokenizer, row: Sequence[int], *, clean: bool) -> str:
    """The text of a row as transformers writes it: it leaves padding out, and `clean` the other special tokens."""
    return tokenizer.decode([piece for piece in row if piece != tokenizer.pad_id], skip_special_tokens=clean)


def _joined(tokenizer: ModelTokenizer, text: MaskedText, mask: int, word: str) -> str:
    """A word as it stands in the text: without ## where it continues what is before it, behind a blank where not."""
    if not text.glued[mask]:
        return word
    return f" {word}" if tokenizer.joins(word) else word.removeprefix(PREFIX)


def api_form(filled: Sequence[Sequence[Sequence[Answer]]], *, several: bool) -> ApiFilled | list[ApiFilled]:
    """Answers for each mask of each text as the API returns them: a list of one text or of one mask is left out.

    Args:
        filled: from `pubmedbert.infer.masks.fill_mask.FillMask.fill`.
        several: whether words of several pieces were asked for, which `FillMask.several` says of what is asked.
    """
    keys = (*_API_KEYS, "tokens", "log_probability") if several else _API_KEYS
    texts: list[ApiFilled] = []
    for masks in filled:
        shaped = [[{key: answer[key] for key in keys} for answer in answers] for answers in masks]  # type: ignore[literal-required]
        texts.append(shaped[0] if len(shaped) == 1 else shaped)
    return texts[0] if len(texts) == 1 else texts
