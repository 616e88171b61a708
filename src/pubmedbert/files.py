"""Crash-safe files: written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.progress import say


class WriteError(InputError):
    """The disk is full, or a place on it can't be written."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, delete it otherwise.

    Args:
        path: the file to make; its folder is made where it is missing.

    Raises:
        InputError: the disk is full or the folder can't be written.
    """
    path = path.resolve() if path.name in ("", "..") else path
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path`, replacing what is there, when the block ends well.

    Args:
        path: the folder to make; where it is a link, what that leads to.

    Raises:
        InputError: the disk is full or the folder can't be written, or is a drive.
    """
    with disk_errors(path):
        try:
            path = path.resolve() if path.name in ("", "..") or path.is_symlink() else path
        except RuntimeError as error:
            raise InputError(f"{path} is a link that leads to itself") from error
        if path.is_mount():
            raise InputError(f"{path} is a drive of its own, which is not replaced as a whole: name a folder on it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    retired = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            temporary.mkdir()
            yield temporary
            for file in (*temporary.rglob("*"), temporary):
                _flush(file)
            if path.exists():
                path.replace(retired)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if retired.exists() and not path.exists():
            retired.replace(path)
        shutil.rmtree(retired, ignore_errors=True)


_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What a network drive says that is mounted without locks."""


@contextmanager
def locked(folder: Path, busy: str = "") -> Iterator[int]:
    """Hold a folder, made where it is missing, against other processes that lock it too.

    Args:
        folder: what is held; the lock goes with the process, so a killed one leaves none.
        busy: if given, do not wait for a process that holds it: this is the error.

    Yields:
        The descriptor of what is held.

    Raises:
        InputError: `busy`, where another process holds the folder, or it can't be made. Where an error ends what is
            done in a folder that was made for it, and left nothing there, the folder goes, too.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(busy) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise InputError(f"{folder} cannot be locked: {error.strerror}") from error
        say(f"warning: the drive of {folder} has no locks ({error.strerror}): see to it that nobody else writes there")
    try:
        yield descriptor
    except Exception:
        if busy:  # nobody waits for the folder
            _unmake(made)
        raise
    finally:
        os.close(descriptor)


def _unmake(folders: Iterable[Path]) -> None:
    """Remove the innermost of nested folders that are empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def sweep(folder: Path) -> None:
    """Remove all that killed processes left in a folder while they wrote; nobody may be writing there."""
    for left in folder.glob(".*.*.*"):
        name = left.name[1:].rsplit(".", 2)[0]
        _sweep(folder / name)


def gone(process: int) -> bool:
    """Whether the process that left a temporary file has ended.

    Our own number counts as gone: in a container a restarted process has the number of the one before.
    """
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # the latter is a number that no process can have
        return True
    except PermissionError:  # it lives, and is another user's
        return False
    return False


def is_utf8(text: object) -> bool:
    """Whether a path or an argument is text: bytes that are not UTF-8 come from the system as halves of surrogates."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON to `path` in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        InputError: the file is missing, can't be read, or holds anything but a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, not {type(value).__name__}")
    return value


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        InputError: the file can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of `path`, as it is written, into one sentence.

    Raises:
        WriteError: the disk is full, or the path can't be written.
    """
    try:
        yield
    except shutil.Error as error:  # of a tree: a list of what could not be copied, and why
        raise WriteError(f"cannot write {path}: {error.args[0][0][-1]}") from error
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def _sweep(path: Path) -> None:
    """Remove what killed processes left beside `path`; a folder they had set aside is put back where it is missing."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.*"):
        process, kind = left.name.removeprefix(f".{path.name}.").split(".", 1)
        if kind not in ("tmp", "old") or not process.isdecimal() or not gone(int(process)):
            continue
        if kind == "old" and not path.exists():
            left.replace(path)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
