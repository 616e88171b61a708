"""The screen and the report."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pubmedbert.corpus.overlap import HeldOut
from pubmedbert.corpus.report import show, summarize
from pubmedbert.corpus.screen import REASONS, Settings, read_pmids, screen, undone
from pubmedbert.corpus.store import Store
from pubmedbert.errors import InputError
from tests.corpus.samples import article_set, citation, words, write, write_records


def body(count: int, word: str = "word") -> str:
    return f"<AbstractText>{words(count, word)}</AbstractText>"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A document for every reason, and for each pair of neighbouring reasons one that has both."""
    structured = f'<AbstractText Label="AIM">{words(127, "aim")}</AbstractText><AbstractText>End.</AbstractText>'
    xml = article_set(
        citation(1, abstract=body(128)),
        citation(2, abstract=body(127, "short")),
        citation(3, abstract=""),
        citation(4, abstract="", language="fre"),
        citation(5, abstract=body(128, "mot"), language="fre", types=("Retracted Publication",)),
        citation(6, abstract=body(128, "back"), types=("Journal Article", "Retracted Publication")),
        citation(7, abstract=body(128, "seven")),
        citation(8, title="a TITLE", abstract=body(128).upper().replace("ABSTRACTTEXT", "AbstractText")),
        citation(9, abstract=structured, language="ENG"),
        citation(10, abstract=body(128, "ten"), types=("Retraction of Publication",)),
    )
    made = Store(tmp_path / "store", create=True)
    made.add(write(tmp_path / "pubmed26n0001.xml", xml))
    made.add(
        write_records(
            tmp_path / "lines.jsonl",
            {"pmid": 7, "title": "older", "abstract": words(200)},
            {"pmid": 11, "title": "T", "abstract": words(130), "source": "elsewhere"},
            {"pmid": 12, "title": "T", "abstract": words(131), "source": "here", "year": 1987},
            {"pmid": 13, "title": "T", "abstract": words(20, "held")},
        )
    )
    return made


def reasons(store: Store) -> dict[str, str]:
    rows = duckdb.execute("SELECT doc_id, kept, reason FROM read_parquet(?)", [str(store.screen_file)]).fetchall()
    assert all(kept == (reason == "") for _, kept, reason in rows)
    return {doc: reason for doc, _, reason in rows}


def test_every_reason_in_its_order(store: Store) -> None:
    settings = Settings(
        exclude_pmids=frozenset({7, 11, 999}),
        exclude_sources=frozenset({"elsewhere"}),
        held_out=HeldOut({"seen": [words(12, "held")], "unseen": ["not a word of this is in any of the documents"]}),
    )
    assert screen(store, settings)
    assert not screen(store, settings)
    assert store.contamination() == {
        "seen": {"texts": 1, "judged": 1, "found": 1, "documents": 1},
        "unseen": {"texts": 1, "judged": 1, "found": 0, "documents": 0},
    }
    assert reasons(store) == {
        "1": "",
        "2": "short",
        "3": "no-abstract",
        "4": "no-abstract",
        "5": "language",
        "6": "retracted",
        "7": "excluded-pmid",
        "8": "duplicate",
        "9": "",
        "10": "",
        "11": "excluded-source",
        "12": "",
        "13": "held-out",
    }
    assert store.kept() == 4
    assert [doc for doc, _, _ in store.texts()] == ["1", "10", "12", "9"]
    assert set(reasons(store).values()) == {"", *REASONS}


def test_the_text_of_an_excluded_pmid_is_dropped_under_every_id(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    text, older = {"title": "Title.", "abstract": words(130)}, {"title": "Title.", "abstract": words(129, "older")}
    store.add(write_records(tmp_path / "pubmed26n0001.jsonl", {"pmid": 1, **older}, {"pmid": 4, **older}))
    upper = {"title": "TITLE", "abstract": words(130).upper()}
    store.add(write_records(tmp_path / "pubmed26n0002.jsonl", {"pmid": 1, **text}, {"pmid": 2, **text}, upper))
    store.add(
        write_records(tmp_path / "b.jsonl", {"pmid": 3, **text, "abstract": words(131)}, {"pmid": 5, "title": "T"})
    )
    screen(store, Settings(exclude_pmids=frozenset({1, 5})))
    assert reasons(store)["3"] == ""
    assert reasons(store)["5"] == "no-abstract"
    assert sorted(reasons(store).values()) == ["", *["excluded-pmid"] * 4, "no-abstract"]


def test_a_document_with_a_row_of_an_excluded_source_is_dropped(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    short, long = {"title": "T", "abstract": words(130)}, {"title": "T", "abstract": words(131)}
    store.add(write_records(tmp_path / "a.jsonl", {"pmid": 1, **short}, {"pmid": 2, **long}))
    store.add(write_records(tmp_path / "b.jsonl", {"pmid": 1, **long}, {"pmid": 2, **short}, {"pmid": 3, **short}))
    deletion = article_set(citation(4, abstract=body(140)), deleted=((3, 7),))
    store.add(write(tmp_path / "pubmed26n0001.xml", deletion))
    screen(store, Settings(exclude_sources=frozenset({"a"})))
    assert reasons(store) == {"1": "excluded-source", "2": "excluded-source", "3": "", "4": ""}
    screen(store, Settings(exclude_sources=frozenset({"pubmed26n0001"})))
    assert reasons(store)["3"] != "excluded-source"  # a deletion is no row of a document


def test_the_file(store: Store) -> None:
    screen(store, Settings())
    table = pq.read_table(store.screen_file)
    assert table.column_names == ["doc_id", "kept", "reason"]
    names = table.column("doc_id").to_pylist()
    assert names == sorted(names)
    assert [path.name for path in store.folder.iterdir() if path.name.startswith(".")] == []


def test_min_words(store: Store) -> None:
    screen(store, Settings(min_words=127))
    assert reasons(store)["2"] == ""
    for number in (-1, 2**63):
        with pytest.raises(InputError, match="--min-words must be a number from 0 to 1,000,000,000"):
            Settings(min_words=number)


def test_a_source_that_is_no_text(store: Store) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        Settings(exclude_sources=frozenset({os.fsdecode(b"\xff")}))


def test_unknown_sources_are_refused_and_the_old_screen_stays(store: Store) -> None:
    screen(store, Settings())
    before = store.screen_file.read_bytes()
    with pytest.raises(InputError, match=r"elsewere.*elsewhere"):
        screen(store, Settings(exclude_sources=frozenset({"elsewere"})))
    assert store.screen_file.read_bytes() == before


def test_a_damaged_screen_is_named(store: Store) -> None:
    store.screen_file.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"screen\.parquet is damaged"):
        store.kept()


def spoil(path: Path) -> None:
    """Damage the pages of a Parquet file; its footer stays whole."""
    column = pq.read_metadata(path).row_group(0).column(0)
    start = min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
    content = bytearray(path.read_bytes())
    content[start : start + column.total_compressed_size] = b"\xa5" * column.total_compressed_size
    path.write_bytes(content)


def test_the_command_that_an_error_names_mends_a_damaged_screen(store: Store) -> None:
    settings = Settings(exclude_sources=frozenset({"here"}))
    screen(store, settings)
    whole = store.screen_file.read_bytes()
    spoil(store.screen_file)
    with pytest.raises(InputError, match=r"screen\.parquet is damaged: run .* --min-words 128 --exclude-source here"):
        list(store.texts())
    assert screen(store, settings)
    assert store.screen_file.read_bytes() == whole


def test_what_a_screen_would_let_in_that_the_last_left_out(store: Store) -> None:
    texts = HeldOut({"a": [words(12, "held")], "b": ["x"]})
    strict = Settings(130, frozenset({7, 8}), frozenset({"here", "elsewhere"}), texts)
    assert undone(store, strict) == []
    screen(store, strict)
    assert undone(store, strict) == []
    assert undone(store, replace(strict, min_words=200, exclude_pmids=frozenset({7, 8, 9}))) == []
    fewer = HeldOut({"a": [words(12, "held")]})
    assert undone(store, replace(strict, min_words=127)) == []
    assert undone(store, Settings(128, frozenset({7}), frozenset({"here"}), fewer)) == [
        "--min-words 130",
        "--exclude-pmids with 2 PMIDs",
        "--exclude-source elsewhere",
        "--exclude-blurb with all texts of b",
    ]
    assert undone(store, replace(strict, held_out=None)) == ["--exclude-blurb with all texts of a, b"]
    screen(store, Settings(0))
    assert undone(store, Settings()) == []


def test_pmid_files(tmp_path: Path) -> None:
    assert read_pmids(write(tmp_path / "good", "\ufeff12\r\n\n 13 \n12\n")) == {12, 13}
    for name, text in (("words", "12\nPMC13\n"), ("commas", "12,13"), ("negative", "-4")):
        with pytest.raises(InputError, match=rf"{name}, line \d"):
            read_pmids(write(tmp_path / name, text))
    with pytest.raises(InputError, match="not a text file"):
        read_pmids(write(tmp_path / "bytes", b"\xff\xfe"))
    with pytest.raises(InputError, match="cannot read"):
        read_pmids(tmp_path / "missing")
    with pytest.raises(InputError, match="holds no PMID"):
        read_pmids(write(tmp_path / "empty", "\n"))


def test_report(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = summarize(store)
    assert before["screen"] is None
    screen(store, Settings())
    report = summarize(store)
    assert json.loads(json.dumps(report)) == report
    assert {key: report[key] for key in ("parts", "citations", "deletions", "deleted", "superseded", "live")} == {
        "parts": 2,
        "citations": 14,
        "deletions": 0,
        "deleted": 0,
        "superseded": 1,
        "live": 13,
    }
    assert report["with_abstract"] == 11
    assert report["structured_share"] == 0.0909
    assert report["years"] == {"1987": 1, "2020": 10, "unknown": 2}
    assert report["languages"] == {"eng": 11, "fre": 2}
    assert report["publication_types"]["Retracted Publication"] == 2
    assert report["sources"] == {"pubmed26n0001": 10, "elsewhere": 1, "here": 1, "lines": 1}
    kept = list(store.texts())
    assert report["screen"]["kept"] == len(kept) == store.kept()
    assert sum(report["screen"]["dropped"].values()) + len(kept) == report["live"]
    assert report["screen"]["words"] == sum(len(f"{title} {abstract}".split()) for _, title, abstract in kept)
    assert report["screen"]["characters"] == sum(len(title) + len(abstract) for _, title, abstract in kept)
    show(report, "store")
    show(before, "store")
    shown = capsys.readouterr().out
    assert "1987" in shown
    assert "not screened" in shown


def test_names_in_a_report_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "store", create=True)
    record = {"title": "T", "abstract": words(130), "source": "[b]x[/i]", "languages": [":eng:", "eng"]}
    store.add(write_records(tmp_path / "a.jsonl", record | {"publication_types": ["[red]Letter", ":dog:"]}))
    show(summarize(store), "[/store]")
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("[b]x[/i]", "[red]Letter", ":dog:", "[/store]: rows"))


def test_a_store_without_parts(tmp_path: Path) -> None:
    (tmp_path / "store/parts").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no part"):
        screen(Store(tmp_path / "store"), Settings())
    with pytest.raises(InputError, match="holds no part"):
        summarize(Store(tmp_path / "store"))
