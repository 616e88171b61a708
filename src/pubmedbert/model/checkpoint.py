"""A model folder read and checked: config.json and the weights, under one set of names. Nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from pubmedbert.model import names
from pubmedbert.model.config import ModelConfig, ModelError, config_from_hf
from pubmedbert.model.head import WRITER, Head, check_tuned, read_head
from pubmedbert.model.tensors import Floats, floats, read_safetensors

Part = Literal["mlm", "encoder", "tuned"]
"""A model that fills masks, an encoder with whatever heads there are, or a fine-tuned model."""


@dataclass(frozen=True)
class Checkpoint:
    """A model folder whose weights are exactly those of its shape."""

    source: Path
    """The file of weights."""
    config: ModelConfig
    """The shape. `tied` says what the weights do: two different matrices are never merged."""
    values: Mapping[str, object]
    """config.json."""
    tensors: Mapping[str, NDArray[np.float32]]
    """The weights that the model has, under today's Hugging Face names: read-only views of the file, or fp32 copies
    made at each access where it holds other numbers. A tied decoder is left out."""
    head: Head | None = None
    """What a fine-tuned model says."""

    @property
    def has_vocabulary(self) -> bool:
        """Whether there is a masked-language-model head."""
        return names.BIAS in self.tensors

    @property
    def has_pooler(self) -> bool:
        """Whether there is a pooler."""
        return names.POOLER in self.tensors

    @property
    def has_next_sentence(self) -> bool:
        """Whether there is a next-sentence head."""
        return names.NEXT_SENTENCE in self.tensors


def read_checkpoint(folder: Path, part: Part) -> Checkpoint:
    """Read a BERT from a Hugging Face folder; its weights are mapped into memory and read when they are used.

    Args:
        folder: holds config.json and model.safetensors, or pytorch_model.bin, which is read without running code.
        part: what it must be. A "tuned" one has its encoder, its classifier and the pooler if that one is used; heads
            left from pretraining are not read.

    Raises:
        ModelError: a file is missing or damaged, a shape does not fit config.json, or the head is missing or
            incomplete: no weight is ever made up.
    """
    values = read_config(folder)
    config_file = folder / "config.json"
    shape = values
    if part == "tuned":
        try:
            check_tuned(values)
        except ModelError as error:
            raise ModelError(f"{config_file}: {error}") from error
        if values.get("model_type") == WRITER:
            shape = {**values, "model_type": "bert"}
    config = config_from_hf(shape, str(config_file))
    source, stored = _read_weights(folder, config)
    if part == "tuned":
        return _tuned(source, config, values, stored)
    return _pretrained(source, config, values, stored, need_vocabulary=part == "mlm")


def read_config(folder: Path) -> Mapping[str, object]:
    """The config.json of a model folder.

    Raises:
        ModelError: it is missing or holds no JSON object.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} is no model folder: {_what(folder, error)}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return values


def weights_file(folder: Path) -> Path:
    """The file of weights in a model folder; the safe form before the other.

    Raises:
        ModelError: there is none.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return folder / name
    raise ModelError(f"{folder} holds neither model.safetensors nor pytorch_model.bin")


def _what(folder: Path, error: OSError) -> str:
    """What a folder without a config.json is, and what may have been meant."""
    if (folder / "checkpoints").is_dir():
        return f"it is a run of 'pubmedbert pretrain'; make a model of it with 'pubmedbert export {folder}'"
    if (folder / "seed-0" / "config.json").exists():
        return f"it is a run of 'pubmedbert finetune'; take one of its models, such as {folder / 'seed-0'}"
    return f"cannot read config.json ({error.strerror})"


def _pretrained(
    source: Path,
    config: ModelConfig,
    values: Mapping[str, object],
    stored: dict[str, NDArray[Any]],
    *,
    need_vocabulary: bool,
) -> Checkpoint:
    if names.DECODER_BIAS in stored:
        stored[names.BIAS] = stored.pop(names.DECODER_BIAS)
    has_head = any(name.startswith(names.HEAD) for name in stored)
    if need_vocabulary and not has_head:
        advice = "use a checkpoint saved from BertForMaskedLM"
        if values.get("model_type") == "electra":
            advice = "an ELECTRA's discriminator predicts no words"
        raise ModelError(
            f"{source} has no masked-language-model head (no {names.HEAD}* weights), so it cannot fill masks; {advice}"
        )
    if has_head:
        config = replace(config, tied=_is_tied(config, stored))
    has_pooler = names.POOLER in stored
    next_sentence = has_head and has_pooler and names.NEXT_SENTENCE in stored
    wanted = names.shapes(config, vocabulary=has_head, pooler=has_pooler, next_sentence=next_sentence)
    return Checkpoint(source, config, values, _checked(stored, wanted, source))


def _tuned(
    source: Path, config: ModelConfig, values: Mapping[str, object], stored: dict[str, NDArray[Any]]
) -> Checkpoint:
    classifier = stored.get(names.CLASSIFIER)
    if classifier is None or classifier.ndim != 2:
        raise ModelError(f"{source.name} has no classifier (a matrix classifier.weight); fine-tune the model first")
    try:
        head = read_head(values, len(classifier))
    except ModelError as error:
        raise ModelError(f"{source.with_name('config.json')}: {error}") from error
    unused = ("cls.",) if head.has_pooler else ("cls.", "bert.pooler.")  # left from pretraining
    kept = {name: tensor for name, tensor in stored.items() if not name.startswith(unused)}
    wanted = names.shapes(config, vocabulary=False, pooler=head.has_pooler, outputs=len(classifier))
    return Checkpoint(source, config, values, _checked(kept, wanted, source), head)


def _checked(stored: Mapping[str, NDArray[Any]], wanted: Mapping[str, names.Shape], source: Path) -> Floats:
    """The weights of a model, if the file holds all of them and nothing it has no place for."""
    names.check({name: tensor.shape for name, tensor in stored.items()}, wanted, source)
    return Floats({name: stored[name] for name in wanted})


def _read_weights(folder: Path, config: ModelConfig) -> tuple[Path, dict[str, NDArray[Any]]]:
    """The file of weights, and its tensors under today's names."""
    path = weights_file(folder)
    try:
        if path.suffix == ".safetensors":
            found = read_safetensors(path)
        else:
            from pubmedbert.model.torch_zip import read_torch  # few need it, and it takes its time to import

            found = read_torch(path)
    except ModelError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as weights: {error}") from error
    stored: dict[str, NDArray[Any]] = {}
    for name, tensor in found.items():
        modern = names.modern_name(name)
        if modern in stored:
            raise ModelError(f"{path} holds {modern} twice, once under an older name; only one of them can be meant")
        stored[modern] = tensor
    if config.layers > (layers := names.layer_count(stored)):
        raise ModelError(f"{path} has {layers} layers, config.json asks for {config.layers}")
    return path, stored


def _is_tied(config: ModelConfig, stored: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the head shares the word embeddings."""
    decoder, words = stored.get(names.DECODER), stored.get(names.WORDS)
    if decoder is None or words is None:
        return config.tied
    return config.tied and decoder.shape == words.shape and np.array_equal(floats(decoder), floats(words))
