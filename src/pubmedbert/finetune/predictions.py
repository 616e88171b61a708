"""What a seed left, read back: its note, and its answers to a split, checked before they are scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.files import read_json
from pubmedbert.finetune.dataset import Dataset, Example, Tagged, fingerprint, hidden
from pubmedbert.finetune.stability import Answer

NOTE = "seed.json"
TEST = "test.jsonl"
OF_A_SEED = {
    "seed": int,
    "dev": int | float,
    "best_epoch": int,
    "restarts": int,
    "collapsed": bool,
    "seconds": int | float,
}
"""What a note says that results repeat, and of what type it is."""


def read_note(folder: Path) -> dict[str, Any]:
    """The note of a seed.

    Raises:
        InputError: it is missing or damaged.
    """
    note: dict[str, Any] = read_json(folder / NOTE)
    for key, kind in OF_A_SEED.items():
        found = note.get(key)
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            raise InputError(
                f'{folder / NOTE} is damaged ("{key}" is {found!r}): delete {folder} to train the seed anew'
            )
    return note


def read_answers(folder: Path, dataset: Dataset, gold: Sequence[Example]) -> list[Answer]:
    """A seed's answers to the test split, in its order.

    Args:
        folder: of the seed.
        dataset: whose split it is.
        gold: the split.

    Raises:
        InputError: they are missing or damaged, are of other texts, or are not what such a data set is answered with.
    """
    path = folder / TEST
    found = read_predictions(path)
    texts = fingerprint(hidden(gold))
    if [name for name, _ in found] != [example.id for example in gold] or read_note(folder).get("test_texts") != texts:
        raise InputError(
            f"{path} was predicted for other texts than the test split of {dataset.name} has now; "
            "fine-tune anew, into another --out"
        )
    for number, ((_, answer), example) in enumerate(zip(found, gold, strict=True), 1):
        if not _fits(answer, example, dataset):
            raise InputError(f"{path}, line {number}: {json.dumps(answer)[:80]} is no answer to {dataset.name}")
    return [answer for _, answer in found]


def _fits(answer: object, example: Example, dataset: Dataset) -> bool:
    """Whether an answer is of the kind that a data set asks for."""
    if isinstance(example, Tagged):
        return (
            isinstance(answer, tuple) and len(answer) == len(example.words) and all(isinstance(x, str) for x in answer)
        )
    if dataset.task == "similarity":
        return isinstance(answer, float | int) and not isinstance(answer, bool)
    if dataset.task == "multilabel":
        return isinstance(answer, tuple) and all(label in dataset.labels for label in answer)
    return answer in dataset.labels


def read_predictions(path: Path) -> list[tuple[str, Answer]]:
    """Ids and answers of a `dev.jsonl` or `test.jsonl`.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    found: list[tuple[str, Answer]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            name, answer = record["id"], record["prediction"]
        except (ValueError, RecursionError, TypeError, KeyError) as error:
            raise InputError(f'{path}, line {number}: a JSON object with "id" and "prediction" is wanted') from error
        found.append((name, tuple(answer) if isinstance(answer, list) else answer))
    return found
