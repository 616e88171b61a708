"""The loop from outside: what it writes, that it learns, and that nothing can make it lose or change a run."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pubmedbert.errors import InputError
from pubmedbert.pretrain import loop
from pubmedbert.pretrain.loop import Sums, Work, pretrain
from pubmedbert.pretrain.recipe import Recipe, load_recipe
from pubmedbert.pretrain.run import Run
from tests.pretrain.conftest import SMALL, changed, fails, make_shards, metrics, settings


def test_metrics_have_a_line_for_each_step_and_evaluation(finished: Path) -> None:
    lines = metrics(finished)
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert all(set(line) == {"step", "tokens", "loss", "lr", "grad_norm", "unigram_loss"} for line in steps)
    evaluations = [line for line in lines if "eval_loss" in line]
    assert [line["step"] for line in evaluations] == [0, 5, 10, 12]
    assert all(
        set(line) - {"stuck"} == {"step", "tokens", "eval_loss", "eval_accuracy", "unigram_loss", "masks"}
        for line in evaluations
    )
    assert [line["step"] for line in lines if "stuck" in line] == [5], "said once: 12 steps are too few to learn"
    assert len({line["masks"] for line in evaluations}) == 1, "evaluation masks are frozen"


def test_the_run_leaves_its_settings_checkpoints_tokenizer_and_report(finished: Path) -> None:
    assert load_recipe("mini", settings(SMALL)[1::2]) == SMALL
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["step-12", "step-8"]
    assert (finished / "tokenizer" / "vocab.txt").exists()
    page = (finished / "report.html").read_text()
    assert "<svg" in page
    assert "held-out" in page
    assert not [path for path in finished.rglob("*") if path.name.endswith(".tmp")]


def test_a_finished_run_is_left_as_it_is(finished: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    pretrain(SMALL, shards, finished)
    assert (finished / "metrics.jsonl").read_bytes() == before
    assert "nothing to do" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_bits(finished: Path, shards: Path, tmp_path: Path) -> None:
    pretrain(SMALL, shards, tmp_path / "again")
    assert metrics(tmp_path / "again") == metrics(finished)
    weights = "checkpoints/step-12/model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (finished / weights).read_bytes()


def test_context_is_learned(shards: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        size="tiny", length=32, max_positions=32, rows=64, steps=150, lr=4e-3, dropout=0.0, attention_dropout=0.0
    )
    pretrain(recipe, shards, tmp_path / "run")
    last = metrics(tmp_path / "run")[-1]
    assert isinstance(last["eval_loss"], float)
    assert isinstance(last["unigram_loss"], float)
    assert last["eval_loss"] < last["unigram_loss"] - 1.0


def start(shards: Path, run: Path, recipe: Recipe) -> subprocess.Popen[bytes]:
    tokens = ["pretrain", "--recipe", "mini", "--shards", str(shards), "--out", str(run), *settings(recipe)]
    code = f"from pubmedbert.cli import main; main({tokens!r})"
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def wait_for_lines(run: Path, process: subprocess.Popen[bytes], count: int) -> None:
    path = run / "metrics.jsonl"
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < count):
        time.sleep(0.01)


def test_kill_9_in_mid_run_changes_nothing(finished: Path, shards: Path, tmp_path: Path) -> None:
    """From outside, once; test_faults kills thirty times."""
    process = start(shards, tmp_path / "killed", SMALL)
    wait_for_lines(tmp_path / "killed", process, 8)
    process.kill()
    process.wait()
    pretrain(SMALL, shards, tmp_path / "killed")
    assert metrics(tmp_path / "killed") == metrics(finished)


def test_sigterm_saves_and_exits_as_a_shell_reports_it(shards: Path, tmp_path: Path) -> None:
    recipe = changed(SMALL, steps=100_000, checkpoint_every=100_000, evaluate_every=100_000)
    run = tmp_path / "run"
    process = start(shards, run, recipe)
    wait_for_lines(run, process, 4)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    done = metrics(run)[-1]["step"]
    assert (run / "checkpoints" / f"step-{done}" / "state.json").exists()


@pytest.mark.parametrize("damage", ["cut", "flip", "state", "place"])
def test_a_damaged_newest_checkpoint_falls_back(
    damage: str, shards: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    pretrain(SMALL, shards, run)
    newest = run / "checkpoints" / "step-12"
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "cut":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[-5] ^= 1
        weights.write_bytes(content)
    elif damage == "place":
        text = (newest / "state.json").read_text()
        (newest / "state.json").write_text(text.replace('"rows": 192', '"rows": 193'))
    else:
        (newest / "state.json").unlink()
    pretrain(SMALL, shards, run)
    assert "damaged" in capsys.readouterr().err
    assert metrics(run) == metrics(finished)


def test_a_damaged_checkpoint_never_outlives_a_good_one(shards: Path, finished: Path, tmp_path: Path) -> None:
    recipe = changed(SMALL, keep=1, checkpoint_every=4)
    run = tmp_path / "run"
    pretrain(changed(recipe, keep=2), shards, run)
    (run / "checkpoints" / "step-12" / "state.json").write_text("{}")
    config = (run / "config.toml").read_text().replace("keep = 2", "keep = 1")
    (run / "config.toml").write_text(config)
    pretrain(recipe, shards, run)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-12"]
    assert metrics(run) == metrics(finished)


def test_a_signal_while_steps_are_skipped_changes_nothing(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backward, signals = loop._backward, list[int]()

    def spoilt(run: Run, work: Work) -> dict[str, Sums]:
        """Four steps after a checkpoint have no finite loss; in the second of them a signal comes."""
        sums = backward(run, work)
        if 5 <= run.at.step < 9 and not run.at.rollbacks:
            sums["mlm"].total = math.nan
            if run.folder.name == "stopped" and run.at.step == 6 and not signals:
                signals.append(signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
        return sums

    monkeypatch.setattr(loop, "_backward", spoilt)
    recipe = changed(SMALL, most_skips=4)
    assert pretrain(recipe, shards, tmp_path / "whole") == 0
    assert pretrain(recipe, shards, tmp_path / "stopped") == signal.SIGTERM
    assert "goes on from step 4" in capsys.readouterr().err
    assert pretrain(recipe, shards, tmp_path / "stopped") == 0
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")


def test_what_a_killed_process_left_of_a_checkpoint_is_removed(shards: Path, tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / "run" / "checkpoints" / f".step-3.{dead.pid}.tmp"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    pretrain(SMALL, shards, tmp_path / "run")
    assert not left.exists()


def test_a_full_gpu_is_one_sentence(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")

    monkeypatch.setattr(loop, "train_step", full)
    with pytest.raises(InputError, match=r"Tried to allocate 2\.00 GiB.*set recompute, or start again"):
        pretrain(SMALL, shards, tmp_path / "run")


def test_two_processes_do_not_train_in_one_folder(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = changed(SMALL, steps=100_000)
    process = start(shards, tmp_path / "run", recipe)
    try:
        wait_for_lines(tmp_path / "run", process, 2)
        with pytest.raises(InputError, match="another process is training in"):
            pretrain(recipe, shards, tmp_path / "run")
    finally:
        process.kill()
        process.wait()


def test_a_run_that_never_saved_may_start_again_with_other_settings(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(shards, run, changed(SMALL, checkpoint_every=10_000, steps=10_000))
    wait_for_lines(run, process, 3)
    process.kill()
    process.wait()
    pretrain(SMALL, shards, run)
    assert metrics(run) == metrics(finished)


def test_no_intact_checkpoint_is_an_error_not_a_new_start(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain(SMALL, shards, run)
    for state in run.rglob("state.json"):
        state.unlink()
    with pytest.raises(InputError, match="none of the 2 checkpoints"):
        pretrain(SMALL, shards, run)


def test_a_half_written_metrics_line_is_dropped(shards: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain(SMALL, shards, run)
    weights = run / "checkpoints" / "step-12"
    for path in weights.iterdir():
        path.unlink()
    weights.rmdir()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "tok')
    pretrain(SMALL, shards, run)
    assert metrics(run) == metrics(finished)


def test_gradient_accumulation_gives_the_gradients_of_the_whole_step(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    plain = changed(SMALL, dropout=0.0, attention_dropout=0.0, pack_tokens=4096)
    parts = changed(plain, pack_tokens=40)
    pretrain(plain, shards, tmp_path / "plain")
    pretrain(parts, shards, tmp_path / "parts")
    for one, other in zip(metrics(tmp_path / "plain"), metrics(tmp_path / "parts"), strict=True):
        for key in one.keys() & {"loss", "grad_norm", "eval_loss"}:
            assert one[key] == pytest.approx(other[key], rel=2e-4)


def test_a_non_finite_gradient_stops_with_a_sentence(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(
        InputError,
        match=r"2 steps in a row were skipped or spikes up to step 2 \(not finite\), after the run had gone back "
        r"2 times; start again in another --out with lr below 0\.002, or go on with more "
        "most_rollbacks",
    ):
        pretrain(changed(SMALL, most_skips=2), shards, tmp_path / "run")


def test_guards_may_be_changed_and_it_is_said(finished: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(changed(SMALL, most_rollbacks=5, spike=9.0), shards, finished) == 0
    said = capsys.readouterr().err
    assert f"{finished} was started with most_rollbacks = 2 and goes on with 5" in said
    assert f"{finished} was started with spike = {SMALL.spike} and goes on with 9.0" in said
    assert "is complete" in said


def test_other_settings_or_shards_are_refused(
    finished: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slower = changed(SMALL, lr=1e-3, warmup=0.5)
    tokens = ("pretrain", "--recipe", "mini", "--out", finished)
    error = fails(capsys, *tokens, "--shards", shards, *settings(slower))
    assert f"lr = 0.002, warmup = {SMALL.warmup}, now it has lr = 0.001, warmup = 0.5; choose another" in error
    others = make_shards(tmp_path / "fewer", documents=300)
    assert "other shards" in fails(capsys, *tokens, "--shards", others, *settings(SMALL))
    others = make_shards(tmp_path / "split", heldout=0.2)  # what was trained on may be held out there
    assert "other shards" in fails(capsys, *tokens, "--shards", others, *settings(SMALL))


def test_wrong_folders_and_recipes_are_one_sentence(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "holds no shards" in fails(capsys, "pretrain", "--recipe", "mini", "--shards", tmp_path, "--out", out)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("learning_rate = 1\n")
    error = fails(capsys, "pretrain", "--recipe", wrong, "--shards", shards, "--out", out)
    assert "unknown setting 'learning_rate'" in error
    assert not out.exists()
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "letter.txt").write_text("mine")
    assert "choose another --out" in fails(
        capsys, "pretrain", "--recipe", "mini", "--shards", shards, "--out", occupied
    )
    assert [path.name for path in occupied.iterdir()] == ["letter.txt"]
