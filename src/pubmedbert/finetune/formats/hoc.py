"""Hallmarks of Cancer as its authors released it (Baker et al. 2016), by abstract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled
from pubmedbert.finetune.formats.archive import tar_members

HALLMARKS = (
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


def read_hoc_originals(path: Path) -> list[Labelled]:
    """Read all abstracts, in one split: the same that BLURB's files hold.

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
        examples.append(Labelled(pmid, " ".join(sentences), in_order(hallmarks)))
    return examples


def _hallmarks(where: str, cell: str) -> Iterator[str]:
    for label in re.split(r"\sAND", cell):
        name = label.partition("--")[0].strip()
        if name not in ("", "NULL", *HALLMARKS):
            raise InputError(f"{where}: {name!r} is none of the ten hallmarks")
        if name in HALLMARKS:
            yield name


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Hallmarks in the order of `HALLMARKS`."""
    return tuple(label for label in HALLMARKS if label in labels)
