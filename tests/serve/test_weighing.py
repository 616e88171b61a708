"""What a text of the explorer costs before it waits."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from pubmedbert.explore.rows import RowReader
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.weighing import NEIGHBOURS, OCCLUSION, ROLLOUT, VIEW, Text, Weigher, Weight

TEXT = Text("imatinib inhibits")  # i ##mat ##ini ##b, inhibits


def weight(folder: Path, task: str, text: Text = TEXT, kind: str = "mlm", **parameters: Any) -> Weight:
    explore = {"kind": kind, "max_tokens": 16, "pairs": kind == "mlm", "found_pieces": 4}
    weigher = Weigher({"folder": str(folder), "explore": explore}, Limits(work=36))
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
        RefusalError, match=rf"is {length * (1 + pieces)} word pieces .* at most 36, about 6 words; send a"
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


def test_a_pair_that_is_not_read_is_refused(folders: dict[str, Path]) -> None:
    assert weight(folders["mask"], VIEW, Text("a", "b")).tokens == 5
    with pytest.raises(RefusalError, match="reads one text at a time") as caught:
        weight(folders["tags"], VIEW, Text("a", "b"), kind="tuned")
    assert caught.value.status == 400
