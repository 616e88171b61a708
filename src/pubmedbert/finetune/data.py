"""Examples as rows of word pieces with their targets, and answers read off the logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import TOKEN_TASKS, Dataset, Example, Labelled, Tagged, Task
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.finetune.stability import Answer
from pubmedbert.infer.labels.rows import Pack, Row, RowEncoder, batches, pack
from pubmedbert.infer.labels.spans import from_scheme, tag_names, to_scheme
from pubmedbert.model.head import POOLINGS, Head
from pubmedbert.model.tuned import Tuned

TRAINING_WINDOWS = 8
"""Windows of a text that are read in training, from its beginning: they share one backward pass, so memory."""
_LARGEST = 1e6  # of a number to predict: its square must not leave fp32
Target = NDArray[np.int64] | NDArray[np.float32]
"""What an example asks for: `[W]` tag numbers of its words, `[1]` a class or number, or the numbers of all classes that
hold."""


def head_for(dataset: Dataset, recipe: Recipe) -> Head:
    """The head a data set's task needs (Gu et al. 2020, section 2.4: one linear layer)."""
    pooling = next(name for name in POOLINGS if name == recipe.pooling)
    if dataset.task == "ner":
        return Head(level="tokens", labels=tag_names(dataset.labels, recipe.scheme))
    if dataset.task == "words":
        return Head(level="tokens", labels=("O", *dataset.labels))
    if dataset.task == "similarity":
        return Head(level="text", labels=("score",), problem="regression", pooling=pooling)
    problem = "multi" if dataset.task == "multilabel" else "single"
    return Head(level="text", labels=dataset.labels, problem=problem, pooling=pooling)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Encoded:
    """Examples as the model reads them."""

    rows: list[list[Row]]
    """The windows of each example."""

    def packs(self, chosen: Sequence[int], budget: int, *, whole: bool) -> Iterator[Pack]:
        """The chosen examples as packs of rows of similar length and at most `budget` word pieces.

        Args:
            chosen: numbers of examples.
            budget: of a pack; a single row or example may be larger.
            whole: whether the windows of an example stay together, as they must where their states are averaged.
        """
        examples = [self.rows[number] for number in chosen]
        units = examples if whole else [[row] for rows in examples for row in rows]
        for group in batches(units, budget):
            yield pack([row for number in group for row in units[number]])


def encode(examples: Sequence[Example], encoder: RowEncoder, recipe: Recipe, windows: int | None = None) -> Encoded:
    """Word pieces of the examples, in their order.

    Args:
        examples: all `Tagged` or all `Labelled`.
        encoder: of the model.
        recipe: says what becomes of long texts.
        windows: the most that are read of a text, from its beginning; None for all.
    """
    if examples and isinstance(examples[0], Tagged):
        return Encoded(encoder.words_batch([example.words for example in examples if isinstance(example, Tagged)]))
    texts = [(example.text, example.text_b) for example in examples if isinstance(example, Labelled)]
    rows = encoder.text_batch(texts, "windows" if recipe.long == "windows" else "truncate")
    return Encoded([found[:windows] for found in rows])


def targets(examples: Sequence[Example], task: Task, head: Head, scheme: str) -> list[Target]:
    """What each example asks for, as numbers.

    Raises:
        InputError: a label that the head has no class for.
    """
    ids = {label: number for number, label in enumerate(head.labels)}
    try:
        return [_target(example, task, ids, scheme) for example in examples]
    except KeyError as error:
        raise InputError(f"the label {error.args[0]!r} is not among {', '.join(head.labels)}") from error


def _target(example: Example, task: Task, ids: dict[str, int], scheme: str) -> Target:
    if isinstance(example, Tagged):
        tags = example.tags or ()
        return np.array([ids[tag] for tag in (to_scheme(tags, scheme) if task == "ner" else tags)], np.int64)
    label = example.label
    if isinstance(label, tuple):
        return np.array([ids[name] for name in label], np.int64)
    if not isinstance(label, float):
        return np.array([ids[str(label)]], np.int64)
    if abs(label) > _LARGEST:
        raise InputError(f"example {example.id}: the label {label:g} is too large to be learned")
    return np.array([label], np.float32)


def gold(example: Example) -> Answer:
    """What an example's answer should be.

    Raises:
        InputError: its labels are hidden.
    """
    held = example.tags if isinstance(example, Tagged) else example.label
    if held is None:
        raise InputError(f"example {example.id} has no label")
    return held


def loss(logits: Tensor, wanted: Tensor, head: Head) -> Tensor:
    """The summed loss of a pack: cross-entropy, binary cross-entropy (mean over the classes) or squared error.

    Args:
        logits: `[M, C]` or `[E, C]`.
        wanted: `[M]` or `[E]` classes, `[E, C]` zeros and ones, or `[E, 1]` numbers.
        head: whose logits they are.
    """
    if head.problem == "multi":
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / len(head.labels)
    if head.problem == "regression":
        return F.mse_loss(logits, wanted, reduction="sum")
    return F.cross_entropy(logits, wanted, reduction="sum")


def wanted(packed: Pack, asked: Sequence[Target], head: Head) -> Tensor:
    """The targets of a pack's logits, in their order.

    Args:
        packed: from `Encoded.pack`.
        asked: targets of all examples.
        head: decides the shape.
    """
    if head.level == "tokens":
        return torch.from_numpy(np.concatenate([asked[row.example][list(row.words)] for row in packed.rows]))
    if head.problem == "multi":
        held = torch.zeros(len(packed.examples), len(head.labels))  # [E, C]
        for row, number in zip(held, packed.examples, strict=True):
            row[torch.from_numpy(asked[number])] = 1
        return held
    stacked = np.stack([asked[number] for number in packed.examples])  # [E, 1]
    return torch.from_numpy(stacked if head.problem != "single" else stacked[:, 0])


def score_pack(model: Tuned, packed: Pack) -> Tensor:
    """Logits of a pack: `[M, C]` for words, `[E, C]` for texts in the order of `packed.examples`."""
    tokens, positions, types = (torch.from_numpy(array) for array in (packed.tokens, packed.positions, packed.types))
    if model.head.level == "tokens":
        return model(tokens, positions, types, packed.lengths, where=torch.from_numpy(packed.where))  # type: ignore[no-any-return]
    return model(tokens, positions, types, packed.lengths, owners=torch.from_numpy(packed.owners))  # type: ignore[no-any-return]


def answer(scores: NDArray[np.float64], task: Task, head: Head) -> Answer:
    """What logits say: IOB2 tags, a class, the classes above one half, or a number."""
    if task in TOKEN_TASKS:
        tags = [head.labels[best] for best in scores.argmax(axis=1)]
        return tuple(from_scheme(tags)) if task == "ner" else tuple(tags)
    if head.problem == "regression":
        return float(scores[0])
    if head.problem == "multi":
        return tuple(label for label, score in zip(head.labels, scores, strict=True) if score > 0)
    return head.labels[int(scores.argmax())]
