"""Fine-tuned checkpoints as torch models, both ways: the folders of transformers' token and sequence classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from pubmedbert.model import hf
from pubmedbert.model.checkpoint import read_checkpoint
from pubmedbert.model.config import config_to_hf
from pubmedbert.model.head import head_to_hf, read_extra
from pubmedbert.model.tuned import Tuned


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
    hf.write(hf.state_to_hf(model), config_to_hf(model.config) | head_to_hf(model.head, extra), folder)


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
    found = read_checkpoint(folder, "tuned")
    assert found.head is not None
    with torch.device("meta"):  # no time is spent on initial weights that are replaced at once
        model = Tuned(found.config, found.head)
    model.load_state_dict(hf.state_from_hf(model, found.tensors), assign=True)
    return model.eval(), read_extra(found.values)
