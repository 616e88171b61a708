"""Hallmarks of Cancer (Baker et al. 2016) by abstract: the labels of its sentences together (Gu et al. 2020)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pubmedbert.blurb.readers.archive import tar_members
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled
from pubmedbert.finetune.readers import Row, read_rows

LABELS = (
    "Activating invasion and metastasis",
    "Avoiding immune destruction",
    "Cellular energetics",
    "Enabling replicative immortality",
    "Evading growth suppressors",
    "Genomic instability and mutation",
    "Inducing angiogenesis",
    "Resisting cell death",
    "Sustaining proliferative signaling",
    "Tumor promoting inflammation",
)
"""The ten hallmarks in the order in which BLURB's files number them."""


def read_hoc(path: Path) -> list[Labelled]:
    """Read BLURB's file of sentences as abstracts.

    Args:
        path: a tsv with the header `labels`, `sentence`, `index`: `0_0,1_1,...`, text, `PMID_sN`.

    Returns:
        Abstracts by PMID, in the order of the file: sentences joined by a space, labels that any sentence has.

    Raises:
        InputError: the file can't be read, or labels or an index are not of that form.
    """
    texts: dict[str, list[str]] = {}
    labels: dict[str, set[str]] = {}
    for row in read_rows(path, "tsv"):
        pmid, found, number = row.text("index").partition("_s")
        if not found or not number.isdecimal():
            raise InputError(f"{row.where}: the index must have the form PMID_s0, not {row.text('index')!r}")
        texts.setdefault(pmid, []).append(row.text("sentence"))
        labels.setdefault(pmid, set()).update(_labels(row))
    return [Labelled(pmid, " ".join(texts[pmid]), _in_order(labels[pmid])) for pmid in texts]


def read_hoc_originals(path: Path) -> list[Labelled]:
    """Read the same abstracts from the corpus as its authors released it, in one split.

    Args:
        path: a tar with `text/PMID.txt`, a sentence a line, and `labels/PMID.txt`, where each sentence has a "<" and,
            after it, its labels, joined by AND: a hallmark and, after "--", what is below it in the taxonomy.

    Returns:
        Abstracts by PMID, sorted.

    Raises:
        InputError: the archive is damaged, or text and labels of an abstract don't belong together.
    """
    files = {"text": dict[str, str](), "labels": dict[str, str]()}
    for name, data in tar_members(path, ".txt"):
        folder, pmid = Path(name).parent.name, Path(name).stem
        if folder in files:
            try:
                files[folder][pmid] = data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, {name}: byte {error.start + 1} is not UTF-8") from error
    if files["text"].keys() != files["labels"].keys() or not files["text"]:
        raise InputError(f"{path} must hold text/PMID.txt and labels/PMID.txt of every abstract")
    examples = []
    for pmid in sorted(files["text"]):
        sentences = [line.strip() for line in files["text"][pmid].splitlines() if line.strip()]
        cells = files["labels"][pmid].split("<")[1:]
        if len(cells) != len(sentences):
            raise InputError(f"{path}: {pmid} has {len(sentences)} sentences and labels of {len(cells)}")
        hallmarks = {hallmark for cell in cells for hallmark in _hallmarks(f"{path}, {pmid}", cell)}
        examples.append(Labelled(pmid, " ".join(sentences), _in_order(hallmarks)))
    return examples


def _labels(row: Row) -> Iterator[str]:
    text = row.text("labels")
    if not re.fullmatch(r"0_[01],1_[01],2_[01],3_[01],4_[01],5_[01],6_[01],7_[01],8_[01],9_[01]", text):
        raise InputError(f"{row.where}: the labels must have the form 0_0,1_1,2_0 and so on to 9, not {text!r}")
    yield from (name for name, value in zip(LABELS, text.split(","), strict=True) if value.endswith("_1"))


def _hallmarks(where: str, cell: str) -> Iterator[str]:
    for label in re.split(r"\sAND", cell):
        name = label.partition("--")[0].strip()
        if name not in ("", "NULL", *LABELS):
            raise InputError(f"{where}: {name!r} is none of the ten hallmarks")
        if name in LABELS:
            yield name


def _in_order(labels: set[str]) -> tuple[str, ...]:
    return tuple(label for label in LABELS if label in labels)
