"""The pretraining loop: fit, train_step, validate. A run killed anywhere goes on by the same command."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from pubmedbert.errors import InputError
from pubmedbert.files import locked
from pubmedbert.pretrain import checkpoint
from pubmedbert.pretrain.checkpoint import Progress
from pubmedbert.pretrain.claim import check_ranks, claim, cut_metrics, give_up
from pubmedbert.pretrain.distributed import EVEN, ranks
from pubmedbert.pretrain.feed import FROZEN_SEED
from pubmedbert.pretrain.guard import Verdict
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.pretrain.report import write_report
from pubmedbert.pretrain.run import Run, setup
from pubmedbert.pretrain.schedule import Moment
from pubmedbert.pretrain.sinks import Sinks, check_sinks, open_sinks
from pubmedbert.pretrain.term import evaluate_terms
from pubmedbert.progress import Advance, progress
from pubmedbert.shards.read import open_shards
from pubmedbert.shards.samples import Pack

Write = Callable[[Mapping[str, object]], None]
"""Takes a line of metrics, on the main rank; the others' lines go nowhere."""


class TooManySkipsError(Exception):
    """So many steps were bad in a row that the run had better go back; says why the last one was."""


@dataclass(frozen=True)
class Work:
    """A step to be done."""

    packs: list[tuple[int, Pack]]
    """This rank's, with their numbers in the step."""
    counts: dict[str, float]
    """Places of each term in the packs of all ranks."""
    tokens: int
    """In the packs of all ranks."""
    stop: bool
    """Whether a rank was told to stop, so that the step is not to be done."""
    started: float = field(default_factory=time.perf_counter)
    """When."""


@dataclass
class Sums:
    """What the packs of a step add up to."""

    total: float = 0.0
    """Loss in nats."""
    right: float = 0.0
    """Right predictions."""


def pretrain(recipe: Recipe, shards_folder: Path, folder: Path, *, device: str = "cpu", log: Sequence[str] = ()) -> int:
    """Run a recipe to its end, from the newest checkpoint in `folder` where there is one.

    Args:
        recipe: the settings.
        shards_folder: what `pubmedbert shards` wrote.
        folder: of the run; made where it is missing.
        device: "cpu" or "cuda".
        log: sinks beside metrics.jsonl, "tensorboard" or "wandb".

    Returns:
        0, or the number of the signal that stopped the run before its end.

    Raises:
        InputError: `folder` holds a run with other settings or shards, or something that is no run; or the run broke
            down in a way that going back to a checkpoint did not mend.
    """
    check_sinks(log)
    shards = open_shards(shards_folder)
    busy = f"another process is training in {folder}; wait for it or choose another --out"
    with ranks(device) as here, locked(folder, busy=busy) if here.main else nullcontext():
        bf16 = claim(folder, recipe, shards, here) if here.main else False
        bf16 = here.from_main(bf16) > 0  # and nobody looks for checkpoints before the folder is claimed
        stopped_by = 0
        try:
            check_ranks(recipe, shards, here)
            with _device_errors():
                run = setup(folder, recipe, shards, here, bf16=bf16)
                if run.complete:
                    here.say(f"{folder} is complete: {run.at.step:,} steps; nothing to do")
                else:
                    stopped_by = fit(run, log)
        except BaseException:
            if here.main:
                give_up(folder)
            raise
        if here.main:
            write_report(folder)
    return stopped_by


def fit(run: Run, log: Sequence[str] = ()) -> int:
    """Train to the end, evaluating and saving on the way, and going back where too many steps in a row were bad.

    SIGTERM or Ctrl-C ends the run after the step at hand, with a checkpoint; where steps have just been skipped, with
    the one before, to which the run may have to go back.

    Returns:
        0, or the number of the signal that ended the run.

    Raises:
        InputError: the run broke down once more after it had gone back as often as the recipe allows.
    """
    with _stop_requested() as stopped:
        while True:
            try:
                with _sinks(run, log) as sinks, _progress(run) as advance:
                    return _train(run, stopped, sinks, advance)
            except TooManySkipsError as error:
                _roll_back(run, str(error))


def _train(run: Run, stopped: Callable[[], int], sinks: Sinks | None, advance: Advance) -> int:
    """The loop itself: steps, evaluations and checkpoints until the run is complete or stopped."""
    recipe = run.recipe

    def write(line: Mapping[str, object]) -> None:
        if sinks:
            sinks.write(run.at.step, line)

    saved = run.at.step
    if run.at.step == 0:
        validate(run, write)
    while not run.complete:
        work = read_step(run, stopped)
        if not work.stop:
            train_step(run, work, write, advance)
        step = run.at.step
        if not work.stop and (run.complete or step % recipe.evaluate_every == 0):
            validate(run, write)
        sound = not run.guard.in_a_row  # or else there would be nothing better to go back to
        due = run.complete or (sound and (work.stop or step % recipe.checkpoint_every == 0))
        if sinks:
            sinks.flush(to_disk=due)  # a checkpoint never outlives its metrics
        if due and step != saved:
            checkpoint.save(run.folder, run.trainee, run.at, recipe.keep)
            saved = step
        if work.stop:
            there = "there" if saved == step else f"step {saved:,}"
            run.ranks.say(f"stopped after step {step:,}; the same command goes on from {there}")
            return stopped() or signal.SIGTERM
    return 0


def read_step(run: Run, stopped: Callable[[], int]) -> Work:
    """Read this rank's packs of the next step.

    The counts of all ranks are needed before the pass, so that each gradient is part of the mean over the whole batch;
    a signal that any rank has received travels with them.
    """
    started, target, now = time.perf_counter(), run.trainee.objective, run.next_step()
    dealt = run.ahead.take(now, run.at.rows)
    _tell_balance(run, now, dealt.sizes)
    packs = dealt.packs
    names = target.counts(run.heldout().packs[0])
    counts = [target.counts(pack) for _, pack in packs]
    totals = run.ranks.total(
        {name: float(sum(count[name] for count in counts)) for name in names}
        | {"tokens": float(sum(len(pack.tokens) for _, pack in packs)), "stop": float(stopped())}
    )
    return Work(packs, {name: totals[name] for name in names}, int(totals["tokens"]), totals["stop"] > 0, started)


def _tell_balance(run: Run, now: Moment, sizes: Sequence[int]) -> None:
    """Say once in a phase if the ranks' shares of a step differ much."""
    if now.phase in run.told:
        return
    run.told.add(now.phase)
    if (balance := run.ranks.balance(sizes)) < EVEN:
        count = run.ranks.count
        better = f"packs={count} in a new run" if run.recipe.packs % count else "more rows in a step"
        run.ranks.say(
            f"warning: rows of {now.length} make {len(sizes):,} packs a step for {count} ranks, which wait "
            f"{1 - balance:.0%} of the time for the one with the most; {better} would lessen that"
        )


def train_step(run: Run, work: Work, write: Write, advance: Advance) -> None:
    """One step: the gradients of all its packs on all ranks, clipped, an optimizer update; one line of metrics.

    Args:
        run: moved on by a step.
        work: the step.
        write: takes the line.
        advance: shows progress.

    Raises:
        TooManySkipsError: this step was skipped or a spike, and so were many before it.
    """
    now, part = run.next_step(), run.trainee
    part.model.train()
    part.model.zero_grad(set_to_none=True)
    run.read_ahead()
    sums = _backward(run, work)
    numbers = [value for part_sum in sums.values() for value in (part_sum.total, part_sum.right)]
    numbers = run.ranks.add_gradients(part.model.parameters(), numbers)
    counts = work.counts.items()
    means = {name: value / count for (name, count), value in zip(counts, numbers[::2], strict=True) if count}
    right = {name: value / count for (name, count), value in zip(counts, numbers[1::2], strict=True) if count}
    norm = float(torch.nn.utils.clip_grad_norm_(part.model.parameters(), run.recipe.clip))
    loss = means.get(part.objective.main)
    verdict = run.guard.judge(loss, norm)
    if not verdict.skip:
        part.optimizer.step(now.lr)
        if part.average:
            part.average.update(run.at.updates + 1)
    spent = time.perf_counter() - work.started
    _move_on(run, now, work.tokens, spent, skipped=verdict.skip)
    write(_line(run, now, means, right, norm, verdict))
    speed = sum(part.objective.flops(part.model, pack) for _, pack in work.packs) / spent
    rate = f"{work.tokens / spent:,.0f} tokens/s"
    mfu = f", {speed / 1e12:.1f} TFLOP/s" if math.isnan(run.peak) else f", MFU {speed / run.peak:.0%}"
    shown = "nothing to predict" if loss is None else f"loss {loss:.3f} (unigram {run.heldout().unigram_loss:.3f})"
    advance(spent if run.recipe.minutes else 1, f"{shown}, {rate}{mfu}")
    if verdict.reason:
        run.ranks.say(f"step {run.at.step:,} is {'skipped' if verdict.skip else 'taken, clipped'}: {verdict.reason}")
    if run.guard.exhausted:
        raise TooManySkipsError(verdict.reason)


def _backward(run: Run, work: Work) -> dict[str, Sums]:
    """Add up the gradients of this rank's packs, each with the dropout that its number in the step decides."""
    part, sums = run.trainee, {name: Sums() for name in work.counts}
    for number, pack in work.packs:
        if not any(part.objective.counts(pack).values()):
            continue
        with run.autocast():
            terms = part.objective.terms(part.model, pack, pack_seed(run.recipe.seed, run.at.rows, number))
        asked = [(name, term) for name, term in terms.items() if work.counts[name]]
        loss = torch.stack([term.weight / work.counts[name] * term.total for name, term in asked]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        for name, term in terms.items():
            sums[name].total += term.total.item()
            sums[name].right += term.right.item()
    return sums


def pack_seed(seed: int, rows: int, number: int) -> int:
    """The seed of a pack: of the run's seed, the rows read before the step, and the pack's number in the step."""
    return int(np.random.SeedSequence([seed, rows, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def validate(run: Run, write: Write) -> None:
    """Evaluate on the frozen masks and write a line; the main rank alone."""
    if not run.ranks.main:
        return
    part, heldout = run.trainee, run.heldout()
    with part.average.applied() if part.average else nullcontext(), run.autocast():
        found = evaluate_terms(part.objective, part.model, heldout.packs, FROZEN_SEED)
    main = part.objective.main
    loss, accuracy = found.pop(f"{main}_loss"), found.pop(f"{main}_accuracy")
    values = {"eval_loss": loss, "eval_accuracy": accuracy} | {f"eval_{name}": value for name, value in found.items()}
    line: dict[str, object] = values | {"unigram_loss": heldout.unigram_loss, "masks": heldout.masks}
    run.ranks.say(
        f"step {run.at.step:,}: held-out loss {loss:.4f} (unigram {heldout.unigram_loss:.4f}), accuracy {accuracy:.2%}"
    )
    if run.guard.stuck(loss, heldout.unigram_loss, run.done, run.recipe.warmup):
        line["stuck"] = True
        run.ranks.say(
            "warning: after the warm-up the model still predicts no better than word frequencies do; if it stays "
            "so, try another lr, a longer warmup or more steps"
        )
    write({**_place(run.at), **line})


def _move_on(run: Run, now: Moment, tokens: int, spent: float, *, skipped: bool) -> None:
    """Count a step; in a run of minutes all ranks go by the main rank's clock."""
    if run.recipe.minutes:
        spent = run.ranks.from_main(spent)
    at = run.at
    run.last = spent
    run.at = Progress(
        at.step + 1, at.tokens + tokens, at.seconds + spent, at.rows + now.rows, at.skipped + skipped, at.rollbacks
    )


def _line(
    run: Run, now: Moment, means: Mapping[str, float], right: Mapping[str, float], norm: float, verdict: Verdict
) -> dict[str, object]:
    """A step's line of metrics. Numbers that are not finite are no JSON, and stay out."""
    main = run.trainee.objective.main
    values = {"loss": means[main]} if main in means else {}
    values |= {"lr": now.lr, "grad_norm": norm, "unigram_loss": run.heldout().unigram_loss}
    for name in means:
        if name != main:
            values |= {f"{name}_loss": means[name], f"{name}_accuracy": right[name]}
    if run.recipe.phases or run.recipe.rows_start or run.recipe.mask_share_end:
        values |= {"length": now.length, "rows": now.rows, "mask_share": now.mask_share}
    line: dict[str, object] = {name: value for name, value in values.items() if math.isfinite(value)}
    bad = {"skipped" if verdict.skip else "spike": verdict.reason} if verdict.reason else {}
    return {**_place(run.at), **line, **bad}


def _place(at: Progress) -> dict[str, object]:
    return {"tokens": at.tokens, "seconds": at.seconds}


def _roll_back(run: Run, reason: str) -> None:
    """Go back to the newest checkpoint, and on with rows that were not read yet."""
    before, recipe = run.at, run.recipe
    what = (
        f"{run.folder}: {recipe.most_skips} steps in a row were skipped or spikes up to step {before.step:,} ({reason})"
    )
    if before.rollbacks >= recipe.most_rollbacks:
        advice = f"start again in another --out with lr below {recipe.lr:g}, or go on with more most_rollbacks"
        raise InputError(f"{what}, after the run had gone back {before.rollbacks} times; {advice}")
    run.restore()
    run.at = replace(run.at, rows=before.rows, rollbacks=before.rollbacks + 1)
    run.guard.in_a_row = 0
    run.ranks.say(f"{what}; going back to step {run.at.step:,} and on with other rows")
    if run.ranks.main:
        line = {"step": run.at.step, **_place(run.at), "rolled_back_from": before.step, "skipped_for": reason}
        cut_metrics(run.folder, run.at.step, line | {"rows": run.at.rows, "rollbacks": run.at.rollbacks})


@contextmanager
def _device_errors() -> Iterator[None]:
    """Turn what torch says of a GPU into a sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        what = str(error).splitlines()[0]
        advice = "set recompute, or start again with a lower pack_tokens"
        raise InputError(f"the GPU's memory is full ({what}): {advice}") from error
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        what = str(error).partition(",")[0].splitlines()[0]
        raise InputError(f"no run on this device repeats to the bit ({what}): set repeatable=false") from error


@contextmanager
def _sinks(run: Run, log: Sequence[str]) -> Iterator[Sinks | None]:
    """Where the metrics go; nowhere but on the main rank."""
    if not run.ranks.main:
        yield None
        return
    with open_sinks(run.folder, log, run.at.step) as sinks:
        yield sinks


@contextmanager
def _progress(run: Run) -> Iterator[Advance]:
    """The progress of the run, by steps or by seconds; shown by the main rank."""
    recipe = run.recipe
    if not run.ranks.main:
        yield lambda *_: None
        return
    total, done, unit = (recipe.steps, run.at.step, "steps")
    if recipe.minutes:
        total, done, unit = (round(recipe.minutes * 60), round(run.at.seconds), "seconds")
    with progress(f"pretraining {recipe.size}", total, unit, done=done) as advance:
        yield advance


@contextmanager
def _stop_requested() -> Iterator[Callable[[], int]]:
    """Turn SIGTERM and Ctrl-C into a question the loop asks before every step."""
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: caught.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: caught[0] if caught else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
