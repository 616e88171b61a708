"""A corpus store: a folder of parts, never rewritten, and the rules by which DuckDB reads the newest of each record.

A record is the newest row of its `doc_id`: the largest (sequence, version). Ties, which files without a number have,
go to the longer abstract, then the longer title, then the source with the larger SHA-256, then the later row: never to
the file that came last. A deletion of (pmid, version) with sequence s takes away that version's rows with a sequence up
to s, its own file included; a file with a larger sequence may bring the record back.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pubmedbert.corpus.citation import Citation
from pubmedbert.corpus.last_screen import LastScreen
from pubmedbert.corpus.parts import Part, is_whole, read_part, write_part
from pubmedbert.corpus.source import is_json, stem_of
from pubmedbert.errors import InputError
from pubmedbert.files import atomic_file, gone, is_utf8, locked, sha256

if TYPE_CHECKING:
    import duckdb

_BATCH = 2048  # documents read from DuckDB at a time
_SORTED = 1 / 6  # of DuckDB's memory, for the texts of a stretch: sorting and joining take them several times
_REASON = 200  # characters of what DuckDB says
_LEFT_BEHIND = re.compile(r"\..*\.(\d+)\.tmp")

# Read from files whatever the folders above are called: the rows of parts with where they stand, and a screen.
_VIEWS = """
    CREATE TEMP VIEW parts AS
    FROM read_parquet(getvariable('parts'), hive_partitioning = false, filename = true, file_row_number = true);
    CREATE TEMP MACRO screen_of(file) AS TABLE FROM read_parquet(file, hive_partitioning = false);
"""
# Every row without its texts: what is needed to choose the newest, and `columns`, made from any column of a part.
_ROWS = """
    CREATE TEMP TABLE every_row AS
    SELECT {columns} doc_id, pmid, version, deleted, sequence, filename, file_row_number AS position, sha256,
           strlen(abstract) AS abstract_bytes, strlen(title) AS title_bytes
    FROM parts JOIN sources USING (filename)
"""
# The rows that no deletion takes away; a deletion of version 0 takes away all versions.
_UNDELETED = """
    CREATE TEMP VIEW undeleted AS
    SELECT every_row.*
    FROM every_row
    LEFT JOIN (SELECT pmid, version, max(sequence) AS until FROM every_row WHERE deleted GROUP BY ALL) AS one
        ON one.pmid = every_row.pmid AND one.version = every_row.version
    LEFT JOIN (SELECT pmid, max(sequence) AS until FROM every_row WHERE deleted AND version = 0 GROUP BY ALL) AS every
        ON every.pmid = every_row.pmid
    WHERE NOT deleted AND sequence > coalesce(one.until, -1) AND sequence > coalesce(every.until, -1)
"""
_NEWEST = """
    CREATE TEMP VIEW newest AS
    SELECT *
    FROM undeleted
    QUALIFY 1 = row_number() OVER (
        PARTITION BY doc_id
        ORDER BY sequence DESC, version DESC, abstract_bytes DESC, title_bytes DESC, sha256 DESC, position DESC
    )
"""
# The documents that the screen kept, without their texts, and where these stand.
_CHOSEN = """
    CREATE TEMP TABLE chosen AS
    SELECT newest.doc_id, filename, position, abstract_bytes + title_bytes AS bytes
    FROM newest
    SEMI JOIN (SELECT doc_id FROM screen_of(?) WHERE kept) AS kept ON kept.doc_id = newest.doc_id
"""
# DuckDB sorts long texts in memory only, so they are sorted stretch by stretch: the ids at which stretches of so many
# bytes begin, and the texts of a stretch.
_STRETCHES = """
    SELECT min(doc_id) AS first
    FROM (SELECT doc_id, sum(bytes) OVER (ORDER BY doc_id ROWS UNBOUNDED PRECEDING) // ? AS number FROM chosen)
    GROUP BY number
    ORDER BY first
"""
_WITHIN = """
    SELECT DISTINCT filename FROM chosen WHERE doc_id >= $first AND ($next IS NULL OR doc_id < $next) ORDER BY filename
"""
_TEXTS = """
    SELECT chosen.doc_id, part.title, part.abstract
    FROM chosen
    JOIN parts AS part
        ON part.filename = chosen.filename AND part.file_row_number = chosen.position
    WHERE chosen.doc_id >= $first AND ($next IS NULL OR chosen.doc_id < $next)
    ORDER BY chosen.doc_id
"""


@dataclass(frozen=True, slots=True)
class AddResult:
    """What `Store.add` did with a file.

    Attributes:
        part: the name of the part, without ".parquet".
        citations: how many records the part describes.
        deletions: how many it deletes.
        skipped: whether there was nothing to do.
        reason: why it was skipped; "" otherwise.
        namesakes: parts that were added before from other bytes under the same name; their rows stay.
    """

    part: str
    citations: int
    deletions: int
    skipped: bool = False
    reason: str = ""
    namesakes: tuple[Path, ...] = ()


class Store:
    """A folder with `parts/`, `screen.parquet` and `report.json`."""

    def __init__(self, folder: Path, create: bool = False) -> None:
        """Open a store.

        Args:
            folder: the store.
            create: whether the first file added may make it; otherwise it must be there.

        Raises:
            InputError: the folder is no store.
        """
        self.folder = folder
        self.last_screen = LastScreen(folder)
        self.screen_file = self.last_screen.path
        self._parts_folder = folder / "parts"
        self._known: dict[Path, Part] = {}
        if not is_utf8(folder):
            raise InputError(f"the path of a store must be UTF-8 text, which {folder} is not")
        if not create and not self._parts_folder.is_dir():
            raise InputError(
                f"{folder} is not a corpus store (it has no folder parts): make one with pubmedbert corpus add"
            )
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: --store must name a folder")

    def add(self, source: Path, advance: Callable[[int], object] | None = None) -> AddResult:
        """Read a file into a part; do nothing if the same bytes were added before, under whatever name.

        Args:
            source: .xml, .xml.gz, .jsonl or .jsonl.gz.
            advance: told how many bytes of the file were read, each time.

        Raises:
            InputError: the file is bad; the store is then as it was.
        """
        stem = stem_of(source)
        digest = sha256(source)
        with self._writing():
            parts = self.parts()
            for part in parts:
                if part.sha256 == digest:
                    reason = f"the same bytes are already there as {part.path.stem}"
                    return AddResult(part.path.stem, part.citations, part.deletions, True, reason)
            names = (stem, f"{stem}-{digest[:8]}", f"{stem}-{digest}")  # the last is its own: these bytes are not there
            paths = (self._parts_folder / f"{name}.parquet" for name in names)
            path = next(path for path in paths if not path.exists())
            with atomic_file(path) as temporary:
                citations, deletions = write_part(temporary, _read(source, advance), stem, digest)
        namesakes = tuple(part.path for part in parts if part.source == stem)
        return AddResult(path.stem, citations, deletions, namesakes=namesakes)

    def parts(self) -> list[Part]:
        """The parts, in an order that does not depend on when they were added."""
        paths = sorted(self._parts_folder.glob("*.parquet"))
        self._known = {path: self._known.get(path) or read_part(path) for path in paths}
        return sorted(self._known.values(), key=lambda part: (part.source, part.sha256))

    def parts_digest(self) -> str:
        """A SHA-256 that identifies what was added: the names and bytes of the sources."""
        lines = "".join(f"{part.source}\t{part.sha256}\n" for part in self.parts())
        return hashlib.sha256(lines.encode()).hexdigest()

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Stream (doc_id, title, abstract) of the documents that the screen kept, in the order of their `doc_id`.

        Raises:
            InputError: the store was not screened, or parts were added since; or it is changed while this is read.
        """
        return self._stream(self.fingerprint())  # now, not when the first document is asked for

    def _stream(self, fingerprint: str) -> Iterator[tuple[str, str, str]]:
        with self.connect() as database:
            choose_newest(database)
            screen = as_pattern(self.screen_file)
            database.execute(_CHOSEN, [screen])
            kept, chosen = database.execute(
                "SELECT (SELECT count(*) FROM screen_of(?) WHERE kept), (SELECT count(*) FROM chosen)", [screen]
            ).fetchone()
            if kept != chosen:
                raise InputError(
                    f"{self.screen_file} keeps {kept:,} documents, of which {self.folder} holds {chosen:,}: it is of "
                    f"another store or damaged; delete it and run {self.last_screen.command()}"
                )
            stretches = database.execute(_STRETCHES, [max(1, int(_memory(database) * _SORTED))]).fetchall()
            for (first,), (following,) in pairwise([*stretches, (None,)]):
                ends = {"first": first, "next": following}
                within = [as_pattern(Path(name)) for (name,) in database.execute(_WITHIN, ends).fetchall()]
                database.execute("SET VARIABLE parts = ?::VARCHAR[]", [within])  # what `parts` reads from now on
                documents = database.sql(_TEXTS, params=ends)
                for batch in documents.to_arrow_reader(_BATCH):  # streams; a cursor would hold the whole result
                    yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        if self.fingerprint() != fingerprint:
            raise InputError(f"{self.folder} was changed while it was read: run the command again")

    def kept(self) -> int:
        """How many documents the screen kept.

        Raises:
            InputError: the store was not screened, or parts were added since.
        """
        self._require_screen()
        with self.connect() as database:
            row = database.execute(
                "SELECT count(*) FROM screen_of(?) WHERE kept",
                [as_pattern(self.screen_file)],
            ).fetchone()
        return int(row[0])

    def fingerprint(self) -> str:
        """A SHA-256 that identifies the corpus: the sources and the settings of the screen.

        Raises:
            InputError: the store was not screened, or parts were added since.
        """
        settings = self._require_screen()
        return hashlib.sha256(f"{self.parts_digest()}\n{settings}".encode()).hexdigest()

    def contamination(self) -> dict[str, dict[str, int]]:
        """What the last screen found of held-out texts; see `pubmedbert.corpus.overlap.HeldOut.counts`.

        Raises:
            InputError: the store was not screened, or parts were added since.
        """
        self._require_screen()
        return self.last_screen.held_out()

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection with the tables `sources` (filename, sha256), `parts` and `screen_of(file)`.

        It uses at most half of the memory, spills beside the parts, and downloads nothing.

        Raises:
            InputError: the store is empty.
        """
        import duckdb

        parts = self.parts()
        if not parts:
            raise InputError(f"{self.folder} holds no part: add files with pubmedbert corpus add")
        spill = self.folder / f".spill.{os.getpid()}.tmp"
        settings = {
            "memory_limit": "50%",
            "temp_directory": str(spill),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        try:
            with duckdb.connect(config=settings) as database:
                names = [str(part.path) for part in parts]
                database.execute("SET VARIABLE parts = ?::VARCHAR[]", [[as_pattern(part.path) for part in parts]])
                database.execute(_VIEWS)
                database.execute(
                    "CREATE TEMP TABLE sources AS "
                    "SELECT unnest(?::VARCHAR[]) AS filename, unnest(?::VARCHAR[]) AS sha256",
                    [names, [part.sha256 for part in parts]],
                )
                yield database
        except duckdb.OutOfMemoryException as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.folder} needs more memory than half of what this machine has: {reason}") from error
        except duckdb.Error as error:
            raise self._unreadable(error) from error
        finally:
            shutil.rmtree(spill, ignore_errors=True)

    def _unreadable(self, error: Exception) -> InputError:
        """What is wrong where DuckDB fails: mostly it does not name the file, so all of them are read."""
        reason = str(error).splitlines()[0][:_REASON]
        for part in self._known:
            if not is_whole(part):
                return InputError(f"{part} is damaged ({reason}): delete it and add its source again")
        if self.screen_file.exists() and not is_whole(self.screen_file):
            return InputError(f"{self.screen_file} is damaged: run {self.last_screen.command()}")
        return InputError(f"{self.folder} cannot be read or the disk is full: {reason}")

    def _require_screen(self) -> str:
        screened = self.last_screen.seen()
        if screened is None:
            raise InputError(
                f"{self.folder} is not screened yet: run pubmedbert corpus screen --store {self.folder} first"
            )
        if screened[0] != self.parts_digest():
            raise InputError(
                f"parts were added to {self.folder} since it was screened: run {self.last_screen.command()} again"
            )
        return screened[1]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Let one process at a time add a part; clear away what killed ones left, and a new store that stays empty."""
        made = [folder for folder in (self._parts_folder, self.folder) if not folder.exists()]
        with self._held():
            try:
                self.clear_leftovers()
                yield
            finally:
                with suppress(OSError):  # not empty: all is well
                    for folder in made:
                        folder.rmdir()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder of parts; where it was deleted while this waited for it, the one that is there now."""
        while True:
            with locked(self._parts_folder) as held:
                if self._parts_folder.exists() and os.path.samestat(os.fstat(held), self._parts_folder.stat()):
                    yield
                    return

    def clear_leftovers(self) -> None:
        """Delete the temporary files of processes that are gone."""
        for path in (*self._parts_folder.iterdir(), *self.folder.iterdir()):
            match = _LEFT_BEHIND.fullmatch(path.name)
            if match and gone(int(match[1])):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def as_pattern(path: Path) -> str:
    """A path as DuckDB wants it, which takes brackets and stars for a pattern."""
    return glob.escape(str(path))


def _memory(database: duckdb.DuckDBPyConnection) -> float:
    """How many bytes a database may use."""
    (limit,) = database.execute("SELECT current_setting('memory_limit')").fetchone()
    number, unit = limit.split()
    return float(number) * 1024.0 ** ("bytes", "KiB", "MiB", "GiB", "TiB").index(unit)


def choose_newest(database: duckdb.DuckDBPyConnection, columns: str = "") -> None:
    """Create `every_row` (without texts) and its views `undeleted` and `newest`.

    Args:
        database: from `Store.connect`.
        columns: SQL expressions over the columns of a part, to have beside the keys.
    """
    database.execute(_ROWS.format(columns=f"{columns}," if columns else ""))
    database.execute(_UNDELETED)
    database.execute(_NEWEST)


def _read(source: Path, advance: Callable[[int], object] | None) -> Iterator[Citation]:
    if is_json(source):
        from pubmedbert.corpus.jsonl import read_jsonl

        return read_jsonl(source, advance)
    from pubmedbert.corpus.medline import read_xml

    return read_xml(source, advance)
