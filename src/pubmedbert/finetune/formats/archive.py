"""Members of zip and tar archives, read in memory: nothing is extracted, and nothing may grow without bounds."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pubmedbert.corpus.source import open_bytes
from pubmedbert.errors import InputError

_LARGEST = 8 << 20  # bytes of a member; the largest in the releases of BLURB's sets has 0.3 MB
_LARGEST_SUM = 256 << 20


def zip_members(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of a zip's files with that ending, sorted by name.

    Raises:
        InputError: the archive is missing, damaged, encrypted or too large.
    """
    left = _LARGEST_SUM
    with _archive_errors(path), zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(ending)):
            with archive.open(name) as file:
                data = file.read(_LARGEST + 1)  # what the directory says of sizes may be a lie
            left -= len(data)
            if left < 0 or len(data) > _LARGEST:
                raise _too_large(path, name)
            yield name, data


def tar_members(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of a tar's regular files with that ending, in its order; gzip or not.

    Raises:
        InputError: the archive is missing, damaged or too large.
    """
    with _archive_errors(path):
        with open_bytes(path) as stream:
            whole = stream.read(_LARGEST_SUM + 1)
        if len(whole) > _LARGEST_SUM:
            raise _too_large(path, "what it holds")
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as archive:
            for member in archive:
                if member.size > _LARGEST:
                    raise _too_large(path, member.name)
                file = archive.extractfile(member) if member.isreg() and member.name.endswith(ending) else None
                if file is not None:
                    yield member.name, file.read()


def _too_large(path: Path, name: str) -> InputError:
    return InputError(f"{path}: {name} is too large: this is not the release, download it again")


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise InputError(f"{path} is damaged or truncated ({error}): download it again") from error
    except (RuntimeError, NotImplementedError) as error:  # a password, a compression of later days
        raise InputError(f"{path} cannot be unpacked ({error}): download it again") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
