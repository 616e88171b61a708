"""Parts: one Parquet file per source file, streamed to disk, with the source's name and SHA-256 in its metadata."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pubmedbert.corpus.citation import Citation
from pubmedbert.errors import InputError

_SECTION = pa.struct([("label", pa.string()), ("category", pa.string()), ("text", pa.string())])
_OTHER_ABSTRACT = pa.struct([("type", pa.string()), ("language", pa.string()), ("text", pa.string())])
SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("pmid", pa.int64()),
        ("version", pa.int32()),
        ("title", pa.string()),
        ("abstract", pa.string()),
        ("sections", pa.list_(_SECTION)),
        ("other_abstracts", pa.list_(_OTHER_ABSTRACT)),
        ("languages", pa.list_(pa.string())),
        ("publication_types", pa.list_(pa.string())),
        ("journal", pa.string()),
        ("year", pa.int32()),
        ("status", pa.string()),
        ("deleted", pa.bool_()),
        ("source", pa.string()),
        ("sequence", pa.int32()),
    ]
)

ROWS_PER_GROUP = 10_000
BYTES_PER_GROUP = 32 << 20  # of all texts
_SOURCE, _SHA256 = b"pubmedbert.source", b"pubmedbert.sha256"
_CITATIONS, _DELETIONS = b"pubmedbert.citations", b"pubmedbert.deletions"


@dataclass(frozen=True, slots=True)
class Part:
    """A Parquet file of a store and what it was made from.

    Attributes:
        path: the Parquet file.
        source: the stem of the source file's name, such as "pubmed26n0001".
        sha256: of the source file's bytes.
        citations: rows that describe a record.
        deletions: rows that delete one.
    """

    path: Path
    source: str
    sha256: str
    citations: int
    deletions: int


def write_part(path: Path, rows: Iterable[Citation], source: str, sha256: str) -> tuple[int, int]:
    """Write rows to `path` in row groups, never more than one of them in memory.

    Returns:
        How many citations and how many deletions were written.
    """
    counts = [0, 0]
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        batch: list[Citation] = []
        size = 0
        for row in rows:
            counts[row.deleted] += 1
            batch.append(row)
            size += _characters(row)
            if len(batch) >= ROWS_PER_GROUP or size >= BYTES_PER_GROUP:
                writer.write_table(_table(batch))
                batch, size = [], 0
        if batch:
            writer.write_table(_table(batch))
        writer.add_key_value_metadata(
            {_SOURCE: source, _SHA256: sha256, _CITATIONS: str(counts[0]), _DELETIONS: str(counts[1])}
        )
    return counts[0], counts[1]


def _characters(row: Citation) -> int:
    """The size of a record: of all its texts."""
    texts = [row.title, row.abstract, row.journal, *row.languages, *row.publication_types]
    nested = [part for item in (*row.sections, *row.other_abstracts) for part in item]
    return sum(map(len, texts)) + sum(map(len, nested))


def read_part(path: Path) -> Part:
    """Read what a part was made from; its rows stay on disk.

    Raises:
        InputError: the file is damaged, or no part of ours.
    """
    try:
        metadata = pq.read_metadata(path).metadata or {}
        return Part(
            path,
            metadata[_SOURCE].decode(),
            metadata[_SHA256].decode(),
            int(metadata[_CITATIONS]),
            int(metadata[_DELETIONS]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not a part of a corpus store, or damaged: delete it and add its source again"
        ) from error


def is_whole(path: Path) -> bool:
    """Whether all of a Parquet file can be read."""
    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except (OSError, ValueError):
        return False
    return True


def _table(batch: list[Citation]) -> Any:
    columns = {name: [getattr(row, name) for row in batch] for name in SCHEMA.names}
    for name in ("sections", "other_abstracts"):
        columns[name] = [[item._asdict() for item in items] for items in columns[name]]
    return pa.Table.from_pydict(columns, schema=SCHEMA)
