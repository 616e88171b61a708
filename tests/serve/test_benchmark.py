"""The benchmark of the service, scaled down: it runs, and what it checks holds."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.clients import judged
from benchmarks.serve import agreement


def test_it_runs() -> None:
    options = ["--size", "tiny", "--seconds", "1", "--clients", "8", "--rounds", "1", "--texts", "12"]
    options += ["--phases", "load,faults"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.serve", *options], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    assert len(re.findall(r"\| pubmedbert serve, (?:fp32|int8) \| [1-9].*\| [1-9][\d,]* equal;", run.stdout)) == 2
    assert re.search(r"good clients had [1-9][\d,]* equal, p99", run.stdout), run.stdout
    assert re.search(r"[1-9]\d* model processes killed", run.stdout), run.stdout
    assert "Afterwards: ready" in run.stdout
    shown = re.search(r"the best word of fp32 for (\d+) of 12 texts", run.stdout)
    assert shown
    assert int(shown[1]) > 6  # of sharpened weights: as good as chance would be 0


def test_the_agreement_of_int8_is_told() -> None:
    def one(token: int, score: float) -> dict[str, object]:
        return {"token": token, "score": score}

    fp32 = [[one(1, 0.5), one(2, 0.25)], [one(3, 0.5)]]
    int8 = [[one(2, 0.5), one(1, 0.5)], [one(3, 0.4)]]
    assert "for 1 of 2 texts" in agreement(int8, fp32)
    assert "at most 2.5e-01" in agreement(int8, fp32)


def test_answers_are_judged() -> None:
    def one(token: int, score: float, sequence: str = "") -> dict[str, object]:
        return {"token": token, "score": score, "sequence": sequence}

    expected = [one(1, 0.5), one(2, 0.3), one(3, 0.1)]
    assert judged([one(1, 0.5), one(2, 0.3)], expected)[0] == "equal"
    assert judged([one(1, 0.5 + 2e-5), one(2, 0.3)], expected)[0] == "unequal"
    assert judged([one(2, 0.5), one(1, 0.3)], expected)[0] == "unequal"
    assert judged([one(9, 0.5), one(2, 0.3)], expected)[0] == "unequal"
    assert judged([one(9, 0.1)], expected)[0] == "equal"  # the last places may be tied
    assert judged([one(1, 1.1e-4)], [one(1, 1e-4)])[0] == "unequal"
    assert judged([], expected)[0] == "unequal"
    assert judged([one(1, 0.5, "of another text"), one(2, 0.3)], expected)[0] == "mixed up"
