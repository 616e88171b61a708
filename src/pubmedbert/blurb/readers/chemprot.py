"""ChemProt as BioCreative VI released it (Krallinger et al. 2017), to the pairs that BLURB classifies.

Every chemical and every gene in one sentence are a candidate, labelled by the relations file; pairs that it lacks, and
relations of groups that are not evaluated, are "false" (Gu et al. 2020, section 2.3).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pubmedbert.blurb.readers.relation import Span, Style, show
from pubmedbert.blurb.readers.sentences import lower_case_words, split_sentences
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled, Split
from pubmedbert.finetune.formats.columns import OFFSET, Row, read_rows

LABELS = ("CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9", "false")
NEGATIVE = "false"
KINDS = ("abstracts", "entities", "relations")

_PARTS: dict[Split, str] = {"train": "training", "dev": "development", "test": "test_gs"}

Mention = tuple[str, Span]
"""The id of an entity (`T12`) and where it is in its document."""


def chemprot_file(folder: Path, split: Split, kind: str) -> Path:
    """A file of the release, by either of the names that copies give the test set's (`_test_gs_X`, `_test_X_gs`)."""
    part = _PARTS[split]
    path = folder / f"chemprot_{part}" / f"chemprot_{part}_{kind}.tsv"
    other = path.with_name(f"chemprot_test_{kind}_gs.tsv")
    return other if split == "test" and not path.exists() and other.exists() else path


def read_chemprot(folder: Path, split: Split, style: Style) -> list[Labelled]:
    """Read the candidate pairs of a split.

    Args:
        folder: holds `chemprot_training/`, `chemprot_development/` and `chemprot_test_gs/`.
        split: which of them.
        style: how pairs are shown.

    Returns:
        Pairs with the id `PMID.FIRST.SECOND`, entities in the order of the text.

    Raises:
        InputError: a file is missing, or a row of it can't be understood.
    """
    mentions = _mentions(chemprot_file(folder, split, "entities"))
    relations = _relations(chemprot_file(folder, split, "relations"))
    # Title and abstract are one text with a tab between them: that is what the offsets count.
    texts = {
        row.text("pmid"): f"{row.cells['title']}\t{row.cells['abstract']}"
        for row in read_rows(chemprot_file(folder, split, "abstracts"), "tsv", ("pmid", "title", "abstract"))
    }
    known = lower_case_words(texts.values())
    examples = []
    for pmid, text in texts.items():
        for start, end in _sentences(text, known):
            inside = [mention for mention in mentions[pmid] if start <= mention[1].start and mention[1].end <= end]
            for first, second in _pairs(inside):
                label = relations.get((pmid, first[0], second[0]), relations.get((pmid, second[0], first[0]), NEGATIVE))
                shown = show(text[start:end], _moved(first[1], start), _moved(second[1], start), style, "CHEM-GENE")
                examples.append(Labelled(f"{pmid}.{first[0]}.{second[0]}", shown, label, document=pmid))
    return examples


def _sentences(text: str, known: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Sentences, parted once more where the title ends."""
    tab = text.index("\t")
    for start, end in split_sentences(text, known):
        yield from [(start, tab), (tab + 1, end)] if start <= tab < end else [(start, end)]


def _pairs(mentions: list[Mention]) -> Iterator[tuple[Mention, Mention]]:
    """Each chemical with each gene, the one that begins first before the other."""
    genes = [mention for mention in mentions if mention[1].kind == "GENE"]
    for chemical in mentions:
        if chemical[1].kind == "CHEMICAL":
            for gene in genes:
                yield (chemical, gene) if chemical[1].start < gene[1].start else (gene, chemical)


def _moved(span: Span, start: int) -> Span:
    return Span(span.start - start, span.end - start, span.kind)


def _mentions(path: Path) -> dict[str, list[Mention]]:
    found: dict[str, list[Mention]] = defaultdict(list)
    for row in read_rows(path, "tsv", ("pmid", "id", "type", "start", "end", "text")):
        kind = row.text("type").removesuffix("-Y").removesuffix("-N")  # whether a gene could be normalised
        if kind not in ("CHEMICAL", "GENE"):
            raise InputError(f"{row.where}: the type must be CHEMICAL, GENE-Y or GENE-N, not {row.text('type')!r}")
        start, end = _offset(row, "start"), _offset(row, "end")
        if start >= end:
            raise InputError(f"{row.where}: an entity must end after its start, not run from {start} to {end}")
        found[row.text("pmid")].append((row.text("id"), Span(start, end, kind)))
    return found


def _relations(path: Path) -> dict[tuple[str, str, str], str]:
    """The label of each annotated pair; of several relations the last counts, as in BLURB."""
    found = {}
    for row in read_rows(path, "tsv", ("pmid", "group", "evaluated", "name", "first", "second")):
        group = row.text("group")
        ends = [row.text(column).partition(":")[2] for column in ("first", "second")]
        if not all(ends):
            raise InputError(f"{row.where}: the arguments must have the form Arg1:T1 and Arg2:T2")
        found[row.text("pmid"), ends[0], ends[1]] = group if group in LABELS else NEGATIVE
    return found


def _offset(row: Row, column: str) -> int:
    value = row.text(column)
    if not re.fullmatch(OFFSET, value):
        raise InputError(f"{row.where}: the {column} of an entity must be a number of characters, not {value!r}")
    return int(value)
