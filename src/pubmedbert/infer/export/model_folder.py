"""A checkpoint as the config.json and model.safetensors that transformers' BertForMaskedLM writes; without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    stored = dict(_stored(checkpoint, dtype))
    text = json.dumps({**config_to_hf(checkpoint.config), "dtype": dtype, "written_by": WRITER}, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    path = folder / "model.safetensors"
    with saving(path):
        save_file(stored, path, metadata={"format": "pt"})


def _stored(checkpoint: Checkpoint, dtype: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and numbers as they are written."""
    for name, tensor in checkpoint.tensors.items():
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            values = np.ascontiguousarray(tensor, dtype=DTYPES[dtype])
        if not np.isfinite(values).all():
            raise ModelError(f"{name} holds values that are not finite in {dtype}")
        yield name, values
        if name == BIAS and DECODER in checkpoint.tensors:
            yield DECODER_BIAS, values.copy()  # its other name, the one transformers reads of an untied head
