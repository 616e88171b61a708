"""What the engines read of a model folder: its checked weights, and a fingerprint that tells one from another."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pubmedbert.errors import FaultError, InputError
from pubmedbert.infer.cache import cached
from pubmedbert.model.checkpoint import Checkpoint as Checkpoint
from pubmedbert.model.checkpoint import read_checkpoint as read_checkpoint
from pubmedbert.model.checkpoint import read_config, weights_file
from pubmedbert.model.config import ModelError
from pubmedbert.model.head import check_tuned

_DIGITS = 32
_LARGE = 4 << 20  # bytes; less is hashed in the time it takes to ask the cache
_SETTLED = 2_000_000_000  # ns; a file changed a moment ago may change again without its times telling
_OF_TRAINING = {"dropout", "attention_dropout", "initializer_range"}  # nothing is computed by them here


def fingerprint(folder: Path) -> str:
    """A hash of what a model computes by: every one of its weights, as fp32, and its shape; if fine-tuned, all it says.

    It does not depend on how these are written down. So a model and its exports, which have the same weights in other
    files, have one fingerprint, in whatever folder, and none that was retrained or edited passes for another. That of
    a large file is kept in the cache, by the file's place, size, inode and times of change and by config.json, as
    reading it all takes longer than an answer.

    Args:
        folder: in Hugging Face layout.

    Returns:
        32 hexadecimal digits.

    Raises:
        InputError: the weights can't be read.
        ModelError: there are none, or a file is missing or damaged; see `read_checkpoint`.
    """
    values = read_config(folder)
    path = weights_file(folder).resolve()
    about = path.stat()
    if about.st_size < _LARGE or time.time_ns() - about.st_ctime_ns < _SETTLED:
        return _computed(folder, values)
    identity = (str(path), about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns)
    key = hashlib.sha256(repr((*identity, json.dumps(values, sort_keys=True))).encode()).hexdigest()[:32]
    kept = cached(
        f"fingerprint-{key}", lambda made: _write(made, _computed(folder, values)), lambda made: bool(_kept(made))
    )
    return _kept(kept)


def check_unchanged(folder: Path, mark: str) -> None:
    """Refuse a folder that holds another model than when its fingerprint was taken.

    Raises:
        FaultError: it does.
    """
    if fingerprint(folder) != mark:
        raise FaultError(f"the model in {folder} was replaced after it was opened; start again")


@contextmanager
def opened_later(folder: Path, mark: str) -> Iterator[None]:
    """Open more of a model that was opened before: what is missing by now, or of another model, is a fault.

    Raises:
        FaultError: it is.
    """
    try:
        yield
        check_unchanged(folder, mark)
    except FaultError:
        raise
    except (InputError, ModelError, OSError) as error:
        raise FaultError(str(error)) from error


def _computed(folder: Path, values: Mapping[str, object]) -> str:
    """The fingerprint, of all the weights."""
    tuned = is_tuned(values)
    checkpoint = read_checkpoint(folder, "tuned" if tuned else "encoder")
    shape = {key: value for key, value in asdict(checkpoint.config).items() if key not in _OF_TRAINING}
    digest = hashlib.sha256(json.dumps(values if tuned else shape, sort_keys=True).encode())
    for name in sorted(checkpoint.tensors):
        digest.update(name.encode())  # the shapes follow from that of the model
        digest.update(checkpoint.tensors[name].reshape(-1).data)
    return digest.hexdigest()[:_DIGITS]


def is_tuned(values: Mapping[str, object]) -> bool:
    """Whether a config.json is that of a fine-tuned model."""
    try:
        check_tuned(values)
    except ModelError:
        return False
    return True


def _kept(folder: Path) -> str:
    """The fingerprint in a folder of the cache; "" where there is none."""
    try:
        found = (folder / "fingerprint").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
    return found if len(found) == _DIGITS else ""


def _write(folder: Path, text: str) -> None:
    (folder / "fingerprint").write_text(text, encoding="ascii")
