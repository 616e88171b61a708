"""The fine-tuning loop: set up, fit, validate, for one seed. Killed anywhere, it goes on from its last checkpoint."""

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
from pubmedbert.finetune.stability import Answer, Optimizer, check_layers, collapsed, freeze, mixed, reinitialise
from pubmedbert.infer.labels.rows import RowEncoder
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model import hf
from pubmedbert.model.encoder import initialise
from pubmedbert.model.head import Head
from pubmedbert.model.heads import Bert
from pubmedbert.model.precision import in_bf16
from pubmedbert.model.runtime import prepare_torch
from pubmedbert.model.tuned import Tuned

CHECKPOINT_SECONDS = 300.0
"""Time after which an update leaves a checkpoint."""
LONG_EPOCH_SECONDS = 10.0
"""Epochs that take longer are told one by one."""


@dataclass(frozen=True)
class News:
    """What a seed tells of itself while it trains."""

    text: str
    gained: float = 0.0
    """Epochs by which it is further; below zero where an attempt is given up."""
    event: bool = False
    """Whether it is to be said in any case. What an event gains or loses was not trained just now."""


Report = Callable[[News], None]


@dataclass(frozen=True)
class Setup:
    """Everything the seeds of a run share."""

    dataset: Dataset
    recipe: Recipe
    """With packs that hold its longest row, and the precision as it was measured."""
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
    """Loss and dev score of each epoch, and whether it answers the same to everything."""
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
    length, most = recipe.max_length, base.config.max_positions
    if length > most:
        raise InputError(f"max_length = {length}, but {model} reads {most} word pieces at most")
    encoder = RowEncoder(tokenizer, length)
    head = data.head_for(dataset, recipe)
    train, dev = dataset.read("train"), dataset.read("dev")
    for split, examples in (("train", train), ("dev", dev)):
        if not examples:
            raise InputError(f"{dataset.name}: the {split} split is empty")
    if has_pairs(train) and base.config.token_types < 2:
        raise InputError(f"{model} reads one text at a time (type_vocab_size 1), {dataset.name} has two")
    recipe = replace(recipe, pack_tokens=max(recipe.pack_tokens, length), precision=settled(recipe))
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
        report: called after each update, each pack of predictions and each epoch.
        folder: where checkpoints of the attempt at hand are kept; None keeps none.
    """
    for restart in range(ready.recipe.restarts + 1):
        place = None if folder is None else folder / f"attempt-{restart}"
        if place is not None and restart < ready.recipe.restarts and (place / "collapsed").exists():
            continue
        attempt = _Attempt(ready, seed, restart, report, place)
        fitted = attempt.fitted()
        if not fitted.collapsed:
            break
        again = restart < ready.recipe.restarts
        lost = -attempt.epochs() if again else 0.0
        then = ", it begins anew" if again else ""
        report(News(f"seed {seed}: attempt {restart + 1} diverged or collapsed to one answer{then}", lost, event=True))
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            (place / "collapsed").touch()
    return fitted


class _Attempt:
    """One attempt at a seed: trains, validates after each epoch, and leaves checkpoints on the way."""

    def __init__(self, ready: Setup, seed: int, restart: int, report: Report, folder: Path | None) -> None:
        recipe = ready.recipe
        self._ready, self._seed, self._restart, self._report, self._folder = ready, seed, restart, report, folder
        self._drawn = seed + 100_003 * restart
        self._model = new_model(ready.base, ready.head, recipe, self._drawn)
        self._updates = math.ceil(len(ready.train.rows) / recipe.batch)
        self._optimizer = Optimizer(self._model, recipe, self._updates * recipe.epochs)
        found = None if folder is None else checkpoint.load(folder, self._model, self._optimizer.adam)
        self._at = found or Progress(best=_weights(self._model))
        self._saved = time.monotonic()
        self._before = self._at  # where this process began, from which it counts its speed
        if found:
            update = f", update {found.update:,}/{self._updates:,}" if found.update else ""
            report(News(f"{self._where(found.epoch)} done{update}: goes on from there", self.epochs(), event=True))

    def epochs(self) -> float:
        """How far it is."""
        return self._at.epoch + self._at.update / self._updates

    def fitted(self) -> Fitted:
        """Go on to the end, or to where the weights are no longer finite: the best before are then the last of use."""
        epochs = self._ready.recipe.epochs
        while self._at.epoch < epochs:
            started = time.monotonic()
            if not self._train():
                break
            self._validate(started)
        self._model.load_state_dict(self._at.best or {})
        at, dev = self._at, self._ready.dev
        answers = at.answers or predict(self._model, self._ready.dev_encoded, self._ready)
        return Fitted(
            model=self._model.eval(),
            answers=answers,
            dev=score_answers(self._ready.dataset, dev, answers),
            best_epoch=at.best_epoch,
            restarts=self._restart,
            collapsed=at.epoch < epochs or collapsed(dev, answers, self._ready.dataset.task),
            history=at.history,
            seconds=at.seconds,
        )

    def _train(self) -> bool:
        """What is left of the epoch's updates, whose order and dropout follow from (seed, epoch, update).

        Returns:
            Whether all stayed finite.
        """
        ready, batch = self._ready, self._ready.recipe.batch
        draw = np.random.Generator(np.random.Philox([self._drawn, self._at.epoch]))
        order = draw.permutation(len(ready.train.rows)).tolist()
        self._model.train()
        for number in range(self._at.update, self._updates):
            started = time.perf_counter()
            step = self._at.epoch * self._updates + number
            torch.manual_seed(mixed(self._drawn, 2, step))  # dropout, the same after a resume
            loss = update(ready, self._model, order[number * batch : (number + 1) * batch])
            norm = self._optimizer.step(step)
            if not (math.isfinite(norm) and math.isfinite(loss)):
                return False
            self._at = self._at.updated(loss, time.perf_counter() - started)
            self._report(News(self._state(), 1 / self._updates))
            self._save_when_due()
        return True

    def _validate(self, started: float) -> None:
        """Answers to dev, which decide whether the epoch's weights are kept."""
        ready, number = self._ready, self._at.epoch + 1
        answers = predict(
            self._model,
            ready.dev_encoded,
            ready,
            lambda share: self._report(News(f"{self._where(number)}, predicting dev: {share:.0%}")),
        )
        same = collapsed(ready.dev, answers, ready.dataset.task)
        at = self._at.after(score_answers(ready.dataset, ready.dev, answers), self._updates, collapsed=same)
        loss, score = at.history[-1]["loss"], at.history[-1]["dev"]
        if ready.recipe.select == "last" or _merit(at.history[-1]) >= max(_merit(entry) for entry in at.history):
            at = replace(at, best=_weights(self._model), best_epoch=number, answers=answers)
        self._at = at
        text = f"{self._where(number)} done, loss {loss:.4f}, dev {score:.2%}, {self._speed()}"
        self._report(News(text, event=time.monotonic() - started >= LONG_EPOCH_SECONDS))
        self._save_when_due()

    def _save_when_due(self) -> None:
        if self._folder is not None and time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            checkpoint.save(self._folder, self._model, self._optimizer.adam, self._at)
            self._saved = time.monotonic()

    def _where(self, epoch: int) -> str:
        return f"seed {self._seed}: epoch {epoch}/{self._ready.recipe.epochs}"

    def _state(self) -> str:
        """The epoch at hand in a line, and what dev said last."""
        at = self._at
        dev = f", dev {at.history[-1]['dev']:.2%} before" if at.history else ""
        return f"{self._where(at.epoch + 1)}, loss {at.loss / max(at.update, 1):.4f}{dev}, {self._speed()}"

    def _speed(self) -> str:
        """Training examples a second, of this process."""
        at, before = self._at, self._before
        updates = (at.epoch - before.epoch) * self._updates + at.update - before.update
        examples = updates * len(self._ready.train.rows) / self._updates
        return f"{examples / max(at.seconds - before.seconds, 1e-9):,.1f} examples/s"


def new_model(base: Bert, head: Head, recipe: Recipe, seed: int) -> Tuned:
    """The pretrained encoder under a new classifier, with the recipe's techniques applied.

    A pooler is taken from the checkpoint where it has one, else it starts from new weights.

    Raises:
        InputError: the model has too few layers for the techniques.
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
    check_layers(recipe, config.layers)
    reinitialise(model, recipe.reinit, seed)
    freeze(model, recipe.freeze)
    return model


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


def predict(
    model: Tuned, encoded: Encoded, ready: Setup, done: Callable[[float], None] = lambda _: None
) -> list[Answer]:
    """Answers to encoded examples; `done` is called on the way, with the share that was computed."""
    task = ready.dataset.task
    scores = example_logits(model.eval(), encoded.rows, done)
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


def _merit(epoch: dict[str, float]) -> tuple[bool, float]:
    """What epochs are chosen by: one answer to everything comes last, however often that answer is right."""
    return not epoch["collapsed"], epoch["dev"]


def _weights(model: Tuned) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
