"""What a recipe can ask of the engine: phases, budgets, continual runs, guards, precision; and the recipes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pubmedbert.errors import InputError
from pubmedbert.infer.export.export import export
from pubmedbert.model import hf
from pubmedbert.pretrain import run
from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.loop import pretrain
from pubmedbert.pretrain.objective import objective
from pubmedbert.pretrain.optimizer import Optimizer
from pubmedbert.pretrain.recipe import RECIPES, Phase, load_recipe
from pubmedbert.shards.read import open_shards
from tests.pretrain.conftest import SMALL as BASE
from tests.pretrain.conftest import changed, make_shards, metrics

SMALL = changed(BASE, steps=6, evaluate_every=3, evaluate_rows=32, checkpoint_every=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "peak_flops", lambda **_: 1e9)


def weights(folder: Path, step: int, name: str = "model") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "checkpoints" / f"step-{step}" / f"{name}.safetensors")
    return found


def test_a_run_of_minutes_takes_steps_instead() -> None:
    assert load_recipe("small").minutes > 0
    asked = load_recipe("small", ["steps=20"])
    assert (asked.steps, asked.minutes) == (20, 0)
    with pytest.raises(InputError, match="both say how long a run is: give one of them"):
        load_recipe("mini", ["steps=20", "minutes=2"])


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_builds_and_trains_scaled_down(path: Path, shards: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path.stem)
    phases = tuple(replace(phase, length=min(phase.length, 32 * (1 + n)) or 0) for n, phase in enumerate(recipe.phases))
    scaled = replace(
        recipe, size="tiny", length=32, rows=8, rows_start=0, steps=4, minutes=0.0, pack_tokens=512, evaluate_rows=16,
        phases=phases, evaluate_length=0, warmup=0.1,
    )  # fmt: skip
    assert pretrain(scaled, shards, tmp_path / "run") == 0
    assert metrics(tmp_path / "run")[-1]["step"] == 4
    with torch.device("meta"):
        whole = objective(recipe).build(recipe.model(30522, 0))
    assert sum(parameter.numel() for parameter in whole.parameters()) > 1e6


def test_positions_of_the_second_phase_are_learned_from_its_start(shards: Path, tmp_path: Path) -> None:
    recipe = replace(
        SMALL, phases=(Phase(share=0.5, length=16), Phase(share=0.5, length=48)), weight_decay=0.0, keep=9, warmup=0.0
    )
    pretrain(recipe, shards, tmp_path / "run")
    name = "bert.embeddings.position_embeddings.weight"
    first, second = (weights(tmp_path / "run", step)[name] for step in (2, 6))
    start = run.setup(tmp_path / "fresh", recipe, open_shards(shards), Ranks(), bf16=False).trainee.model
    assert torch.equal(first[16:], start.get_parameter("encoder.embeddings.positions.weight")[16:])
    assert not torch.equal(first[:16], second[:16])
    assert not torch.equal(first[16:40], second[16:40])
    lines = [line for line in metrics(tmp_path / "run") if "loss" in line]
    assert [line["length"] for line in lines] == [16] * 3 + [48] * 3
    masks = [line["masks"] for line in metrics(tmp_path / "run") if "masks" in line]
    assert len(set(masks)) == 2, "each phase is evaluated at its own length, and its losses compare among themselves"


def test_a_run_can_start_at_word_frequencies(shards: Path, tmp_path: Path) -> None:
    for objective_ in ("mlm", "electra"):
        recipe = replace(
            SMALL, unigram_bias=True, objective=objective_, steps=1, evaluate_rows=64, initializer_range=1e-3
        )
        pretrain(recipe, shards, tmp_path / objective_)
        first = metrics(tmp_path / objective_)[0]
        assert first["eval_loss"] == pytest.approx(first["unigram_loss"], abs=0.05), "but for one more of each piece"
    pretrain(replace(SMALL, steps=1, evaluate_rows=64), shards, tmp_path / "plain")
    first = metrics(tmp_path / "plain")[0]
    assert first["eval_loss"] > first["unigram_loss"] + 0.5  # type: ignore[operator]


def test_a_run_of_minutes_ends_with_its_budget_and_goes_on_by_recorded_seconds(shards: Path, tmp_path: Path) -> None:
    recipe = replace(SMALL, minutes=4 / 60, steps=1, checkpoint_every=1, evaluate_every=10_000)
    assert pretrain(recipe, shards, tmp_path / "run") == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "lr" in line]
    assert steps[-2]["seconds"] < 4 <= steps[-1]["seconds"]
    for before, line in pairwise(steps):
        if before["seconds"] > 0.8:
            assert line["lr"] == pytest.approx(recipe.lr * (4 - before["seconds"]) / (4 * 0.9), rel=1e-6)
    pretrain(recipe, shards, tmp_path / "run")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == len(lines), "complete, nothing to do"


def test_a_continual_run_starts_from_the_model_and_keeps_its_shape(shards: Path, tmp_path: Path) -> None:
    pretrain(SMALL, shards, tmp_path / "first")
    model = tmp_path / "model"
    export(tmp_path / "first", model)
    recipe = replace(SMALL, init=str(model), size="base", objective="mlm+nsp", two_segments=True)
    pretrain(recipe, shards, tmp_path / "second")
    first, second = (metrics(tmp_path / name) for name in ("first", "second"))
    assert second[0]["eval_loss"] < first[0]["eval_loss"] - 0.3, "it knows what the model knew"  # type: ignore[operator]
    assert hf.load(tmp_path / "second" / "checkpoints" / "step-6").config.layers == 2
    shutil.rmtree(tmp_path / "second" / "checkpoints" / "step-6")
    model.rename(tmp_path / "moved")
    pretrain(recipe, shards, tmp_path / "second")  # a run that has begun needs it no more
    assert metrics(tmp_path / "second") == second
    (tmp_path / "moved").rename(model)
    with pytest.raises(InputError, match="a length of 128 does not fit"):
        pretrain(replace(SMALL, init=str(model), length=128, max_positions=128), shards, tmp_path / "long")
    other = make_shards(tmp_path / "other", documents=40)
    with pytest.raises(InputError, match="was not made with the tokenizer of"):
        pretrain(recipe, other, tmp_path / "third")
    assert not (tmp_path / "third").exists()
    with pytest.raises(InputError, match="leave it out for electra"):
        pretrain(replace(SMALL, init=str(model), objective="electra"), shards, tmp_path / "fourth")


def test_what_is_exported_is_the_average(shards: Path, tmp_path: Path) -> None:
    pretrain(replace(SMALL, average=0.9), shards, tmp_path / "averaged")
    pretrain(SMALL, shards, tmp_path / "plain")
    averaged, plain = (weights(tmp_path / name, 6) for name in ("averaged", "plain"))
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(weights(tmp_path / "averaged", 6, "weights")["encoder.layers.0.down.weight"], plain[name])
    assert not torch.equal(averaged[name], plain[name])
    assert [line.get("loss") for line in metrics(tmp_path / "averaged")] == [
        line.get("loss") for line in metrics(tmp_path / "plain")
    ]


@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"recompute": True}])
def test_other_ways_to_compute_come_to_about_the_same(settings: dict[str, Any], shards: Path, tmp_path: Path) -> None:
    pretrain(SMALL, shards, tmp_path / "plain")
    pretrain(replace(SMALL, **settings), shards, tmp_path / "other")
    tolerance = {"recompute": 1e-6, "precision": 2e-2}[next(iter(settings))]
    for one, other in zip(metrics(tmp_path / "plain"), metrics(tmp_path / "other"), strict=True):
        assert one.get("loss", one.get("eval_loss")) == pytest.approx(
            other.get("loss", other.get("eval_loss")), rel=tolerance
        )


def test_a_run_learns_with_lamb(shards: Path, tmp_path: Path) -> None:
    pretrain(replace(SMALL, optimizer="lamb", lr=0.02), shards, tmp_path / "run")
    first, *_, last = [float(str(line["eval_loss"])) for line in metrics(tmp_path / "run") if "eval_loss" in line]
    assert last < first - 0.1


class Sabotage:
    """Makes the gradients of some rows useless: of the updates counted from 0, whatever step they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bad: set[int]) -> None:
        self.calls, self.bad = 0, bad
        self.original = torch.nn.utils.clip_grad_norm_
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", self)

    def __call__(self, *arguments: Any) -> torch.Tensor:
        self.calls += 1
        return torch.tensor(float("nan")) if self.calls - 1 in self.bad else self.original(*arguments)


def test_bad_steps_are_skipped_counted_and_recorded(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    updates, original = [], Optimizer.step

    def step(self: Optimizer, lr: float) -> None:
        updates.append(lr)
        original(self, lr)

    monkeypatch.setattr(Optimizer, "step", step)
    Sabotage(monkeypatch, {1, 4})
    pretrain(SMALL, shards, tmp_path / "run")
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines if "skipped" in line] == [2, 5]
    assert "grad_norm" not in next(line for line in lines if "skipped" in line), "what is not finite is no JSON"
    assert len(updates) == 4
    assert json.loads((tmp_path / "run/checkpoints/step-6/state.json").read_text())["skipped"] == 2
    assert "step 2 is skipped: not finite" in capsys.readouterr().err


def test_spikes_that_last_are_met_with_clipped_steps_also_by_a_run_that_goes_on(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pubmedbert.pretrain.guard.ENOUGH", 2)
    recipe = replace(SMALL, steps=12, spike=0.9, most_skips=100, checkpoint_every=1, keep=20)  # most are spikes
    pretrain(recipe, shards, tmp_path / "whole")
    lines = [line for line in metrics(tmp_path / "whole") if "grad_norm" in line]
    assert len(lines) == 12, "none counts as damaged"
    bad = ["skipped" in line or "spike" in line for line in lines]
    for before, line in pairwise(range(12)):
        if bad[line]:
            assert ("spike" in lines[line]) == bad[before]
    assert any("skipped" in line for line in lines)
    assert any("spike" in line for line in lines)
    assert "is taken, clipped: " in capsys.readouterr().err
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for step in range(6, 13):
        shutil.rmtree(tmp_path / "again" / "checkpoints" / f"step-{step}", ignore_errors=True)
    pretrain(recipe, shards, tmp_path / "again")
    assert all(
        weights(tmp_path / "again", 12)[name].equal(value) for name, value in weights(tmp_path / "whole", 12).items()
    )


def test_a_run_that_breaks_down_goes_back_and_on_with_other_rows(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Sabotage(monkeypatch, {3, 4, 5})
    recipe = replace(SMALL, steps=9, most_skips=3)
    pretrain(recipe, shards, tmp_path / "run")
    lines = metrics(tmp_path / "run")
    (back,) = [line for line in lines if "rolled_back_from" in line]
    assert (back["step"], back["rolled_back_from"], back["rows"], back["rollbacks"]) == (2, 6, 6 * 16, 1)
    assert [line["step"] for line in lines if "grad_norm" in line] == list(range(1, 10))
    assert not [line for line in lines if "skipped" in line], "the skipped steps are gone with the way back"
    assert "going back to step 2 and on with other rows" in capsys.readouterr().err
    state = json.loads((tmp_path / "run/checkpoints/step-9/state.json").read_text())
    assert (state["rows"], state["rollbacks"], state["skipped"]) == ((6 + 7) * 16, 1, 0)


def test_a_kill_after_going_back_changes_nothing(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(SMALL, steps=9, most_skips=3, checkpoint_every=4)
    for name in ("whole", "killed"):
        with monkeypatch.context() as patch:
            sabotage = Sabotage(patch, {5, 6, 7})
            if name == "killed":
                original = Optimizer.step

                def step(self: Optimizer, lr: float, original: Any = original, sabotage: Sabotage = sabotage) -> None:
                    if sabotage.calls == 10:  # the second step after the way back, before any checkpoint
                        raise KeyboardInterrupt
                    original(self, lr)

                patch.setattr(Optimizer, "step", step)
                with pytest.raises(KeyboardInterrupt):
                    pretrain(recipe, shards, tmp_path / name)
            else:
                pretrain(recipe, shards, tmp_path / name)
    pretrain(recipe, shards, tmp_path / "killed")
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
