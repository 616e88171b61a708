"""JSON lines: what a record may look like, and how a bad one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pubmedbert.corpus.citation import Citation
from pubmedbert.corpus.jsonl import read_jsonl
from pubmedbert.errors import InputError
from tests.corpus.samples import write, write_records


def read(folder: Path, text: str | bytes) -> list[Citation]:
    return list(read_jsonl(write(folder / "mine.jsonl.gz", text)))


def test_defaults(tmp_path: Path) -> None:
    (row,) = read_jsonl(
        write_records(tmp_path / "mine.jsonl", {"title": " A\u00a0title ", "abstract": "An\nabstract."})
    )
    assert (row.title, row.abstract, row.pmid, row.version) == ("A title", "An abstract.", None, 1)
    assert (row.languages, row.source, row.sequence, row.deleted) == (["eng"], "mine", 0, False)
    assert row.doc_id.startswith("x")


@pytest.mark.parametrize("unknown", [None, "", [], [""]])
def test_an_unknown_language_is_english(tmp_path: Path, unknown: object) -> None:
    (row,) = read_jsonl(write_records(tmp_path / "mine.jsonl", {"title": "A", "abstract": "b", "languages": unknown}))
    assert row.languages == ["eng"]


def test_every_key(tmp_path: Path) -> None:
    record: dict[str, object] = {
        "pmid": "0012",
        "version": 2,
        "title": "T",
        "abstract": "A",
        "source": "elsewhere",
        "year": "1999",
        "languages": ["FRE"],
        "publication_types": ["Review"],
        "journal": "J",
        "status": "MEDLINE",
        "anything": {"else": 1},
    }
    (row,) = read_jsonl(write_records(tmp_path / "pubmed26n0003.jsonl", record))
    assert (row.doc_id, row.pmid, row.version, row.source, row.sequence) == ("12", 12, 2, "elsewhere", 260003)
    assert (row.year, row.languages, row.publication_types) == (1999, ["fre"], ["Review"])
    assert (row.journal, row.status) == ("J", "MEDLINE")


@pytest.mark.parametrize(("pmid", "wanted"), [(7, 7), ("7", 7), (" 7 ", 7), (None, None), ("", None)])
def test_pmids(tmp_path: Path, pmid: object, wanted: int | None) -> None:
    (row,) = read_jsonl(write_records(tmp_path / "mine.jsonl", {"pmid": pmid, "abstract": "A"}))
    assert row.pmid == wanted


def test_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    assert len(read(tmp_path, '\ufeff{"abstract": "a"}\n\n  \r\n{"abstract": "b"}')) == 2


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "not JSON"),
        ("[1]", "list"),
        ("{}", "neither"),
        ('{"title": 3}', '"title" must be a string'),
        ('{"abstract": ["a"]}', '"abstract" must be a string'),
        ('{"abstract": "a", "pmid": -1}', "-1"),
        ('{"abstract": "a", "pmid": 0}', "'0'"),
        ('{"abstract": "a", "pmid": 1.5}', "1.5"),
        ('{"abstract": "a", "pmid": true}', "true"),
        ('{"abstract": "a", "pmid": "PMC12"}', "PMC12"),
        ('{"abstract": "a", "pmid": 99999999999999999999}', "99999"),
        ('{"abstract": "a", "year": "soon"}', '"year"'),
        ('{"abstract": "a", "year": 12345}', '"year"'),
        ('{"abstract": "a", "version": -1}', '"version"'),
        ('{"abstract": "a", "languages": 1}', '"languages"'),
        ('{"abstract": "a", "languages": [1]}', '"languages"'),
        ('{"abstract": "\\ud800"}', "surrogate"),
        ("[" * 100_000, "not JSON"),
        (b'{"abstract": "\xff"}', "UTF-8"),
        ("<html>", "not JSON"),
    ],
)
def test_bad_lines(tmp_path: Path, line: str | bytes, sentence: str) -> None:
    data = line.encode() if isinstance(line, str) else line
    with pytest.raises(InputError, match=r"mine\.jsonl\.gz, line 2: ") as caught:
        read(tmp_path, b'{"abstract": "good"}\n' + data + b"\n")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_files(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"empty|no record"):
        list(read_jsonl(write(tmp_path / "mine.jsonl", text)))
