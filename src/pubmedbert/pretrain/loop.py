"""The pretraining loop: claim, setup, fit, validate. A run killed anywhere goes on by the same command."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, locked, write_text
from pubmedbert.model.encoder import initialise
from pubmedbert.model.flops import peak_flops, training_flops
from pubmedbert.model.heads import Bert
from pubmedbert.model.runtime import prepare_torch
from pubmedbert.pretrain import checkpoint
from pubmedbert.pretrain.checkpoint import Progress
from pubmedbert.pretrain.evaluate import evaluate_packs
from pubmedbert.pretrain.feed import Feed, feed, fingerprint
from pubmedbert.pretrain.objective import masked_loss, unigram_loss
from pubmedbert.pretrain.optimizer import adamw, learning_rate
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.pretrain.report import write_report
from pubmedbert.progress import Advance, progress, say
from pubmedbert.shards.read import Shards, open_shards
from pubmedbert.shards.samples import Pack

_OURS = {"config.toml", "metrics.jsonl", "tokenizer", "checkpoints", "report.html"}


@dataclass
class Run:
    """Everything a run needs: made by `setup`, moved along by `fit`."""

    folder: Path
    """Where checkpoints and metrics go."""
    recipe: Recipe
    model: Bert
    optimizer: torch.optim.Optimizer
    train: Feed
    heldout: list[Pack]
    """The frozen evaluation packs."""
    unigram_loss: float
    """Loss of the unigram model on the frozen packs, in nats."""
    at: Progress
    """Steps, tokens and seconds done."""
    peak: float
    """Best fp32 matrix-multiplication rate of this machine, FLOP/s."""


def pretrain(recipe: Recipe, shards_folder: Path, folder: Path) -> int:
    """Run a recipe to its end, from the newest checkpoint in `folder` where there is one.

    Args:
        recipe: the settings.
        shards_folder: what `pubmedbert shards` wrote.
        folder: of the run; made where it is missing.

    Returns:
        0, or the number of the signal that stopped the run before its end.

    Raises:
        InputError: `folder` holds a run with other settings or shards, or something that is no run.
    """
    shards = open_shards(shards_folder)
    with locked(folder, busy=f"another process is training in {folder}; wait for it or choose another --out"):
        claim(folder, recipe, shards)
        run = setup(folder, recipe, shards)
        stopped_by = 0
        if run.at.step == recipe.steps:
            say(f"{folder} is complete: {recipe.steps:,} steps; nothing to do")
        else:
            stopped_by = fit(run)
        write_report(folder)
    return stopped_by


def claim(folder: Path, recipe: Recipe, shards: Shards) -> None:
    """Mark `folder` as this run: `config.toml` with recipe and shards, and a copy of the tokenizer.

    Without a checkpoint there is nothing to lose: a run that never got that far may start again with other settings.
    """
    made_from = f'corpus = "{shards.meta.corpus}"\ntokenizer = "{shards.meta.tokenizer_sha256}"\n'
    machine = f'threads = {torch.get_num_threads()}\ntorch = "{torch.__version__}"\n'
    text = f"{recipe.toml()}\n[shards]\n{made_from}\n[machine]\n{machine}"
    if runs.checkpoints(folder):
        _same_settings(folder, text)
        return
    foreign = sorted({path.name for path in folder.iterdir() if not path.name.startswith(".")} - _OURS)
    if foreign:
        raise InputError(f"{folder} holds {foreign[0]} and is no run; choose another --out")
    write_text(folder / runs.CONFIG, text)
    with atomic_folder(folder / "tokenizer") as tokenizer:
        shutil.copytree(shards.tokenizer_folder, tokenizer, dirs_exist_ok=True)


def setup(folder: Path, recipe: Recipe, shards: Shards) -> Run:
    """Build model, optimizer and feeds; restore the newest checkpoint and cut the metrics back to it."""
    prepare_torch()
    train = feed(shards, "train", recipe)
    config = recipe.model(shards.meta.vocab_size, train.special.pad)
    model = Bert(config)
    initialise(model, config, recipe.seed)
    optimizer = adamw(model, recipe)
    at = checkpoint.load(folder, model, optimizer)
    _cut_metrics(folder, at.step)
    heldout = feed(shards, "heldout", recipe).frozen()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(
        f"{recipe.size}: {parameters:,} parameters; {len(train.table):,} training rows, a step reads {recipe.rows:,}; "
        f"evaluation masks {fingerprint(heldout)}"
    )
    if at.step:
        say(f"resuming {folder} after step {at.step:,}")
    return Run(
        folder, recipe, model, optimizer, train, heldout, unigram_loss(shards.unigram, heldout), at, peak_flops()
    )


def fit(run: Run) -> int:
    """Train to the last step, evaluating and saving on the way.

    SIGTERM or Ctrl-C ends the run after the step at hand, with a checkpoint.

    Returns:
        0, or the number of the signal that ended the run.
    """
    recipe = run.recipe
    with (
        _stop_requested() as stopped,
        (run.folder / runs.METRICS).open("a", encoding="utf-8") as metrics,
        progress(f"pretraining {recipe.size}", recipe.steps, "steps", done=run.at.step) as advance,
    ):
        if run.at.step == 0:
            validate(run, metrics.write)
        while run.at.step < recipe.steps:
            train_step(run, metrics.write, advance)
            step, stop = run.at.step, stopped()
            last = step == recipe.steps
            if last or step % recipe.evaluate_every == 0:
                validate(run, metrics.write)
            metrics.flush()
            if last or stop or step % recipe.checkpoint_every == 0:
                os.fsync(metrics.fileno())  # a checkpoint never outlives its metrics
                checkpoint.save(run.folder, run.model, run.optimizer, run.at, recipe.keep)
            if stop and not last:
                say(f"stopped after step {step:,}; the same command goes on from there")
                return stop
    return 0


def train_step(run: Run, write: Callable[[str], object], advance: Advance) -> None:
    """One optimizer update: gradients of all packs of the step, clipped, AdamW; one line of metrics."""
    started = time.perf_counter()
    recipe, step = run.recipe, run.at.step
    lr = learning_rate(recipe, step)
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    packs = run.train.step(step)
    masked = sum(len(pack.where) for pack in packs)
    torch.manual_seed(recipe.seed * 1_000_003 + step)  # dropout, the same after a resume
    run.model.train()
    run.optimizer.zero_grad(set_to_none=True)
    loss = 0.0
    for pack in packs:
        part, _ = masked_loss(run.model, pack)
        (part / max(masked, 1)).backward()  # type: ignore[no-untyped-call]
        loss += part.item() / max(masked, 1)
    norm = float(torch.nn.utils.clip_grad_norm_(run.model.parameters(), recipe.clip))
    if not math.isfinite(norm):
        what = f"the gradient of step {step + 1:,} is not finite"
        raise InputError(f"{run.folder}: {what}; start again in another --out with lr below {recipe.lr:g}")
    run.optimizer.step()

    spent = time.perf_counter() - started
    tokens = sum(len(pack.tokens) for pack in packs)
    run.at = Progress(step + 1, run.at.tokens + tokens, run.at.seconds + spent)
    values = {"loss": loss, "lr": lr, "grad_norm": norm, "unigram_loss": run.unigram_loss}
    write(_line(run.at, values))
    flops = sum(training_flops(run.model.config, pack.lengths, len(pack.where)) for pack in packs)
    advance(1, _note(loss, run.unigram_loss, tokens / spent, flops / spent / run.peak))


def validate(run: Run, write: Callable[[str], object]) -> None:
    """Evaluate on the frozen masks and write a line."""
    loss, accuracy = evaluate_packs(run.model, run.heldout)
    masks = fingerprint(run.heldout)
    values = {"eval_loss": loss, "eval_accuracy": accuracy, "unigram_loss": run.unigram_loss, "masks": masks}
    write(_line(run.at, values))
    say(f"step {run.at.step:,}: held-out loss {loss:.4f} (unigram {run.unigram_loss:.4f}), accuracy {accuracy:.2%}")


def _line(at: Progress, values: Mapping[str, object]) -> str:
    return json.dumps({**asdict(at), **values}) + "\n"


def _note(loss: float, unigram: float, rate: float, mfu: float) -> str:
    return f"loss {loss:.3f} (unigram {unigram:.3f}), {rate:,.0f} tokens/s, MFU {mfu:.0%}"


def _same_settings(folder: Path, text: str) -> None:
    """Refuse to go on with a run under other settings, naming the first that differs."""
    before, now = runs.config(folder), tomllib.loads(text)
    if before.pop("shards", None) != now.pop("shards"):
        raise InputError(f"{folder} was trained on other shards; choose another --out")
    machine, here = before.pop("machine", None), now.pop("machine")
    if machine != here:
        say(f"{folder} was started with {machine}, here it is {here}: the run goes on, but not to the same bits")
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise InputError(
                f"{folder} was started with {key} = {before.get(key)!r}, now it is {now.get(key)!r}; "
                "choose another --out or the old value"
            )


def _cut_metrics(folder: Path, step: int) -> None:
    """Drop the lines written after the checkpoint at `step`, and a half-written last one."""
    kept = [line for line in runs.metrics(folder) if line["step"] <= step] if step else []
    write_text(folder / runs.METRICS, "".join(json.dumps(line) + "\n" for line in kept))


@contextmanager
def _stop_requested() -> Iterator[Callable[[], int]]:
    """Turn SIGTERM and Ctrl-C into a question the loop asks after every step."""
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
