"""Files of a word a line in columns (CoNLL): what is a word, what parts sentences and documents, what is a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

DOCUMENT = "-DOCSTART-"
"""How a line begins that begins a document."""

_Place = TypeVar("_Place")


def rows(lines: Iterable[tuple[_Place, str]]) -> Iterator[tuple[_Place, list[str]]]:
    """Yield each line but comments with its cells: of a word, of a document's beginning, or none between sentences.

    A comment is a line that begins with "#" before the first word of a sentence, and has not as many cells as the first
    line of a word has: `# sent_id = 1`, but not `#<tab>O`.

    Args:
        lines: each with where it stands.
    """
    width, inside = 0, False
    held: list[tuple[_Place, list[str], bool]] = []  # until the width is known
    for where, line in lines:
        found = cells(line)
        word = bool(found) and not found[0].startswith(DOCUMENT)
        doubtful = word and not inside and found[0].startswith("#")
        inside = word and not doubtful
        held.append((where, found, doubtful))
        if inside and not width:
            width = len(found)
        if width:
            yield from _settled(held, width)
            held.clear()
    yield from ((where, found) for where, found, _ in held)


def cells(line: str) -> list[str]:
    """The cells of a line, parted by tabs or, where it has none, by spaces; other white space may be part of a word."""
    line = line.rstrip("\r\n")
    if not line.strip():
        return []
    return line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))


def _settled(held: list[tuple[_Place, list[str], bool]], width: int) -> Iterator[tuple[_Place, list[str]]]:
    return ((where, found) for where, found, doubtful in held if not doubtful or len(found) == width)
