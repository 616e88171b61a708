"""Models to look into, and a corpus in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pubmedbert.explore.view import ExploredModel
from tests.infer.conftest import large_vocabulary, padded_vocabulary, refused  # noqa: F401  fixtures

SENTENCE = "Gefitinib is an EGFR tyrosine kinase inhibitor, which is often used for breast cancer and NSCLC treatment."
WORDS = (
    "imatinib",
    "inhibits",
    "the",
    "tyrosine",
    "kinase",
    "of",
    "patients",
    "with",
    "myeloid",
    "leukemia",
    "and",
    "cells",
)


class FakeCorpus:
    """Documents made of a few words."""

    def __init__(self, count: int = 70) -> None:
        self._documents = [(str(number), *self._text(number)) for number in range(1, count + 1)]
        self._documents[3] = ("x0123", "", "No title, no PMID: [SEP] naïve β-cells.")

    @staticmethod
    def _text(number: int) -> tuple[str, str]:
        words = [WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(24)]
        return f"Title {number}: {words[0]}.", f"{' '.join(words[:12]).capitalize()}. {' '.join(words[12:])} (n = 3)."

    def texts(self) -> Iterator[tuple[str, str, str]]:
        return iter(self._documents)

    def kept(self) -> int:
        return len(self._documents)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self._documents).encode()).hexdigest()


@pytest.fixture(scope="session")
def explored(large_vocabulary: Path) -> ExploredModel:  # noqa: F811
    """A small random model with BERT's uncased vocabulary."""
    return ExploredModel(large_vocabulary)
