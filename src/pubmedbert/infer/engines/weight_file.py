"""The weights behind the graphs: one file, written tensor by tensor, that the engine maps into memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pubmedbert.errors import InputError
from pubmedbert.infer.engines.quantise import factor, quantise
from pubmedbert.infer.engines.weights import Checkpoint
from pubmedbert.model.config import ModelConfig
from pubmedbert.model.names import BIAS, DECODER, WORDS

Tensors = dict[str, TensorProto]
"""What graphs say of the tensors in a file, by name: their shapes, and where they lie."""

_PAGE = 4096  # bytes; what is mapped must begin at a page
_WORDS = WORDS.removesuffix(".weight")
_EMBEDDINGS = "bert.embeddings."
_HEAD = "cls.predictions."
_LAYER = "bert.encoder.layer.{}."


def matrices(config: ModelConfig, *, vocabulary: bool) -> dict[str, tuple[str, ...]]:
    """The matrices that can be int8, in the order of computation.

    Queries, keys and values are one product, but for the last layer, where queries are asked for at fewer places.

    Args:
        config: the model's shape.
        vocabulary: whether it has a vocabulary head.

    Returns:
        Our name and Hugging Face's; several of theirs are stacked along the outputs. `words` is the table of word
        embeddings, `decoder` the same numbers as a linear layer where the head is tied.
    """
    found: dict[str, tuple[str, ...]] = {"words": (_WORDS,)}
    for layer in range(config.layers):
        base = _LAYER.format(layer)
        query, key, value = (f"{base}attention.self.{part}" for part in ("query", "key", "value"))
        if layer < config.layers - 1:
            found[f"{layer}.qkv"] = (query, key, value)
        else:
            found |= {f"{layer}.query": (query,), f"{layer}.key_value": (key, value)}
        found[f"{layer}.output"] = (f"{base}attention.output.dense",)
        found[f"{layer}.up"] = (f"{base}intermediate.dense",)
        found[f"{layer}.down"] = (f"{base}output.dense",)
    if vocabulary:
        found |= {"transform": (f"{_HEAD}transform.dense",), "decoder": (DECODER.removesuffix(".weight"),)}
    return found


class _File:
    """Tensors in a file, one behind the other, each at a page of its own."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = path.open("wb")
        self.tensors: Tensors = {}

    def close(self) -> None:
        self._file.close()

    def add(self, name: str, values: NDArray[Any]) -> None:
        self._file.write(bytes(-self._file.tell() % _PAGE))
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor = TensorProto(name=name, dims=values.shape, data_type=kind, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self._name), ("offset", self._file.tell()), ("length", values.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        self._file.write(np.ascontiguousarray(values).data)
        self.tensors[name] = tensor

    def alias(self, name: str, stored: str) -> None:
        """Give a tensor that is there a second name."""
        tensor = TensorProto()
        tensor.CopyFrom(self.tensors[stored])
        tensor.name = name
        self.tensors[name] = tensor


def write_weights(checkpoint: Checkpoint, path: Path, int8: Collection[str] = ()) -> Tensors:
    """Write a model's weights, one matrix in memory at a time.

    A matrix `NAME` is `NAME.weight` as checkpoints have it, `[out, in]`, or `NAME.int8` and `NAME.scales`: the table of
    words as `[V, D]` and `[V, 1]`, any other as `[in, out]` and `[out]`, in the form it is multiplied in
    (`quantise.factor`).

    Args:
        checkpoint: the model.
        path: the file to write.
        int8: the names, of those in `matrices`, that are rounded to 8 bits.

    Raises:
        InputError: a matrix to be rounded holds what is no number, or there is none of that name.
        OSError: the disk is full.
    """
    known = matrices(checkpoint.config, vocabulary=checkpoint.has_vocabulary)
    if strange := sorted(set(int8) - known.keys()):
        raise InputError(f"{checkpoint.source} has no matrix {strange[0]!r:.60} that could be rounded to 8 bits")
    file = _File(path)
    with closing(file):
        for ours, theirs in _small(checkpoint).items():
            file.add(ours, checkpoint.tensors[theirs])
        for name, modules in known.items():
            if name not in ("words", "decoder"):
                file.add(f"{name}.bias", _stacked(checkpoint, modules, "bias"))
            if name == "decoder" and checkpoint.config.tied:
                if not {"words", "decoder"} & set(int8):
                    file.alias("decoder.weight", "words.weight")
                    continue
                modules = (_WORDS,)
            matrix = _stacked(checkpoint, modules, "weight")
            if name not in int8:
                file.add(f"{name}.weight", matrix)
                continue
            if not np.isfinite(matrix).all():
                raise InputError(f"{checkpoint.source}: {modules[0]} holds what is no finite number; train it anew")
            whole, scales = quantise(matrix)
            file.add(f"{name}.int8", whole if name == "words" else factor(whole).T)
            file.add(f"{name}.scales", scales if name == "words" else scales[:, 0])
    return file.tensors


def _stacked(checkpoint: Checkpoint, modules: Sequence[str], kind: str) -> NDArray[np.float32]:
    """Tensors of one product, one above the other."""
    parts = [checkpoint.tensors[f"{module}.{kind}"] for module in modules]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _small(checkpoint: Checkpoint) -> dict[str, str]:
    """What is never rounded: small tables, norms and the vocabulary's bias, by our name and Hugging Face's."""
    modules = {
        "positions": f"{_EMBEDDINGS}position_embeddings",
        "types": f"{_EMBEDDINGS}token_type_embeddings",
        "embedding_norm": f"{_EMBEDDINGS}LayerNorm",
    }
    for layer in range(checkpoint.config.layers):
        modules[f"{layer}.attention_norm"] = _LAYER.format(layer) + "attention.output.LayerNorm"
        modules[f"{layer}.ffn_norm"] = _LAYER.format(layer) + "output.LayerNorm"
    if checkpoint.has_vocabulary:
        modules["transform_norm"] = f"{_HEAD}transform.LayerNorm"
    found = {
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in modules.items()
        for kind in ("weight", "bias")
        if kind == "weight" or "norm" in ours
    }
    return found | ({"decoder.bias": BIAS} if checkpoint.has_vocabulary else {})
