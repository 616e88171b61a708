"""What a run takes, before anything is rented: parameters, arithmetic, memory, time and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from pubmedbert.errors import InputError
from pubmedbert.model.config import ModelConfig
from pubmedbert.model.electra import generator_config
from pubmedbert.pretrain.distributed import EVEN
from pubmedbert.pretrain.objective import objective
from pubmedbert.pretrain.optimizer import is_hidden_matrix, owners_of
from pubmedbert.pretrain.planning import memory
from pubmedbert.pretrain.planning.gpus import GIB, HERE, Gpu, step_seconds
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.pretrain.schedule import mask_share
from pubmedbert.shards.samples import Pack, pack_count

VOCABULARY = 30522
"""Word pieces of the published models."""


@dataclass(frozen=True)
class Setting:
    """What a run is planned for."""

    gpu: Gpu
    gpus: int
    vocabulary: int = VOCABULARY
    """V."""
    fill: float = 1.0
    """How full rows are on average: packs hold no padding, so short rows cost less."""
    price: float | None = None
    """US dollars for a GPU-hour, if not the listed price."""
    mfu: float | None = None
    """Share of the GPU's peak that is reached, if not that of `Gpu.reached`."""

    def __post_init__(self) -> None:
        for option, value, most in (
            ("--gpus", self.gpus, 2**20),
            ("--vocabulary", self.vocabulary, 2**24),
            ("--fill", self.fill, 1),
            ("--mfu", self.mfu, 1),
        ):
            if value is not None and not 0 < value <= most:
                raise InputError(f"{option} must be above 0 and at most {most:,}, not {value:g}")
        if self.price is not None and not 0 <= self.price < math.inf:
            raise InputError(f"--price must be a number of dollars from 0, not {self.price:g}")

    @property
    def here(self) -> bool:
        """Whether it is this machine's processor."""
        return self.gpu.name == HERE


@dataclass(frozen=True)
class Stage:
    """A part of a run whose rows have one length."""

    share: float
    """Of the run."""
    length: int
    rows: int
    """Most rows in a step, over all GPUs."""
    mean_rows: float
    """Rows in a step on average: fewer where their number rises."""
    steps: int
    mask_share: float
    """On average."""


@dataclass(frozen=True)
class Fit:
    """Whether a step goes into the memory of a GPU, one way to do it."""

    sharded: bool
    checkpointed: bool
    state: memory.State
    row: float
    """Bytes of a row."""
    most_rows: int
    """Rows that go through at once; 0 where not even one does."""

    def used(self, rows: int) -> float:
        """Bytes in use with so many rows at once."""
        return self.state.total + self.row * rows


@dataclass(frozen=True)
class StagePlan:
    """What a stage takes."""

    stage: Stage
    tokens: float
    """In all."""
    flops_per_token: float
    flops: float
    """In all, with nothing computed twice."""
    fits: list[Fit]
    """All ways; the first is without shards and checkpointing."""
    chosen: Fit
    """The recipe's way."""
    packs: int
    """In a step, over all GPUs: the recipe's, or more where those would not fit."""
    micro_rows: int
    """Rows at once in a GPU, those of a pack counted as full ones; 0 where not even one fits."""
    accumulation: int
    """Passes of the GPU that has the most to do in a step."""
    too_large: bool
    """Whether the recipe's own packs do not fit."""
    balance: float
    """Share of the GPUs' time in which they have work, while all wait for that one."""
    mfu: float
    step_seconds: float
    tokens_per_second: float
    """Over all GPUs."""
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a run takes."""

    recipe: str
    objective: str
    size: str
    setting: Setting
    parameters: int
    stages: list[StagePlan]
    flops: float
    tokens: float
    seconds: float
    gpu_hours: float
    price: float | None
    """US dollars for a GPU-hour."""
    cost: float | None
    notes: list[str]
    """What the reader should know of the figures."""


def make_plan(name: str, recipe: Recipe, setting: Setting) -> Plan:
    """Plan a run: build its model without memory, count, and divide by what GPUs do.

    Args:
        name: of the recipe.
        recipe: its settings.
        setting: on what.

    Raises:
        InputError: the recipe goes on from a model, whose shape it does not state.
    """
    if recipe.init:
        raise InputError(f"the shape is that of {recipe.init}: plan with --set init= and the --set size=... it has")
    if not setting.here and (recipe.precision == "fp32" or (recipe.precision == "auto" and not setting.gpu.bf16)):
        setting = replace(setting, gpu=setting.gpu.in_fp32())
    task = objective(recipe)
    config = recipe.model(setting.vocabulary, 0)
    with torch.device("meta"):  # shapes alone
        model = task.build(config)
    planned = [
        _stage(recipe, config, setting, stage, model, task.flops(model, full_row(stage)) * setting.fill)
        for stage in stages(recipe)
    ]
    seconds = sum(part.seconds for part in planned)
    price = setting.gpu.price if setting.price is None else setting.price
    hours = seconds * setting.gpus / 3600
    return Plan(
        recipe=name,
        objective=recipe.objective,
        size=recipe.size,
        setting=setting,
        parameters=count(model),
        stages=planned,
        flops=sum(part.flops for part in planned),
        tokens=sum(part.tokens for part in planned),
        seconds=seconds,
        gpu_hours=hours,
        price=price,
        cost=None if price is None else price * hours,
        notes=_notes(recipe, setting, planned),
    )


def count(model: nn.Module) -> int:
    """The parameters of a model, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def stages(recipe: Recipe) -> list[Stage]:
    """The parts of a run by the length of their rows, with steps as if the run were not limited by minutes."""
    found = []
    done = 0.0
    for number, phase in enumerate(recipe.stages()):
        begin, done = done, done + phase.share
        start = recipe.rows_start or phase.rows
        lacking = (phase.rows - start) * _below(begin, done, recipe.ramp)
        masks = mask_share(recipe, number, (begin + done) / 2)  # it moves evenly
        steps = round(done * recipe.steps) - round(begin * recipe.steps)
        found.append(Stage(phase.share, phase.length, phase.rows, phase.rows - lacking, steps, masks))
    return found


def full_row(stage: Stage) -> Pack:
    """A pack of one row of the full length with as many masks as a row has on average."""
    length, masks = stage.length, max(1, round(stage.length * stage.mask_share))
    zeros = np.zeros(length, np.int64)
    return Pack(
        tokens=zeros,
        positions=np.arange(length),
        lengths=[length],
        where=np.linspace(1, length - 2, masks).astype(np.int64),
        labels=zeros[:masks],
        types=zeros,
        samples=zeros[:1],
        random_next=zeros[:1] - 1,
    )


def _stage(
    recipe: Recipe, config: ModelConfig, setting: Setting, stage: Stage, model: nn.Module, flops: float
) -> StagePlan:
    """Plan a stage, a row of which takes so many FLOPs."""
    gpu, gpus = setting.gpu, setting.gpus
    fits = _fits(recipe, config, setting, stage, model)
    chosen = next(f for f in fits if f.checkpointed == recipe.recompute and f.sharded == (recipe.shard and gpus > 1))
    tokens = stage.length * setting.fill  # of a row
    whole, _ = _packs(recipe, stage.rows, tokens, recipe.pack_tokens, gpus)
    limit = min(recipe.pack_tokens, chosen.most_rows * stage.length) or recipe.pack_tokens
    packs, slowest = _packs(recipe, stage.rows, tokens, limit, gpus)
    again = 4 / 3 if chosen.checkpointed else 1.0  # one more forward pass
    mfu = gpu.reached(config.width, stage.length) if setting.mfu is None else setting.mfu
    work = stage.mean_rows * flops
    balance = stage.rows / (slowest * gpus)
    spent = step_seconds(work / balance * again, gpu, gpus, config.width, stage.length, 4.0 * count(model), mfu)
    steps = math.floor(recipe.minutes * 60 * stage.share / spent) if recipe.minutes else stage.steps
    return StagePlan(
        stage=Stage(stage.share, stage.length, stage.rows, stage.mean_rows, steps, stage.mask_share),
        tokens=tokens * stage.mean_rows * steps,
        flops_per_token=flops / tokens,
        flops=work * steps,
        fits=fits,
        chosen=chosen,
        packs=packs,
        micro_rows=min(chosen.most_rows, math.ceil(stage.rows * setting.fill / packs)),
        accumulation=math.ceil(packs / gpus) if chosen.most_rows else 0,
        too_large=math.ceil(stage.rows * setting.fill / whole) > chosen.most_rows,
        balance=balance,
        mfu=mfu,
        step_seconds=spent,
        tokens_per_second=tokens * stage.mean_rows / spent,
        seconds=spent * steps,
    )


def _packs(recipe: Recipe, rows: int, tokens: float, limit: int, gpus: int) -> tuple[int, int]:
    """How many packs a step has, and the rows of the GPU that has the most, which all wait for.

    Args:
        recipe: whether packs are even, or as full as can be but for the last.
        rows: of the step.
        tokens: of a row.
        limit: tokens in a pack, at most.
        gpus: among which packs are dealt out.
    """
    if recipe.packs > 1:
        count = pack_count(rows * tokens, limit, recipe.packs, rows)
        each, last = math.ceil(rows / count), 0
        rounds, left = divmod(count, gpus)
    else:
        each = max(1, int(limit / tokens))
        count = math.ceil(rows / each)
        last = rows - (count - 1) * each
        rounds, left = divmod(count - 1, gpus)
    return count, min(rows, each * (rounds + 1) if left else each * rounds + last)


def _fits(recipe: Recipe, config: ModelConfig, setting: Setting, stage: Stage, model: nn.Module) -> list[Fit]:
    """The ways to fit a stage into a GPU: all but shards for a single one."""
    # What `auto` comes to on a CPU is measured when a run starts: counted as fp32.
    half = recipe.precision == "bf16" or (recipe.precision == "auto" and not (setting.here or setting.gpu.single))
    room = setting.gpu.memory * GIB - memory.RESERVED
    found = []
    for checkpointed in (False, True):
        row = _row_bytes(recipe, config, stage, half=half, checkpointed=checkpointed)
        for sharded in (False, True) if setting.gpus > 1 else (False,):
            state = memory.state(
                count(model),
                _moments(recipe, model, setting.gpus if sharded else 1),
                setting.gpus,
                half=half,
                average=recipe.average > 0,
            )
            found.append(Fit(sharded, checkpointed, state, row, max(0, int((room - state.total) / row))))
    return found


def _row_bytes(recipe: Recipe, config: ModelConfig, stage: Stage, *, half: bool, checkpointed: bool) -> float:
    """The most bytes that a row needs in a step."""
    length, masks = stage.length, stage.length * stage.mask_share
    if recipe.objective != "electra":
        kept = memory.row_bytes(config, length, masks, half=half, checkpointed=checkpointed)
        return kept + memory.backward_bytes(config, masks, half=half)
    small = generator_config(config, recipe.generator)
    generator = memory.row_bytes(small, length, masks, half=half, checkpointed=checkpointed)
    discriminator = memory.row_bytes(config, length, length, half=half, checkpointed=checkpointed, head=False)
    return generator + discriminator + memory.backward_bytes(small, masks, half=half)


def _moments(recipe: Recipe, model: nn.Module, parts: int = 1) -> int:
    """Numbers that the optimizer keeps on the fullest of so many GPUs that each keep a part.

    They are two a parameter, but one for the hidden matrices that Muon updates.
    """
    loads = [0] * parts
    owners = owners_of(model, parts)
    for name, parameter in model.named_parameters():
        one = recipe.optimizer == "muon" and is_hidden_matrix(name, parameter)
        loads[owners[name]] += parameter.numel() * (1 if one else 2)
    return max(loads)


def _below(begin: float, end: float, ramp: float) -> float:
    """By how much a number that rises evenly from 0 to 1 until `ramp` lies below 1, on average between two moments."""
    if begin >= ramp:
        return 0.0
    top = min(end, ramp)
    return (top - begin) * (1 - (begin + top) / (2 * ramp)) / (end - begin)


def _notes(recipe: Recipe, setting: Setting, planned: Sequence[StagePlan]) -> list[str]:
    gpu = setting.gpu
    if setting.mfu is not None:
        notes = [f"the MFU of {setting.mfu:.0%} is yours"]
    elif gpu.single:
        why = (
            "the recipe wants fp32" if recipe.precision == "fp32" else "this GPU has no bf16, so that products are fp32"
        )
        notes = [f"{why}, {gpu.rate:g} TFLOP/s here: the MFU is reckoned from that of half precision; give --mfu"]
    elif setting.here:
        notes = [f"the MFU of {gpu.mfu:.0%} is assumed, of products in fp32; `pretrain` shows the real one as it runs"]
    elif gpu.measured:
        notes = ["the MFU is that of published runs of other code; --check shows how well they are predicted"]
    else:
        notes = [f"no published BERT run on this GPU was found: the MFU of {gpu.mfu:.0%} is an assumption; give --mfu"]
    if not (gpu.bf16 or gpu.single or setting.here):
        slower = f" ({gpu.fp32:g} instead of {gpu.peak:g} TFLOP/s)"
        notes.append(
            "the figures are those of fp16 code: this GPU has no bf16, so that `pretrain --device cuda` refuses the "
            f"recipe's; with precision=fp32{slower} it takes several times as long"
        )
    for part in planned:
        rows = f"rows of {part.stage.length}"
        if (idle := setting.gpus - part.stage.rows) > 0:
            notes.append(f"{idle:,} of the GPUs have no row of {part.stage.length} to work on: a step has too few")
        elif part.balance < EVEN:
            packs, share = "a pack" if part.packs == 1 else f"{part.packs:,} packs", 1 - part.balance
            better = f"packs={setting.gpus}" if recipe.packs % setting.gpus else "more rows in a step"
            notes.append(
                f"with {rows} a step is {packs}, and the GPUs wait {share:.0%} of the time for the one with the most; "
                f"{better} would lessen that"
            )
        if part.micro_rows and part.too_large:
            most = part.chosen.most_rows * part.stage.length
            notes.append(f"packs of {recipe.pack_tokens:,} do not fit with {rows}: set pack_tokens={most}")
        if not part.micro_rows:
            ways = [_way(fit) for fit in part.fits if fit.most_rows]
            otherwise = f"; it would with {' or '.join(ways)}" if ways else ""
            notes.append(f"not a row of {part.stage.length} fits into the memory{otherwise}")
    return notes


def _way(fit: Fit) -> str:
    """The settings of a fit, as `--set` takes them."""
    return " and ".join(
        f"{key}=true" for key, wanted in (("shard", fit.sharded), ("recompute", fit.checkpointed)) if wanted
    )
