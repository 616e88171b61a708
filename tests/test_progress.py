"""Progress as it is read: plain lines in a log, a bar on a terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest

from pubmedbert.progress import beside_answers, counted, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, which a test sets."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_lines_have_rate_and_time_left(seconds: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress("adding", 30, "MB") as advance:
        for note in ("first", "second", "third"):
            seconds[0] += 5
            advance(5.25, note)
    assert capsys.readouterr().err.splitlines() == [
        "adding: 10.5/30 MB, 1.1/s, 19 s left, second",
        "adding: 15.8/30 MB, 1.1/s, 14 s left",
    ]


def test_what_was_done_earlier_or_is_given_up_is_no_part_of_the_rate(
    seconds: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("training", 10, "epochs", done=1) as advance:
        advance(3, "resumed", earlier=True)
        seconds[0] = 60
        advance(1.5)
        seconds[0] = 120
        advance(-2, earlier=True)
    assert capsys.readouterr().err.splitlines() == [
        "training: 5.5/10 epochs, 1.5/min, 180 s left",
        "training: 3.5/10 epochs, 0.8/min, 520 s left",
        "training: 3.5/10 epochs, 0.8/min, 520 s left",
    ]


def test_nothing_done_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 10, "epochs", done=4):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("total", "expected"), [(1200, "700/1,200 documents"), (None, "700 documents")])
def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, total: int | None, expected: str) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with progress("reading", total, "documents", done=500) as advance:
        advance(200, "[b]file[/i] 3")
    last = terminal.getvalue()
    assert expected in last
    assert "[b]file[/i] 3" in last  # names of files are no markup
    assert "/s" in last


def test_a_log_beside_answers_says_how_far_it_is_and_a_terminal_with_answers_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with beside_answers("predicting notes.txt", "texts") as advance:
        advance(3)
    assert capsys.readouterr().err.startswith("predicting notes.txt: 3 texts, ")
    monkeypatch.setattr(sys, "stdout", Terminal())
    with beside_answers("predicting notes.txt", "texts") as advance:
        advance(3)
    assert capsys.readouterr().err == ""


def test_items_are_counted_as_they_are_used(seconds: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for item in counted([4, 2], "judging", "batches"):
        seconds[0] += item
    assert capsys.readouterr().err.splitlines() == ["judging: 2/2 batches, 20.0/min, 0 s left, done"]
