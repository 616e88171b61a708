"""What transformers' run_mlm does, for benchmarks/budget.py: BertForMaskedLM, AdamW and a schedule, on full blocks.

Blocks are texts, each between [CLS] and [SEP], put end to end and cut, as run_mlm's group_texts makes them: no place is
padding. Whole words are masked, as in the evaluation. The clock is friendly to the loop: reading and masking are not on
it, only forward, backward, clipping and the optimizer's step.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

WARMUP = 0.1
POINTS = 12
"""Evaluations."""


def run(size: str, shards: Path, minutes: float, settings: dict[str, Any], length: int, rows: int) -> dict[str, Any]:
    """Train for some minutes, the learning rate falling to zero as they end.

    Args:
        size: of the model.
        shards: what `pubmedbert shards` wrote.
        minutes: on the clock.
        settings: `lr`, `rows` in a step, `dropout`, and whether products are in `bf16`.
        length: of a block, and of the held-out rows at most.
        rows: held-out rows.

    Returns:
        `points`, pairs of seconds and held-out loss, `loss`, the last of them, `steps` and `tokens`.
    """
    import torch
    import transformers

    from pubmedbert.pretrain.feed import feed
    from pubmedbert.pretrain.recipe import Recipe
    from pubmedbert.shards.read import open_shards

    opened = open_shards(shards)
    recipe = Recipe(size=size, length=length, evaluate_rows=rows)
    train, heldout = feed(opened, "train", recipe), feed(opened, "heldout", recipe)
    packs = heldout.frozen()
    torch.manual_seed(0)
    shape = recipe.model(opened.meta.vocab_size, train.special.pad)
    model = transformers.BertForMaskedLM(config(shape, settings["dropout"]))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings["lr"], fused=True)
    seconds, budget, steps, tokens, points = 0.0, minutes * 60, 0, 0, [(0.0, loss(model, packs, heldout))]
    for batch in batches(train, length, int(settings["rows"])):
        began = time.perf_counter()
        done = seconds / budget
        for group in optimizer.param_groups:
            group["lr"] = settings["lr"] * min(max(done, 1e-3) / WARMUP, (1 - done) / (1 - WARMUP))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings["bf16"]):
            found = model(**batch).loss
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds += time.perf_counter() - began
        steps, tokens = steps + 1, tokens + batch["input_ids"].numel()
        if seconds >= budget or seconds >= len(points) * budget / POINTS:
            points.append((seconds, loss(model, packs, heldout)))
        if seconds >= budget:
            break
    return {"points": points, "loss": points[-1][1], "steps": steps, "tokens": tokens}


def config(shape: Any, dropout: float) -> Any:
    """A shape of ours as transformers describes it."""
    import transformers

    return transformers.BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=shape.max_positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


def batches(train: Any, length: int, rows: int) -> Iterator[dict[str, Any]]:
    """Blocks in random order, whole words of them masked, as transformers takes them; epoch after epoch."""
    import torch

    from pubmedbert.shards.samples import mask, order

    blocks = grouped(train.split, train.special, length)
    for epoch in range(2**31):
        permutation = order(len(blocks), 0, epoch)
        for first in range(0, len(blocks) - rows + 1, rows):
            chosen = permutation[first : first + rows]
            tokens = blocks[chosen].astype(np.int64).reshape(-1)
            masked, where = mask(tokens, [length] * rows, chosen, train.special, 0, epoch)
            labels = np.full(len(tokens), -100)
            labels[where] = tokens[where]
            yield {
                "input_ids": torch.from_numpy(masked.reshape(rows, length)),
                "labels": torch.from_numpy(labels.reshape(rows, length)),
            }


def grouped(split: Any, special: Any, length: int) -> Any:
    """`[blocks, length]` of the documents of shards, each between [CLS] and [SEP], end to end; the rest is dropped."""
    ends = np.repeat(split.documents, 2)[1:-1]  # of each document its start and its end
    frame = np.resize([special.cls, special.sep], len(ends))
    stream = np.insert(split.tokens, ends, frame.astype(split.tokens.dtype))
    return stream[: len(stream) // length * length].reshape(-1, length)


def loss(model: Any, packs: list[Any], heldout: Any) -> float:
    """The model's held-out loss under the frozen masks, as `pubmedbert evaluate` computes it."""
    from pubmedbert.model import hf
    from pubmedbert.pretrain.breakdown import look

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        ours = hf.load(Path(folder), need_vocabulary=True)
    return float(look(ours, packs, heldout.special.continuation).losses.mean())
