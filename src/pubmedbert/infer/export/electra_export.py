"""An ELECTRA as Hugging Face folders: the discriminator, and inside its folder the generator; without torch."""

from __future__ import annotations

from pathlib import Path

from pubmedbert.infer.export.model_folder import write_folder
from pubmedbert.model.config import ModelConfig
from pubmedbert.model.electra_checkpoint import GENERATOR, config_json, read_electra


def write_electra(source: Path, folder: Path, dtype: str) -> tuple[ModelConfig, int, list[Path]]:
    """Write the models of an ELECTRA: `ElectraForPreTraining`, and where there is a generator `ElectraForMaskedLM`.

    Args:
        source: the discriminator's folder.
        folder: an existing folder.
        dtype: of the weights on disk, "float32" or "float16".

    Returns:
        The discriminator's shape, how many numbers it has, and the folders that were written.

    Raises:
        ModelError: a model is damaged, or a weight is too large for `dtype`.
    """
    discriminator = read_electra(source)
    _write(source, folder, dtype)
    folders = [folder]
    if (source / GENERATOR).is_dir():
        folders.append(folder / GENERATOR)
        folders[1].mkdir()
        _write(source / GENERATOR, folders[1], dtype, generator=True)
    return discriminator.config, sum(tensor.size for tensor in discriminator.tensors.values()), folders


def _write(source: Path, folder: Path, dtype: str, *, generator: bool = False) -> None:
    found = read_electra(source, generator=generator)
    write_folder(found.tensors, config_json(found.config, found.embedding, generator=generator), folder, dtype)
