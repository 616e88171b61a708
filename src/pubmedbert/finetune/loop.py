"""The fine-tuning loop: set up, fit, validate, for one seed. Killed anywhere, it goes on from the last saved epoch."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pubmedbert.errors import InputError
from pubmedbert.finetune import checkpoint, data, metrics
from pubmedbert.finetune.checkpoint import Progress
from pubmedbert.finetune.data import Encoded, Target
from pubmedbert.finetune.dataset import Dataset, Example, Split, has_pairs, hidden
from pubmedbert.finetune.logits import example_logits
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.finetune.stability import Answer, Optimizer, collapsed, freeze, mixed, reinitialise
from pubmedbert.infer.labels.rows import RowEncoder
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model import hf
from pubmedbert.model.encoder import initialise
from pubmedbert.model.head import Head
from pubmedbert.model.heads import Bert
from pubmedbert.model.precision import in_bf16
from pubmedbert.model.runtime import prepare_torch
from pubmedbert.model.tuned import Tuned

Report = Callable[[str, int], None]
"""Takes a line, and how many epochs were gained: one, or less than none when an attempt is given up."""
CHECKPOINT_SECONDS = 120.0
"""Training time after which an epoch's end leaves a checkpoint."""


@dataclass(frozen=True)
class Setup:
    """Everything the seeds of a run share."""

    dataset: Dataset
    recipe: Recipe
    """With lengths that suit the model, and the precision as it was measured."""
    base: Bert
    """The pretrained model; never changed."""
    tokenizer: ModelTokenizer
    head: Head
    encoder: RowEncoder
    train: Encoded
    targets: list[Target]
    dev: Sequence[Example]
    dev_encoded: Encoded


@dataclass(frozen=True)
class Fitted:
    """What a seed came to."""

    model: Tuned
    answers: list[Answer]
    """On dev, of the epoch that was kept."""
    dev: float
    """Their score."""
    best_epoch: int
    """The epoch that was kept, from 1; 0 where the first one diverged."""
    restarts: int
    """How often it collapsed and began anew."""
    collapsed: bool
    """Whether it diverged, or still answers the same to everything."""
    history: list[dict[str, float]] = field(repr=False)
    """Loss and dev score of each epoch."""
    seconds: float
    """Time spent training the attempt that was kept, without evaluations."""


def setup(dataset: Dataset, recipe: Recipe, model: Path) -> Setup:
    """Load the model and encode train and dev; the test split is not touched.

    Raises:
        InputError: data and recipe do not fit, or a split is empty.
        ModelError: the folder holds no BERT.
    """
    prepare_torch()
    base = hf.load(model)
    tokenizer = ModelTokenizer(model, base.config.vocab_size)
    length = min(recipe.max_length, base.config.max_positions)
    if recipe.max_length > max(length, Recipe.max_length):
        raise InputError(f"max_length = {recipe.max_length}, but {model} reads {length} word pieces at most")
    encoder = RowEncoder(tokenizer, length)
    head = data.head_for(dataset, recipe)
    train, dev = dataset.read("train"), dataset.read("dev")
    for split, examples in (("train", train), ("dev", dev)):
        if not examples:
            raise InputError(f"{dataset.name}: the {split} split is empty")
    if has_pairs(train) and base.config.token_types < 2:
        raise InputError(f"{model} reads one text at a time (type_vocab_size 1), {dataset.name} has two")
    recipe = replace(recipe, max_length=length, pack_tokens=max(recipe.pack_tokens, length), precision=settled(recipe))
    return Setup(
        dataset=dataset,
        recipe=recipe,
        base=base,
        tokenizer=tokenizer,
        head=head,
        encoder=encoder,
        train=data.encode(train, encoder, recipe, data.TRAINING_WINDOWS),
        targets=data.targets(train, dataset.task, head, recipe.scheme),
        dev=dev,
        dev_encoded=data.encode(hidden(dev), encoder, recipe),
    )


def settled(recipe: Recipe) -> str:
    """The precision that the recipe's comes to on this machine: "bf16" or "fp32"."""
    return "bf16" if in_bf16(recipe.precision, "cpu") else "fp32"


def fit(ready: Setup, seed: int, report: Report, folder: Path | None = None) -> Fitted:
    """Fine-tune one seed; an attempt that collapses begins anew with another order and other new weights.

    Args:
        ready: from `setup`.
        seed: decides new weights, order and dropout.
        report: called after each epoch.
        folder: where checkpoints of the attempt at hand are kept; None keeps none.
    """
    for restart in range(ready.recipe.restarts + 1):
        place = None if folder is None else folder / f"attempt-{restart}"
        if place is not None and restart < ready.recipe.restarts and (place / "collapsed").exists():
            continue
        fitted = _attempt(ready, seed, restart, report, place)
        if not fitted.collapsed:
            break
        again = restart < ready.recipe.restarts
        lost = -len(fitted.history) if again else 0
        then = ", it begins anew" if again else ""
        report(f"seed {seed}: attempt {restart + 1} diverged or collapsed to one answer{then}", lost)
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            (place / "collapsed").touch()
    return fitted


def _attempt(ready: Setup, seed: int, restart: int, report: Report, folder: Path | None) -> Fitted:
    """Train for all epochs, from the last that was saved."""
    recipe, drawn = ready.recipe, seed + 100_003 * restart
    model = new_model(ready.base, ready.head, recipe, drawn)
    updates = math.ceil(len(ready.train.rows) / recipe.batch)
    optimizer = Optimizer(model, recipe, updates * recipe.epochs)
    at = Progress() if folder is None else checkpoint.load(folder, model, optimizer.adam)
    best = at.best or _weights(model)
    saved = at.seconds
    if at.epoch:
        report(f"seed {seed}: goes on after epoch {at.epoch}/{recipe.epochs}", at.epoch)
    while at.epoch < recipe.epochs:
        started = time.perf_counter()
        loss = train_epoch(ready, model, optimizer, drawn, at.epoch)
        if not math.isfinite(loss):  # diverged: the weights of the epoch before are the last of any use
            break
        spent = time.perf_counter() - started
        answers = predict(model, ready.dev_encoded, ready)
        score = score_answers(ready.dataset, ready.dev, answers)
        at = at.after(loss=loss, score=score, spent=spent)
        if recipe.select == "last" or score >= max(entry["dev"] for entry in at.history):
            best, at = _weights(model), replace(at, best_epoch=at.epoch, answers=answers)
        left = (recipe.epochs - at.epoch) * at.seconds / at.epoch
        rate = f"{len(ready.train.rows) / spent:,.1f} examples/s, {left:,.0f} s left"
        report(f"seed {seed}: epoch {at.epoch}/{recipe.epochs}, loss {loss:.4f}, dev {score:.2%}, {rate}", 1)
        if folder is not None and at.epoch < recipe.epochs and at.seconds - saved >= CHECKPOINT_SECONDS:
            checkpoint.save(folder, model, optimizer.adam, replace(at, best=best))
            saved = at.seconds
    model.load_state_dict(best)
    answers = at.answers or predict(model, ready.dev_encoded, ready)
    return Fitted(
        model=model.eval(),
        answers=answers,
        dev=score_answers(ready.dataset, ready.dev, answers),
        best_epoch=at.best_epoch,
        restarts=restart,
        collapsed=at.epoch < recipe.epochs or collapsed(ready.dev, answers),
        history=at.history,
        seconds=at.seconds,
    )


def new_model(base: Bert, head: Head, recipe: Recipe, seed: int) -> Tuned:
    """The pretrained encoder under a new classifier, with the recipe's techniques applied.

    A pooler is taken from the checkpoint where it has one, else it starts from new weights.
    """
    config = replace(base.config, dropout=recipe.dropout, attention_dropout=recipe.dropout)
    model = Tuned(config, head)
    initialise(model.classifier, config, mixed(seed, 0))
    model.encoder.load_state_dict(base.encoder.state_dict())
    if model.pooler is not None:
        if base.pooler is None:
            initialise(model.pooler, config, mixed(seed, 1))
        else:
            model.pooler.load_state_dict(base.pooler.state_dict())
    reinitialise(model, recipe.reinit, seed)
    freeze(model, recipe.freeze)
    return model


def train_epoch(ready: Setup, model: Tuned, optimizer: Optimizer, seed: int, epoch: int) -> float:
    """All updates of an epoch; returns the mean loss. Order and dropout follow from (seed, epoch, update)."""
    recipe = ready.recipe
    order = np.random.Generator(np.random.Philox([seed, epoch])).permutation(len(ready.train.rows)).tolist()
    model.train()
    total, steps = 0.0, range(0, len(order), recipe.batch)
    for number, start in enumerate(steps):
        step = epoch * len(steps) + number
        torch.manual_seed(mixed(seed, 2, step))  # dropout, the same after a resume
        loss = update(ready, model, order[start : start + recipe.batch])
        norm = optimizer.step(step)
        if not math.isfinite(norm):
            return math.nan
        total += loss
    return total / len(steps)


def update(ready: Setup, model: Tuned, chosen: Sequence[int]) -> float:
    """Gradients of one batch, accumulated over its packs; returns its mean loss."""
    units = sum(len(ready.targets[number]) for number in chosen) if ready.head.level == "tokens" else len(chosen)
    total = 0.0
    for packed in ready.train.packs(chosen, ready.recipe.pack_tokens, whole=ready.head.level == "text"):
        asked = data.wanted(packed, ready.targets, ready.head)
        with torch.autocast("cpu", torch.bfloat16, enabled=ready.recipe.precision == "bf16"):
            scores = data.score_pack(model, packed)
        loss = data.loss(scores.float(), asked, ready.head) / max(units, 1)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def predict(model: Tuned, encoded: Encoded, ready: Setup) -> list[Answer]:
    """Answers to encoded examples."""
    task = ready.dataset.task
    scores = example_logits(model.eval(), encoded.rows)
    return [data.answer(found, task, ready.head) for found in scores]


def score_answers(dataset: Dataset, gold: Sequence[Example], answers: Sequence[Answer]) -> float:
    """The data set's metric, from 0 to 1 (correlations from -1)."""
    truth = [data.gold(example) for example in gold]
    return metrics.score(dataset.metric, truth, answers, labels=dataset.labels, negative=dataset.negative)


def encoded_split(ready: Setup, split: Split) -> tuple[list[Example], Encoded]:
    """A split without its labels, and as rows.

    Raises:
        InputError: it is empty.
    """
    examples = hidden(ready.dataset.read(split))
    if not examples:
        raise InputError(f"{ready.dataset.name}: the {split} split is empty")
    return examples, data.encode(examples, ready.encoder, ready.recipe)


def _weights(model: Tuned) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
