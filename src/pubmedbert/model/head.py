"""What a fine-tuned model says, and how config.json tells. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from pubmedbert.model.config import ModelError

Pooling = Literal["pooler", "cls", "mean", "max"]
POOLINGS: tuple[Pooling, ...] = ("pooler", "cls", "mean", "max")
Level = Literal["tokens", "text"]
Problem = Literal["single", "multi", "regression"]

WRITER = "pubmedbert"
"""What config.json names as its writer. As a key it holds what transformers has no word for; as a model_type it keeps
transformers from computing another pooling than was trained."""

_ARCHITECTURES: dict[Level, str] = {
    "tokens": "BertForTokenClassification",
    "text": "BertForSequenceClassification",
}
_ELECTRA = "ElectraForTokenClassification"  # reads a text's state in a way of its own, but words as a BERT does
_PROBLEMS: dict[Problem, str] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a fine-tuned encoder says."""

    level: Level
    """Whether it speaks of words or of whole texts."""
    labels: tuple[str, ...]
    """The C classes in the order of the logits; tags at token level; one name for a regression."""
    problem: Problem = "single"
    """One class, any number of classes, or a number."""
    pooling: Pooling = "pooler"
    """How a row of states becomes a text's state: BERT's pooler ([CLS], dense, tanh), the bare state of [CLS], or the
    mean or largest of all states."""

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ModelError(f"a head needs labels, each once, not {self.labels}")
        if self.problem == "regression" and len(self.labels) > 1:
            raise ModelError(f"a regression has one output, not {len(self.labels)}")
        if self.level == "tokens" and self.problem != "single":
            raise ModelError("words have one class each")
        if self.pooling not in POOLINGS:
            raise ModelError(f"pooling must be one of {', '.join(POOLINGS)}, not {self.pooling!r}")

    @property
    def has_pooler(self) -> bool:
        """Whether BERT's pooler makes a text's state."""
        return self.level == "text" and self.pooling == "pooler"


def head_to_hf(head: Head, extra: Mapping[str, object]) -> dict[str, object]:
    """What config.json of transformers' BERT classifiers says of a head.

    Args:
        head: what to write.
        extra: what else belongs to the model (task, max_length, ...); given back by `read_extra`.
    """
    values: dict[str, object] = {
        "architectures": [_ARCHITECTURES[head.level]],
        "id2label": {str(index): label for index, label in enumerate(head.labels)},
        "label2id": {label: index for index, label in enumerate(head.labels)},
        WRITER: {**extra, "pooling": head.pooling},
    }
    if head.level == "text":
        values["problem_type"] = _PROBLEMS[head.problem]
        if head.pooling != "pooler":
            values["model_type"] = WRITER
    return values


def read_extra(values: Mapping[str, object]) -> dict[str, object]:
    """What belongs to a fine-tuned model beside head and shape; empty where others wrote the folder.

    Raises:
        ModelError: it is no JSON object.
    """
    return {key: value for key, value in _own(values).items() if key != "pooling"}


def check_tuned(values: Mapping[str, object]) -> None:
    """Refuse the config.json of a model that is not fine-tuned.

    Raises:
        ModelError: its architecture is none of transformers' BERT classifiers.
    """
    _own(values)
    _level(values)


def read_head(values: Mapping[str, object], outputs: int) -> Head:
    """The head of a fine-tuned model, ours or one that transformers wrote.

    Args:
        values: its config.json.
        outputs: C, the outputs of its classifier.

    Raises:
        ModelError: there is none, or it does not fit the classifier.
    """
    level = _level(values)
    labels = _labels(values, outputs)
    if level == "tokens":
        return Head(level=level, labels=labels)
    guessed = _PROBLEMS["regression" if outputs == 1 else "single"]  # as the loss of transformers guesses
    named = values.get("problem_type") or guessed
    problem = next((problem for problem, name in _PROBLEMS.items() if name == named), None)
    if problem is None:
        raise ModelError(f"problem_type must be one of {', '.join(_PROBLEMS.values())}, not {named!r}")
    pooling = cast(Pooling, _own(values).get("pooling", "pooler"))  # checked by Head
    return Head(level=level, labels=labels, problem=problem, pooling=pooling)


def _own(values: Mapping[str, object]) -> dict[str, object]:
    own = values.get(WRITER, {})
    if not isinstance(own, dict):
        raise ModelError(f"{WRITER} must be an object, not {own!r}")
    return own


def _level(values: Mapping[str, object]) -> Level:
    named = values.get("architectures")
    if named == [_ELECTRA]:
        return "tokens"
    for level, architecture in _ARCHITECTURES.items():
        if named == [architecture]:
            return level
    wanted = " or ".join(_ARCHITECTURES.values())
    raise ModelError(f"architectures is {named!r}; that of a fine-tuned model is {wanted}")


def _labels(values: Mapping[str, object], outputs: int) -> tuple[str, ...]:
    """The label of each output."""
    named = values.get("id2label")
    if named is None and outputs == 2:
        return ("LABEL_0", "LABEL_1")  # transformers' defaults, which it does not write
    if not isinstance(named, dict):
        raise ModelError(f"id2label is missing; it must name the {outputs} outputs of the classifier")
    if set(named) != {str(index) for index in range(outputs)}:
        raise ModelError(f"id2label must have the keys 0 to {outputs - 1}, one for each output of the classifier")
    labels = tuple(named[str(index)] for index in range(outputs))
    if not all(isinstance(label, str) for label in labels):
        raise ModelError("id2label must map numbers to strings")
    return labels
