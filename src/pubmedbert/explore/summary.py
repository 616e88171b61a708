"""What the found occurrences have in common: the types of the matched words, and of those they attend to most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.explore.neighbours import Neighbour
from pubmedbert.explore.rows import Row
from pubmedbert.explore.view import ExploredModel
from pubmedbert.infer.labels.predict import Predictor

NO_TYPE = "none"
Span = tuple[str, int, int]
"""A text, and the characters `[start, end)` of a word in it."""
Entities = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of each text its entities, as `pubmedbert.infer.labels.predict.Predictor.predict_texts` has them."""


def matched(found: Sequence[Neighbour]) -> list[Span]:
    """The words that were found."""
    return [(one.sentence, one.start, one.end) for one in found]


def readable(model: ExploredModel, found: Sequence[Neighbour], pieces: int) -> int:
    """How many of the words found, from the first, have their sentences read with so many word pieces in all."""
    read: set[str] = set()
    for number, one in enumerate(found):
        if one.sentence not in read:
            read.add(one.sentence)
            pieces -= len(model.tokenizer.encode(one.sentence))
            if pieces < 0:
                return number
    return len(found)


def attended(
    model: ExploredModel,
    found: Sequence[Neighbour],
    *,
    layer: int,
    heads: Sequence[int] | None = None,
    advance: Callable[[int], object] | None = None,
) -> list[Span | None]:
    """The word that each word found attends to most, but for itself and words without a letter or digit.

    Punctuation and special tokens, to which much attention goes, are no news. Each sentence costs a pass.

    Args:
        model: that of the index.
        found: the words.
        layer: from 0.
        heads: those whose attentions are added up, from 0; None is all of them.
        advance: told how many words are done, each time.

    Returns:
        One for each word found; None for a word that no other stands beside, or beyond what the model reads.

    Raises:
        InputError: the model has no such layer, or no such head.
    """
    for name, number, count in (("layer", layer, model.config.layers), ("head", max(heads or [0]), model.config.heads)):
        if not 0 <= number < count:
            raise InputError(f"the model has {count} {name}s; counted from 0, {number} is none of them")
    chosen: dict[int, Span | None] = {}
    of_sentence: dict[str, list[int]] = {}
    for number, one in enumerate(found):
        of_sentence.setdefault(one.sentence, []).append(number)
    for sentence, numbers in of_sentence.items():
        row, maps = model.attention(sentence, layer)
        sums = (maps if heads is None else maps[sorted(set(heads))]).sum(axis=0)
        for number in numbers:
            chosen[number] = _most(row, sums, found[number])
        if advance is not None:
            advance(len(numbers))
    return [chosen[number] for number in range(len(found))]


def _most(row: Row, sums: NDArray[Any], one: Neighbour) -> Span | None:
    """The word that gets most of the `[T, T]` attention of the pieces of a word, added up."""
    spans = {(row.tokens[word[0]].start, row.tokens[word[-1]].end): word for word in row.words().values()}
    own = next((word for (start, _), word in spans.items() if start == one.start), None)
    if own is None:  # cut off
        return None
    given = sums[own].sum(axis=0)  # [T]
    totals = {
        (start, end): float(given[word].sum())
        for (start, end), word in spans.items()
        if word != own and any(map(str.isalnum, one.sentence[start:end]))
    }
    return (one.sentence, *max(totals, key=totals.__getitem__)) if totals else None


def open_tagger(model: str | Path, *, threads: int | None = None) -> Predictor:
    """Open a fine-tuned model that finds entities; otherwise as `pubmedbert.infer.labels.predict.Predictor`.

    Raises:
        InputError: it classifies texts, or cannot be opened.
        ModelError: there is no such model, or it is no fine-tuned one.
    """
    tagger = Predictor(model, threads=threads)
    if tagger.head.level == "text":
        raise InputError(f"{model} classifies texts and does not tag words; name a model tuned to find entities")
    return tagger


def tagged(found: Sequence[Neighbour], tagger: Predictor) -> Entities:
    """The entities of the sentences that were found.

    Args:
        found: words.
        tagger: from `open_tagger`.
    """
    texts = sorted({one.sentence for one in found})
    said: list[Any] = [each["entities"] for each in tagger.predict_texts(texts)] if texts else []
    return dict(zip(texts, said, strict=True))


def entity_types(spans: Sequence[Span | None], entities: Entities) -> Counter[str]:
    """How many of some words are in entities of each type; `NO_TYPE` counts those in none.

    Args:
        spans: from `matched` or `attended`.
        entities: from `tagged`.
    """
    counts: Counter[str] = Counter()
    for span in spans:
        if span is not None:
            text, start, end = span
            kinds = [each["entity"] for each in entities[text] if each["start"] < end and start < each["end"]]
            counts[(kinds[0] or "entity") if kinds else NO_TYPE] += 1
    return counts
