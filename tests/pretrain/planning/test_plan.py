"""Plans: counts equal to built models, sums that add up, and sentences for what can't be planned."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.pretrain.objective import objective
from pubmedbert.pretrain.planning.gpus import find_gpu, known_gpus
from pubmedbert.pretrain.planning.plan import Setting, _below, full_row, make_plan, stages
from pubmedbert.pretrain.recipe import RECIPES, Phase, Recipe, load_recipe

SMALL = Recipe(size="tiny", rows=64, steps=100, length=64)


def setting(gpu: str = "a100-40", gpus: int = 4, **more: float) -> Setting:
    return Setting(find_gpu(gpu), gpus, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mlm", "mlm+nsp", "electra"])
def test_parameters_are_those_of_the_built_model(name: str) -> None:
    recipe = Recipe(size="tiny", objective=name, two_segments=name == "mlm+nsp")
    built = objective(recipe).build(recipe.model(1234, 0))
    planned = make_plan("it", recipe, setting(vocabulary=1234))
    assert planned.parameters == sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize(("size", "parameters"), [("base", 109_514_298), ("large", 335_174_458)])
def test_parameters_of_the_published_sizes(size: str, parameters: int) -> None:
    """Those of `transformers.BertForMaskedLM` with its head tied."""
    assert make_plan(size, Recipe(size=size), setting()).parameters == parameters


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_package_is_planned(path: pytest.TempPathFactory) -> None:
    name = path.stem  # type: ignore[attr-defined]
    planned = make_plan(name, load_recipe(name), setting("h100", 8))
    assert planned.cost is not None
    assert planned.cost > 0
    assert all(part.micro_rows > 0 for part in planned.stages)


def test_sums_add_up() -> None:
    phases = (Phase(share=0.9, length=64), Phase(share=0.1, length=256, rows=16, mask_share=0.2))
    recipe = Recipe(size="mini", rows=64, steps=1000, phases=phases)
    planned = make_plan("two phases", recipe, setting(price=2.0))
    short, long = planned.stages
    assert (short.stage.steps, long.stage.steps) == (900, 100)
    assert short.tokens == 900 * 64 * 64
    assert long.tokens == 100 * 16 * 256
    model = objective(recipe).build(recipe.model(30522, 0))
    assert long.flops == 100 * 16 * objective(recipe).flops(model, full_row(long.stage))
    assert planned.seconds == short.seconds + long.seconds
    assert planned.gpu_hours == pytest.approx(4 * planned.seconds / 3600)
    assert planned.cost == pytest.approx(2 * planned.gpu_hours)
    for part in planned.stages:
        share = -(-part.stage.rows // 4)
        assert part.micro_rows * (part.accumulation - 1) < share <= part.micro_rows * part.accumulation


def test_masks_are_those_of_training() -> None:
    phases = (Phase(share=0.5, length=64), Phase(share=0.5, length=64, mask_share=0.15))
    found = stages(Recipe(size="tiny", phases=phases, mask_share=0.3, mask_share_end=0.15))
    assert [stage.mask_share for stage in found] == pytest.approx([0.2625, 0.15])
    (found_alone,) = stages(Recipe(size="tiny", mask_share=0.3, mask_share_end=0.15))
    assert found_alone.mask_share == pytest.approx(0.225)


def test_more_gpus_take_less_time_and_never_less_money() -> None:
    recipe = Recipe(size="base", rows=65536, steps=10)
    plans = [make_plan("it", recipe, setting(gpus=gpus)) for gpus in (1, 8, 64)]
    assert plans[0].seconds > plans[1].seconds > plans[2].seconds
    hours = [plan.gpu_hours for plan in plans]
    assert hours == sorted(hours)
    assert hours[2] < 1.2 * hours[0]


def test_the_gpu_with_the_most_rows_decides() -> None:
    recipe = Recipe(size="base", rows=12, steps=10)
    uneven, even = (make_plan("it", recipe, setting(gpus=gpus, mfu=0.3)) for gpus in (8, 6))
    assert uneven.stages[0].step_seconds >= even.stages[0].step_seconds, "two rows on the slowest of both"
    idle = make_plan("it", recipe, setting(gpus=20, mfu=0.3))
    assert any(note.startswith("8 of the GPUs have no row of 128") for note in idle.notes)
    assert not any("no row" in note for note in uneven.notes)


def test_packs_that_do_not_come_out_even_cost_time() -> None:
    recipe = Recipe(size="base", length=128, rows=1024, steps=10, pack_tokens=8192)  # 16 packs
    part, fair = (make_plan("it", replace(recipe, packs=packs), setting(gpus=12)).stages[0] for packs in (1, 12))
    assert (part.packs, part.accumulation, fair.packs, fair.accumulation) == (16, 2, 24, 2)
    assert part.balance == pytest.approx(16 / 24)
    assert fair.balance == pytest.approx(1024 / (2 * 43 * 12)), "rows are not cut"
    assert part.step_seconds > 1.2 * fair.step_seconds, "but for the all-reduce"
    notes = make_plan("it", recipe, setting(gpus=12)).notes
    assert any(
        "a step is 16 packs, and the GPUs wait 33% of the time" in note and "packs=12 would" in note for note in notes
    )
    one = make_plan("it", replace(recipe, rows=64), setting(gpus=2))
    assert any("a step is a pack, and the GPUs wait 50%" in note for note in one.notes)
    uneven = make_plan("it", replace(recipe, rows=520), setting(gpus=2)).stages[0]
    assert uneven.packs == 9, "eight full ones and a small one"
    assert uneven.balance == pytest.approx(520 / (2 * 264))
    few = make_plan("it", replace(recipe, rows=24, packs=16), setting(gpus=16))
    assert any("more rows in a step would lessen that" in note for note in few.notes)


def test_a_pack_that_does_not_fit_is_told() -> None:
    recipe = Recipe(size="large", length=512, rows=256, pack_tokens=2**20)
    planned = make_plan("it", recipe, setting("v100-16"))
    most = planned.stages[0].chosen.most_rows
    assert any(
        f"packs of 1,048,576 do not fit with rows of 512: set pack_tokens={most * 512}" in note
        for note in planned.notes
    )
    assert planned.stages[0].packs == -(-256 // most)
    assert not any("do not fit" in note for note in make_plan("it", replace(recipe, rows=4), setting("v100-16")).notes)


@pytest.mark.parametrize("gpu", sorted(known_gpus()))
def test_products_in_fp32_take_their_time(gpu: str) -> None:
    """What a data sheet says of single precision, not of half."""
    recipe = load_recipe("pubmedbert-base")
    half, single = (make_plan("it", replace(recipe, precision=name), setting(gpu)) for name in ("auto", "fp32"))
    part, known = single.stages[0], find_gpu(gpu)
    if not known.bf16:
        assert half.seconds == single.seconds, "as `pretrain` multiplies there"
        assert half.stages == single.stages
        assert half.notes[0].startswith(f"this GPU has no bf16, so that products are fp32, {known.fp32:g} TFLOP/s here")
        return
    work = part.flops / part.stage.steps / 4
    assert 0.2e12 * known.fp32 < work / part.step_seconds < 0.75e12 * known.fp32 < 1e12 * known.peak
    assert 1.5 * half.seconds < single.seconds < known.peak / known.fp32 * half.seconds
    assert single.notes[0].startswith(f"the recipe wants fp32, {known.fp32:g} TFLOP/s here")
    assert make_plan("it", replace(recipe, precision="fp32"), setting(gpu, mfu=0.1)).seconds > 2 * single.seconds


def test_half_full_rows_cost_half() -> None:
    whole, half = (make_plan("it", SMALL, setting(gpus=1, fill=fill)) for fill in (1.0, 0.5))
    assert half.seconds == pytest.approx(whole.seconds / 2)
    assert half.tokens == whole.tokens / 2


def test_minutes_decide_the_steps() -> None:
    planned = make_plan("it", Recipe(size="tiny", minutes=30), setting())
    assert planned.seconds == pytest.approx(1800, rel=0.01)


def test_recomputing_costs_a_third_and_fits_more() -> None:
    plain = make_plan("it", Recipe(size="large", length=512, rows=4096), setting())
    again = make_plan("it", Recipe(size="large", length=512, rows=4096, recompute=True), setting())
    assert again.seconds == pytest.approx(plain.seconds * 4 / 3, rel=0.02)
    assert again.stages[0].chosen.most_rows > plain.stages[0].chosen.most_rows


def test_what_does_not_fit_is_said_with_what_would() -> None:
    recipe = Recipe(size="large", length=49152, max_positions=49152, pack_tokens=49152)
    planned = make_plan("it", recipe, setting("a100-40"))
    assert planned.stages[0].micro_rows == 0
    assert any("recompute=true" in note for note in planned.notes)


@given(st.floats(0, 0.99), st.floats(0.001, 1), st.floats(0.01, 1))
def test_a_ramp_is_averaged(begin: float, width: float, ramp: float) -> None:
    end = min(1.0, begin + width)
    places = [begin + (end - begin) * (n + 0.5) / 2000 for n in range(2000)]
    expected = sum(max(0.0, 1 - place / ramp) for place in places) / 2000
    assert _below(begin, end, ramp) == pytest.approx(expected, abs=2e-3)


def test_a_ramp_lessens_the_rows() -> None:
    (stage,) = stages(Recipe(rows=100, rows_start=20, ramp=0.5))
    assert stage.rows == 100
    assert stage.mean_rows == pytest.approx(100 - 80 * 0.25)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"gpus": 0}, "--gpus must be above 0"),
        ({"mfu": 1.5}, "--mfu must be above 0 and at most 1"),
        ({"fill": 0.0}, "--fill must be above 0"),
        ({"price": -1.0}, "--price must be a number of dollars"),
    ],
)
def test_bad_numbers_are_named(option: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        setting(**{"gpus": 1, **option})  # type: ignore[arg-type]


def test_the_command_prints_tables_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--recipe", "mini", "--gpus", "2", "--gpu", "l40s", "--set", "steps=5"])
    out = capsys.readouterr().out
    assert "the recipe wants fp32, 91.6 TFLOP/s here" in out
    last = out.splitlines()[-1]
    assert last.startswith("mini on 2 x L40S 48 GB: ")
    assert "GPU-hour" in last


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--recipe", "mini", "--gpu", "a100-40", "--json"])
    found = json.loads(capsys.readouterr().out)["plan"]
    assert found["parameters"] > 1e6
    assert found["cost"] is None, "no price of this GPU is listed"


def test_this_machine_is_a_kind_too(capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--recipe", "mini", "--gpu", "cpu", "--json"])
    found = json.loads(capsys.readouterr().out)["plan"]
    assert 0.001 < found["setting"]["gpu"]["peak"] < 100
    assert found["stages"][0]["chosen"]["state"]["copies"] == 0


def test_unknown_gpus_and_nothing_to_plan(capsys: pytest.CaptureFixture[str]) -> None:
    for tokens, sentence in (
        (["--recipe", "mini", "--gpu", "t4"], f"there are {', '.join(known_gpus())} and cpu"),
        ([], "name a --recipe to plan"),
        (["--recipe", "mini", "--set", "init=bundled"], "plan with --set init="),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["plan", *tokens])
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err
