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
    line of a word has, or no tab where that has one: `# sent_id = 1`, but not `#<tab>O`.

    Args:
        lines: each with where it stands.
    """
    width, tabbed, inside = 0, False, False
    held: list[tuple[_Place, list[str], str]] = []  # until it is known how words are parted; with what may be a comment
    for where, line in lines:
        found = cells(line)
        word = bool(found) and not found[0].startswith(DOCUMENT)
        doubtful = word and not inside and found[0].startswith("#")
        inside = word and not doubtful
        held.append((where, found, line if doubtful else ""))
        if inside and not width:
            width, tabbed = len(found), "\t" in line
        if width:
            for place, parted, doubt in held:
                if not doubt or (len(parted) == width and ("\t" in doubt or not tabbed)):
                    yield place, parted
            held.clear()
    yield from ((where, found) for where, found, _ in held)


def cells(line: str) -> list[str]:
    """The cells of a line, parted by tabs or, where it has none, by spaces; other white space may be part of a word."""
    line = line.rstrip("\r\n")
    if not line.strip():
        return []
    return line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
