"""What the engines read of a model folder: its checked weights, and a fingerprint that tells one from another."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from pubmedbert.files import sha256
from pubmedbert.infer.cache import cached
from pubmedbert.model.checkpoint import Checkpoint as Checkpoint
from pubmedbert.model.checkpoint import read_checkpoint as read_checkpoint
from pubmedbert.model.checkpoint import read_config, weights_file

_LARGE = 32 << 20  # bytes; less is hashed in the time it takes to ask the cache
_SETTLED = 2_000_000_000  # ns; a file changed a moment ago may change again without its times telling


def fingerprint(folder: Path) -> str:
    """A hash of a model: of every byte of its weights, and of its config.json, wherever the folder lies.

    Nothing is sampled, so no retrained or edited model can pass for another. The hash of a large file is kept in the
    cache, by the file's place, size, inode and times of change, as reading it all takes longer than an answer.

    Args:
        folder: in Hugging Face layout.

    Returns:
        32 hexadecimal digits.

    Raises:
        InputError: the weights can't be read.
        ModelError: there are none, or config.json is missing or damaged.
    """
    values = json.dumps(read_config(folder), sort_keys=True)
    return hashlib.sha256(f"{values} {_hash(weights_file(folder))}".encode()).hexdigest()[:32]


def _hash(path: Path) -> str:
    """SHA-256 of a file, remembered where it is large."""
    path = path.resolve()
    about = path.stat()
    if about.st_size < _LARGE or time.time_ns() - about.st_ctime_ns < _SETTLED:
        return sha256(path)
    identity = (str(path), about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns)
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
    kept = cached(f"sha256-{key}", lambda made: _write(made, sha256(path)))
    return (kept / "sha256").read_text(encoding="ascii")


def _write(folder: Path, text: str) -> None:
    (folder / "sha256").write_text(text, encoding="ascii")
