"""A checkpoint as the config.json and model.safetensors that transformers writes; without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pubmedbert.infer.engines.weights import Checkpoint
from pubmedbert.model.config import ModelError, config_to_hf
from pubmedbert.model.head import WRITER
from pubmedbert.model.names import BIAS, DECODER, DECODER_BIAS
from pubmedbert.model.tensors import saving

DTYPES = {"float32": np.float32, "float16": np.float16}
"""Numbers the weights can be written in."""


def write_model(checkpoint: Checkpoint, folder: Path, dtype: str = "float32") -> None:
    """Write a model that fills masks.

    Args:
        checkpoint: the model.
        folder: an existing folder.
        dtype: of the weights on disk, one of `DTYPES`.

    Raises:
        ModelError: a weight is too large for `dtype`.
        OSError: the disk is full.
    """
    values = config_to_hf(checkpoint.config)
    if checkpoint.has_next_sentence:
        values["architectures"] = ["BertForPreTraining"]
    tensors = dict(checkpoint.tensors)
    if DECODER in tensors:
        tensors[DECODER_BIAS] = tensors[BIAS]  # its other name, the one transformers reads of an untied head
    write_folder(tensors, values, folder, dtype)


def write_folder(
    tensors: Mapping[str, NDArray[np.float32]], values: Mapping[str, object], folder: Path, dtype: str
) -> None:
    """Write a model.safetensors and its config.json.

    Args:
        tensors: the weights under Hugging Face's names.
        values: the config.json; dtype and writer are added.
        folder: an existing folder.
        dtype: of the weights on disk, one of `DTYPES`.

    Raises:
        ModelError: a weight is too large for `dtype`.
        OSError: the disk is full.
    """
    stored = {name: _stored(name, tensor, dtype) for name, tensor in tensors.items()}
    text = json.dumps({**values, "dtype": dtype, "written_by": WRITER}, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    path = folder / "model.safetensors"
    with saving(path):
        save_file(stored, path, metadata={"format": "pt"})


def _stored(name: str, tensor: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """A weight as it is written."""
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        values = np.ascontiguousarray(tensor, dtype=DTYPES[dtype])
    if not np.isfinite(values).all():
        raise ModelError(f"{name} holds values that are not finite in {dtype}")
    return values
