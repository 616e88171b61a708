"""Steps read ahead: the packs of a run that reads each when it needs it, however the guess goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pubmedbert.errors import InputError
from pubmedbert.model.runtime import prepare_torch
from pubmedbert.pretrain import ahead, loop
from pubmedbert.pretrain.ahead import Ahead, Dealt
from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.feed import feed
from pubmedbert.pretrain.loop import pretrain
from pubmedbert.pretrain.schedule import Moment
from pubmedbert.shards.read import open_shards
from tests.pretrain.conftest import SMALL, changed, metrics

NOW = Moment(phase=0, length=32, rows=16, mask_share=0.15, lr=1e-3)


@pytest.fixture
def threaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "pays", lambda device: True)


def same(one: Dealt, other: Dealt) -> bool:
    return list(one.sizes) == list(other.sizes) and all(
        number == twin and np.array_equal(pack.tokens, its.tokens) and np.array_equal(pack.where, its.where)
        for (number, pack), (twin, its) in zip(one.packs, other.packs, strict=True)
    )


def test_a_right_guess_is_taken_and_a_wrong_one_thrown_away(
    shards: Path, threaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Ahead(feed(open_shards(shards), "train", SMALL), Ranks(1, 2))
    calls: list[int] = []
    read = made._read

    def counting(now: Moment, first: int) -> Dealt:
        calls.append(first)
        return read(now, first)

    monkeypatch.setattr(made, "_read", counting)
    plain = made.take(NOW, 16)
    made.prepare(replace(NOW, lr=5.0), 16)
    assert same(made.take(NOW, 16), plain)
    assert calls == [16, 16], "not read a third time"
    for wrong, first in ((NOW, 32), (replace(NOW, rows=8), 16), (replace(NOW, mask_share=0.3), 16)):
        made.prepare(wrong, first)
        assert same(made.take(NOW, 16), plain)
    assert not same(made.take(NOW, 32), plain)


def test_runs_that_read_ahead_have_the_same_bits(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = changed(SMALL, mask_share=0.3, mask_share_end=0.15, rows_start=8, ramp=0.5)
    pretrain(recipe, shards, tmp_path / "plain")
    taken = []
    read = Ahead._read

    def counting(self: Ahead, now: Moment, first: int) -> Dealt:
        taken.append(first)
        return read(self, now, first)

    monkeypatch.setattr(ahead, "pays", lambda device: True)
    monkeypatch.setattr(Ahead, "_read", counting)
    pretrain(recipe, shards, tmp_path / "ahead")
    assert metrics(tmp_path / "ahead") == metrics(tmp_path / "plain")
    assert len(taken) == len(set(taken)) == recipe.steps, "each once"


def test_kernels_that_do_not_repeat_are_one_sentence(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def random(*_: object) -> None:
        modes.append(torch.is_deterministic_algorithms_warn_only_enabled())
        raise RuntimeError("some_kernel does not have a deterministic implementation, but you set it.\nMore.")

    monkeypatch.setattr(loop, "train_step", random)
    with pytest.raises(
        InputError, match=r"\(some_kernel does not have a deterministic implementation\): set repeatable="
    ):
        pretrain(SMALL, shards, tmp_path / "run")
    with pytest.raises(InputError):
        pretrain(changed(SMALL, repeatable=False), shards, tmp_path / "other")
    assert modes == [False, True]
    prepare_torch()
