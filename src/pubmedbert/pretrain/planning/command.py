"""`pubmedbert plan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.table import Table

    from pubmedbert.pretrain.planning.plan import Plan, StagePlan
    from pubmedbert.pretrain.planning.published import Check

_GIB = 2**30


def plan(
    *,
    recipe: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    gpus: int = 1,
    gpu: str = "h100",
    price: float | None = None,
    mfu: float | None = None,
    fill: float = 1.0,
    vocabulary: int = 30522,
    json: Annotated[bool, Parameter(negative="")] = False,
    check: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """What a pretraining run takes: parameters, FLOPs, memory, micro-batch, days and cost. Nothing is trained.

    Parameters
    ----------
    recipe
        A recipe of the package (such as pubmedbert-base) or a TOML file.
    set_
        A setting that differs from the recipe, as key=value; may be given several times.
    gpus
        How many GPUs.
    gpu
        Kind of GPU: h100, a100-80, a100-40, v100-32, v100-16, l40s, rtx4090, or cpu for this machine's processor.
    price
        US dollars for a GPU-hour; otherwise a listed price of 2026, where one is known.
    mfu
        Share of the GPU's peak that is reached, from 0 to 1; otherwise that of published runs.
    fill
        How full rows are on average, from 0 to 1. Packs hold no padding: rows half as long cost half.
    vocabulary
        Word pieces in the vocabulary.
    json
        Print JSON.
    check
        Compare predictions with published runs, instead of or before a plan.
    """
    from json import dumps

    from pubmedbert.errors import InputError

    if recipe is None and not check:
        raise InputError("name a --recipe to plan, or ask for --check")
    found: dict[str, object] = {}
    if check:
        from pubmedbert.pretrain.planning import published

        rows = published.check()
        found["check"] = [row.__dict__ | {"error": row.error} for row in rows]
        if not json:
            _show_check(rows)
    if recipe is not None:
        from dataclasses import asdict

        from pubmedbert.pretrain.planning.gpus import find_gpu
        from pubmedbert.pretrain.planning.plan import Setting, make_plan
        from pubmedbert.pretrain.recipe import load_recipe

        setting = Setting(find_gpu(gpu), gpus, vocabulary, fill, price, mfu)
        made = make_plan(recipe, load_recipe(recipe, set_ or ()), setting)
        found["plan"] = asdict(made)
        if not json:
            _show_plan(made)
    if json:
        print(dumps(found, ensure_ascii=False))


def _show_plan(plan: Plan) -> None:
    from rich.console import Console

    console = Console()
    for table in (_stages(plan), _memory(plan)):
        console.print(table)
    for note in plan.notes:
        console.print(f"- {note}", highlight=False)
    print(summary(plan))


def summary(plan: Plan) -> str:
    """The plan in a line."""
    gpu = plan.setting.gpu
    if plan.cost is None:
        cost = "cost unknown: give --price"
    else:
        cost = f"${plan.cost:,.0f} at ${plan.price:g} a GPU-hour"
        if plan.setting.price is None:
            cost += f" ({gpu.price_source})"
    return (
        f"{plan.recipe} on {plan.setting.gpus} x {gpu.title}: {plan.parameters:,} parameters, "
        f"{plan.tokens:.3g} tokens, {plan.flops:.3g} FLOPs, {duration(plan.seconds)}, "
        f"{plan.gpu_hours:,.0f} GPU-hours, {cost}"
    )


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"


def _stages(plan: Plan) -> Table:
    """What each stage takes, a column each."""
    from rich.table import Table

    table = Table(title=f"{plan.recipe}: {plan.size}, {plan.objective}, {plan.setting.gpus} x {plan.setting.gpu.title}")
    table.add_column("")
    for part in plan.stages:
        table.add_column(f"rows of {part.stage.length}", justify="right")
    cells: list[tuple[str, Callable[[StagePlan], str]]] = [
        ("steps", lambda p: f"{p.stage.steps:,}"),
        ("rows in a step", lambda p: f"{p.stage.rows:,}"),
        ("tokens", lambda p: f"{p.tokens:.3g}"),
        ("FLOPs a token", lambda p: f"{p.flops_per_token:.3g}"),
        ("FLOPs", lambda p: f"{p.flops:.3g}"),
        ("rows at once in a GPU", lambda p: f"{p.micro_rows:,}" if p.micro_rows else "none fits"),
        ("pack_tokens, at most", lambda p: f"{p.chosen.most_rows * p.stage.length:,}" if p.micro_rows else "-"),
        ("packs in a step", lambda p: f"{p.packs:,}"),
        ("passes of a GPU in a step", lambda p: f"{p.accumulation:,}" if p.accumulation else "-"),
        ("time in which GPUs have work", lambda p: f"{p.balance:.0%}"),
        ("MFU", lambda p: f"{p.mfu:.1%}"),
        ("tokens/s", lambda p: f"{p.tokens_per_second:,.0f}"),
        ("seconds a step", lambda p: f"{p.step_seconds:.3g}"),
        ("time", lambda p: duration(p.seconds)),
    ]
    for name, cell in cells:
        table.add_row(name, *(cell(part) for part in plan.stages))
    return table


def _memory(plan: Plan) -> Table:
    """What a GPU holds, a row for each way to fit a stage in."""
    from rich import box
    from rich.table import Table

    table = Table(title=f"memory of a GPU, GiB of {plan.setting.gpu.memory:,.0f}", box=box.SIMPLE, padding=(0, 0, 0, 1))
    kinds = ("weights", "grads", "optim.", "bf16")
    for head in ("rows of", "shard", "recomp.", *kinds, "a row, MiB", "most rows", "in use"):
        table.add_column(head, justify="right", min_width=max(map(len, head.split())))
    for part in plan.stages:
        for fit in part.fits:
            state = fit.state
            parts = (state.weights, state.gradients, state.optimizer, state.copies)
            rows = min(fit.most_rows, -(-part.stage.rows // plan.setting.gpus))
            cells = (
                f"{part.stage.length}{' *' if fit == part.chosen else ''}",
                "yes" if fit.sharded else "no",
                "yes" if fit.checkpointed else "no",
                *(f"{size / _GIB:.2f}" for size in parts),
                f"{fit.row / 2**20:,.1f}",
                f"{fit.most_rows:,}",
                f"{fit.used(rows) / _GIB:.1f}" if rows else "-",
            )
            table.add_row(*cells)
    table.caption = "* as the recipe has it; bf16: copies of the weights; in use: with no more rows than a step has"
    return table


def _show_check(rows: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table

    from pubmedbert.pretrain.planning.published import mean_error

    table = Table(title="published runs and what a plan says of them")
    for name in ("run", "GPUs", "size", "what"):
        table.add_column(name)
    for name in ("published", "predicted", "unit", "time", "role"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = (f"{row.published:,.4g}", f"{row.predicted:,.4g}", row.unit, f"{row.error:+.0%}", row.role)
        table.add_row(row.source, f"{row.gpus} x {row.gpu}", row.size, row.what, *figures)
    console = Console()
    console.print(table)
    used = sum(row.role == "calibrates" for row in rows)
    tests = [row for row in rows if row.role == "test"]
    worst = max(tests, key=lambda row: abs(row.error))
    print(
        f"time predicted for {len(tests)} published runs that set nothing: off by {mean_error(rows, 'test'):.0%} on "
        f"average, {worst.error:+.0%} at worst ({worst.source}, {worst.gpus} x {worst.gpu}); "
        f"{used} rows set the MFU and the loss with length ({mean_error(rows, 'calibrates'):.1%} off)"
    )
