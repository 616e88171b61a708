"""Hugging Face checkpoints as torch models, both ways."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from pubmedbert.model import names
from pubmedbert.model.checkpoint import read_checkpoint
from pubmedbert.model.config import ModelError, config_to_hf
from pubmedbert.model.head import WRITER
from pubmedbert.model.heads import Bert
from pubmedbert.model.tensors import saving


def name_table(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Pairs of our parameter's name and the Hugging Face names it stands for, for every parameter of `model`."""
    for ours, _ in model.named_parameters():
        yield ours, names.theirs(ours)


def load(folder: Path, *, need_vocabulary: bool = False) -> Bert:
    """Load a BERT from a Hugging Face folder, in fp32 and in evaluation mode.

    Args:
        folder: holds config.json and model.safetensors, or pytorch_model.bin, which is read without running code.
        need_vocabulary: whether a masked-language-model head must be there.

    Raises:
        ModelError: a file is missing or damaged, a shape does not fit config.json, or the head is missing or
            incomplete: no weight is ever made up.
    """
    found = read_checkpoint(folder, "mlm" if need_vocabulary else "encoder")
    with torch.device("meta"):  # no time is spent on initial weights that are replaced at once
        model = Bert(
            found.config,
            vocabulary=found.has_vocabulary,
            pooler=found.has_pooler,
            next_sentence=found.has_next_sentence,
        )
    model.load_state_dict(state_from_hf(model, found.tensors), assign=True)
    return model.eval()


def state_to_hf(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights under Hugging Face's names, each tensor contiguous and on its own."""
    state: dict[str, Tensor] = {}
    for ours, theirs in name_table(model):
        pieces = model.get_parameter(ours).detach().cpu().chunk(len(theirs))
        state |= {
            name: piece.clone(memory_format=torch.contiguous_format) for name, piece in zip(theirs, pieces, strict=True)
        }
    if names.DECODER in state:
        state[names.DECODER_BIAS] = state[names.BIAS].clone()
    return state


def state_from_hf(model: nn.Module, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """A checkpoint under our names, copied from its file.

    Args:
        model: the model to fill; its weights may be on the meta device.
        tensors: the weights of a model of that shape under Hugging Face's names, from `read_checkpoint`.
    """
    state = {}
    for ours, theirs in name_table(model):
        value = torch.empty(model.get_parameter(ours).shape)  # of torch's own making, as it aligns memory further
        np.concatenate([tensors[name] for name in theirs], out=value.numpy())
        state[ours] = value
    return state


def save(model: Bert, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write config.json and model.safetensors as transformers' BertForMaskedLM, BertForPreTraining or BertModel would.

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
    elif model.next_sentence is not None:
        values["architectures"] = ["BertForPreTraining"]
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
    with saving(path):
        save_file(tensors, path, metadata={"format": "pt"})
