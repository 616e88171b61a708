"""Damage to the files of a run and of its shards: named, put back where that can be, and never passed on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.pretrain import run as building
from pubmedbert.pretrain.loop import pretrain
from tests.pretrain.conftest import SMALL, changed, fails, metrics, settings


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, back at its checkpoint of step 8."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    shutil.rmtree(copy / "checkpoints" / "step-12")
    return copy


def test_damaged_lines_within_the_metrics_are_named_and_cost_no_others(
    shards: Path, finished: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[2:5] = ['{"step": 2, "lo', '{"step": 3, "grad_norm": 2, "loss": "big"}', lines[4]]
    lines.insert(5, '{"step": 4, "grad_norm": 2, "loss": 3}')
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    pretrain(SMALL, shards, run)
    assert "damaged lines are left out, 3 in number" in capsys.readouterr().err
    assert metrics(run) == [line for n, line in enumerate(metrics(finished)) if n not in (2, 3)]
    (run / "metrics.jsonl").unlink()
    shutil.rmtree(run / "checkpoints" / "step-12")
    pretrain(SMALL, shards, run)
    assert "what was measured up to step 8 is lost" in capsys.readouterr().err


def test_a_damaged_copy_of_the_tokenizer_is_refused_and_put_back(
    shards: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = run / "tokenizer" / "tokenizer.json"
    good = copied.read_bytes()
    copied.write_bytes(good.replace(b'"aspirin"', b'"aspirout"'))
    assert "is not the tokenizer of the run" in fails(capsys, "export", run, "--out", tmp_path / "model")
    assert "is not the tokenizer of the run" in fails(capsys, "evaluate", "--model", run, "--shards", shards)
    pretrain(SMALL, shards, run)
    assert copied.read_bytes() == good


def test_damaged_shards_and_settings_are_one_sentence(
    shards: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "shards"
    shutil.copytree(shards, mine)
    tokens = mine / "train" / "tokens.bin"
    whole = tokens.read_bytes()
    middle = len(whole) // 2 // 2 * 2
    tokens.write_bytes(whole[:middle] + b"\xff" * 400 + whole[middle + 400 :])
    arguments = ("pretrain", "--recipe", "mini", "--shards", mine, *settings(SMALL), "--out")
    assert "does not have its checksum" in fails(capsys, *arguments, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    config = (run / "config.toml").read_text()
    longer = config.replace("steps = 12", "steps = 400")  # so that the damage is met
    (run / "config.toml").write_text(longer)
    with pytest.raises(InputError, match="they hold the piece 65535, outside the vocabulary of 200"):
        pretrain(changed(SMALL, steps=400), mine, run)
    for damaged in ("", "size = 3\n", config.replace("[machine]", "[[machine]]"), config.split("[shards]")[0]):
        (run / "config.toml").write_text(damaged)
        assert "config.toml is damaged" in fails(capsys, *arguments, run)


def test_what_lies_among_the_checkpoints_and_a_damaged_evaluation_stop_nothing(
    shards: Path, finished: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "step-99").write_text("mine")
    (run / "evaluation.json").write_text('{"breakdown": {"by_pieces": [{"name": "1"}]}}')
    pretrain(SMALL, shards, run)
    assert metrics(run) == metrics(finished)
    assert (run / "checkpoints" / "step-99").read_text() == "mine"
    assert "evaluation.json is damaged and left out" in capsys.readouterr().err


def test_steps_with_nothing_to_predict(shards: Path, tmp_path: Path) -> None:
    rare = changed(SMALL, rows=1, mask_share=0.04, length=8, objective="mlm+nsp", two_segments=True, checkpoint_every=3)
    pretrain(rare, shards, tmp_path / "whole")
    lines = [line for line in metrics(tmp_path / "whole") if "grad_norm" in line]
    assert len(lines) == 12
    assert 0 < sum("loss" in line for line in lines) < 12
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-12")
    pretrain(rare, shards, tmp_path / "again")
    assert metrics(tmp_path / "again") == metrics(tmp_path / "whole")
    one, other = (hf_bytes(tmp_path / name) for name in ("whole", "again"))
    assert one == other


def hf_bytes(run: Path) -> dict[str, bytes]:
    """The files of the last checkpoint."""
    folder = run / "checkpoints" / "step-12"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".safetensors"}


def test_settings_that_fail_when_the_run_is_built_leave_no_folder(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(changed(SMALL, length=4, mask_share=0.01, evaluate_mask_share=0.01, evaluate_rows=1))
    said = fails(capsys, "pretrain", "--recipe", "mini", "--shards", shards, *given, "--out", tmp_path / "run")
    assert "no word piece of the held-out rows is masked" in said
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(building, "Optimizer", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # whatever it is that breaks
        pretrain(SMALL, shards, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_whole_numbers_do_for_numbers(shards: Path, tmp_path: Path) -> None:
    pretrain(changed(SMALL, beta1=0, weight_decay=0, steps=2), shards, tmp_path / "run")
    assert "beta1 = 0.0" in (tmp_path / "run" / "config.toml").read_text()


def test_a_model_that_is_not_there_leaves_no_folder(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(changed(SMALL, init=str(tmp_path / "none")))
    fails(capsys, "pretrain", "--recipe", "mini", "--shards", shards, "--out", tmp_path / "run", *given)
    assert not (tmp_path / "run").exists()
