"""What `screen.parquet` tells of itself: what was screened and how, also as options of `corpus screen`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError


class LastScreen:
    """The screen that a store has."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "screen.parquet"
        self._command = f"pubmedbert corpus screen --store {shlex.quote(str(folder))}"

    def seen(self) -> tuple[str, str] | None:
        """The digest of the parts that it saw, and its settings as JSON; None if there is no screen.

        Raises:
            InputError: the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            return self._metadata("parts"), self._metadata("settings")
        except KeyError as error:
            raise self._damaged() from error

    def command(self) -> str:
        """The command that screens the store in the same way."""
        seen = self.seen()
        return f"{self._command} {_options(seen[1], self._known('paths'))}" if seen else self._command

    def held_out(self) -> dict[str, dict[str, int]]:
        """What it found of held-out texts, even if parts were added since."""
        return self._known("held_out")

    def _known(self, key: str) -> dict[str, Any]:
        """Nothing if an older version made the screen, which told and forgot."""
        try:
            known: dict[str, Any] = json.loads(self._metadata(key))
        except KeyError:
            return {}
        return known

    def _metadata(self, key: str) -> str:
        import pyarrow.parquet as pq

        try:
            metadata: dict[bytes, bytes] = pq.read_metadata(self.path).metadata or {}
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        return metadata[f"pubmedbert.{key}".encode()].decode()

    def _damaged(self) -> InputError:
        return InputError(f"{self.path} is damaged: delete it and run {self._command} with the exclusions that it had")


def _options(settings: str, paths: Mapping[str, str]) -> str:
    """The options that a screen was made with.

    Args:
        settings: as JSON, from `pubmedbert.corpus.screen.Settings.as_json`.
        paths: what `exclude_pmids` and `exclude_blurb` were read from, where that is known.
    """
    was = json.loads(settings)
    words = ["--min-words", str(was["min_words"])]
    if was["exclude_pmids"]:
        words += ["--exclude-pmids", paths.get("exclude_pmids", "FILE")]
    for source in was["exclude_sources"]:
        words += ["--exclude-source", source]
    if "held_out_sha256" in was:
        words += ["--exclude-blurb", paths.get("exclude_blurb", "FOLDER")]
    return shlex.join(words)
