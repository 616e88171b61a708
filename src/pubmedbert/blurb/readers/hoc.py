"""Hallmarks of Cancer (Baker et al. 2016) by abstract: the labels of its sentences together (Gu et al. 2020)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled
from pubmedbert.finetune.formats.columns import Row, read_rows
from pubmedbert.finetune.formats.hoc import HALLMARKS, in_order


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
    return [Labelled(pmid, " ".join(texts[pmid]), in_order(labels[pmid])) for pmid in texts]


def _labels(row: Row) -> Iterator[str]:
    text = row.text("labels")
    if not re.fullmatch(r"0_[01],1_[01],2_[01],3_[01],4_[01],5_[01],6_[01],7_[01],8_[01],9_[01]", text):
        raise InputError(f"{row.where}: the labels must have the form 0_0,1_1,2_0 and so on to 9, not {text!r}")
    yield from (name for name, value in zip(HALLMARKS, text.split(","), strict=True) if value.endswith("_1"))
