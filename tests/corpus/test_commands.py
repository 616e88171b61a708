"""The commands as a user runs them."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pubmedbert.cli import main
from tests.corpus.samples import article_set, citation, words, write, write_records

LONG = f"<AbstractText>{words(130)}</AbstractText>"


def run(*arguments: object) -> None:
    """Run a command that must end well."""
    main([str(argument) for argument in arguments])


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end with 2 and one sentence; returns the sentence."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert printed.err.rstrip().endswith(errors[0])
    assert printed.out == ""
    return errors[0]


def test_add_screen_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, store = tmp_path / "data", tmp_path / "store"
    write(
        data / "deep/er/pubmed26n0001.xml.gz", article_set(citation(1, abstract=LONG), citation(2), deleted=((9, 1),))
    )
    write_records(data / "mine.jsonl", {"title": "T", "abstract": words(140), "source": "mine"})
    write(data / "readme.txt", "not a source")
    extra = write(tmp_path / "extra.xml", citation(3, "Third.", abstract=LONG))
    run("corpus", "add", data, extra, "--store", store)
    assert "3 files added (4 citations, 1 deletions), 0 already there" in capsys.readouterr().err
    run("corpus", "add", data, extra, "--store", store)
    again = capsys.readouterr().err
    assert "0 files added (0 citations, 0 deletions), 3 already there" in again
    assert again.count("nothing to do, the same bytes are already there") == 3
    run("corpus", "screen", "--store", store)
    assert "3 documents kept" in capsys.readouterr().err
    run("corpus", "screen", "--store", store)
    assert "nothing to do" in capsys.readouterr().err
    pmids = write(tmp_path / "pmids", "1\n")
    run("corpus", "screen", "--store", store, "--exclude-pmids", pmids, "--exclude-source", "mine", "--min-words", 2)
    assert "2 documents kept" in capsys.readouterr().err
    blurb, ending = tmp_path / "blurb", " ".join(words(140).split()[-10:])  # of the abstract in mine.jsonl
    for split in ("dev", "test"):
        held = {"dev": "Nobody has ever written this sentence in an abstract of ours.", "test": "Too short."}[split]
        write(blurb / f"BIOSSES/{split}.tsv", f"pair_id\tsent1\tsent2\tscore\n1\t{ending}\t{held}\t2.0\n")
    run("corpus", "screen", "--store", store, "--exclude-blurb", blurb, "--reset")
    said = capsys.readouterr().err
    assert "biosses: 1 of 2 dev and test texts are in 1 documents; 1 more are too short to tell" in said
    assert "2 documents kept" in said
    assert f"hoc: dev is not compared, {blurb / 'HoC' / 'dev.tsv'} is missing" in said
    assert "biosses: dev" not in said
    run("corpus", "screen", "--store", store, "--exclude-blurb", blurb)
    again = capsys.readouterr().err
    assert "nothing to do" in again
    assert "biosses: 1 of 2 dev and test texts are in 1 documents" in again
    run("corpus", "report", "--store", store, "--json")
    counts = json.loads(capsys.readouterr().out)["screen"]["held_out"]
    assert counts == {"biosses": {"texts": 3, "judged": 2, "found": 1, "documents": 1}}
    refused = fails(capsys, "corpus", "screen", "--store", store, "--exclude-blurb", data)
    assert "holds no dev or test file of a BLURB data set" in refused
    exclusions = ("--exclude-pmids", pmids, "--exclude-source", "mine", "--min-words", 2)
    run("corpus", "screen", "--store", store, *exclusions, "--reset")
    capsys.readouterr()
    run("corpus", "report", "--store", store, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["screen"]["dropped"]["excluded-source"] == report["screen"]["dropped"]["excluded-pmid"] == 1
    assert report == json.loads((store / "report.json").read_text())
    run("corpus", "report", "--store", store)
    assert "excluded-source" in capsys.readouterr().out


def test_exclusions_are_not_undone_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store, pmids = tmp_path / "a store", write(tmp_path / "pmids", "1\n")
    write(tmp_path / "blurb/BIOSSES/test.tsv", f"pair_id\tsent1\tsent2\tscore\n1\t{words(10, 'held')}\tx\t2.0\n")
    run("corpus", "add", write(tmp_path / "a.xml", article_set(citation(1, abstract=LONG))), "--store", store)
    run("corpus", "screen", "--store", store, "--exclude-pmids", "pmids", "--exclude-blurb", "blurb")
    run("corpus", "add", write(tmp_path / "b.xml", citation(2, "Another.", abstract=LONG)), "--store", store)
    command = (
        f"pubmedbert corpus screen --store '{store}' --min-words 128 --exclude-pmids {pmids} "
        f"--exclude-blurb {tmp_path / 'blurb'}"
    )
    tokenizer = ("vocab", "train", "--store", store, "--out", tmp_path / "tokenizer")
    assert f"run {command} again" in fails(capsys, *tokenizer)
    refused = fails(capsys, "corpus", "screen", "--store", store)
    assert "had --exclude-pmids with 1 PMIDs, --exclude-blurb with all texts of biosses, and this one has" in refused
    assert f"'{command}', or add --reset" in refused
    assert fails(capsys, *tokenizer)  # nothing was screened
    run(*shlex.split(command)[1:])
    assert "1 documents kept" in capsys.readouterr().err
    run("corpus", "screen", "--store", store, "--reset")
    assert "2 documents kept" in capsys.readouterr().err


def test_a_file_of_the_same_name_with_other_bytes_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    for number in range(2):
        source = write(tmp_path / str(number) / "a.xml", citation(1, f"Title {number}."))
        run("corpus", "add", source, "--store", store)
    told = capsys.readouterr().err
    assert f"warning: {source} has the name of a file added before, with other bytes; the rows of that one" in told
    assert f"delete {store / 'parts' / 'a.parquet'}" in told
    assert told.count("warning") == 1


@pytest.mark.parametrize("target", ["nowhere", "b.xml"])
def test_links_to_nothing_in_a_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    write(tmp_path / "data/a.xml", citation(1))
    (tmp_path / "data/b.xml").symlink_to(tmp_path / "data" / target)
    (tmp_path / "data/readme").symlink_to(tmp_path / "nowhere")
    sentence = fails(capsys, "corpus", "add", tmp_path / "data", "--store", tmp_path / "store")
    assert "b.xml is no file, or a link that leads to none" in sentence
    assert not (tmp_path / "store").exists()


def test_paths_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"odd\xff")
    source = write(tmp_path / f"{odd}.xml", citation(1, abstract=LONG))
    assert "must be UTF-8" in fails(capsys, "corpus", "add", source, "--store", tmp_path / odd)
    store = tmp_path / "store"
    run("corpus", "add", source, "--store", store)
    run("corpus", "screen", "--store", store, "--exclude-pmids", write(tmp_path / odd, "3\n"))
    assert "1 documents kept" in capsys.readouterr().err
    assert "not UTF-8" in fails(capsys, "corpus", "screen", "--store", store, "--exclude-source", odd)
    many = ("corpus", "screen", "--store", store, "--min-words", 10**30)
    assert "--min-words must be a number from 0" in fails(capsys, *many)


def test_folders_that_are_links_are_searched_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "disk2" / "pubmed26n0001.xml", article_set(citation(1)))
    write(tmp_path / "pm" / "updatefiles" / "pubmed26n1400.xml", article_set(citation(2)))
    (tmp_path / "pm" / "baseline").symlink_to(tmp_path / "disk2")
    (tmp_path / "disk2" / "back").symlink_to(tmp_path / "pm")
    run("corpus", "add", tmp_path / "pm", "--store", tmp_path / "store")
    assert sorted(path.stem for path in (tmp_path / "store" / "parts").iterdir()) == ["pubmed26n0001", "pubmed26n1400"]


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
BAD = {
    "bomb.xml": BOMB + citation(title="&b;"),
    "external.xml": f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>{citation(title="&e;")}',
    "undefined.xml": citation(title="&hellip;"),
    "empty.xml": "",
    "empty.xml.gz": "",
    "root.xml": "<rss><channel/></rss>",
    "page.xml.gz": "<html><head><title>503</title></head></html>",
    "truncated.xml.gz": article_set(citation(), citation(2))[:-120],
    "truncated.xml": article_set(citation(), citation(2))[:-10],
    "lines.jsonl": '{"title": "a", "abstract": "b"}\nnot JSON\n',
    "empty.jsonl": "",
    "letters.xml": citation(pmid="PMC1"),
}


@pytest.mark.parametrize("name", [*BAD, "cut.xml.gz", "damaged.xml.gz", "missing.xml", "sources.txt", "folder"])
def test_bad_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = tmp_path / name
    packed = gzip.compress(article_set(*(citation(n) for n in range(1, 300))).encode())
    if name in BAD:
        write(path, BAD[name])
    elif name == "cut.xml.gz":
        path.write_bytes(packed[:-20])
    elif name == "damaged.xml.gz":
        path.write_bytes(packed[:900] + bytes(range(200)) + packed[1100:])
    elif name == "sources.txt":
        path.write_text("x")
    elif name == "folder":
        path.mkdir()
    sentence = fails(capsys, "corpus", "add", path, "--store", tmp_path / "store")
    assert str(path) in sentence
    assert not (tmp_path / "store").exists()


def test_files_added_before_a_bad_one_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.xml", citation())
    bad = write(tmp_path / "z.xml", "<rss/>")
    sentence = fails(capsys, "corpus", "add", good, bad, "--store", tmp_path / "store")
    assert "1 file added before it stays" in sentence
    assert [path.name for path in (tmp_path / "store/parts").iterdir()] == ["good.parquet"]


def test_all_paths_are_checked_before_any_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.xml", citation())
    fails(capsys, "corpus", "add", good, tmp_path / "missing.xml", "--store", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    for command in ("screen", "report"):
        assert "corpus add" in fails(capsys, "corpus", command, "--store", store)
    assert "file or folder" in fails(capsys, "corpus", "add", "--store", store)
    run("corpus", "add", write(tmp_path / "a.xml", citation()), "--store", store)
    assert "--min-words" in fails(capsys, "corpus", "screen", "--store", store, "--min-words", "-1")
    assert "nosuch" in fails(capsys, "corpus", "screen", "--store", store, "--exclude-source", "nosuch")
    pmids = write(tmp_path / "pmids", "1\nx\n")
    assert "line 2" in fails(capsys, "corpus", "screen", "--store", store, "--exclude-pmids", pmids)
    assert not (store / "screen.parquet").exists()


def test_the_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, pubmedbert.corpus.commands\n"
        "print([name for name in ('lxml', 'duckdb', 'pyarrow', 'isal', 'numpy', 'rich.table') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
