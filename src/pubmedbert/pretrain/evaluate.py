"""Held-out loss under frozen masks: the same rows and the same masks for every model on the same shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pubmedbert.errors import InputError
from pubmedbert.model import hf
from pubmedbert.model.heads import Bert
from pubmedbert.model.locate import locate
from pubmedbert.pretrain.feed import feed, fingerprint
from pubmedbert.pretrain.objective import masked_loss, unigram_loss
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.shards.read import open_shards
from pubmedbert.shards.samples import Pack
from pubmedbert.vocab.folder import dump, load


@dataclass(frozen=True)
class Evaluation:
    """What a model does on frozen masks."""

    eval_loss: float
    """Mean cross-entropy in nats per masked word piece."""
    eval_accuracy: float
    """Share of masked word pieces predicted right."""
    unigram_loss: float
    """Loss of the corpus's unigram model on the same masks."""
    masked: int
    """Masked word pieces."""
    masks: str
    """Hash of rows, masks and labels: only losses of equal hashes compare."""


def evaluate_packs(model: Bert, packs: list[Pack]) -> tuple[float, float]:
    """Mean loss in nats and accuracy of `model` over the masked positions of `packs`, without dropout.

    Raises:
        InputError: nothing is masked.
    """
    masked = sum(len(pack.where) for pack in packs)
    if not masked:
        raise InputError("no word piece of the held-out rows is masked; evaluate more or longer rows")
    training = model.training
    model.eval()
    loss, right = 0.0, 0
    with torch.inference_mode():
        for pack in packs:
            part, hits = masked_loss(model, pack)
            loss += part.item()
            right += int(hits)
    model.train(training)
    return loss / masked, right / masked


def evaluate_model(name: str, shards_folder: Path, rows: int, length: int) -> Evaluation:
    """Evaluate a model on the held-out documents of shards.

    Args:
        name: "bundled", a model folder or a hub id.
        shards_folder: what `pubmedbert shards` wrote.
        rows: held-out rows.
        length: longest row in word pieces.

    Raises:
        InputError: the model's vocabulary is not the shards'.
        ModelError: the model can't be loaded or has no masked-language-model head.
    """
    shards = open_shards(shards_folder)
    folder = locate(name)
    if dump(load(folder)) != dump(load(shards.tokenizer_folder)):
        raise InputError(f"{shards_folder} was not made with the tokenizer of {folder}: make shards with that one")
    model = hf.load(folder, need_vocabulary=True)
    recipe = Recipe(length=length, evaluate_rows=rows, max_positions=model.config.max_positions)
    packs = feed(shards, "heldout", recipe).frozen()
    loss, accuracy = evaluate_packs(model, packs)
    masked = sum(len(pack.where) for pack in packs)
    return Evaluation(loss, accuracy, unigram_loss(shards.unigram, packs), masked, fingerprint(packs))
