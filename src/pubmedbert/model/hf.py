"""Hugging Face checkpoints, both ways: one table of parameter names serves loading and saving."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pubmedbert.model.config import ModelConfig, ModelError, config_from_hf, config_to_hf
from pubmedbert.model.heads import Bert

WRITER = "pubmedbert"
"""What config.json names as its writer."""

_LAYER = "bert.encoder.layer.{i}."
_ATTENTION = _LAYER + "attention.self."
_HEAD = "cls.predictions."

# Our parameter (without .weight or .bias) and Hugging Face's; several of theirs are stacked along the first axis.
_MODULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("encoder.embeddings.words", ("bert.embeddings.word_embeddings",)),
    ("encoder.embeddings.positions", ("bert.embeddings.position_embeddings",)),
    ("encoder.embeddings.types", ("bert.embeddings.token_type_embeddings",)),
    ("encoder.embeddings.norm", ("bert.embeddings.LayerNorm",)),
    ("encoder.layers.{i}.attention.qkv", (_ATTENTION + "query", _ATTENTION + "key", _ATTENTION + "value")),
    ("encoder.layers.{i}.attention.output", (_LAYER + "attention.output.dense",)),
    ("encoder.layers.{i}.attention_norm", (_LAYER + "attention.output.LayerNorm",)),
    ("encoder.layers.{i}.up", (_LAYER + "intermediate.dense",)),
    ("encoder.layers.{i}.down", (_LAYER + "output.dense",)),
    ("encoder.layers.{i}.ffn_norm", (_LAYER + "output.LayerNorm",)),
    ("pooler.dense", ("bert.pooler.dense",)),
    ("vocabulary.dense", (_HEAD + "transform.dense",)),
    ("vocabulary.norm", (_HEAD + "transform.LayerNorm",)),
    ("classifier", ("classifier",)),
)
_PARAMETERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("vocabulary.bias", (_HEAD + "bias",)),
    ("vocabulary.decoder", (_HEAD + "decoder.weight",)),
)
_DECODER = _HEAD + "decoder.weight"
_WORDS = "bert.embeddings.word_embeddings.weight"
# The vocabulary bias has two names. Where both are there, transformers adds the decoder's; where the head is untied, it
# reads no other.
_BIAS, _DECODER_BIAS = _HEAD + "bias", _HEAD + "decoder.bias"
# What the model must have a place for, and the buffers among it, which are no weights.
_OURS = ("bert.", _HEAD)
_BUFFERS = {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}


def name_table(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Pairs of our parameter's name and the Hugging Face names it stands for, for every parameter of `model`."""
    theirs = dict(_PARAMETERS) | {
        f"{ours}.{kind}": tuple(f"{name}.{kind}" for name in names)
        for ours, names in _MODULES
        for kind in ("weight", "bias")
    }
    for ours, _ in model.named_parameters():
        parts = ours.split(".")
        layer = next((part for part in parts if part.isdigit()), "")
        key = ".".join("{i}" if part.isdigit() else part for part in parts)
        yield ours, tuple(name.replace("{i}", layer) for name in theirs[key])


def load(folder: Path, *, need_vocabulary: bool = False) -> Bert:
    """Load a BERT from a Hugging Face folder, in fp32 and in evaluation mode.

    Args:
        folder: holds config.json and model.safetensors, or pytorch_model.bin, which is read without running code.
        need_vocabulary: whether a masked-language-model head must be there.

    Raises:
        ModelError: a file is missing or damaged, a shape does not fit config.json, or the head is missing or
            incomplete: no weight is ever made up.
    """
    config = config_from_hf(read_config(folder), str(folder / "config.json"))
    source, found = read_weights(folder, config)
    if _DECODER_BIAS in found:
        found[_BIAS] = found.pop(_DECODER_BIAS)
    has_head = any(name.startswith(_HEAD) for name in found)
    if need_vocabulary and not has_head:
        raise ModelError(
            f"{source} has no masked-language-model head (no {_HEAD}* weights), so it cannot fill masks; "
            "use a checkpoint saved from BertForMaskedLM"
        )
    if has_head:
        config = replace(config, tied=_is_tied(config, found))
    with torch.device("meta"):  # no time is spent on initial weights that are replaced at once
        model = Bert(config, vocabulary=has_head, pooler="bert.pooler.dense.weight" in found)
    model.load_state_dict(state_from_hf(model, found, source), assign=True)
    return model.eval()


def state_to_hf(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights under Hugging Face's names, each tensor contiguous and on its own."""
    state: dict[str, Tensor] = {}
    for ours, theirs in name_table(model):
        pieces = model.get_parameter(ours).detach().cpu().chunk(len(theirs))
        state |= {
            name: piece.clone(memory_format=torch.contiguous_format) for name, piece in zip(theirs, pieces, strict=True)
        }
    if _DECODER in state:
        state[_DECODER_BIAS] = state[_BIAS].clone()
    return state


def state_from_hf(model: nn.Module, found: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The checkpoint under our names in fp32, checked against the model's shapes.

    Args:
        model: the model to fill; its weights may be on the meta device.
        found: the weights under Hugging Face's names, from `read_weights`.
        source: their file, for error messages.

    Raises:
        ModelError: a weight is missing, has another shape, or the model has no place for it.
    """
    state = {}
    for ours, theirs in name_table(model):
        missing = [name for name in theirs if name not in found]
        if missing:
            raise ModelError(f"{source} lacks {missing[0]}{_head_note(missing[0])}")
        expected = model.get_parameter(ours).shape
        wanted = (expected[0] // len(theirs), *expected[1:])
        for name in theirs:
            shape = tuple(found[name].shape)
            if shape != wanted:
                raise ModelError(f"{source}: {name} has shape {shape}, config.json asks for {wanted}{_head_note(name)}")
        state[ours] = torch.cat([found[name] for name in theirs]).float()
    used = {name for _, theirs in name_table(model) for name in theirs} | {_DECODER} | _BUFFERS
    for name in sorted(found.keys() - used):
        if name.startswith(_OURS):
            raise ModelError(f"{source} holds {name}, which a model of the shape in config.json has no place for")
    return state


def save(model: Bert, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write config.json and model.safetensors as `transformers.BertForMaskedLM` (or `BertModel`) would.

    Args:
        model: what to write.
        folder: an existing folder.
        dtype: of the weights on disk, `torch.float32` or `torch.float16`.

    Raises:
        ModelError: a weight is too large for `dtype`.
        OSError: the disk is full.
    """
    state, values = state_to_hf(model), config_to_hf(model.config)
    if model.vocabulary is None:
        values["architectures"] = ["BertModel"]
        state = {name.removeprefix("bert."): value for name, value in state.items()}
    write(state, values, folder, dtype)


def write(
    state: Mapping[str, Tensor], values: Mapping[str, object], folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write a model.safetensors and its config.json.

    Args:
        state: the weights under Hugging Face's names.
        values: the config.json; dtype and writer are added.
        folder: an existing folder.
        dtype: of the weights on disk.

    Raises:
        ModelError: a weight is too large for `dtype`.
        OSError: the disk is full.
    """
    kind = str(dtype).removeprefix("torch.")
    stored = {name: value.to(dtype) for name, value in state.items()}
    for name, value in stored.items():
        if not all(bound.isfinite() for bound in torch.aminmax(value)):
            raise ModelError(f"{name} holds values that are not finite in {kind}")
    text = json.dumps({**values, "dtype": kind, "written_by": WRITER}, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    write_tensors(stored, folder / "model.safetensors")


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, readable by whoever may read the folder.

    Raises:
        OSError: the disk is full or the file can't be written.
    """
    path.touch()
    mode = path.stat().st_mode  # as for any new file; the library would let nobody but the owner read it
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # it hides the system's error in a text
        raise OSError(str(error)) from error
    path.chmod(mode)


def read_config(folder: Path) -> Mapping[str, object]:
    """The config.json of a model folder.

    Raises:
        ModelError: it is missing or holds no JSON object.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} is no model folder: cannot read config.json ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return values


def read_weights(folder: Path, config: ModelConfig) -> tuple[Path, dict[str, Tensor]]:
    """The checkpoint's file, and its tensors under today's Hugging Face names.

    Raises:
        ModelError: there is no file of weights, it is damaged, or has fewer layers than `config`.
    """
    path, found = _read_tensors(folder)
    found = {_modern_name(name): value for name, value in found.items()}
    if config.layers > (layers := _layer_count(found)):
        raise ModelError(f"{path} has {layers} layers, config.json asks for {config.layers}")
    return path, found


def _read_tensors(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    for name, read in (("model.safetensors", load_file), ("pytorch_model.bin", _read_pickle)):
        path = folder / name
        if path.exists():
            try:
                return path, read(path)
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{path} cannot be read as weights: {error}") from error
    raise ModelError(f"{folder} holds neither model.safetensors nor pytorch_model.bin")


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a pytorch_model.bin, read with `weights_only`, so that it cannot run code."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is damaged or asks for code beside weights, which is never run; a model.safetensors is safe"
        ) from error
    except Exception as error:  # damaged bytes make the unpickler fail in any way
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(f"{path} cannot be read as weights: {type(error).__name__}: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no table of tensors")
    return state


def _modern_name(name: str) -> str:
    """Today's name of a parameter: TensorFlow-era LayerNorm names and a bare encoder's missing prefix are mended."""
    name = name.removeprefix("module.")
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def _layer_count(found: Mapping[str, Tensor]) -> int:
    """How many layers the file can have: one more than the largest number in its names."""
    parts = (name.removeprefix(_LAYER.split("{")[0]).split(".")[0] for name in found)
    return max((int(part) + 1 for part in parts if part.isdecimal() and len(part) < 10), default=0)


def _is_tied(config: ModelConfig, found: Mapping[str, Tensor]) -> bool:
    """Whether the head shares the word embeddings; two different matrices are never merged."""
    decoder, words = found.get(_DECODER), found.get(_WORDS)
    if decoder is None or words is None:
        return config.tied
    return config.tied and decoder.shape == words.shape and torch.equal(decoder, words)


def _head_note(name: str) -> str:
    if not name.startswith(_HEAD):
        return ""
    return ": its masked-language-model head is incomplete, and filling masks with made-up weights would give nonsense"
