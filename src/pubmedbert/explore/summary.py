"""What the found occurrences have in common: the types of the matched words, and of those they attend to most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pubmedbert.explore.neighbours import Neighbour
from pubmedbert.explore.view import ExploredModel
from pubmedbert.infer.labels.predict import Predictor

NO_TYPE = "none"
Span = tuple[str, int, int]
"""A text, and the characters `[start, end)` of a word in it."""


def matched(found: Sequence[Neighbour]) -> list[Span]:
    """The words that were found."""
    return [(one.sentence, one.start, one.end) for one in found]


def attended(
    model: ExploredModel, found: Sequence[Neighbour], *, layer: int, heads: Sequence[int] | None = None
) -> Iterator[Span | None]:
    """Yield of each word found the word it attends to most, itself and special tokens apart.

    Each costs a pass over its sentence.

    Args:
        model: that of the index.
        found: the words.
        layer: from 0.
        heads: those whose attentions are added up, from 0; None is all of them.
    """
    for one in found:
        view = model.view(one.sentence, predictions=False)
        words = view.row.words()
        own = next((word for word in words.values() if view.row.tokens[word[0]].start == one.start), None)
        if own is None or len(words) < 2:  # cut off, or alone
            yield None
            continue
        chosen = view.attentions[layer] if heads is None else view.attentions[layer, list(heads)]
        sums = chosen.sum(axis=0)[own].sum(axis=0)  # [T]
        most = max((word for word in words.values() if word != own), key=lambda word: float(sums[word].sum()))
        yield one.sentence, view.row.tokens[most[0]].start, view.row.tokens[most[-1]].end


def entity_types(spans: Sequence[Span | None], tagger: Predictor) -> Counter[str]:
    """How many of some words are in entities of each type; `NO_TYPE` counts those in none.

    Args:
        spans: from `matched` or `attended`.
        tagger: a model that tags words.

    Raises:
        InputError: it classifies texts.
    """
    given = [span for span in spans if span is not None]
    texts = sorted({text for text, _, _ in given})
    if tagger.head.level == "text":
        tagger.predict_pieces([])  # says so
    tagged = dict(zip(texts, tagger.predict_texts(texts), strict=True)) if texts else {}
    counts: Counter[str] = Counter()
    for text, start, end in given:
        entities = tagged[text]["entities"]
        assert isinstance(entities, list)
        kinds = [each["entity"] for each in entities if each["start"] < end and start < each["end"]]
        counts[(kinds[0] or "entity") if kinds else NO_TYPE] += 1
    return counts
