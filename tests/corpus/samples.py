"""NLM XML written for the tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from pubmedbert.corpus.screen import Settings, screen
from pubmedbert.corpus.store import Store

EVERYTHING = Settings(min_words=0)
"""What a screen keeps: all that has an abstract."""
DOCTYPE = (
    '<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2025//EN" '
    '"https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd">'
)


def citation(
    pmid: int | str | None = 1,
    title: str = "A title.",
    abstract: str = "<AbstractText>An abstract.</AbstractText>",
    version: int | None = 1,
    extra: str = "",
    language: str = "eng",
    types: tuple[str, ...] = ("Journal Article",),
    date: str = "<Year>2020</Year>",
) -> str:
    """A MedlineCitation; `title` and `abstract` are XML."""
    attribute = "" if version is None else f' Version="{version}"'
    number = "" if pmid is None else f"<PMID{attribute}>{pmid}</PMID>"
    body = f"<Abstract>{abstract}</Abstract>" if abstract else ""
    kinds = "".join(f'<PublicationType UI="">{escape(kind)}</PublicationType>' for kind in types)
    return (
        f'<MedlineCitation Status="MEDLINE" Owner="NLM">{number}<Article PubModel="Print"><Journal><JournalIssue>'
        f"<PubDate>{date}</PubDate></JournalIssue><Title>The Journal</Title></Journal>"
        f"<ArticleTitle>{title}</ArticleTitle>{body}<Language>{language}</Language>"
        f"<PublicationTypeList>{kinds}</PublicationTypeList></Article>{extra}</MedlineCitation>"
    )


def article_set(*records: str, deleted: tuple[tuple[int, int | None], ...] = ()) -> str:
    """A PubmedArticleSet of MedlineCitations, with a DeleteCitation of (PMID, version) if there are any."""
    articles = "".join(f"<PubmedArticle>{record}<PubmedData/></PubmedArticle>" for record in records)
    pmids = "".join(
        f"<PMID>{pmid}</PMID>" if version is None else f'<PMID Version="{version}">{pmid}</PMID>'
        for pmid, version in deleted
    )
    gone = f"<DeleteCitation>{pmids}</DeleteCitation>" if deleted else ""
    return f'<?xml version="1.0" encoding="utf-8"?>\n{DOCTYPE}\n<PubmedArticleSet>{articles}{gone}</PubmedArticleSet>'


def write(path: Path, text: str | bytes) -> Path:
    """Write a file, through gzip if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def write_records(path: Path, *records: Mapping[str, object]) -> Path:
    """Write JSON lines."""
    return write(path, "".join(json.dumps(record) + "\n" for record in records))


def words(count: int, word: str = "word") -> str:
    """A text of so many words."""
    return " ".join(f"{word}{index}" for index in range(count))


def texts(folder: Path, *sources: Path) -> list[tuple[str, str, str]]:
    """What a store of these sources yields if all that has an abstract is kept."""
    store = Store(folder, create=True)
    for source in sources:
        store.add(source)
    screen(store, EVERYTHING)
    return list(store.texts())
