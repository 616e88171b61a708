"""The store: what is added stays, what is newest wins, and nothing depends on the order of arrival."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pubmedbert import files
from pubmedbert.corpus import store as store_module
from pubmedbert.corpus.parts import SCHEMA
from pubmedbert.corpus.screen import Settings, screen
from pubmedbert.corpus.store import Store, choose_newest
from pubmedbert.errors import InputError
from pubmedbert.files import sha256
from tests.corpus.samples import EVERYTHING, article_set, citation, texts, words, write, write_records


def live(store: Store) -> set[tuple[str, int, int]]:
    """The newest (doc_id, version, sequence) of each record."""
    with store.connect() as database:
        choose_newest(database)
        return set(database.execute("SELECT doc_id, version, sequence FROM newest").fetchall())


def text(value: str) -> str:
    return f"<AbstractText>{value}</AbstractText>"


def test_a_part_holds_the_rows_and_their_origin(tmp_path: Path) -> None:
    source = write(tmp_path / "pubmed26n0001.xml.gz", article_set(citation(1), citation(2), deleted=((3, 1),)))
    result = Store(tmp_path / "store", create=True).add(source)
    assert (result.part, result.citations, result.deletions, result.skipped) == ("pubmed26n0001", 2, 1, False)
    table = pq.read_table(tmp_path / "store/parts/pubmed26n0001.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.column("doc_id").to_pylist() == ["1", "2", "3"]
    assert table.column("deleted").to_pylist() == [False, False, True]
    (part,) = Store(tmp_path / "store").parts()
    assert (part.source, part.citations, part.deletions) == ("pubmed26n0001", 2, 1)


def test_the_same_bytes_are_added_once(tmp_path: Path) -> None:
    source = write(tmp_path / "a.xml", citation(1))
    copy = write(tmp_path / "b.xml", citation(1))
    store = Store(tmp_path / "store", create=True)
    assert store.add(source).namesakes == ()
    for again in (source, copy):
        result = store.add(again)
        assert result.skipped
        assert "already there as a" in result.reason
    assert len(store.parts()) == 1


def test_the_same_name_with_other_bytes_is_another_part(tmp_path: Path) -> None:
    one = write(tmp_path / "one/a.xml", citation(1))
    two = write(tmp_path / "two/a.xml", citation(2))
    store = Store(tmp_path / "store", create=True)
    assert store.add(one).part == "a"
    result = store.add(two)
    assert result.namesakes == (tmp_path / "store/parts/a.parquet",)
    name = result.part
    assert name.startswith("a-")
    assert len(name) == len("a-") + 8
    assert store.add(two).skipped
    assert live(store) == {("1", 1, 0), ("2", 1, 0)}


def test_the_larger_sequence_then_the_larger_version_wins(tmp_path: Path) -> None:
    older = write(
        tmp_path / "pubmed26n0001.xml", article_set(citation(1, "Old.", version=9), citation(2, "Two.", version=2))
    )
    newer = write(tmp_path / "pubmed26n0002.xml", article_set(citation(1, "New.", version=1)))
    versions = write(
        tmp_path / "pubmed26n0003.xml", article_set(citation(3, "B.", version=2), citation(3, "A.", version=1))
    )
    found = {doc: title for doc, title, _ in texts(tmp_path / "store", newer, versions, older)}
    assert found == {"1": "New.", "2": "Two.", "3": "B."}


def test_no_part_is_written_over_another(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    third = write_records(tmp_path / "foo.jsonl", {"pmid": 3, "title": "C", "abstract": "c"})
    taken = sha256(third)[:8]
    for name, title in ((f"foo-{taken}", "A"), ("foo", "B")):
        store.add(write_records(tmp_path / title / f"{name}.jsonl", {"pmid": 1, "title": title, "abstract": "a"}))
    assert store.add(third).part == f"foo-{sha256(third)}"
    assert len(store.parts()) == 3


def test_ties_go_to_the_longer_abstract_then_title(tmp_path: Path) -> None:
    short = write_records(tmp_path / "z.jsonl", {"pmid": 1, "title": "A long title", "abstract": "one"})
    long = write_records(tmp_path / "a.jsonl", {"pmid": 1, "title": "T", "abstract": "one two"})
    longest = write_records(tmp_path / "b.jsonl", {"pmid": 1, "title": "TT", "abstract": "one two"})
    for order in ([short, long, longest], [longest, long, short], [long, longest, short]):
        assert texts(tmp_path / "store", *order) == [("1", "TT", "one two")]
        shutil.rmtree(tmp_path / "store")


def test_deletions(tmp_path: Path) -> None:
    base = write(
        tmp_path / "pubmed26n0001.xml", article_set(*(citation(n) for n in range(1, 6)), citation(5, version=2))
    )
    update = write(
        tmp_path / "pubmed26n0002.xml", article_set(citation(4), deleted=((1, 1), (2, 2), (3, None), (4, 1), (5, 2)))
    )
    back = write(tmp_path / "pubmed26n0003.xml", article_set(citation(1, "Back.")))
    store = Store(tmp_path / "store", create=True)
    for source in (update, base):
        store.add(source)
    # 1: gone; 2: only its version 2 would be; 3: all versions; 4: in the file that deletes it; 5: version 1 is left
    assert live(store) == {("2", 1, 260001), ("5", 1, 260001)}
    store.add(back)
    assert live(store) == {("1", 1, 260003), ("2", 1, 260001), ("5", 1, 260001)}


class Row(NamedTuple):
    """A row of a generated file: `version` None deletes every version."""

    pmid: int
    version: int | None
    deleted: bool
    size: int


ROWS = st.builds(
    lambda pmid, version, deleted, size: Row(pmid, version if deleted else version or 1, deleted, size),
    st.integers(1, 3),
    st.sampled_from([1, 2, None]),
    st.booleans(),
    st.integers(1, 3),
)
FILES = st.lists(st.tuples(st.integers(1, 4), st.lists(ROWS, min_size=1, max_size=4)), min_size=1, max_size=4)


def replay(files: list[tuple[int, list[Row]]]) -> dict[int, tuple[int, int, int]]:
    """The rule in plain Python: PMID to (sequence, version, size of the abstract) of what is left."""
    rows = [(260_000 + number, row) for number, content in files for row in content]
    best: dict[int, tuple[int, int, int]] = {}
    for sequence, row in rows:
        killed = any(
            other.deleted and other.pmid == row.pmid and other.version in (None, row.version) and later >= sequence
            for later, other in rows
        )
        if not row.deleted and not killed:
            assert row.version is not None
            best[row.pmid] = max(best.get(row.pmid, (0, 0, 0)), (sequence, row.version, row.size))
    return best


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, st.randoms(use_true_random=False))
def test_replay_equals_the_rule_in_any_order(
    tmp_path: Path, files: list[tuple[int, list[Row]]], shuffle: random.Random
) -> None:
    shutil.rmtree(tmp_path, ignore_errors=True)
    sources = []
    for index, (number, rows) in enumerate(files):
        records = [citation(r.pmid, abstract=text(words(r.size)), version=r.version) for r in rows if not r.deleted]
        deleted = tuple((r.pmid, r.version) for r in rows if r.deleted)
        xml = article_set(*records, deleted=deleted) + f"<!-- {index} -->"
        sources.append(write(tmp_path / str(index) / f"pubmed26n000{number}.xml", xml))
    wanted = {
        (str(pmid), version, sequence, len(words(size))) for pmid, (sequence, version, size) in replay(files).items()
    }
    digests = set()
    for attempt in ("one", "two"):
        shuffle.shuffle(sources)
        store = Store(tmp_path / attempt, create=True)
        for source in sources:
            store.add(source)
        with store.connect() as database:
            choose_newest(database)
            rows = database.execute("SELECT doc_id, version, sequence, abstract_bytes FROM newest").fetchall()
        assert set(rows) == wanted
        assert len(rows) == len(wanted)
        digests.add(store.parts_digest())
    assert len(digests) == 1


def test_the_order_of_adding_does_not_matter(tmp_path: Path) -> None:
    lines = [
        write_records(
            tmp_path / f"{name}.jsonl",
            *[
                {"pmid": n % 7, "title": f"{name} {n}", "abstract": words(5), "source": name}
                for n in range(1, 30)
                if n % 7
            ],
        )
        for name in ("c", "a", "b")
    ]
    sources = [
        *lines,
        write(tmp_path / "pubmed26n0002.xml", article_set(citation(1, "New."), deleted=((2, 1), (3, None)))),
        write(tmp_path / "pubmed26n0001.xml", article_set(citation(1, "Old."), citation(2), citation(4, "Four."))),
        write(tmp_path / "again/pubmed26n0001.xml", article_set(citation(1, "Old."), citation(4, "Vier."))),
    ]
    results, prints = [], set()
    for attempt in range(4):
        random.Random(attempt).shuffle(sources)
        folder = tmp_path / f"store{attempt}"
        results.append(texts(folder, *sources))
        prints.add((Store(folder).fingerprint(), sha256(folder / "screen.parquet")))
    assert [doc for doc, _, _ in results[0]] == ["1", "4", "5", "6"]
    assert all(result == results[0] for result in results)
    assert len(prints) == 1


def test_what_is_not_ready_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pubmedbert corpus add"):
        Store(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="must name a folder"):
        Store(tmp_path / "file", create=True)
    store = Store(tmp_path / "store", create=True)
    store.add(write(tmp_path / "a.xml", citation(1)))
    for question in (store.texts, store.kept, store.fingerprint):
        with pytest.raises(InputError, match=r"run pubmedbert corpus screen .* first"):
            question()
    screen(store, EVERYTHING)
    before = store.fingerprint()
    store.add(write(tmp_path / "b.xml", citation(2, "Another title.")))
    for question in (store.texts, store.kept, store.fingerprint):
        with pytest.raises(InputError, match=r"run pubmedbert corpus screen .* again"):
            question()
    screen(store, EVERYTHING)
    assert store.fingerprint() != before
    assert len(list(store.texts())) == 2


def test_the_fingerprint_depends_on_the_settings(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    store.add(write(tmp_path / "a.xml", citation(1)))
    seen = set()
    for choice in (EVERYTHING, Settings(min_words=1), Settings(exclude_pmids=frozenset({7})), Settings()):
        assert screen(store, choice)
        assert not screen(store, choice)
        seen.add(store.fingerprint())
    assert len(seen) == 4


def test_damaged_parts_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    store.add(write(tmp_path / "a.xml", citation(1)))
    (tmp_path / "store/parts/b.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(InputError, match=r"b\.parquet"):
        Store(tmp_path / "store").parts()


def test_bad_files_leave_no_part_and_no_store(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.xml.gz", article_set(*(citation(n) for n in range(1, 20)))[:-30])
    with pytest.raises(InputError):
        Store(tmp_path / "store", create=True).add(bad)
    assert not (tmp_path / "store").exists()
    store = Store(tmp_path / "store", create=True)
    store.add(write(tmp_path / "a.xml", citation(1)))
    with pytest.raises(InputError):
        store.add(bad)
    assert [path.name for path in (tmp_path / "store/parts").iterdir()] == ["a.parquet"]


def test_any_character_survives(tmp_path: Path) -> None:
    odd = "nul \0 tab-less \u200b 😀 \ufeff 'quoted' %s"
    source = write_records(tmp_path / "a.jsonl", {"pmid": 1, "title": odd, "abstract": odd})
    assert texts(tmp_path / "store", source) == [("1", odd, odd)]


@pytest.mark.parametrize("name", ["it's [odd]*?.xml", "ü %41 #.xml", ".hidden.xml", ".xml"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "st'o[r]e *"
    assert texts(folder, write(tmp_path / name, citation(1))) == [("1", "A title.", "An abstract.")]


def test_names_of_folders_are_no_columns_and_no_patterns(tmp_path: Path) -> None:
    source = write(tmp_path / "a.xml", citation(1))
    for name in ("year=1066/deleted=true/abstract=none", "g1", "g[1]"):
        assert texts(tmp_path / name, source) == [("1", "A title.", "An abstract.")], name
        with Store(tmp_path / name).connect() as database:
            choose_newest(database, columns="year")
            assert database.execute("SELECT year FROM newest").fetchall() != [(1066,)]


def test_a_folder_that_was_there_stays_and_one_deleted_meanwhile_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError):
        Store(tmp_path / "mine", create=True).add(write(tmp_path / "bad.xml", article_set(citation(1))[:-30]))
    assert list((tmp_path / "mine").iterdir()) == []
    waited: list[Path] = []

    @contextmanager
    def locked(folder: Path) -> Iterator[int]:
        with files.locked(folder) as held:
            if not waited:  # whoever held it found nothing to keep
                folder.rmdir()
            waited.append(folder)
            yield held

    monkeypatch.setattr(store_module, "locked", locked)
    assert texts(tmp_path / "mine", write(tmp_path / "a.xml", citation(1)))
    assert len(waited) == 2


def test_a_killed_add_leaves_no_part(tmp_path: Path) -> None:
    large = tmp_path / "pubmed26n0001.xml"
    with large.open("w") as file:
        file.write("<PubmedArticleSet>")
        record = f"<PubmedArticle>{citation(1, abstract=text(words(50)))}</PubmedArticle>"
        for _ in range(40):
            file.write(record * 1000)
        file.write("</PubmedArticleSet>")
    folder = tmp_path / "store"
    code = (
        "from pathlib import Path; from pubmedbert.corpus.store import Store; "
        f"Store(Path({str(folder)!r}), create=True).add(Path({str(large)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(folder.glob("parts/.*.tmp")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert [path.name.startswith(".") for path in (folder / "parts").iterdir()] == [True]
    assert Store(folder).parts() == []
    result = Store(folder).add(write(tmp_path / "a.xml", citation(1)))
    assert not result.skipped
    assert [path.name for path in (folder / "parts").iterdir()] == ["a.parquet"]


def test_leftovers_of_living_processes_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    store.add(write(tmp_path / "a.xml", citation(1)))
    mine = tmp_path / "store/parts" / f".b.parquet.{os.getppid()}.tmp"
    mine.write_text("")
    store.add(write(tmp_path / "c.xml", citation(2)))
    assert mine.exists()


def _add(folder: Path, source: Path) -> None:
    Store(folder, create=True).add(source)


def test_two_processes_may_add_at_once(tmp_path: Path) -> None:
    sources = [
        write(tmp_path / str(n) / "a.xml", article_set(*(citation(n * 100 + k) for k in range(50))))
        for n in range(1, 5)
    ]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(tmp_path / "store", source)) for source in sources]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(live(Store(tmp_path / "store"))) == 200


def test_a_damaged_page_is_one_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    store.add(write(tmp_path / "a.xml", article_set(*(citation(n) for n in range(1, 400)))))
    part = tmp_path / "store/parts/a.parquet"
    content = bytearray(part.read_bytes())
    content[8 : len(content) // 3] = bytes(len(content) // 3 - 8)  # the footer stays whole
    part.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet is damaged \(.{1,200}\): delete it and add its source again"):
        screen(Store(tmp_path / "store"), Settings(min_words=1))
    assert not (tmp_path / "store/screen.parquet").exists()
