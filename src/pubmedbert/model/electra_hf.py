"""ELECTRA's two models as Hugging Face folders, both ways: ElectraForPreTraining and ElectraForMaskedLM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pubmedbert.model import hf, names
from pubmedbert.model.electra import Discriminator, Electra, Generator
from pubmedbert.model.electra_checkpoint import GENERATOR, ElectraCheckpoint, config_json, read_electra
from pubmedbert.model.encoder import Embeddings

# Modules that a BERT does not have, or has under another name; what is not here is BERT's with another prefix.
_MODULES = {
    "encoder.embeddings.project": "electra.embeddings_project",
    "detection.dense": "discriminator_predictions.dense",
    "detection.output": "discriminator_predictions.dense_prediction",
    "vocabulary.dense": "generator_predictions.dense",
    "vocabulary.norm": "generator_predictions.LayerNorm",
    "vocabulary": "generator_lm_head",
}


def save(model: Electra, folder: Path) -> None:
    """Write the discriminator into `folder` and the generator into `folder/generator`.

    Raises:
        ModelError: a weight is not finite.
        OSError: the disk is full.
    """
    (folder / GENERATOR).mkdir()
    _save(model.discriminator, folder)
    _save(model.generator, folder / GENERATOR)


def load(model: Electra, folder: Path) -> None:
    """Fill a model from what `save` wrote.

    Raises:
        ModelError: a file is missing or damaged, or its shapes are not the model's.
    """
    _fill(model.discriminator, read_electra(folder))
    _fill(model.generator, read_electra(folder / GENERATOR, generator=True))


def load_both(folder: Path) -> Electra:
    """Load what `save` or `pubmedbert export` wrote, in fp32 and in evaluation mode.

    Raises:
        ModelError: a file is missing or damaged, or the two models do not belong together.
    """
    config, small = read_electra(folder).config, read_electra(folder / GENERATOR, generator=True).config
    model = Electra(config, small.heads / config.heads)
    load(model, folder)
    return model.eval()


def load_discriminator(folder: Path) -> Discriminator:
    """Load an ElectraForPreTraining, ours or one that transformers wrote, in fp32 and in evaluation mode.

    Raises:
        ModelError: a file is missing or damaged, or a shape does not fit config.json.
    """
    found = read_electra(folder)
    with torch.device("meta"):  # no time is spent on initial weights that are replaced at once
        model = Discriminator(found.config)
    _fill(model.to_empty(device="cpu"), found)
    return model.eval()


def load_generator(folder: Path) -> Generator:
    """Load an ElectraForMaskedLM, ours or one that transformers wrote, in fp32 and in evaluation mode.

    Raises:
        ModelError: a file is missing or damaged, or a shape does not fit config.json.
    """
    found = read_electra(folder, generator=True)
    with torch.device("meta"):
        embeddings = Embeddings(replace(found.config, width=found.embedding, heads=1))
        model = Generator(found.config, embeddings)
    _fill(model.to_empty(device="cpu"), found)
    return model.eval()


def _save(model: Discriminator | Generator, folder: Path) -> None:
    """Write config.json and model.safetensors of one of the two models, as transformers would."""
    state = {}
    for ours, theirs in _name_table(model):
        pieces = model.get_parameter(ours).detach().cpu().chunk(len(theirs))
        for name, piece in zip(theirs, pieces, strict=True):
            state[name] = piece.clone(memory_format=torch.contiguous_format)
    width = model.encoder.embeddings.words.embedding_dim
    hf.write(state, config_json(model.config, width, generator=isinstance(model, Generator)), folder)


def _name_table(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Pairs of our parameter's name and the Hugging Face names it stands for."""
    for ours, _ in model.named_parameters():
        module, _, kind = ours.rpartition(".")
        if module in _MODULES:
            yield ours, (f"{_MODULES[module]}.{kind.replace('decoder', 'weight')}",)
        else:
            yield ours, tuple("electra." + name.removeprefix("bert.") for name in names.theirs(ours))


def _fill(model: nn.Module, found: ElectraCheckpoint) -> None:
    """Copy a checkpoint's weights into a model, which must have its shape."""
    wanted = {
        name: tuple(piece.shape)
        for ours, theirs in _name_table(model)
        for name, piece in zip(theirs, model.get_parameter(ours).chunk(len(theirs)), strict=True)
    }
    names.check({name: tensor.shape for name, tensor in found.tensors.items()}, wanted, found.source)
    with torch.no_grad():
        for ours, theirs in _name_table(model):
            whole = np.concatenate([found.tensors[name] for name in theirs])
            model.get_parameter(ours).copy_(torch.from_numpy(whole))
