"""How well published runs are predicted."""

from __future__ import annotations

import json

import pytest

from pubmedbert.cli import main
from pubmedbert.model.config import SIZES
from pubmedbert.model.flops import training_flops
from pubmedbert.pretrain.planning.gpus import known_gpus
from pubmedbert.pretrain.planning.published import check, mean_error, row_flops

ROWS = check()


def test_the_rows_that_set_the_mfu_are_met() -> None:
    used = [row for row in ROWS if row.role == "calibrates"]
    assert all(abs(row.error) < 0.01 for row in used)
    titles = {gpu.title for gpu in known_gpus().values() if gpu.measured}
    assert titles == {row.gpu for row in used}, "every measured MFU has its row"


def test_all_other_rows_are_predictions() -> None:
    tests = [row for row in ROWS if row.role == "test"]
    assert len(tests) >= 20
    assert mean_error(ROWS, "test") < 0.2
    assert all(-0.5 < row.error < 0.5 for row in tests)


def test_the_paper_s_five_days_are_rows_of_512_throughout() -> None:
    paper = {row.what: row for row in ROWS if row.source.startswith("PubMedBERT")}
    assert len(paper) == 3
    assert abs(paper["all rows of 512"].error) < 0.25
    assert all(row.error < -0.7 for what, row in paper.items() if what != "all rows of 512")


def test_errors_are_of_time_whatever_the_unit() -> None:
    slow = [row for row in ROWS if row.predicted > row.published and row.unit == "hours"]
    fast = [row for row in ROWS if row.predicted > row.published and row.unit == "sequences/s"]
    assert all(row.error > 0 for row in slow)
    assert all(row.error < 0 for row in fast)


def test_published_code_computes_a_little_more_than_is_needed() -> None:
    for size in ("base", "large"):
        needed, theirs = training_flops(SIZES[size], [128], 20, [20]), row_flops(SIZES[size], 128)
        assert needed < theirs < 1.1 * needed


def test_the_command_prints_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--check"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("time predicted for ")
    main(["plan", "--check", "--json"])
    found = json.loads(capsys.readouterr().out)["check"]
    assert [row["error"] for row in found] == [pytest.approx(row.error) for row in ROWS]
