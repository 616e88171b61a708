"""A run or a model as a Hugging Face folder: what transformers, the hub and this project load."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, read_json, sha256, write_json, write_text
from pubmedbert.infer.card import Training, model_card, read_training
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model import hf
from pubmedbert.model.locate import locate
from pubmedbert.vocab import folder as vocabulary

DTYPES = {"float32": torch.float32, "float16": torch.float16}
"""Numbers the weights can be written in."""

_MODEL_FILES = {"config.json", "model.safetensors"}
_FILES = _MODEL_FILES | {"tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "README.md"}
_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class _Source:
    """What is exported."""

    model: Path
    tokenizer: Path
    training: Training | None = None
    """How a run went; None for a model."""


def export(source: Path | str, out: Path, dtype: str = "float32") -> None:
    """Write a model in Hugging Face layout, with its tokenizer and model card, all or nothing.

    Args:
        source: a run folder (its newest complete checkpoint), "bundled", a model folder or a hub id.
        out: the folder to make; an older export is replaced.
        dtype: of the weights, "float32" or "float16".

    Raises:
        InputError: the run has no complete checkpoint, `out` holds something else than an export, or tokenizer and
            model do not belong together.
        ModelError: there is no such model, or it has no masked-language-model head.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be {' or '.join(DTYPES)}, not {dtype!r}")
    out = out.resolve()
    _check_replaceable(out)
    found = _find(source)
    model = hf.load(found.model, need_vocabulary=True)
    tokenizer = ModelTokenizer(found.tokenizer, model.config.vocab_size)
    settings = vocabulary.tokenizer_config(found.tokenizer)
    card = _own_card(found) or model_card(out.name, model, found.training)
    with atomic_folder(out) as folder:
        hf.save(model, folder, DTYPES[dtype])
        vocabulary.write_files(tokenizer.pieces, folder)
        limits: dict[str, object] = {"model_max_length": model.config.max_positions}
        kept = {key: settings[key] for key in ("clean_up_tokenization_spaces",) if key in settings}
        config = folder / "tokenizer_config.json"
        write_json(config, read_json(config) | limits | kept)
        write_text(folder / "README.md", card)


def _check_replaceable(out: Path) -> None:
    """Only an empty folder or an older export may give way."""
    if out.is_dir():
        names = {path.name for path in out.iterdir()}
        if not names or _MODEL_FILES <= names <= _FILES:
            return
        other = sorted(names - _FILES)
        what = f"holds {other[0]}, which no export wrote" if other else "is no older export"
        raise InputError(f"{out} exists and {what}; choose another folder")
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} exists and is no folder; choose another name")


def _find(source: Path | str) -> _Source:
    path = Path(source)
    if not ((path / "checkpoints").is_dir() or (path / "config.toml").is_file()):
        folder = locate(str(source))
        return _Source(folder, folder)
    checkpoint, step = _newest_checkpoint(path)
    return _Source(checkpoint, path / "tokenizer", read_training(path, step))


def _newest_checkpoint(run: Path) -> tuple[Path, int]:
    """The newest complete checkpoint: `checkpoints/step-N` with a state.json, which is written last."""
    folders = [(path, _STEP.fullmatch(path.name)) for path in run.glob("checkpoints/step-*/")]
    steps = {int(match[1]): path for path, match in folders if match and (path / "state.json").is_file()}
    if not steps:
        raise InputError(f"the run {run} has no complete checkpoint yet; 'pubmedbert pretrain' writes them")
    step = max(steps)
    sums = read_json(steps[step] / "state.json").get("files")
    for name in sorted(_MODEL_FILES):
        if isinstance(sums, dict) and name in sums and sums[name] != sha256(steps[step] / name):
            raise InputError(f"{steps[step] / name} is damaged: it does not have the checksum in state.json")
    return steps[step], step


def _own_card(found: _Source) -> str | None:
    """A model keeps the card it has: its licence and training are not ours to restate."""
    path = found.model / "README.md"
    if found.training is not None or not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
