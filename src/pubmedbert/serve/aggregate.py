"""Word pieces to entities as transformers' token-classification pipeline joins them, strategy by strategy.

With two exceptions. What a word is: there a piece continues the word before it if it is written with another number of
characters than it has in the text, which is so of ## pieces, but also of a whole word with an accent as a character of
its own; here words are those of the corpus that the model was tuned on (`pubmedbert.infer.labels.words`). And what tags
spell: there only B- begins an entity; here tags of any scheme are read, as `pubmedbert.infer.labels.spans` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.infer.labels.spans import from_scheme

if TYPE_CHECKING:
    from pubmedbert.infer.labels.predict import Pieces

Write = Callable[[list[str]], str]
"""Pieces to text: what transformers calls `convert_tokens_to_string`."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece or a word with one label."""

    label: str
    score: float
    word: str
    start: int
    end: int


def aggregate(
    text: str, pieces: Pieces, labels: Sequence[str], strategy: str, ignored: Collection[str], write: Write
) -> list[dict[str, object]]:
    """The entities of a text.

    Args:
        text: the text.
        pieces: its word pieces and `[P, C]` probabilities.
        labels: the C tags.
        strategy: "none" for every piece, "simple" for neighbours of one type; before that "first", "average" and "max"
            give a word the tag of its first piece, of the mean of its pieces, or of its most certain piece.
        ignored: labels that are left out.
        write: the decoder of the tokenizer.

    Returns:
        `{entity, score, index, word, start, end}` for "none"; else `{entity_group, score, word, start, end}`. The group
        of tags without types is "", as `predict` has it.
    """
    parts = list(_pieces(text, pieces, labels))
    if strategy == "none":
        return [
            {
                "entity": part.label,
                "score": part.score,
                "index": index,
                "word": part.word,
                "start": part.start,
                "end": part.end,
            }
            for index, part in enumerate(parts, start=1)  # 0 is [CLS]
            if part.label not in ignored
        ]
    if strategy != "simple":
        parts = list(_words(parts, pieces, labels, strategy, write))
    found = []
    for group in _groups(_in_iob2(parts, labels)):
        label = group[0].label.split("-", 1)[-1]
        if label not in ignored:
            found.append(
                {
                    "entity_group": label,
                    "score": float(np.mean([part.score for part in group])),
                    "word": write([part.word for part in group]),
                    "start": group[0].start,
                    "end": group[-1].end,
                }
            )
    return found


def _pieces(text: str, pieces: Pieces, labels: Sequence[str]) -> Iterator[_Part]:
    """Each piece with its most probable tag; an unknown one shows its characters."""
    best = pieces.probabilities.argmax(axis=-1) if len(pieces.tokens) else []
    for token, (start, end), scores, index in zip(pieces.tokens, pieces.spans, pieces.probabilities, best, strict=True):
        word = text[start:end] if token == "[UNK]" else token  # noqa: S105
        yield _Part(labels[index], float(scores[index]), word, start, end)


def _words(
    parts: Sequence[_Part], pieces: Pieces, labels: Sequence[str], strategy: str, write: Write
) -> Iterator[_Part]:
    for _, places in groupby(range(len(parts)), key=pieces.words.__getitem__):
        chosen = list(places)
        scores = _word_scores(pieces.probabilities[chosen], strategy)
        index = int(scores.argmax())
        word = write([parts[place].word for place in chosen])
        yield _Part(labels[index], float(scores[index]), word, parts[chosen[0]].start, parts[chosen[-1]].end)


def _word_scores(scores: NDArray[np.float64], strategy: str) -> NDArray[np.float64]:
    """`[C]` scores of a word from `[pieces, C]`."""
    if strategy == "average":
        mean: NDArray[np.float64] = scores.mean(axis=0)
        return mean
    speaker = int(scores.max(axis=-1).argmax()) if strategy == "max" else 0
    chosen: NDArray[np.float64] = scores[speaker]
    return chosen


def _in_iob2(parts: Sequence[_Part], labels: Sequence[str]) -> Sequence[_Part]:
    """Parts with their tags as B- and I-, whatever the model's scheme; classes that spell no entities stay."""
    try:
        from_scheme(labels)
    except InputError:
        return parts
    read = from_scheme([part.label for part in parts])
    tags = (tag if tag == "O" or "-" in tag else f"{tag}-" for tag in read)  # a type that is none is ""
    return [replace(part, label=tag) for part, tag in zip(parts, tags, strict=True)]


def _groups(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    """Neighbours of one type; a B- begins a new group."""
    group: list[_Part] = []
    for part in parts:
        if group and (part.label.startswith("B-") or _type(part.label) != _type(group[-1].label)):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _type(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label
