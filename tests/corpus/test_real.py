"""The 246 real files of NLM: read twice, by us and by a reading of the tree that shares nothing with ours."""

from __future__ import annotations

import csv
import gzip
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pubmedbert.corpus.citation import Citation
from pubmedbert.corpus.jsonl import read_jsonl
from pubmedbert.corpus.medline import read_xml
from pubmedbert.corpus.screen import Settings, screen
from pubmedbert.corpus.store import Store, choose_newest

CITATION = "MedlineCitation"
MATH = "{http://www.w3.org/1998/Math/MathML}math"


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "pubmed_xml"


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, list[Citation]]:
    """What we read, by the path in the manifest."""
    return {str(path.relative_to(folder)): list(read_xml(path)) for path in sorted(folder.rglob("*.xml.gz"))}


@pytest.fixture(scope="module")
def trees(folder: Path) -> dict[str, ET.Element]:
    """The whole trees, by the path in the manifest; the standard parser drops comments and instructions."""
    return {
        str(path.relative_to(folder)): ET.fromstring(gzip.open(path).read().lstrip())
        for path in sorted(folder.rglob("*.xml.gz"))
    }


def visible(element: ET.Element | None) -> str:
    return "" if element is None else " ".join(re.split(r"\s+", "".join(element.itertext()).strip()))


def unbracketed(title: str) -> str:
    """A title in which the first bracket closes at the end, without these brackets."""
    if not title.startswith("["):
        return title
    depth = 0
    for place, character in enumerate(title):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth == 0:
            rest = title[place + 1 :]
            return title[1:place].strip() + rest if rest in ("", ".") else title
    return title


def records(tree: ET.Element) -> list[ET.Element]:
    return [node for node in tree.iter() if node.tag in ("MedlineCitation", "BookDocument")]


def test_counts_equal_the_manifest(
    folder: Path, files: dict[str, list[Citation]], trees: dict[str, ET.Element]
) -> None:
    with (folder / "MANIFEST.tsv").open() as file:
        manifest = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert set(manifest) == set(files)
    assert len(files) == 246
    for name, row in manifest.items():
        described = [item for item in files[name] if not item.deleted]
        nodes = list(trees[name].iter(CITATION))
        books = {node.findtext("PMID") for node in trees[name].iter("BookDocument")}
        citations = [item for item in described if item.doc_id not in books]
        vernacular = sum(node.find(".//VernacularTitle") is not None for node in nodes)
        untitled = sum(not visible(node.find("Article/ArticleTitle")) for node in nodes)
        languages = [[code.text for code in node.iterfind("Article/Language")] for node in nodes]
        assert [item.languages for item in citations] == [
            [(code or "").lower() for code in codes] for codes in languages
        ]
        labels = [
            [part.get("Label") for part in node.iterfind("Article/Abstract/AbstractText") if visible(part)]
            for node in nodes
        ]
        assert [[part.label for part in item.sections if part.label] for item in citations] == [
            [label for label in node if label] for node in labels
        ]
        counted = {
            "citations": len(citations),
            "no_abstract": sum(node.find("Article/Abstract") is None for node in nodes),
            "labelled_abstract": sum(node.find("Article/Abstract/AbstractText[@Label]") is not None for node in nodes),
            "other_abstract": sum(bool(item.other_abstracts) for item in citations),
            "non_english": sum(codes != ["eng"] for codes in languages),
            "vernacular_title": vernacular,
            "version_gt_1": sum(item.version > 1 for item in citations),
            "empty_title": untitled,
            "deleted_pmids": sum(item.deleted for item in files[name]),
            "book_articles": len(described) - len(citations),
        }
        assert counted == {key: int(row[key]) for key in counted}, name


def test_titles_and_abstracts(files: dict[str, list[Citation]], trees: dict[str, ET.Element]) -> None:
    compared = formulas = 0
    for name, tree in trees.items():
        described = [item for item in files[name] if not item.deleted]
        for item, node in zip(described, records(tree), strict=True):
            article = node if node.tag == "BookDocument" else node.find("Article")
            assert article is not None
            title = unbracketed(visible(article.find("ArticleTitle"))) or visible(article.find("VernacularTitle"))
            assert item.title == (title or visible(node.find("Book/BookTitle"))), name
            parts = []
            for part in article.findall("Abstract/AbstractText"):
                label = part.get("Label", "").strip()
                if text := visible(part):
                    parts.append(f"{label}: {text}" if label and label != "UNLABELLED" else text)
            wanted = " ".join(parts)
            assert (item.pmid, item.doc_id) == (int(node.findtext("PMID") or 0), node.findtext("PMID"))
            if article.find(f"Abstract/AbstractText//{MATH}") is None:
                assert item.abstract == wanted, name
                compared += 1
            else:  # layout and marks inside formulas differ: everything else must be there in the same order
                assert letters(item.abstract) == letters(wanted) or sorted(letters(item.abstract)) == sorted(
                    letters(wanted)
                )
                formulas += 1
    assert (compared, formulas) == (1364 + 7 - 4, 4)


def letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text)


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("real") / "store", create=True)
    for path in sorted(folder.rglob("*.xml.gz")):
        made.add(path)
    return made


def test_deleted_pmids_are_gone(store: Store, files: dict[str, list[Citation]]) -> None:
    """Gone, unless a file with a larger sequence has the record again: 7 of 2014 are in a sample of 2018."""
    gone = {item.pmid: item.sequence for rows in files.values() for item in rows if item.deleted}
    assert len(gone) == 292
    with store.connect() as database:
        choose_newest(database)
        left = dict(database.execute("SELECT pmid, sequence FROM newest WHERE pmid IN ?", [list(gone)]).fetchall())
    assert all(sequence > gone[pmid] for pmid, sequence in left.items())
    assert {gone[pmid] for pmid in left} == {140000}
    assert set(left.values()) == {180001}
    assert len(left) == 7


def test_the_newest_of_each_record(store: Store, files: dict[str, list[Citation]]) -> None:
    best: dict[str, tuple[int, int, int]] = {}
    for rows in files.values():
        for item in rows:
            if not item.deleted:
                key = (item.sequence, item.version, len(item.abstract.encode()))
                best[item.doc_id] = max(best.get(item.doc_id, (-1, 0, 0)), key)
    with store.connect() as database:
        choose_newest(database)
        rows = database.execute("SELECT doc_id, sequence, version, abstract_bytes FROM newest").fetchall()
    assert {row[0]: row[1:] for row in rows} == best
    assert len(rows) == len(best)


def test_screened_texts(store: Store) -> None:
    screen(store, Settings())
    documents = list(store.texts())
    assert len(documents) == store.kept() > 500
    assert all(len(abstract.split()) >= 128 for _, _, abstract in documents)
    assert all(text == " ".join(text.split()) for document in documents for text in document)
    assert not any(re.search(r"</?(i|b|u|sup|sub)>", abstract) for _, _, abstract in documents)


def test_json_lines(real_data: Path) -> None:
    counts = {path.name: sum(1 for _ in read_jsonl(path)) for path in sorted(real_data.glob("abstracts/*.jsonl.gz"))}
    assert sum(count for name, count in counts.items() if name.startswith("abstracts-")) == 50_865
    assert sum(count for name, count in counts.items() if name.startswith("bmc")) == 29_316
