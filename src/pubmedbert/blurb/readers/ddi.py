"""The DDI corpus of SemEval 2013 (Herrero-Zazo et al. 2013) as its authors archived it, to pairs of drugs.

BLURB's split (Gu et al. 2020, section 2.3): its dev documents are part of `Train/`, and its test set is the test set
of the extraction task; the one of the task on names has documents of its own and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pubmedbert.blurb.readers.relation import Span, Style, show
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled, Split
from pubmedbert.finetune.formats.archive import zip_members
from pubmedbert.finetune.formats.columns import OFFSET, read_lines

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

LABELS = ("DDI-advise", "DDI-effect", "DDI-int", "DDI-mechanism", "DDI-false")
NEGATIVE = "DDI-false"
ARCHIVE = "DDICorpus-2013.zip"
DEV_DOCUMENTS = "blurb_dev_documents.txt"

_TRAIN, _TEST = "/Train/", "/Test for DDI Extraction task/"


def read_ddi(folder: Path, split: Split, style: Style) -> list[Labelled]:
    """Read the annotated pairs of a split.

    Args:
        folder: holds the archive and the list of BLURB's dev documents, one id a line.
        split: which part.
        style: how pairs are shown.

    Returns:
        Pairs by the id they have in the corpus.

    Raises:
        InputError: a file is missing or damaged, or a document can't be understood.
    """
    archive = folder / ARCHIVE
    dev = {line.strip() for _, line in read_lines(folder / DEV_DOCUMENTS)} - {""}
    examples: list[Labelled] = []
    seen = set()
    for name, data in zip_members(archive, ".xml"):
        if (_TEST if split == "test" else _TRAIN) not in f"/{name}":
            continue
        where = f"{archive}, {name}"
        document = _parse(where, data)
        identifier = document.get("id", "")
        seen.add(identifier)
        if split == "test" or (identifier in dev) == (split == "dev"):
            for sentence in document.iter("sentence"):
                examples += _pairs(where, sentence, style, identifier)
    if split == "dev" and dev - seen:
        raise InputError(f"{archive} lacks the document {min(dev - seen)}, which {DEV_DOCUMENTS} names")
    if not examples:
        raise InputError(f"{archive} holds no pair of the {split} set: the archive DDICorpus-2013 is wanted")
    return examples


def _parse(where: str, data: bytes) -> Element:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise InputError(f"{where} is not XML ({error.msg}): download the archive again") from error
    if cast(Any, root.getroottree().docinfo).doctype:
        raise InputError(f"{where} has a document type, which the corpus never has: it is refused for safety")
    return root


def _pairs(where: str, sentence: Element, style: Style, document: str) -> Iterator[Labelled]:
    text = re.sub(r"[\n\r\t]", " ", sentence.get("text", ""))
    drugs = {entity.get("id", ""): _span(where, entity, len(text)) for entity in sentence.iter("entity")}
    for pair in sentence.iter("pair"):
        identifier, ends = pair.get("id", ""), [drugs.get(pair.get(end, "")) for end in ("e1", "e2")]
        if not identifier or None in ends:
            raise InputError(f"{where}: a pair must have an id and two entities of its sentence, e1 and e2")
        first, second = sorted((span for span in ends if span), key=lambda span: span.start)
        shown = show(text, first, second, style, "DRUG-DRUG")
        yield Labelled(identifier, shown, _label(where, pair), document=document)


def _label(where: str, pair: Element) -> str:
    """One pair of Train/ interacts ("true") without a type: no class has it, and the published class counts lack it."""
    interacts, kind = pair.get("ddi"), pair.get("type")
    if interacts not in ("true", "false"):
        raise InputError(f"{where}: ddi must be true or false, not {interacts!r}")
    if interacts == "false" or kind is None:
        return NEGATIVE
    if f"DDI-{kind}" not in LABELS:
        raise InputError(f"{where}: the type of a pair must be advise, effect, int or mechanism, not {kind!r}")
    return f"DDI-{kind}"


def _span(where: str, entity: Element, length: int) -> Span:
    """An entity from its first to its last character: one in pieces ("0-5;12-15") covers what is between them."""
    offsets = entity.get("charOffset", "")
    if not re.fullmatch(f"{OFFSET}-{OFFSET}(;{OFFSET}-{OFFSET})*", offsets):
        raise InputError(f'{where}: the offsets of an entity must have the form "0-5;12-15", not {offsets!r}')
    numbers = re.findall(OFFSET, offsets)
    start, end = int(numbers[0]), int(numbers[-1]) + 1
    if not start < end <= length:
        raise InputError(f"{where}: the entity at {offsets} is not inside its sentence of {length} characters")
    return Span(start, end, "DRUG")
