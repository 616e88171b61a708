"""What a text of the explorer costs before it waits."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.explore.rows import RowReader
from pubmedbert.infer.masks.pseudo_likelihood import SCORINGS, Scoring, _rows
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.weighing import NEIGHBOURS, OCCLUSION, ROLLOUT, VIEW, Text, Weigher, Weight, target_work

TEXT = Text("imatinib inhibits")  # i ##mat ##ini ##b, inhibits


def weight(folder: Path, task: str, text: Text = TEXT, kind: str = "mlm", **parameters: Any) -> Weight:
    explore = {"kind": kind, "max_tokens": 16, "pairs": kind == "mlm", "found_pieces": 4}
    longest = None if kind == "tuned" else 16
    weigher = Weigher({"folder": str(folder), "explore": explore, "max_tokens": longest}, Limits(work=36))
    (found,) = asyncio.run(weigher.weights(task, [text], parameters))
    return found


def test_passes_are_counted(folders: dict[str, Path]) -> None:
    folder = folders["mask"]
    length = weight(folder, VIEW).tokens
    pieces = length - 2
    assert pieces > 2
    assert weight(folder, ROLLOUT) == Weight(length, alone=True)
    assert weight(folder, VIEW, Text("kinase " * 100)).tokens == 16
    assert weight(folder, VIEW, Text("kinase " * 30_000)).tokens == 16  # read beside the event loop
    assert weight(folder, OCCLUSION, words=True).tokens == 3 * length
    assert weight(folder, NEIGHBOURS, count=3).tokens == length + 3 * 4
    assert weight(folder, NEIGHBOURS, count=50).tokens == 36  # more is not computed
    with pytest.raises(
        RefusalError, match=rf"is {length * (1 + pieces)} word pieces .* at most 36, or less where .*; send a"
    ):
        weight(folder, OCCLUSION, words=False)


def test_long_texts_are_read_beside_the_event_loop(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    real = RowReader.read

    def noted(reader: RowReader, *given: Any) -> Any:
        threads.add(threading.get_ident())
        return real(reader, *given)

    monkeypatch.setattr(RowReader, "read", noted)
    weight(folders["mask"], VIEW, Text("," * 2000))
    assert threads == {threading.get_ident()}
    threads.clear()
    weight(folders["mask"], VIEW, Text("," * 2001))
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_special_tokens_are_read_as_the_model_reads_them(folders: dict[str, Path]) -> None:
    assert weight(folders["mask"], VIEW, Text("[MASK]")).tokens == 3
    assert weight(folders["tags"], VIEW, Text("[MASK]"), kind="tuned").tokens == 5

    assert weight(folders["tags"], "token-classification", Text("[UNK]" * 9), kind="tuned").tokens == 2 + 9 * 4


targets = st.lists(
    st.lists(st.integers(10, 12), min_size=1, max_size=5).map(tuple), min_size=1, max_size=6, unique=True
)


@given(st.integers(1, 20), targets, st.sampled_from(SCORINGS), st.data())
def test_targets_cost_all_rows_that_score_them(
    between: int, words: list[tuple[int, ...]], scoring: Scoring, data: st.DataObject
) -> None:
    """What is weighed is never less than what is computed, and at most that of rows that no two targets share."""
    row, place = (0,) * (between + 2), data.draw(st.integers(1, between))
    ends = [[data.draw(st.integers(index + 1, len(word))) for index in range(len(word))] for word in words]
    computed = sum(map(len, _rows(row, place, words, ends, scoring)))
    weighed = target_work(len(row), [len(word) for word in words])
    if all(len(word) == 1 for word in words):
        assert weighed == 0, "they cost the text's own pass"
    else:
        assert computed <= weighed <= sum(len(word) * (len(row) + len(word) - 1) for word in words)


def test_targets_of_many_pieces_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(RefusalError, match=r"is 38 word pieces of work, and this service does at most 36"):
        weight(folders["mask"], "fill-mask", Text("[MASK]"), targets=["a a a a a", "c"], top_k=1)


def test_a_pair_that_is_not_read_is_refused(folders: dict[str, Path]) -> None:
    assert weight(folders["mask"], VIEW, Text("a", "b")).tokens == 5
    with pytest.raises(RefusalError, match="reads one text at a time") as caught:
        weight(folders["tags"], VIEW, Text("a", "b"), kind="tuned")
    assert caught.value.status == 400
