"""The folders of an ELECTRA's two models read and checked, in transformers' layout. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from pubmedbert.model import names
from pubmedbert.model.checkpoint import read_config, weights_file
from pubmedbert.model.config import ModelConfig, ModelError, config_from_hf, electra_to_hf, embedding_width
from pubmedbert.model.names import Shape
from pubmedbert.model.tensors import Floats, read_safetensors

GENERATOR = "generator"
"""The folder of the generator inside that of the discriminator."""
DISCRIMINATOR = "ElectraForPreTraining"
"""The discriminator's architecture, as transformers calls it; the generator's is ElectraForMaskedLM."""

_EMBEDDINGS = "electra.embeddings."
_DECODER = "generator_lm_head.weight"
# Not read: the word embeddings once more, and buffers.
_REPEATED = {_DECODER, f"{_EMBEDDINGS}position_ids", f"{_EMBEDDINGS}token_type_ids"}


@dataclass(frozen=True)
class ElectraCheckpoint:
    """A model folder whose weights are exactly those of its shape."""

    source: Path
    """The file of weights."""
    config: ModelConfig
    embedding: int
    """E, the width of the embeddings."""
    tensors: Mapping[str, NDArray[np.float32]]
    """The weights under Hugging Face's names, read when they are used. A tied decoder is left out."""


def read_electra(folder: Path, *, generator: bool = False) -> ElectraCheckpoint:
    """Read an ElectraForPreTraining or an ElectraForMaskedLM, ours or one that transformers wrote.

    Args:
        folder: holds config.json and model.safetensors.
        generator: which of the two it must be.

    Raises:
        ModelError: a file is missing or damaged, or a shape does not fit config.json.
    """
    values, about = read_config(folder), str(folder / "config.json")
    if values.get("model_type") != "electra":
        raise ModelError(f"{about}: model_type is {values.get('model_type')!r}, that of an ELECTRA is 'electra'")
    config = config_from_hf(values, about, projected=generator)
    embedding = embedding_width(values, about)
    path = weights_file(folder)
    if path.suffix != ".safetensors":
        raise ModelError(f"{folder} holds no model.safetensors, the only weights of an ELECTRA that are read")
    try:
        stored = read_safetensors(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as weights: {error}") from error
    wanted = shapes(config, embedding, generator=generator)
    found = {name: tensor.shape for name, tensor in stored.items()}
    names.check(found, wanted, path)
    if other := sorted(found.keys() - wanted.keys() - _REPEATED):
        raise ModelError(f"{path} holds {other[0]}, which a model of the shape in config.json has no place for")
    return ElectraCheckpoint(path, config, embedding, Floats({name: stored[name] for name in wanted}))


def config_json(config: ModelConfig, embedding: int, *, generator: bool) -> dict[str, object]:
    """The config.json of one of the two models; `embedding` is E."""
    return electra_to_hf(config, embedding) | {"architectures": ["ElectraForMaskedLM" if generator else DISCRIMINATOR]}


def shapes(config: ModelConfig, embedding: int, *, generator: bool) -> dict[str, Shape]:
    """The weights of one of the two models, each with its shape; `embedding` is E."""
    width, pieces = config.width, config.vocab_size
    encoder = names.shapes(config, vocabulary=False, pooler=False)
    wanted = {f"electra.{name.removeprefix('bert.')}": shape for name, shape in encoder.items()}
    if not generator:
        wanted |= _dense("discriminator_predictions.dense", width, width)
        return wanted | _dense("discriminator_predictions.dense_prediction", 1, width)
    wanted |= {
        name: (*shape[:-1], embedding) for name, shape in wanted.items() if name.startswith(_EMBEDDINGS)
    }  # all of them, the norm's too, end with their width
    if embedding != width:
        wanted |= _dense("electra.embeddings_project", width, embedding)
    wanted |= _dense("generator_predictions.dense", embedding, width)
    wanted |= {f"generator_predictions.LayerNorm.{kind}": (embedding,) for kind in ("weight", "bias")}
    return wanted | {"generator_lm_head.bias": (pieces,)} | ({} if config.tied else {_DECODER: (pieces, embedding)})


def _dense(name: str, outputs: int, inputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
