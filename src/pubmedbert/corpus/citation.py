"""What every reader yields: one `Citation` per record, with text made plain in one way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from pubmedbert.errors import InputError

ANY_VERSION = 0
"""The `version` of a deletion that names none: it deletes every version."""

_NO_LABELS = {"", "UNLABELLED", "UNLABELED", "UNASSIGNED"}
_LARGEST_PMID = 2**63 - 1


class Section(NamedTuple):
    """One AbstractText of a structured abstract; `label` and `category` are empty where the record has none."""

    label: str
    category: str
    text: str


class OtherAbstract(NamedTuple):
    """An abstract besides the main one: a translation, or somebody else's (`type`: PIP, Publisher, ...)."""

    type: str
    language: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A row of a part: a version of a record, or the news that it was deleted.

    Attributes:
        doc_id: the PMID, or "x" and a hash of title and abstract where there is none.
        pmid: the PubMed identifier, if any.
        version: counts from 1; in a deletion, `ANY_VERSION` stands for all of them.
        title: plain text, whitespace collapsed, "" if the record has none.
        abstract: plain text, the sections joined as "LABEL: text", "" if the record has none.
        sections: the parts of a structured abstract; empty if it is one text without a label.
        other_abstracts: abstracts besides the main one.
        languages: lower-case codes as NLM gives them, such as "eng".
        publication_types: such as "Journal Article".
        journal: the journal's or book's title.
        year: of publication.
        status: such as "MEDLINE" or "In-Process".
        deleted: whether this row deletes the record instead of describing it.
        source: where the record comes from: the file's stem, unless a JSON record names its own source.
        sequence: the place of the file among NLM's files; a larger one is newer, 0 is unknown.
    """

    doc_id: str
    pmid: int | None
    version: int
    title: str
    abstract: str
    source: str
    sequence: int
    sections: list[Section] = field(default_factory=list)
    other_abstracts: list[OtherAbstract] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    publication_types: list[str] = field(default_factory=list)
    journal: str = ""
    year: int | None = None
    status: str = ""
    deleted: bool = False


def plain(text: str) -> str:
    """Collapse every run of whitespace, no-break and thin blanks included, to one blank."""
    return " ".join(text.split())


def join_sections(sections: list[Section]) -> str:
    """A structured abstract as one text: "LABEL: text", parted by blanks; UNLABELLED counts as no label."""
    named = (("" if part.label.upper() in _NO_LABELS else part.label, part.text) for part in sections)
    return " ".join(f"{label}: {text}" if label else text for label, text in named)


def identify(pmid: int | None, title: str, abstract: str) -> str:
    """The `doc_id`: the PMID where there is one, else "x" and 16 hexadecimal digits that depend on the text alone."""
    if pmid is not None:
        return str(pmid)
    return "x" + hashlib.sha256(f"{title}\n{abstract}".encode()).hexdigest()[:16]


def parse_pmid(text: str) -> int:
    """Read a PMID.

    Raises:
        InputError: it is not a positive number; the sentence lacks the place, which the caller knows.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and 0 < int(digits) <= _LARGEST_PMID):
        raise InputError(f"the PMID {digits[:40]!r} is not a positive whole number")
    return int(digits)
