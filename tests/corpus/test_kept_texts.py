"""What a store yields to later stages: the texts that were kept, sorted in little memory, of one state of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pubmedbert.corpus import store as store_module
from pubmedbert.corpus.screen import Settings, screen
from pubmedbert.corpus.store import Store
from pubmedbert.errors import InputError
from tests.corpus.samples import EVERYTHING, texts, write_records


def test_texts_are_in_the_order_of_doc_id(tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.jsonl", *[{"title": str(n), "abstract": f"word {n}"} for n in range(5000)])
    names = [doc for doc, _, _ in texts(tmp_path / "store", source)]
    assert len(names) == 5000
    assert names == sorted(names)
    store = Store(tmp_path / "store")
    assert store.kept() == 5000
    assert next(store.texts())[0] == names[0]  # a reader that leaves early is no error


class Cramped(Store):
    """A store on a small machine."""

    @contextmanager
    def connect(self) -> Iterator[Any]:
        with super().connect() as database:
            database.execute("SET threads = 2")
            database.execute("SET memory_limit = '80MB'")
            yield database


def test_texts_are_sorted_in_less_memory_than_they_have(tmp_path: Path) -> None:
    """DuckDB, told to sort them all at once, ends here: "Out of Memory"."""
    long = "word " * 800
    records = [{"pmid": number, "title": "T", "abstract": f"{number} {long}"} for number in range(20_000, 0, -1)]
    source = write_records(tmp_path / "long.jsonl", *records)  # 80 MB
    store = Cramped(tmp_path / "store", create=True)
    store.add(source)
    screen(Store(tmp_path / "store"), EVERYTHING)
    found = [(doc, len(abstract)) for doc, _, abstract in store.texts()]
    assert found == sorted((str(number), 4000 + len(str(number))) for number in range(1, 20_001))


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=30), stretch=st.integers(1, 2000))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stretches_change_nothing(sizes: list[int], stretch: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    records = [{"pmid": n + 1, "title": "T", "abstract": "w " * size} for n, size in enumerate(sizes)]
    folder = tmp_path_factory.mktemp("stretches")
    found = texts(folder / "store", write_records(folder / "a.jsonl", *records))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_memory", lambda _: stretch / store_module._SORTED)
        assert list(Store(folder / "store").texts()) == found


def test_a_store_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    records = [{"pmid": n, "title": "T", "abstract": "one two"} for n in range(1, 5)]
    texts(tmp_path / "store", write_records(tmp_path / "a.jsonl", *records))
    store = Store(tmp_path / "store")
    reading = store.texts()
    next(reading)
    screen(store, Settings(min_words=1))
    with pytest.raises(InputError, match="was changed while it was read"):
        list(reading)
    other = tmp_path / "other"
    texts(other, write_records(tmp_path / "b.jsonl", {"pmid": 9, "title": "T", "abstract": "one two"}))
    table = pq.read_table(other / "screen.parquet")
    metadata = pq.read_schema(store.screen_file).metadata
    pq.write_table(table.replace_schema_metadata(metadata), store.screen_file)
    with pytest.raises(InputError, match=r"keeps 1 documents, of which .* holds 0: it is of another"):
        list(store.texts())
