"""Fine-tuned checkpoints, both ways: the folders of transformers' token and sequence classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor

from pubmedbert.model import hf
from pubmedbert.model.config import ModelError, config_from_hf, config_to_hf
from pubmedbert.model.tuned import Head, Pooling, Tuned

_ARCHITECTURES: dict[Literal["tokens", "text"], str] = {
    "tokens": "BertForTokenClassification",
    "text": "BertForSequenceClassification",
}
_PROBLEMS: dict[Literal["single", "multi", "regression"], str] = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
# Its key in config.json holds what transformers has no word for. As a model_type it keeps transformers from computing
# another pooling than was trained.
_OWN = hf.WRITER


def save_tuned(model: Tuned, folder: Path, extra: Mapping[str, object]) -> None:
    """Write config.json and model.safetensors as transformers' BERT classifiers would.

    A pooling other than "pooler" is none of transformers': such a folder has a model_type of its own, so its Auto
    classes and pipelines refuse it.

    Args:
        model: what to write.
        folder: an existing folder.
        extra: what else belongs to the model (task, max_length, ...); kept in config.json and given back by
            `load_tuned`.

    Raises:
        ModelError: a weight is not finite.
        OSError: the disk is full.
    """
    head = model.head
    values = config_to_hf(model.config) | {
        "architectures": [_ARCHITECTURES[head.level]],
        "id2label": {str(index): label for index, label in enumerate(head.labels)},
        "label2id": {label: index for index, label in enumerate(head.labels)},
        _OWN: {**extra, "pooling": head.pooling},
    }
    if head.level == "text":
        values["problem_type"] = _PROBLEMS[head.problem]
        if head.pooling != "pooler":
            values["model_type"] = _OWN
    hf.write(hf.state_to_hf(model), values, folder)


def load_tuned(folder: Path) -> tuple[Tuned, dict[str, object]]:
    """Load a fine-tuned BERT, ours or one that transformers wrote, in fp32 and in evaluation mode.

    Args:
        folder: holds config.json and model.safetensors, or pytorch_model.bin, which is read without running code.

    Returns:
        The model, and the `extra` of `save_tuned`: empty where others wrote the folder.

    Raises:
        ModelError: a file is missing or damaged, there is no classifier, or its shape does not fit the labels in
            config.json.
    """
    values = hf.read_config(folder)
    source = folder / "config.json"
    own = values.get(_OWN, {})
    if not isinstance(own, dict):
        raise ModelError(f"{source}: {_OWN} must be an object, not {own!r}")
    pooling = own.get("pooling", "pooler")
    if values.get("model_type") == _OWN:
        values = {**values, "model_type": "bert"}
    config = config_from_hf(values, str(source))
    level = _level(values, source)
    path, found = hf.read_weights(folder, config)
    try:
        head = _head(values, level, _outputs(found, path), pooling)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    with torch.device("meta"):  # no time is spent on initial weights that are replaced at once
        model = Tuned(config, head)
    unused = ("cls.",) if model.pooler else ("cls.", "bert.pooler.")  # left from pretraining
    kept = {name: value for name, value in found.items() if not name.startswith(unused)}
    model.load_state_dict(hf.state_from_hf(model, kept, path), assign=True)
    return model.eval(), {key: value for key, value in own.items() if key != "pooling"}


def _level(values: Mapping[str, object], source: Path) -> Literal["tokens", "text"]:
    named = values.get("architectures")
    for level, architecture in _ARCHITECTURES.items():
        if named == [architecture]:
            return level
    wanted = " or ".join(_ARCHITECTURES.values())
    raise ModelError(f"{source}: architectures is {named!r}; that of a fine-tuned model is {wanted}")


def _outputs(found: Mapping[str, Tensor], path: Path) -> int:
    """C, the number of outputs of the checkpoint's classifier."""
    weight = found.get("classifier.weight")
    if weight is None or weight.ndim != 2:
        raise ModelError(f"{path.name} has no classifier (a matrix classifier.weight); fine-tune the model first")
    return len(weight)


def _head(values: Mapping[str, object], level: Literal["tokens", "text"], outputs: int, pooling: object) -> Head:
    labels = _labels(values, outputs)
    if level == "tokens":
        return Head(level=level, labels=labels)
    guessed = _PROBLEMS["regression" if outputs == 1 else "single"]  # as the loss of transformers guesses
    named = values.get("problem_type") or guessed
    problem = next((problem for problem, name in _PROBLEMS.items() if name == named), None)
    if problem is None:
        raise ModelError(f"problem_type must be one of {', '.join(_PROBLEMS.values())}, not {named!r}")
    return Head(level=level, labels=labels, problem=problem, pooling=cast(Pooling, pooling))  # checked by Head


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
