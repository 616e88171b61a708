"""Ranks: the same losses for any number of them, and nothing lost when one dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.pretrain.distributed import Ranks, ranks
from pubmedbert.pretrain.loop import pretrain
from pubmedbert.pretrain.recipe import Phase, Recipe
from tests.pretrain.conftest import SMALL, changed, metrics

RECIPE = changed(SMALL, rows=48, pack_tokens=160, steps=8, evaluate_every=4, evaluate_rows=64)
FULL = replace(
    RECIPE,
    objective="mlm+nsp",
    two_segments=True,
    optimizer="muon",
    average=0.9,
    shard=True,
    recompute=True,
    mask_share=0.3,
    mask_share_end=0.15,
    rows_start=24,
    unigram_bias=True,
    neighbours=3,
    packs=4,
)


def torchrun(
    count: int,
    recipe: Recipe,
    shards: Path,
    run: Path,
    restarts: int = 0,
    machines: tuple[str, ...] = ("--standalone",),
) -> subprocess.Popen[bytes]:
    settings = [part for line in recipe.toml().splitlines() for part in ("--set", line)]
    launch = ["-m", "torch.distributed.run", *machines, f"--nproc-per-node={count}", f"--max-restarts={restarts}"]
    command = ["-m", "--", "pubmedbert", "pretrain", "--recipe", "mini", "--shards", str(shards), "--out", str(run)]
    command += ["--log", "tensorboard"]
    return subprocess.Popen(
        [sys.executable, *launch, *command, *settings],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if "pubmedbert" in child.cmdline()]


def wait_for_lines(run: Path, process: subprocess.Popen[bytes], count: int) -> None:
    path = run / "metrics.jsonl"
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < count):
        time.sleep(0.01)


def assert_close(one: Path, other: Path) -> None:
    for mine, yours in zip(metrics(one), metrics(other), strict=True):
        assert mine.keys() == yours.keys()
        for key, value in mine.items():
            near = 1e-4 if key == "grad_norm" else 1e-5  # a sum of squares that clipping only is derived from
            expected = yours[key] if isinstance(value, str) else pytest.approx(yours[key], rel=near, abs=near)
            assert value == expected, (mine["step"], key)


@given(st.lists(st.integers(1, 10_000), max_size=40), st.integers(1, 9))
def test_packs_are_dealt_out_once_and_evenly(sizes: list[int], count: int) -> None:
    dealt = [Ranks(rank, count).deal(sizes) for rank in range(count)]
    assert sorted(pack for packs in dealt for pack in packs) == list(range(len(sizes)))
    loads = [sum(sizes[pack] for pack in packs) for packs in dealt]
    assert max(loads) - min(loads) <= max(sizes, default=0)
    assert all(packs == sorted(packs) for packs in dealt)


def test_balance_is_the_share_of_time_in_which_ranks_work() -> None:
    assert Ranks(0, 4).balance([5] * 8) == 1.0
    assert Ranks(3, 4).balance([5] * 5) == pytest.approx(5 / 8), "the rank with two packs is waited for"
    assert Ranks(0, 4).balance([7]) == 0.25
    assert Ranks().balance([1, 2, 3]) == 1.0


def test_ranks_that_wait_for_each_other_are_told_how_to_share(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Ranks, "balance", lambda *_: 0.625)
    phases = (Phase(share=0.5, length=16), Phase(share=0.5, length=32))
    pretrain(replace(SMALL, steps=4, phases=phases), shards, tmp_path / "run")
    said = [line for line in capsys.readouterr().err.splitlines() if "would lessen that" in line]
    assert [line.split(" make ")[0] for line in said] == ["warning: rows of 16", "warning: rows of 32"]
    assert "wait 38% of the time for the one with the most; more rows in a step would" in said[0]


def test_devices_that_are_not_there() -> None:
    with pytest.raises(InputError, match="--device must be cpu or cuda, not 'tpu'"), ranks("tpu"):
        pass
    with pytest.raises(InputError, match="torch finds no GPU here"), ranks("cuda"):
        pass


def test_more_ranks_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="here are more than the 2 GPUs"), ranks("cuda"):
        pass


@pytest.mark.parametrize(("count", "recipe"), [(2, RECIPE), (4, FULL)], ids=["2 ranks", "4 ranks, everything on"])
def test_any_number_of_ranks_has_the_losses_of_one(count: int, recipe: Recipe, shards: Path, tmp_path: Path) -> None:
    process = torchrun(count, recipe, shards, tmp_path / "many")
    pretrain(recipe, shards, tmp_path / "one")
    _, error = process.communicate()
    assert process.returncode == 0, error.decode()
    assert error.decode().count("parameters; ") == 1, "one rank speaks for all"
    assert len(list((tmp_path / "many" / "logs" / "tensorboard").iterdir())) == 1, "and writes for all"
    assert_close(tmp_path / "many", tmp_path / "one")


def test_ranks_that_were_not_started_alike_are_refused(shards: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    settings = [part for line in RECIPE.toml().splitlines() for part in ("--set", line)]
    command = [sys.executable, "-m", "pubmedbert", "pretrain", "--recipe", "mini", "--shards", str(shards), *settings]
    started = [
        subprocess.Popen(
            [*command, "--out", str(tmp_path / "run"), "--set", f"seed={rank}"],
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in started:
        _, error = process.communicate()
        assert process.returncode == 2, error.decode()
        assert b"not all ranks have the same recipe, settings, shards and version" in error
    assert not (tmp_path / "run" / "config.toml").exists()


def test_a_run_goes_on_with_other_ranks_and_says_so(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(RECIPE, steps=6, checkpoint_every=1, shard=True)
    process = torchrun(2, recipe, shards, tmp_path / "run", restarts=0)
    wait_for_lines(tmp_path / "run", process, 4)
    workers(process)[0].terminate()  # one rank is told, all ranks stop together
    process.communicate()
    done = metrics(tmp_path / "run")[-1]["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{done}").is_dir()
    pretrain(recipe, shards, tmp_path / "run")
    assert "the run goes on with the same rows in the same order" in capsys.readouterr().err
    pretrain(recipe, shards, tmp_path / "one")
    assert_close(tmp_path / "run", tmp_path / "one")


def test_a_rank_killed_in_mid_run_loses_nothing(shards: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, checkpoint_every=2)
    process = torchrun(2, recipe, shards, tmp_path / "killed", restarts=2)
    wait_for_lines(tmp_path / "killed", process, 5)
    for child in workers(process)[1:]:
        child.send_signal(signal.SIGKILL)
    _, error = process.communicate()
    assert process.returncode == 0, error.decode()
    assert "resuming" in error.decode()
    whole = torchrun(2, recipe, shards, tmp_path / "whole")
    _, error = whole.communicate()
    assert whole.returncode == 0, error.decode()
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole"), "the same bits on the same ranks"


def test_a_rank_killed_on_one_of_two_machines_loses_nothing(shards: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    machines = ("--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=pair")
    recipe, run = replace(RECIPE, checkpoint_every=2), tmp_path / "killed"
    pair = [torchrun(1, recipe, shards, run, restarts=2, machines=machines) for _ in range(2)]
    wait_for_lines(run, pair[0], 5)
    for child in workers(pair[1]):  # the count of restarts is that of this machine alone
        child.send_signal(signal.SIGKILL)
    said = "".join(process.communicate()[1].decode() for process in pair)
    assert [process.returncode for process in pair] == [0, 0], said
    assert "resuming" in said
    pretrain(recipe, shards, tmp_path / "one")
    assert_close(run, tmp_path / "one")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is set and RANK is not"),
        ({"WORLD_SIZE": "2", "RANK": "x"}, "RANK is 'x'"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2, of a WORLD_SIZE of 2"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "MASTER_PORT is not"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "80"}, "MASTER_ADDR is not"),
    ],
)
def test_variables_of_torchrun_that_make_no_sense(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said), ranks("cpu"):
        pass
