"""The folder of a run: claimed for one recipe and its shards, its metrics kept in step with its checkpoints."""

from __future__ import annotations

import json
import shutil
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pubmedbert import __version__, runs
from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, write_text
from pubmedbert.model.precision import in_bf16
from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.progress import say
from pubmedbert.settings import toml_value
from pubmedbert.shards.read import Shards

_OURS = {"config.toml", "metrics.jsonl", "tokenizer", "checkpoints", "report.html", "logs", "evaluation.json"}
_FREE = {"keep", "shard", "recompute", "repeatable"}
"""Settings that change nothing in what a run computes, but for the last bits on a GPU."""
_GUARDS = {"spike", "most_skips", "most_rollbacks"}
"""Settings that may be changed, too, as a run that breaks down could not go on otherwise; it is said."""


def claim(folder: Path, recipe: Recipe, shards: Shards, ranks: Ranks) -> bool:
    """Mark `folder` as this run: `config.toml` with recipe and shards, and a copy of the tokenizer.

    Without a checkpoint there is nothing to lose: a run that never got that far may start again with other settings.

    Returns:
        Whether matrix products are in bfloat16; what was measured when the run was started stays.

    Raises:
        InputError: it holds a run with other settings or shards, or something that is no run.
    """
    begun = bool(runs.checkpoints(folder))
    kept = runs.config(folder).get("machine", {}).get("precision") if begun and recipe.precision == "auto" else None
    bf16 = kept == "bf16" if kept else in_bf16(recipe.precision, ranks.device.type)
    made_from = "".join(f"{name} = {toml_value(value)}\n" for name, value in _made_from(shards).items())
    machine = (
        f'threads = {torch.get_num_threads()}\ntorch = "{torch.__version__}"\n'
        f'ranks = {ranks.count}\ndevice = "{ranks.device.type}"\n'
        f'precision = "{"bf16" if bf16 else "fp32"}"\n'
    )
    text = f"{recipe.toml()}\n[shards]\n{made_from}\n[machine]\n{machine}"
    if begun:
        _same_settings(folder, text)
        try:
            runs.tokenizer(folder)
        except InputError as error:
            say(f"{error}; copying it again")
            _copy_tokenizer(folder, shards)
        return bf16
    foreign = sorted({path.name for path in folder.iterdir() if not path.name.startswith(".")} - _OURS)
    if foreign:
        raise InputError(f"{folder} holds {foreign[0]} and is no run; choose another --out")
    shards.verify()  # of a run that goes on they were read already
    try:
        write_text(folder / runs.CONFIG, text)
        _copy_tokenizer(folder, shards)
    except InputError:
        give_up(folder)
        raise
    (folder / runs.EVALUATION).unlink(missing_ok=True)  # of a run that is no more
    return bf16


def check_ranks(recipe: Recipe, shards: Shards, ranks: Ranks) -> None:
    """Make sure that all ranks train one model on the same rows. All of them must call it.

    Raises:
        InputError: one has another recipe, other shards or another version of this package.
    """
    if not ranks.same(f"{__version__}\n{recipe.toml()}\n{_made_from(shards)}"):
        raise InputError(
            "not all ranks have the same recipe, settings, shards and version of pubmedbert: start every machine by "
            "the same command, on the same files"
        )


def give_up(folder: Path) -> None:
    """Take away what claims a folder in which no step was made."""
    if not runs.checkpoints(folder) and not runs.metrics(folder):
        for name in (runs.CONFIG, runs.METRICS):
            (folder / name).unlink(missing_ok=True)
        for name in ("tokenizer", "logs/tensorboard", "logs/wandb"):
            shutil.rmtree(folder / name, ignore_errors=True)
        with suppress(OSError):
            (folder / "logs").rmdir()  # where nobody else writes there


def _copy_tokenizer(folder: Path, shards: Shards) -> None:
    with atomic_folder(folder / "tokenizer") as tokenizer:
        shutil.copytree(shards.tokenizer_folder, tokenizer, dirs_exist_ok=True)


def _made_from(shards: Shards) -> dict[str, str]:
    """What tells shards apart: the texts, which of them are held out, and how they were cut."""
    meta = shards.meta
    return {
        "corpus": meta.corpus,
        "tokenizer": meta.tokenizer_sha256,
        "heldout": str(meta.heldout),
        "sentences": " ".join(meta.sentence_splitter.values()),
    }


def cut_metrics(folder: Path, step: int, *more: dict[str, Any]) -> list[dict[str, Any]]:
    """Drop the lines written after the checkpoint at `step`, and damaged ones; add some; return what is there then."""
    kept = [line for line in runs.metrics(folder) if line["step"] <= step]
    if damaged := runs.damaged_metrics(folder):
        say(f"{folder / runs.METRICS}: damaged lines are left out, {damaged} in number")
    if step > (last := max((line["step"] for line in kept), default=0)):
        say(f"{folder / runs.METRICS} ends at step {last:,}: what was measured up to step {step:,} is lost")
    kept += more
    write_text(folder / runs.METRICS, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _same_settings(folder: Path, text: str) -> None:
    """Refuse to go on with a run under other settings, naming those that differ."""
    before = tomllib.loads(Recipe().toml()) | runs.config(folder)  # a setting that is newer than the run
    now = tomllib.loads(text)
    made_from, known = now.pop("shards"), before.pop("shards", {})
    if not known:
        raise InputError(f"{folder / runs.CONFIG} is damaged: it does not say which shards the run was trained on")
    if any(made_from.get(name) != value for name, value in known.items()):
        raise InputError(f"{folder} was trained on other shards; choose another --out")
    machine, here = before.pop("machine", None), now.pop("machine")
    if machine != here:
        say(
            f"{folder} was started with {machine}, here it is {here}: the run goes on with the same rows in the same "
            "order, but not to the same bits"
        )
    changed = sorted(key for key in (before.keys() | now.keys()) - _FREE if before.get(key) != now.get(key))
    if fixed := [key for key in changed if key not in _GUARDS]:
        was, new = (", ".join(f"{key} = {those.get(key)!r}" for key in fixed) for those in (before, now))
        raise InputError(f"{folder} was started with {was}, now it has {new}; choose another --out or the old settings")
    for key in changed:
        say(f"{folder} was started with {key} = {before.get(key)!r} and goes on with {now.get(key)!r}")
