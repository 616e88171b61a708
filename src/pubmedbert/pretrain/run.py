"""Everything a run needs, built from its recipe and shards and filled from its newest checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint as recomputed

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.model import hf
from pubmedbert.model.checkpoint import read_config
from pubmedbert.model.config import ModelConfig, ModelError, config_from_hf
from pubmedbert.model.encoder import Layer
from pubmedbert.model.flops import peak_flops
from pubmedbert.model.heads import Bert
from pubmedbert.model.locate import locate
from pubmedbert.model.runtime import prepare_torch
from pubmedbert.pretrain import checkpoint
from pubmedbert.pretrain.ahead import Ahead
from pubmedbert.pretrain.average import Average
from pubmedbert.pretrain.checkpoint import Progress, Trainee
from pubmedbert.pretrain.claim import cut_metrics
from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.feed import Feed, feed, fingerprint
from pubmedbert.pretrain.guard import Guard
from pubmedbert.pretrain.objective import objective, unigram_loss
from pubmedbert.pretrain.optimizer import Optimizer
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.pretrain.schedule import Moment, complete, moment, position
from pubmedbert.pretrain.start import start_at_neighbours, start_at_unigram, start_near_identity
from pubmedbert.shards.read import Shards
from pubmedbert.shards.samples import Ints, Pack
from pubmedbert.vocab.folder import dump, load


@dataclass(frozen=True)
class Heldout:
    """The frozen evaluation."""

    packs: list[Pack]
    unigram_loss: float
    """Loss of the unigram model on them, in nats."""
    masks: str
    """Their hash: only losses of equal hashes compare."""


@dataclass
class Run:
    """A run, moved along by `pubmedbert.pretrain.loop`."""

    folder: Path
    """Where checkpoints and metrics go."""
    recipe: Recipe
    ranks: Ranks
    trainee: Trainee
    train: Feed
    heldout_feed: Feed
    unigram: Ints
    """`[V]` how often each piece occurs in the training documents."""
    config: ModelConfig
    start_from: Path | None
    """The model that a continual run starts from."""
    bf16: bool
    """Whether matrix products are in bfloat16."""
    at: Progress = field(default_factory=Progress)
    """Where the run is."""
    guard: Guard = field(init=False)
    ahead: Ahead = field(init=False)
    """Reads the training packs."""
    told: set[int] = field(default_factory=set)
    """Phases of which it was said how evenly the ranks share their steps."""
    peak: float = float("nan")
    """Best fp32 matrix-multiplication rate of this machine, FLOP/s; not a number on a GPU."""
    last: float = 0.0
    """Seconds of the step before."""
    _heldout: dict[int, Heldout] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ahead = Ahead(self.train, self.ranks)

    @property
    def complete(self) -> bool:
        """Whether the run is at its end."""
        return complete(self.recipe, self.at.step, self.at.seconds)

    @property
    def done(self) -> float:
        """How much of the run is done, from 0 to 1."""
        return position(self.recipe, self.at.step, self.at.seconds, 0.0)[0]

    @property
    def counts_neighbours(self) -> bool:
        """Whether the run starts from counts of neighbours."""
        return self.recipe.neighbours > 0 and not self.start_from

    def next_step(self) -> Moment:
        """What the next step is made with."""
        return moment(self.recipe, *position(self.recipe, self.at.step, self.at.seconds, self.last))

    def read_ahead(self) -> None:
        """Begin to read the step after the one at hand, where what it is made with is known."""
        recipe, step = self.recipe, self.at.step + 1
        moving = recipe.minutes and (recipe.mask_share_end or recipe.rows_start)  # with seconds not yet counted
        if not moving and not complete(recipe, step, self.at.seconds + self.last):
            following = moment(recipe, *position(recipe, step, self.at.seconds + self.last, self.last))
            self.ahead.prepare(following, self.at.rows + self.next_step().rows)

    def heldout(self) -> Heldout:
        """The evaluation of the phase that the step before was in."""
        before = position(self.recipe, max(self.at.step - 1, 0), max(self.at.seconds - self.last, 0.0), 0.0)[0]
        length = self.recipe.evaluate_length or moment(self.recipe, before, before).length
        if length not in self._heldout:
            packs = self.heldout_feed.frozen(length)
            if not any(len(pack.where) for pack in packs):
                raise InputError("no word piece of the held-out rows is masked; evaluate more or longer rows")
            self._heldout[length] = Heldout(packs, unigram_loss(self.unigram, packs), fingerprint(packs))
        return self._heldout[length]

    def fresh(self) -> None:
        """Give the trainee the weights a run starts with."""
        part = self.trainee
        first = part.objective.build(self.config)
        part.objective.initialise(first, self.recipe.seed)
        if self.recipe.unigram_bias:
            start_at_unigram(first, self.unigram)
        if self.counts_neighbours:
            assert isinstance(first, Bert)  # by the recipe
            start_near_identity(first)
        weights = first.state_dict()
        if self.start_from:  # a pooler or next-sentence head may be new, or not be needed
            found = hf.load(self.start_from, need_vocabulary=True).state_dict()
            weights |= {name: value for name, value in found.items() if name in weights}
        part.model.load_state_dict(weights)
        if self.counts_neighbours:
            words = part.model.get_parameter("encoder.embeddings.words.weight").data
            self.ranks.say("counting which word pieces stand near each other")
            if self.ranks.main:
                start_at_neighbours(words, self.train.split, self.unigram, self.recipe.neighbours, self.recipe.seed)
        for parameter in part.model.parameters():
            self.ranks.share(parameter.data, 0)  # processors of different kinds need not find the same bits
        part.optimizer.forget()
        if part.average:
            part.average.restore()

    def restore(self) -> None:
        """Go to the newest checkpoint, or to the start; the metrics are cut back to it. All ranks must call it."""
        self.at = checkpoint.load(self.folder, self.trainee)
        if not self.at.step:
            self._begin()
        lines = cut_metrics(self.folder, self.at.step or -1) if self.ranks.main else []
        self.ranks.from_main(0)  # nobody reads before all is cut
        lines = lines or runs.last_metrics(self.folder)  # the others have no use for more
        self.guard = Guard(self.recipe, lines)
        for line in lines:
            if "rolled_back_from" in line and line["step"] == self.at.step:
                self.at = replace(self.at, rows=line["rows"], rollbacks=line["rollbacks"])

    def _begin(self) -> None:
        """Go to the start; counting neighbours is a part of the training, whose seconds go on from it."""
        started = time.perf_counter()
        self.fresh()
        spent, budget = self.ranks.from_main(time.perf_counter() - started), 60 * self.recipe.minutes
        if self.counts_neighbours:
            self.at = replace(self.at, seconds=spent)
            if 0 < budget <= spent:
                over = f"the run's {budget:.0f} s are over: set minutes higher"
                raise InputError(f"recipe: counting neighbours took {spent:.0f} s, {over}")

    def autocast(self) -> torch.autocast:
        """Matrix products in bfloat16, where the run has them so."""
        return torch.autocast(self.ranks.device.type, dtype=torch.bfloat16, enabled=self.bf16)


def setup(folder: Path, recipe: Recipe, shards: Shards, ranks: Ranks, *, bf16: bool) -> Run:
    """Build model, optimizer and feeds, and restore the newest checkpoint. All ranks must call it.

    Args:
        folder: of the run.
        recipe: the settings.
        shards: what it trains on.
        ranks: of the run.
        bf16: whether matrix products are in bfloat16.

    Raises:
        InputError: the model to start from, the recipe and the shards do not fit together.
    """
    prepare_torch()
    if not recipe.repeatable:
        torch.use_deterministic_algorithms(True, warn_only=True)
    train = feed(shards, "train", recipe)
    config, start_from = recipe.model(shards.meta.vocab_size, train.special.pad), None
    if recipe.init:
        config, start_from = _continued(recipe, shards, folder)
    target = objective(recipe)
    model = target.build(config).to(ranks.device)
    if recipe.recompute:
        _recompute(model)
    optimizer = Optimizer(model, recipe, ranks, bf16=bf16)
    trainee = Trainee(target, model, optimizer, Average(model, recipe.average) if recipe.average else None, ranks)
    heldout = feed(shards, "heldout", recipe)
    run = Run(folder, recipe, ranks, trainee, train, heldout, shards.unigram, config, start_from, bf16)
    run.restore()
    _introduce(run)
    if ranks.main and ranks.device.type == "cpu":
        run.peak = _peak(bf16)
    return run


@cache
def _peak(bf16: bool) -> float:
    """What MFU is measured by; once for each process, since it takes a good part of a second."""
    return peak_flops(rounds=1, bf16=bf16)


def _introduce(run: Run) -> None:
    """Say what is trained."""
    parameters = sum(parameter.numel() for parameter in run.trainee.model.parameters())
    moment = run.next_step()
    batches = run.train.batches(moment.phase, run.at.rows, moment.rows)
    run.ranks.say(
        f"{run.recipe.init or run.recipe.size}: {parameters:,} parameters; {len(run.train.table):,} training rows, "
        f"a step reads {moment.rows:,} in {len(batches):,} packs; evaluation masks {run.heldout().masks}"
    )
    if run.at.step:
        run.ranks.say(f"resuming {run.folder} after step {run.at.step:,}")


def _continued(recipe: Recipe, shards: Shards, run: Path) -> tuple[ModelConfig, Path]:
    """The shape and the folder of the model that a run starts from; one that has begun needs that model no more.

    Raises:
        InputError: its vocabulary is not the shards', or the rows are longer than its positions.
    """
    if recipe.objective == "electra":
        raise InputError("recipe: init goes on with a masked language model; leave it out for electra")
    for _, folder in reversed(runs.checkpoints(run)):
        with suppress(ModelError):  # damaged: it is passed over, and named when the run is restored
            return _trained(config_from_hf(read_config(folder)), recipe), folder
    folder = locate(recipe.init)
    if dump(load(folder)) != dump(load(shards.tokenizer_folder)):
        raise InputError(f"{shards.folder} was not made with the tokenizer of {folder}: make shards with that one")
    found = hf.load(folder, need_vocabulary=True).config
    longest = max(recipe.evaluate_length, *(stage.length for stage in recipe.stages()))
    if longest > found.max_positions:
        raise InputError(f"{folder} has {found.max_positions} positions; a length of {longest} does not fit")
    return _trained(found, recipe), folder


def _trained(found: ModelConfig, recipe: Recipe) -> ModelConfig:
    """The shape of a model, with the dropout of the recipe."""
    return replace(found, dropout=recipe.dropout, attention_dropout=recipe.attention_dropout)


def _recompute(model: nn.Module) -> None:
    """Let each layer keep its input only, and compute the rest again in the backward pass (Chen et al. 2016)."""
    for layer in model.modules():
        if isinstance(layer, Layer):
            forward: Callable[..., torch.Tensor] = layer.forward
            layer.forward = partial(recomputed, forward, use_reentrant=False)  # type: ignore[method-assign]
