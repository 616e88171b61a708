"""A run or a model as a Hugging Face folder: what transformers, the hub and this project load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, read_json, write_json, write_text
from pubmedbert.infer.engines.verdict import INT8_FILE
from pubmedbert.infer.engines.weights import read_checkpoint
from pubmedbert.infer.export.card import Training, model_card, read_training, renamed
from pubmedbert.infer.export.electra_export import write_electra
from pubmedbert.infer.export.model_folder import DTYPES, write_model
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.checkpoint import read_config
from pubmedbert.model.electra_checkpoint import DISCRIMINATOR, GENERATOR
from pubmedbert.model.head import WRITER
from pubmedbert.model.locate import locate
from pubmedbert.vocab import folder as vocabulary

if TYPE_CHECKING:
    from pubmedbert.infer.engines.mixed_precision import Choice

_MODEL_FILES = {"config.json", "model.safetensors"}
_FILES = _MODEL_FILES | {
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
    INT8_FILE,
    GENERATOR,
}


@dataclass(frozen=True)
class _Source:
    """What is exported."""

    model: Path
    tokenizer: Path
    training: Training | str
    """How a run went; of a model its name."""


def export(
    source: Path | str, out: Path, dtype: str = "float32", *, int8: bool = False, text: Path | None = None
) -> Choice | None:
    """Write a model in Hugging Face layout, with its tokenizer and model card, all or nothing.

    Args:
        source: a run folder (its newest complete checkpoint), "bundled", a model folder or a hub id.
        out: the folder to make; an older export is replaced.
        dtype: of the weights, "float32" or "float16".
        int8: whether it is judged in 8 bits, too; `pubmedbert.infer.engine` then follows the verdict.
        text: a file of sentences to judge int8 by; None for general ones of our own.

    Returns:
        What became int8, and how it agrees with fp32; None where it was not asked for, or where `out` has the verdict
        on these weights already, which is kept.

    Raises:
        InputError: the run has no complete checkpoint, `out` holds something else than an export, tokenizer and model
            do not belong together, or int8 does not agree with fp32.
        ModelError: there is no such model, or it has no masked-language-model head.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be {' or '.join(DTYPES)}, not {dtype!r}")
    if text is not None and not int8:
        raise InputError("a text is for judging int8; ask for int8, too")
    out = out.resolve()
    _check_replaceable(out)
    found = _find(source)
    if is_discriminator(found.model):
        if int8:
            raise InputError(f"int8 is judged by filling masks, which {source}, an ELECTRA discriminator, does not do")
        _export_electra(found, out, dtype)
        return None
    checkpoint = read_checkpoint(found.model, "mlm")
    tokenizer = ModelTokenizer(found.tokenizer, checkpoint.config.vocab_size)
    parameters = sum(tensor.size for tensor in checkpoint.tensors.values())
    card = _own_card(found, out.name) or model_card(out.name, checkpoint.config, parameters, found.training)
    with atomic_folder(out) as folder:
        write_model(checkpoint, folder, dtype)
        _write_tokenizer(tokenizer, found.tokenizer, folder, checkpoint.config.max_positions)
        write_text(folder / "README.md", card)
        if not int8:
            return None
        from pubmedbert.infer.export.int8_export import judge_int8

        return judge_int8(folder, tokenizer, text, out)


def is_discriminator(folder: Path) -> bool:
    """Whether a model folder holds the discriminator of an ELECTRA.

    Raises:
        ModelError: it is no model folder.
    """
    return read_config(folder).get("architectures") == [DISCRIMINATOR]


def _export_electra(found: _Source, out: Path, dtype: str) -> None:
    """A discriminator and, in its folder `generator`, the generator where there is one."""
    with atomic_folder(out) as folder:
        config, parameters, folders = write_electra(found.model, folder, dtype)
        tokenizer = ModelTokenizer(found.tokenizer, config.vocab_size)
        for place in folders:
            _write_tokenizer(tokenizer, found.tokenizer, place, config.max_positions)
        card = _own_card(found, out.name) or model_card(out.name, config, parameters, found.training, electra=True)
        write_text(folder / "README.md", card)


def _write_tokenizer(tokenizer: ModelTokenizer, source: Path, folder: Path, max_positions: int) -> None:
    """The files of a tokenizer from the folder `source`."""
    settings = vocabulary.tokenizer_config(source)
    vocabulary.write_files(tokenizer.pieces, folder)
    limits: dict[str, object] = {"model_max_length": max_positions}
    kept = {key: settings[key] for key in ("clean_up_tokenization_spaces",) if key in settings}
    config = folder / "tokenizer_config.json"
    write_json(config, read_json(config) | limits | kept)


def _check_replaceable(out: Path) -> None:
    """Only an empty folder or an older export may give way."""
    if out.is_dir():
        names = {path.name for path in out.iterdir()}
        other = sorted(names - _FILES)
        if not names or (names >= _MODEL_FILES and not other and _is_ours(out / "config.json")):
            return
        what = f"holds {other[0]}, which no export wrote" if other else "is no older export"
        raise InputError(f"{out} exists and {what}; choose another folder")
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} exists and is no folder; choose another name")


def _is_ours(config: Path) -> bool:
    """Whether the config was written here, and not by transformers after it had loaded ours."""
    values = read_json(config)
    return values.get("written_by") == WRITER and "transformers_version" not in values


def _find(source: Path | str) -> _Source:
    path = Path(source)
    if not ((path / "checkpoints").is_dir() or (path / "config.toml").is_file()):
        folder = locate(str(source))
        return _Source(folder, folder, path.resolve().name if path.is_dir() else str(source))
    for checkpoint, state in runs.intact(path):
        return _Source(checkpoint, runs.tokenizer(path), read_training(path, int(str(state["step"]))))
    raise InputError(f"the run {path} has no intact checkpoint yet; 'pubmedbert pretrain' writes them")


def _own_card(found: _Source, name: str) -> str | None:
    """A model keeps the card it has: its licence and training are not ours to restate. But ours name their folder."""
    path = found.model / "README.md"
    if isinstance(found.training, Training) or not path.is_file():
        return None
    try:
        return renamed(path.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
