"""PubTator: abstracts with annotated spans, as NCBI-disease and BC5CDR were released."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Tagged
from pubmedbert.finetune.formats.columns import OFFSET, read_lines

_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")
"""A run of letters and digits, or any other character: of 25,868 mentions in the two corpora, 12 end inside a word."""
_TITLE, _ABSTRACT = (re.compile(rf"([^|\t]+)\|{part}\|(.*)") for part in "ta")


@dataclass(frozen=True, slots=True)
class Annotation:
    """A mention: characters `start` to `end` of the document's text."""

    start: int
    end: int
    text: str
    kind: str
    concept: str = ""
    """The identifiers it was normalised to, as in the file."""


@dataclass(frozen=True, slots=True)
class Document:
    """A title and an abstract with their mentions."""

    pmid: str
    title: str
    abstract: str
    annotations: tuple[Annotation, ...]

    @property
    def text(self) -> str:
        """What offsets count in: title, a space, abstract."""
        return f"{self.title} {self.abstract}"


@dataclass
class _Open:
    """A document whose lines are still being read."""

    pmid: str
    title: str
    abstract: str | None = None
    annotations: list[Annotation] = field(default_factory=list)


def read_pubtator(path: Path) -> list[Document]:
    """Read the documents of a file; relations (`CID`, or BioRED's of five columns) are passed over.

    The same PMID may come again, as 8528200 does in the training set of NCBI-disease: it is read as often as it comes.

    Raises:
        InputError: the file can't be read, or a line is not of the format or does not fit its document.
    """
    documents: list[Document] = []
    current: _Open | None = None
    where = str(path)
    for where, line in read_lines(path):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        if title := _TITLE.match(line):
            if current:
                documents.append(_close(where, current))
            current = _Open(title[1], title[2])
        elif current and (abstract := _ABSTRACT.match(line)) and abstract[1] == current.pmid:
            current.abstract = abstract[2]
        elif current and current.abstract is not None and line.startswith(f"{current.pmid}\t"):
            current.annotations += _annotation(where, line, f"{current.title} {current.abstract}")
        else:
            raise InputError(
                f"{where}: PMID|t|title, then PMID|a|abstract, then lines of the same PMID, start, end, text and type "
                f"are wanted, not {line[:40]!r}"
            )
    if not current:
        raise InputError(f"{path} holds no document: lines PMID|t|title and PMID|a|abstract are wanted")
    return [*documents, _close(where, current)]


def tagged(documents: Collection[Document]) -> list[Tagged]:
    """Documents as tagged words, one example each; a word is a run of letters and digits or any other character.

    A mention that begins or ends inside a word takes the whole of it; of mentions that overlap, the one that begins
    first stays, then the longer one; `altered` tells of them. Ids are PMIDs, with `-2` where one comes again.
    """
    seen: Counter[str] = Counter()
    examples = []
    for document in documents:
        seen[document.pmid] += 1
        words, spans = tokenise(document.text)
        tags = tuple(_tags(spans, document.annotations))
        again = f"-{seen[document.pmid]}" if seen[document.pmid] > 1 else ""
        examples.append(Tagged(document.pmid + again, words, tags, document.pmid))
    return examples


def altered(documents: Collection[Document]) -> str:
    """What `tagged` makes of mentions that words can't spell, in a sentence; "" where there are none."""
    count = sum(len(document.annotations) for document in documents)
    kept = sum(tag[0] == "B" for example in tagged(documents) for tag in example.tags or ())
    widened = sum(_inside_words(document) for document in documents)
    parts = [f"{count - kept:,} overlap one before, or have no word, and are left out"] if kept < count else []
    parts += [f"{widened:,} begin or end inside a word, and take the whole of it"] if widened else []
    return f"of {count:,} mentions {'; '.join(parts)}" if parts else ""


def _inside_words(document: Document) -> int:
    """How many mentions begin or end inside a word."""
    _, spans = tokenise(document.text)
    inside = {place for start, end in spans for place in range(start + 1, end)}
    return sum(mention.start in inside or mention.end in inside for mention in document.annotations)


def tokenise(text: str) -> tuple[tuple[str, ...], list[tuple[int, int]]]:
    """The words of a text, and where each starts and ends; a combining mark belongs to the word it stands in."""
    spans: list[tuple[int, int]] = []
    marked = False  # whether a mark was just added to a word, which may go on
    for match in _WORD.finditer(text):
        start, end = match.span()
        mark = unicodedata.category(text[start]).startswith("M")
        joins = bool(spans) and spans[-1][1] == start and (mark or (marked and text[start].isalnum()))
        marked = mark and joins
        if joins:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return tuple(text[start:end] for start, end in spans), spans


def _tags(spans: list[tuple[int, int]], annotations: Collection[Annotation]) -> Iterator[str]:
    queue = sorted(annotations, key=lambda mention: (mention.start, -mention.end))
    place, current = 0, None
    for start, end in spans:
        if current and current.end > start:
            yield f"I-{current.kind}"
            continue
        while place < len(queue) and queue[place].end <= start:
            place += 1
        current = queue[place] if place < len(queue) and queue[place].start < end else None
        # A mention that began inside the one before overlaps it, and has no word of its own to begin with.
        while current and current.start < start:
            place += 1
            current = queue[place] if place < len(queue) and queue[place].start < end else None
        yield f"B-{current.kind}" if current else "O"


def _close(where: str, document: _Open) -> Document:
    if document.abstract is None:
        raise InputError(f"{where}: the document {document.pmid} before has no line {document.pmid}|a|")
    return Document(document.pmid, document.title, document.abstract, tuple(document.annotations))


def _annotation(where: str, line: str, text: str) -> Iterator[Annotation]:
    cells = line.split("\t")
    if len(cells) >= 4 and cells[1][:1].isalpha():
        return  # a relation between concepts, which may be numbers
    if len(cells) < 5 or not all(re.fullmatch(OFFSET, cell) for cell in cells[1:3]):
        raise InputError(f"{where}: PMID, start, end, text and type are wanted, parted by tabs, not {line[:40]!r}")
    if not cells[4].strip():
        raise InputError(f"{where}: the mention {cells[3]!r} has no type")
    start, end = int(cells[1]), int(cells[2])
    held = text[start:end]
    if not cells[3].strip():
        raise InputError(f"{where}: the mention at characters {start} to {end} is blank")
    if start >= end or held.strip() != cells[3].strip():
        raise InputError(f"{where}: characters {start} to {end} of the document are {held!r}, not {cells[3]!r}")
    start += len(held) - len(held.lstrip())  # mentions in NCBI-disease have blanks around
    yield Annotation(start, start + len(held.strip()), held.strip(), cells[4], cells[5] if len(cells) > 5 else "")
