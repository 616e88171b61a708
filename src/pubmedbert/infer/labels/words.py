"""Where the words of a running text are, in the way of the corpus that a tagger was tuned on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

Words = Literal["pieces", "spaces"]
"""How a corpus has its words: "pieces" parts them at every punctuation mark, as BERT's pre-tokeniser does ("IL", "-",
"2"); "spaces" only at spaces, with the marks at either end by themselves ("IL-2", ",")."""

_JOINED = re.compile(r"[^\W_][-/][^\W_]")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"
"""Characters that BERT's pre-tokeniser makes words of their own."""
_RUN = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")
_OPENING, _CLOSING = "([{", ")]}"
_KEPT = "/*&@#"


def way(sentences: Iterable[Sequence[str]]) -> Words:
    """The way of a corpus: whether "-" and "/" stand inside its words more often than alone."""
    inside = alone = 0
    for words in sentences:
        for word in words:
            alone += word in ("-", "/")
            inside += _JOINED.search(word) is not None
    return "spaces" if inside > alone else "pieces"


def spaced(text: str) -> Iterator[tuple[int, int]]:
    """The characters `[start, end)` of each word, in the way "spaces".

    Nothing but spaces and characters that nobody sees (zero-width spaces, soft hyphens) lies between them.
    """
    for match in _RUN.finditer(text):
        start, end = match.span()
        while start < end and (_unseen(text[start]) or (start < end - 1 and _parted(text[start], text[start:end]))):
            if not _unseen(text[start]):
                yield start, start + 1
            start += 1
        after = []
        while start < end and (_unseen(text[end - 1]) or (start < end - 1 and _parted(text[end - 1], text[start:end]))):
            end -= 1
            if not _unseen(text[end]):
                after.append((end, end + 1))
        if start < end:
            yield start, end
        yield from reversed(after)


def _unseen(mark: str) -> bool:
    return unicodedata.category(mark) == "Cf"


def _parted(mark: str, word: str) -> bool:
    """Whether a mark at the end of a word is none of it; brackets are where their partners are within."""
    for opening, closing in zip(_OPENING, _CLOSING, strict=True):
        if mark == opening:
            return word.count(opening) > word.count(closing) or word.rstrip(".,;:?!").endswith(closing)
        if mark == closing:
            return word.count(closing) > word.count(opening)
    category = unicodedata.category(mark)
    return category.startswith("P") and category != "Pd" and mark not in _KEPT
