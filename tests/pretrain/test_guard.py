"""What is skipped, when a run goes back, and when it is told that it learns nothing."""

from __future__ import annotations

import math

import pytest

from pubmedbert.pretrain.guard import ENOUGH, Guard
from pubmedbert.pretrain.recipe import Recipe


def seasoned(**settings: object) -> Guard:
    guard = Guard(Recipe(**settings))  # type: ignore[arg-type]
    for step in range(ENOUGH):
        assert not guard.judge(5.0, 1.0 + step % 2).reason
    return guard


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (5.0, math.inf), (math.inf, math.nan)])
def test_what_is_not_finite_is_skipped_at_once(loss: float, norm: float) -> None:
    guard = Guard(Recipe())
    for _ in range(3):
        assert guard.judge(loss, norm) == ("not finite", True)


def test_spikes_of_gradient_and_loss_are_told_once_there_is_a_median() -> None:
    assert not Guard(Recipe(spike=3.0)).judge(5.0, 1e9).reason, "early steps may be anything"
    guard = seasoned(spike=3.0)
    assert guard.judge(5.0, 4.0) == ("", False)
    first, second, third = (guard.judge(*one) for one in ((5.0, 50.0), (16.0, 1.0), (5.0, 50.0)))
    assert first.reason.startswith("gradient of 50, usually 2")
    assert first.skip, "its rows may be at fault"
    assert second.reason.startswith("loss of 16, usually 5")
    assert [second.skip, third.skip] == [False, False], "the weights are at fault, which would never change"
    assert guard.in_a_row == 3
    assert guard.judge(math.nan, 1.0).skip
    assert not guard.judge(5.0, 1.0).reason
    assert guard.in_a_row == 0
    assert guard.judge(5.0, 50.0).skip
    assert not seasoned(spike=0.0).judge(500.0, 1e9).reason, "0 switches it off"


def test_steps_with_nothing_to_predict_tell_nothing() -> None:
    guard = Guard(Recipe(spike=3.0))
    lines: list[dict[str, float]] = [{"step": step, "grad_norm": 0.0} for step in range(40)]
    assert not any(guard.judge(None, 0.0).reason for _ in lines)
    assert guard.judge(None, math.nan).reason == "not finite"
    assert not guard.judge(5.3, 1.2).reason
    lines += [{"step": 40, "skipped": 1.0}, {"step": 41, "loss": 5.3, "grad_norm": 1.2}]
    assert Guard(Recipe(spike=3.0), lines).__dict__ == guard.__dict__


def test_so_many_in_a_row_exhaust_it() -> None:
    guard = Guard(Recipe(most_skips=3))
    states = []
    for _ in range(3):
        guard.judge(math.nan, 1.0)
        states.append(guard.exhausted)
    assert states == [False, False, True]


def test_a_guard_is_what_the_metrics_say() -> None:
    guard, lines = Guard(Recipe(spike=3.0)), []
    for step in range(200):
        loss, norm = 5.0 - step / 100, 90.0 if step in (150, 198, 199) else 1.0 + step % 7
        reason, skip = guard.judge(loss, norm)
        bad = {"skipped" if skip else "spike": reason} if reason else {}
        lines.append({"step": step, "loss": loss, "grad_norm": norm, **bad})
    again = Guard(Recipe(spike=3.0), lines)
    assert again.__dict__ == guard.__dict__
    assert again.in_a_row == 2
    assert [line["step"] for line in lines if "skipped" in line] == [150, 198]
    assert [line["step"] for line in lines if "spike" in line] == [199]


def test_stuck_is_said_once_and_only_well_after_the_warm_up() -> None:
    guard = Guard(Recipe())
    assert not guard.stuck(7.0, 7.0, done=0.15, warmup=0.1)
    assert not guard.stuck(6.5, 7.0, done=0.5, warmup=0.1)
    assert guard.stuck(6.98, 7.0, done=0.5, warmup=0.1)
    assert not guard.stuck(6.98, 7.0, done=0.6, warmup=0.1)
    assert Guard(Recipe(), [{"step": 5, "eval_loss": 7.0, "stuck": True}]).warned
