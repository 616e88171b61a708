"""The folder of a pretraining run, as every stage reads it: settings, metrics and checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.files import read_json, sha256
from pubmedbert.progress import say

CONFIG = "config.toml"
METRICS = "metrics.jsonl"
STATE = "state.json"
EVALUATION = "evaluation.json"
_TAIL = 1 << 20
"""Bytes of `metrics.jsonl` that `last_metrics` reads."""
_STEP = re.compile(r"step-(\d+)")
_TEXTS = {"masks", "skipped", "spike", "skipped_for"}
"""What a line of metrics says in words; all else are numbers."""
_BESIDE = {
    "step": ("tokens", "seconds"),
    "eval_loss": ("eval_accuracy", "unigram_loss"),
    "rolled_back_from": ("rows", "rollbacks"),
}
"""What a line that has the one has, too."""


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The run's checkpoints by step, ascending; temporary folders are no checkpoints."""
    folder = run / "checkpoints"
    inside = (path for path in (folder.iterdir() if folder.is_dir() else ()) if path.is_dir())
    found = ((_STEP.fullmatch(path.name), path) for path in inside)
    return sorted((int(match[1]), path) for match, path in found if match)


def intact(run: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """The run's intact checkpoints with their state, newest first; a damaged one is named and passed over."""
    for _, folder in reversed(checkpoints(run)):
        try:
            yield folder, _verified(folder)
        except InputError as error:
            say(f"{folder} is damaged ({error}); trying the checkpoint before it")


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, damaged ones left out; none where there is no such file."""
    return [line for line in _lines(run) if line]


def damaged_metrics(run: Path) -> int:
    """How many lines of `metrics.jsonl` are damaged, but for the last, which a killed run leaves half-written."""
    return sum(not line for line in _lines(run)[:-1])


def tokenizer(run: Path) -> Path:
    """The run's copy of the tokenizer that its shards were made with.

    Raises:
        InputError: it is missing or another one.
    """
    folder = run / "tokenizer"
    expected = config(run).get("shards", {}).get("tokenizer")
    if expected and sha256(folder / "tokenizer.json") != expected:
        raise InputError(
            f"{folder} is not the tokenizer of the run: 'pubmedbert pretrain' with the run's shards puts it back"
        )
    return folder


def config(run: Path) -> dict[str, Any]:
    """What `config.toml` says.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = run / CONFIG
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also tables within tables without an end
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(found.get("size"), str) or any(type(found.get(t, {})) is not dict for t in ("shards", "machine")):
        raise InputError(f"{path} is damaged: it is not what 'pubmedbert pretrain' wrote")
    return found


def digest(state: Mapping[str, object]) -> str:
    """The checksum of a checkpoint's state."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def last_metrics(run: Path) -> list[dict[str, Any]]:
    """The last lines of `metrics.jsonl`, some thousands, damaged ones left out; none where there is no such file."""
    path = run / METRICS
    if not path.exists():
        return []
    with path.open("rb") as file:
        cut = max(file.seek(0, os.SEEK_END) - _TAIL, 0)
        file.seek(cut)
        if cut:
            file.readline()  # the rest of a line
        texts = file.read().decode("utf-8", errors="replace").splitlines()
    return [line for line in map(_line, texts) if line]


def _lines(run: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; an empty one for each that is damaged."""
    path = run / METRICS
    texts = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ()
    return [_line(text) for text in texts]


def _line(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return {}
    kinds = all(isinstance(value, str if name in _TEXTS else int | float) for name, value in line.items())
    whole = all(other in line for name, others in _BESIDE.items() if name in line for other in others)
    return line if kinds and whole else {}


def _verified(folder: Path) -> dict[str, object]:
    """The state of a checkpoint that has its own checksum, and whose files have those it names."""
    state = read_json(folder / STATE)
    if "sha256" in state and state["sha256"] != digest({key: state[key] for key in state.keys() - {"sha256"}}):
        raise InputError(f"{STATE} does not have its checksum")
    if folder.name != f"step-{state.get('step')}":
        raise InputError(f"{STATE} is of another step")
    files = state.get("files")
    if not isinstance(files, dict) or not files:
        raise InputError(f"{folder / STATE} names no files")
    for name, expected in files.items():
        if sha256(folder / str(name)) != expected:
            raise InputError(f"{name} does not have its checksum")
    return state
