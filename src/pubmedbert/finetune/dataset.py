"""What a data set is to fine-tuning: examples in three splits, a task and a metric."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pubmedbert.infer.labels.spans import entities

Task = Literal["ner", "words", "relation", "similarity", "classification", "multilabel", "pairs"]
"""Named entities; a class for each word (PICO); one of several relations; a number for two texts; one class for a text;
any number of classes for a text; one class for two texts (question answering)."""
TOKEN_TASKS: tuple[Task, ...] = ("ner", "words")
Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Tagged:
    """Words with a tag each, as the file has them."""

    id: str
    """Unique in its split."""
    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    """As in the file (`B-Disease`, `B`, `I-PAR`, `O`); None where they are hidden."""
    document: str = ""
    """The document the words are from, where the file tells."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, or two, with what is to be said of it."""

    id: str
    """Unique in its split."""
    text: str
    label: str | float | tuple[str, ...] | None
    """A class, a number (similarity), the classes that hold (multilabel), or None where it is hidden."""
    text_b: str | None = None
    document: str = ""
    """As for `Tagged`."""


Example = Tagged | Labelled


@dataclass(frozen=True)
class Dataset:
    """A data set; its files are read when a split is asked for, so test labels stay unread until they are scored."""

    name: str
    task: Task
    metric: str
    """A name in `pubmedbert.finetune.metrics.METRICS`."""
    labels: tuple[str, ...]
    """Classes in a fixed order. For `ner` the entity types ("" where tags have none), for `words` the tags but O, for
    `similarity` nothing."""
    read: Callable[[Split], Sequence[Example]]
    """Reads a split; raises InputError where a file is missing or damaged."""
    negative: str | None = None
    """The class that is no relation: it is predicted, and left out of the F1."""
    notes: tuple[str, ...] = ()
    """How its files deviate from what was published."""
    remark: Callable[[Split, Sequence[Example]], str] = lambda _split, _examples: ""
    """Why scores on a split do not compare with published ones; "" where they do, or nothing was published."""


def fingerprint(examples: Sequence[Example]) -> str:
    """A hash of what examples say, labels included."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(asdict(example)).encode())
    return digest.hexdigest()[:16]


def labels_of(example: Example, task: Task) -> Iterable[str]:
    """The types of an example's entities, the tags of its words but O, or its classes; nothing for a number."""
    if isinstance(example, Tagged):
        tags = example.tags or ()
        return {kind for kind, _, _ in entities(tags)} if task == "ner" else set(tags) - {"O"}
    label = example.label
    return label if isinstance(label, tuple) else [label] if isinstance(label, str) else []


def has_pairs(examples: Sequence[Example]) -> bool:
    """Whether any example is of two texts."""
    return any(isinstance(example, Labelled) and example.text_b is not None for example in examples)


def hidden(examples: Sequence[Example]) -> list[Example]:
    """The examples without tags and labels: what a model may see of a test set."""
    return [
        replace(example, tags=None) if isinstance(example, Tagged) else replace(example, label=None)
        for example in examples
    ]
