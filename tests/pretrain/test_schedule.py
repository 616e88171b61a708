"""What a step is made with, as a function of how far the run is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.pretrain.recipe import SCHEDULES, Phase, Recipe
from pubmedbert.pretrain.schedule import Moment, complete, learning_rate, moment, position


def moments(recipe: Recipe) -> list[Moment]:
    return [moment(recipe, *position(recipe, step, 0.0, 0.0)) for step in range(recipe.steps)]


@given(st.integers(1, 500), st.floats(0, 0.99), st.sampled_from(SCHEDULES))
def test_the_learning_rate_rises_and_falls_to_zero(steps: int, warmup: float, schedule: str) -> None:
    recipe = Recipe(steps=steps, warmup=warmup, lr=1e-3, schedule=schedule, decay=min(0.2, 1 - warmup))
    rates = [now.lr for now in moments(recipe)]
    assert all(0 < rate <= 1e-3 * (1 + 1e-9) for rate in rates)
    top = int(np.argmax(rates))
    assert all(np.diff(rates[: top + 1]) > 0)
    assert all(np.diff(rates[top:]) <= 1e-12)
    assert learning_rate(recipe, 1.0, 2.0) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "settings", [{"warmup": 1.0}, {"schedule": "wsd", "decay": 0.0}, {"schedule": "wsd", "warmup": 0.9, "decay": 0.2}]
)
def test_schedules_that_would_not_fall_to_zero_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"recipe: (warmup|decay) must be from"):
        Recipe(**settings)


def test_the_papers_schedule_at_known_steps() -> None:
    rates = [now.lr for now in moments(Recipe(steps=100, warmup=0.1, lr=1.0))]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:] == pytest.approx([(100 - step) / 90 for step in range(10, 100)])


def test_wsd_holds_the_rate_and_cosine_halves_it_in_the_middle() -> None:
    held = [now.lr for now in moments(Recipe(steps=100, warmup=0.1, lr=1.0, schedule="wsd", decay=0.2))]
    assert held[10:80] == [1.0] * 70
    assert held[90] == pytest.approx(0.5)
    cosine = [now.lr for now in moments(Recipe(steps=100, warmup=0.1, lr=1.0, schedule="cosine"))]
    assert cosine[55] == pytest.approx(0.5)


def test_a_run_of_minutes_goes_by_seconds_trained() -> None:
    recipe = Recipe(minutes=10, warmup=0.1, lr=1.0, steps=1)
    rates = {seconds: moment(recipe, *position(recipe, 7, seconds, 1.0)).lr for seconds in (29.0, 59.0, 330.0, 599.0)}
    assert rates[29.0] == pytest.approx(0.5)
    assert rates[59.0] == pytest.approx(1.0)
    assert rates[330.0] == pytest.approx(0.5)
    assert 0 < rates[599.0] < 0.002
    assert not complete(recipe, 10**6, 599.9)
    assert complete(recipe, 3, 600.0)
    assert moment(recipe, *position(recipe, 7, 700.0, 1.0)).lr == 0.0, "and is zero when the budget ends"
    first = moment(recipe, *position(recipe, 0, 0.0, 0.0)).lr
    assert 0 < first < rates[29.0] / 10, "the first step, whose time is not known, is not thrown away"


def test_phases_change_length_rows_masks_and_rate_at_their_share() -> None:
    recipe = Recipe(
        steps=100,
        warmup=0.0,
        lr=1.0,
        rows=64,
        mask_share=0.2,
        phases=(Phase(share=0.9, length=128), Phase(share=0.1, length=512, rows=32, mask_share=0.15, lr=0.5)),
    )
    first, last = moments(recipe)[89], moments(recipe)[90]
    assert (first.phase, first.length, first.rows, first.mask_share) == (0, 128, 64, 0.2)
    assert (last.phase, last.length, last.rows, last.mask_share) == (1, 512, 32, 0.15)
    assert last.lr == pytest.approx(0.5 * 0.1)


@given(st.integers(1, 300), st.lists(st.floats(0.01, 1), min_size=1, max_size=5))
def test_every_step_is_in_one_phase_and_all_phases_come_in_order(steps: int, shares: list[float]) -> None:
    phases = tuple(Phase(share=share / sum(shares)) for share in shares)
    found = [now.phase for now in moments(Recipe(steps=steps, phases=phases))]
    assert found == sorted(found)
    for number, phase in enumerate(phases):
        assert found.count(number) == pytest.approx(phase.share * steps, abs=1.0 + 1e-6)


def test_rows_ramp_up_and_masks_go_down() -> None:
    now = moments(Recipe(steps=100, rows=100, rows_start=20, ramp=0.5, mask_share=0.3, mask_share_end=0.15))
    assert [now[step].rows for step in (0, 25, 50, 99)] == [20, 60, 100, 100]
    assert [now[step].mask_share for step in (0, 50)] == pytest.approx([0.3, 0.225])
    assert now[99].mask_share == pytest.approx(0.15, abs=0.002)
