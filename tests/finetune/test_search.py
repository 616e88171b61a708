"""Settings chosen on dev."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pubmedbert.errors import InputError
from pubmedbert.finetune import loop, search
from pubmedbert.finetune.loop import Fitted, Setup
from pubmedbert.finetune.run import finetune
from tests.finetune.conftest import FAST, job


def test_a_search_tries_settings_on_dev_and_goes_on_where_it_stopped(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "GRID", {"lr": [1e-9, 1e-2], "epochs": [1, 3], "batch": [16, 32]})
    fit, tried = loop.fit, list[tuple[float, int]]()

    def killed(ready: Setup, *rest: Any) -> Fitted:
        tried.append((ready.recipe.lr, ready.recipe.epochs))
        if len(tried) == 3:
            raise KeyboardInterrupt
        return fit(ready, *rest)

    monkeypatch.setattr(loop, "fit", killed)
    asked = job(own, tiny, seeds=1, search=4, fixed=("batch",))
    with pytest.raises(KeyboardInterrupt):
        finetune(asked, tmp_path / "run")
    result = finetune(asked, tmp_path / "run")
    assert len(tried) == 4 + 1 + 1, "four settings, one of them twice, and the run itself"
    assert len(set(tried[:5])) == 4
    assert (result["recipe"]["lr"], result["recipe"]["epochs"], result["recipe"]["batch"]) == (1e-2, 3, 16)
    log = tmp_path / "run" / ".search.log"
    with log.open("a") as stream:  # killed while it wrote
        stream.write('{"op_code": 5')
    Path(f"{log}.lock").symlink_to("run/.search.log")
    again = finetune(replace(asked, model_name="by another name"), tmp_path / "run")
    assert again == result | {"model": "by another name"}
    assert len(tried) == 6
    log.write_text("{\n" + log.read_text())
    with pytest.raises(InputError, match=r"search\.log is damaged: delete it"):
        finetune(asked, tmp_path / "run")
    with pytest.raises(InputError, match="--search takes 1 to 4 settings"):
        finetune(replace(asked, search=5), tmp_path / "other")


def test_a_setting_that_was_killed_goes_on_from_its_checkpoint(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "GRID", {"lr": [1e-3, 1e-2]})
    asked = job(own, tiny, seeds=1, search=2)
    whole = finetune(asked, tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    update, updates = loop.update, list[int]()

    def killed(*given: Any) -> float:
        updates.append(1)
        if len(updates) == 15:
            raise KeyboardInterrupt
        return update(*given)

    monkeypatch.setattr(loop, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(asked, tmp_path / "run")
    assert list((tmp_path / "run").glob(".search-*/lr=*/attempt-0/checkpoint"))
    result = finetune(asked, tmp_path / "run")
    assert "seed 0: epoch 2/4 done, update 2/6: goes on from there" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob(".search-*"))
    assert [entry["test"] for entry in result["seeds"]] == [entry["test"] for entry in whole["seeds"]]
    assert result["recipe"] == whole["recipe"]
    assert len(updates) == 3 * 4 * 6 + 1, "two settings and the run itself: only the update at hand was lost"


def test_a_search_of_other_settings_is_not_taken_over(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "GRID", {"lr": [1e-9, 1e-2], "epochs": [1, 3]})
    asked = job(own, tiny, seeds=1, search=2, fixed=("epochs",))
    finetune(asked, tmp_path / "run")
    with pytest.raises(InputError, match=r"was made with fixed = \['epochs'\], now it is \['epochs', 'lr'\]"):
        finetune(replace(asked, fixed=("epochs", "lr")), tmp_path / "run")


def test_a_setting_that_collapses_is_not_chosen(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "GRID", {"lr": [1e-9, 1e-2]})
    fit = loop.fit

    def one_answer_scores_more(ready: Setup, *rest: Any) -> Fitted:
        fallen = ready.recipe.lr < 1e-3
        return replace(fit(ready, *rest), dev=0.7 if fallen else 0.6, collapsed=fallen)

    monkeypatch.setattr(loop, "fit", one_answer_scores_more)
    assert finetune(job(own, tiny, seeds=1, search=2), tmp_path / "run")["recipe"]["lr"] == 1e-2


def test_a_killed_search_chooses_as_one_that_was_not(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All settings score the same: the first in the order is chosen."""
    monkeypatch.setattr(search, "GRID", {"lr": [1e-3, 3e-3, 1e-2], "epochs": [1, 2]})
    fit = loop.fit
    calls: list[float] = []

    def equal(ready: Setup, seed: int, report: loop.Report, folder: Path | None = None) -> Fitted:
        calls.append(ready.recipe.lr)
        if len(calls) in stops:
            raise KeyboardInterrupt
        return replace(fit(ready, seed, report, folder), dev=0.5)

    monkeypatch.setattr(loop, "fit", equal)
    chosen = []
    for name, kills in (("whole", set[int]()), ("killed", {1, 4})):
        stops = kills
        calls.clear()
        asked = job(own, tiny, seeds=1, search=3, keep="none")
        for _ in stops:
            with pytest.raises(KeyboardInterrupt):
                finetune(asked, tmp_path / name)
        result = finetune(asked, tmp_path / name)
        chosen.append((result["recipe"]["lr"], result["recipe"]["epochs"]))
        assert len(calls) == 3 + 1 + len(kills)
    assert chosen[0] == chosen[1]
    assert "Traceback" not in capsys.readouterr().err


def test_a_search_holds_its_folder_and_its_precision(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "GRID", {"lr": [1e-3, 1e-2]})
    asked = job(own, tiny, seeds=1, search=1, recipe=replace(FAST, precision="auto", epochs=1))
    with pytest.raises(InputError, match="freeze = 7"):
        finetune(replace(asked, recipe=replace(FAST, freeze=7)), tmp_path / "run")
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(loop, "settled", lambda recipe: "fp32" if recipe.precision == "auto" else recipe.precision)

    def killed(*_: Any) -> Fitted:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(asked, tmp_path / "run")
    monkeypatch.setattr(loop, "settled", lambda recipe: "bf16" if recipe.precision == "auto" else recipe.precision)
    with pytest.raises(InputError, match=r"was made with dropout = 0\.1, now it is 0\.2"):
        finetune(replace(asked, recipe=replace(asked.recipe, dropout=0.2)), tmp_path / "run")
    left = tmp_path / "run" / ".search-old"
    left.mkdir()
    result = finetune(replace(asked, search=2), tmp_path / "run")
    assert result["recipe"]["precision"] == "fp32"
    assert not left.exists()


def test_a_damaged_test_file_is_told_before_the_search(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "GRID", {"lr": [1e-3]})
    monkeypatch.setattr(loop, "fit", lambda *_: pytest.fail("it was tried"))
    mine = tmp_path / "own"
    shutil.copytree(own, mine)
    for path in mine.glob("test.*"):
        path.write_text("no\n")
    with pytest.raises(InputError, match=r"test\."):
        finetune(job(mine, tiny, seeds=1, search=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()
