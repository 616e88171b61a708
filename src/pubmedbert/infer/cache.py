"""Things made once and kept: converted models and the hashes of large files, in a folder of the user's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pubmedbert.files import WriteError, atomic_folder, locked
from pubmedbert.progress import say

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}", re.ASCII)


def cached(key: str, make: Callable[[Path], None], intact: Callable[[Path], bool] = Path.is_dir) -> Path:
    """The folder of a key, made where it is missing.

    Two processes that want one key wait for each other. Where the cache cannot be written (its disk may be full), the
    folder is made for this process alone and removed when it ends; that is said once. Nothing is ever evicted.

    Args:
        key: what the content depends on, all of it, so that a folder never has to be made again: letters, digits,
            dots, dashes.
        make: fills an empty folder; what it raises is raised, and leaves nothing behind.
        intact: tells a folder that can be used from one that is missing or damaged, which is made anew.

    Returns:
        The folder, below `$PUBMEDBERT_CACHE` or `~/.cache/pubmedbert`. It may be deleted whenever it is not in use.

    Raises:
        InputError: no folder can be written, not even a temporary one.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key")
    root = _root()
    if intact(root / key):  # no lock: a folder is there all at once or not at all
        return root / key
    try:
        return _made(root, key, make, intact)
    except WriteError:
        return _made(_temporary_root(), key, make, intact)


def _made(root: Path, key: str, make: Callable[[Path], None], intact: Callable[[Path], bool]) -> Path:
    folder = root / key
    with locked(root / "locks" / key):
        if not intact(folder):
            with atomic_folder(folder) as temporary:
                make(temporary)
    return folder


def _root() -> Path:
    try:
        return Path(os.environ.get("PUBMEDBERT_CACHE") or "~/.cache/pubmedbert").expanduser()
    except RuntimeError:  # a user without a home, as in containers
        return _temporary_root()


@cache
def _temporary_root() -> Path:
    """A folder that lives as long as this process."""
    import atexit
    import shutil
    import tempfile

    say("the cache cannot be written, so what is made now is not kept; PUBMEDBERT_CACHE can name another folder")
    root = Path(tempfile.mkdtemp(prefix="pubmedbert-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root
