"""The benchmark of the service, scaled down: it runs, and what it checks holds."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.clients import judged


def test_it_runs() -> None:
    options = ["--size", "tiny", "--seconds", "3", "--clients", "20", "--rounds", "1", "--phases", "load,faults"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.serve", *options], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    assert len(re.findall(r"\| pubmedbert serve, (?:fp32|int8) \| [1-9]", run.stdout)) == 2
    for trouble in ("lost", "mixed up", "other top-1", "status 5"):
        assert trouble not in run.stdout, run.stdout
    assert "Afterwards: ready" in run.stdout


def test_answers_are_judged() -> None:
    def one(token: int, score: float, sequence: str = "") -> dict[str, object]:
        return {"token": token, "score": score, "sequence": sequence}

    expected = [one(1, 0.5), one(2, 0.3), one(3, 0.1)]
    assert judged([one(1, 0.5), one(2, 0.3)], expected)[0] == "equal"
    assert judged([one(1, 0.49), one(2, 0.31)], expected)[0] == "same top-1"
    assert judged([one(2, 0.49), one(1, 0.31)], expected)[0] == "other top-1"
    assert judged([one(1, 0.5, "of another text"), one(2, 0.3)], expected)[0] == "mixed up"
