"""Where metrics go: the file always, the services where they are asked for."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.pretrain import sinks
from pubmedbert.pretrain.sinks import check_sinks, open_sinks
from tests.pretrain.conftest import SMALL

AT = {"tokens": 500, "seconds": 0.5}
STEPS = [{**AT, "loss": 3.0 - step / 10, "lr": 1e-3, "masks": "abc", "stuck": False} for step in range(1, 6)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / runs.CONFIG).write_text('size = "tiny"\nsteps = 5\n')
    return tmp_path / "run"


def log(run: Path, names: list[str], first: int = 1) -> None:
    with open_sinks(run, names, step=first - 1) as all_sinks:
        for step, values in enumerate(STEPS[first - 1 :], start=first):
            all_sinks.write(step, values)
        all_sinks.flush(to_disk=True)
        assert len(runs.metrics(run)) == 5, "flushed lines are read before the sinks are closed"


def test_the_file_is_always_written_and_added_to(run: Path) -> None:
    log(run, [])
    expected = [{"step": step, **values} for step, values in enumerate(STEPS, start=1)]
    assert runs.metrics(run) == expected
    with open_sinks(run) as again:
        again.write(6, {"loss": math.nan})
    assert len((run / runs.METRICS).read_text().splitlines()) == 6


def test_a_missing_package_and_an_unknown_sink_are_sentences(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"--log wandb needs wandb: pip install '.\[wandb\]'"):
        check_sinks(["wandb"])
    with (
        pytest.raises(InputError, match="--log mlflow is not known; there are tensorboard and wandb"),
        open_sinks(run, ["mlflow"]),
    ):
        pass
    assert not (run / runs.METRICS).exists()


def test_a_sink_that_fails_is_said_and_the_run_goes_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[object] = []

    class Failing:
        def __init__(self, folder: Path, step: int) -> None: ...

        def write(self, step: int, values: object) -> None:
            called.append(step)
            if step == 2:
                raise OSError("no route\nto host")

        def close(self) -> None:
            called.append("closed")
            raise OSError("no route")

    monkeypatch.setattr(sinks, "find_spec", lambda _: True)
    monkeypatch.setattr(sinks, "TensorBoard", Failing)
    log(run, ["tensorboard"])
    assert called == [1, 2, "closed"]
    first, second = capsys.readouterr().err.splitlines()
    assert first == "--log tensorboard failed (no route to host); metrics.jsonl has all numbers"
    assert second == "--log tensorboard failed (no route); metrics.jsonl has all numbers", "closing it failed, too"
    assert [line["step"] for line in runs.metrics(run)] == [1, 2, 3, 4, 5]


def test_a_sink_that_cannot_be_opened_ends_a_run_only_before_its_first_step(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Away:
        def __init__(self, *_: object) -> None:
            raise ConnectionError("nobody there")

    monkeypatch.setattr(sinks, "find_spec", lambda _: True)
    monkeypatch.setattr(sinks, "TensorBoard", Away)
    with pytest.raises(InputError, match="--log tensorboard: nobody there"), open_sinks(run, ["tensorboard"]):
        pass
    log(run, [])
    with open_sinks(run, ["tensorboard"], step=5) as found:  # restarted, or gone back
        found.write(6, {**AT, "loss": 1.0})
    assert "--log tensorboard failed (nobody there)" in capsys.readouterr().err
    assert [line["step"] for line in runs.metrics(run)] == [1, 2, 3, 4, 5, 6]


def test_the_end_of_long_metrics_is_read_alone(run: Path) -> None:
    assert runs.last_metrics(run) == []
    lines = [{"step": step, **AT, "loss": 1.0} for step in range(1, 30_000)]
    (run / runs.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    last = runs.last_metrics(run)
    assert 1_000 < len(last) < len(lines)
    assert last == lines[-len(last) :]


def test_every_sink_is_closed_when_the_run_fails(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Calm:
        def __init__(self, *_: object) -> None: ...

        def write(self, step: int, values: object) -> None: ...

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(sinks, "find_spec", lambda _: True)
    for name in ("TensorBoard", "WeightsAndBiases"):
        monkeypatch.setattr(sinks, name, Calm)
    with pytest.raises(OSError, match="full"), open_sinks(run, ["tensorboard", "wandb"]) as found:
        found.write(1, {**AT, "loss": 1.0})
        raise OSError("full")
    assert closed == [True, True]
    assert runs.metrics(run) == [{"step": 1, **AT, "loss": 1.0}]


def test_tensorboard_has_the_numbers_and_hides_what_was_lost(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_sinks(run, ["tensorboard"]) as first:
        for step in range(1, 5):
            first.write(step, {"loss": 100.0})
    with open_sinks(run, ["tensorboard"], step=2) as second:
        second.write(3, STEPS[2])
    events = EventAccumulator(str(run / sinks.FOLDER / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "lr", "seconds", "tokens"]
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == {1: 100.0, 2: 100.0, 3: pytest.approx(STEPS[2]["loss"])}


def test_tensorboard_hides_what_a_run_that_starts_again_had_written(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        with open_sinks(run, ["tensorboard"]) as found:
            for step in range(1, 4):
                found.write(step, {"loss": 1.0})
    events = EventAccumulator(str(run / sinks.FOLDER / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]


def test_weights_and_biases_offline(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_CACHE_DIR": "cache", "WANDB_CONFIG_DIR": "config"}.items():
        monkeypatch.setenv(name, value if name == "WANDB_MODE" else str(tmp_path / value))
    log(run, ["wandb"])
    (written,) = (run / sinks.FOLDER / "wandb").glob("offline-run-*/*.wandb")
    until = time.monotonic() + 30
    while b"loss" not in written.read_bytes() and time.monotonic() < until:  # another process writes it
        time.sleep(0.05)
    content = written.read_bytes()
    assert b"loss" in content
    assert b"tiny" in content, "the settings are sent along"
    assert json.loads((run / runs.METRICS).read_text().splitlines()[0])["step"] == 1


def test_weights_and_biases_tells_runs_apart_and_has_what_a_run_did_after_it_went_back(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    logged: list[dict[str, object]] = []

    class Run:
        def define_metric(self, name: str, step_metric: str) -> None:
            assert (name, step_metric) == ("*", "step")

        def log(self, values: dict[str, object]) -> None:
            logged.append(values)

        def finish(self) -> None: ...

    def init(**given: Any) -> Run:
        names.append(given["id"])
        return Run()

    fake = SimpleNamespace(init=init, Settings=lambda **_: None, errors=SimpleNamespace(Error=OSError))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(sinks, "find_spec", lambda _: True)
    for step, loss in ((4, 99.0), (3, 5.0)):  # the second time gone back
        with open_sinks(run, ["wandb"], step=step - 1) as found:
            found.write(step, {**AT, "loss": loss})
    assert [(values["step"], values["loss"]) for values in logged] == [(4, 99.0), (3, 5.0)]
    shutil.rmtree(run / sinks.FOLDER)
    with open_sinks(run, ["wandb"]):
        pass
    assert names[0] == names[1] != names[2], "a new run in the same place is another one"


def test_weights_and_biases_without_a_login_is_a_sentence(shards: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    for name in ("HOME", "NETRC", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        environment[name] = str(tmp_path / "home" / name)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(SMALL.toml())
    command = [sys.executable, "-m", "pubmedbert", "pretrain", "--recipe", str(recipe)]
    done = subprocess.run(
        [*command, "--shards", str(shards), "--out", "run", "--log", "wandb"],
        cwd=tmp_path,
        env=environment | {"WANDB_BASE_URL": "http://127.0.0.1:9"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    assert said.startswith("error: --log wandb: ")
    assert said.endswith("(WANDB_MODE=offline keeps the numbers on this machine)")
    assert not (tmp_path / "run").exists(), "no step was made"
