"""The screen: which documents later stages read, and for each of the others the first reason why they do not."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pubmedbert.corpus.citation import parse_pmid
from pubmedbert.corpus.parts import is_whole
from pubmedbert.corpus.store import Store, choose_newest
from pubmedbert.errors import InputError, meant
from pubmedbert.files import atomic_file, is_utf8
from pubmedbert.progress import progress

if TYPE_CHECKING:
    import duckdb

    from pubmedbert.corpus.overlap import HeldOut

RULES = 2
"""The version of the rules below: a screen made by other rules is another screen."""

MIN_WORDS = 128
"""Gu et al. 2020, section 2.5: abstracts with fewer words are left out."""

MOST_WORDS = 10**9

REASONS = ("no-abstract", "language", "retracted", "excluded-source", "excluded-pmid", "held-out", "short", "duplicate")
"""In the order in which they are tried."""

# What the reasons are decided by. Whitespace is single blanks already, so that blanks count the words.
_COLUMNS = """
    source,
    1 + length(abstract) - length(replace(abstract, ' ', '')) AS words,
    list_has_any(languages, ['eng', 'en']) AS english,
    list_contains(publication_types, 'Retracted Publication') AS retracted,
    md5(regexp_replace(lower(title || abstract), '[^\\p{L}\\p{N}]+', '', 'g')) AS digest
"""
_SCREEN = """
    CREATE TEMP TABLE screen AS
    WITH judged AS (
        SELECT doc_id, digest, CASE
            WHEN abstract_bytes = 0 THEN 'no-abstract'
            WHEN NOT english THEN 'language'
            WHEN retracted THEN 'retracted'
            WHEN doc_id IN (SELECT doc_id FROM of_excluded_sources) THEN 'excluded-source'
            WHEN pmid IN (SELECT pmid FROM excluded_pmids)
                OR digest IN (SELECT digest FROM excluded_texts) THEN 'excluded-pmid'
            WHEN doc_id IN (SELECT doc_id FROM overlapping) THEN 'held-out'
            WHEN words < ? THEN 'short'
        END AS reason
        FROM newest
    ), first AS (
        SELECT digest, min(doc_id) AS doc_id FROM judged WHERE reason IS NULL GROUP BY digest
    )
    SELECT judged.doc_id,
           judged.reason IS NULL AND judged.doc_id = first.doc_id AS kept,
           CASE WHEN judged.reason IS NOT NULL THEN judged.reason
                WHEN judged.doc_id = first.doc_id THEN ''
                ELSE 'duplicate' END AS reason
    FROM judged LEFT JOIN first USING (digest)
"""
# Documents with a row of an excluded source; the texts that an excluded PMID ever had, which come under other ids, too.
_EXCLUDED = """
    CREATE TEMP TABLE of_excluded_sources AS
    SELECT DISTINCT doc_id FROM every_row WHERE NOT deleted AND source IN (SELECT source FROM excluded_sources);
    CREATE TEMP TABLE excluded_texts AS
    SELECT DISTINCT digest FROM every_row WHERE abstract_bytes > 0 AND pmid IN (SELECT pmid FROM excluded_pmids)
"""
_TEXTS = """
    SELECT newest.doc_id, part.title || ' ' || part.abstract AS text
    FROM newest
    JOIN parts AS part
        ON part.filename = newest.filename AND part.file_row_number = newest.position
    WHERE abstract_bytes > 0
"""
_BATCH = 2048  # documents read at a time


@dataclass(frozen=True, slots=True)
class Settings:
    """What the screen is told.

    Attributes:
        min_words: abstracts with fewer whitespace-separated words are dropped.
        exclude_pmids: documents with these PMIDs are dropped, and those with the same text.
        exclude_sources: documents with a row, be it an older one, whose `source` is one of these are dropped.
        held_out: documents that hold one of these texts are dropped.
    """

    min_words: int = MIN_WORDS
    exclude_pmids: frozenset[int] = frozenset()
    exclude_sources: frozenset[str] = frozenset()
    held_out: HeldOut | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_words <= MOST_WORDS:
            raise InputError(f"--min-words must be a number from 0 to {MOST_WORDS:,}, not {self.min_words}")
        for source in self.exclude_sources:
            if not is_utf8(source):
                raise InputError(f"--exclude-source {source}: no document has this source, it is not UTF-8 text")

    def as_json(self) -> str:
        """The settings as one line of JSON that identifies them; of the PMIDs only count and SHA-256."""
        pmids = " ".join(map(str, sorted(self.exclude_pmids)))
        value: dict[str, object] = {
            "rules": RULES,
            "min_words": self.min_words,
            "exclude_pmids": len(self.exclude_pmids),
            "exclude_pmids_sha256": hashlib.sha256(pmids.encode()).hexdigest(),
            "exclude_sources": sorted(self.exclude_sources),
        }
        if self.held_out is not None:
            value["held_out_sha256"] = self.held_out.digest
        return json.dumps(value, ensure_ascii=False)


def screen(store: Store, settings: Settings, paths: Mapping[str, str] | None = None) -> bool:
    """Write `screen.parquet` (doc_id, kept, reason; "" as the reason of what is kept), in the order of `doc_id`.

    Its metadata hold what was screened, how, and how many held-out texts were found: see `Store.contamination`.

    Args:
        store: a store with documents.
        settings: what to drop.
        paths: what `exclude_pmids` and `exclude_blurb` were read from, to tell the user who has to screen again.

    Returns:
        False if the last screen saw the same parts with the same settings and is whole: there was nothing to do.

    Raises:
        InputError: the store is empty, or no document has one of the sources to exclude.
    """
    seen = (store.parts_digest(), settings.as_json())
    if store.last_screen.seen() == seen and is_whole(store.screen_file):
        return False
    store.clear_leftovers()
    with store.connect() as database, atomic_file(store.screen_file) as temporary:
        choose_newest(database, _COLUMNS)
        _exclude(database, settings)
        found = _overlap(database, settings.held_out)
        database.execute(_SCREEN, [settings.min_words])
        texts = (*seen, json.dumps(found), json.dumps(paths or {}))
        parts, as_json, held_out, as_paths = (text.replace("'", "''") for text in texts)
        path = str(temporary).replace("'", "''")
        database.execute(
            f"COPY (FROM screen ORDER BY doc_id) TO '{path}' (FORMAT parquet, COMPRESSION zstd, "
            f"KV_METADATA {{'pubmedbert.parts': '{parts}', 'pubmedbert.settings': '{as_json}', "
            f"'pubmedbert.held_out': '{held_out}', 'pubmedbert.paths': '{as_paths}'}})"
        )
    return True


def undone(store: Store, settings: Settings) -> list[str]:
    """What the last screen of a store left out and one with other settings would let in, in the words of the options.

    Fewer words count only where they are the default: another number was told.
    """
    seen = store.last_screen.seen()
    if seen is None:
        return []
    was, now = json.loads(seen[1]), settings
    found = [f"--min-words {was['min_words']}"] if was["min_words"] > now.min_words == MIN_WORDS else []
    if was["exclude_pmids"] > len(now.exclude_pmids):
        found.append(f"--exclude-pmids with {was['exclude_pmids']:,} PMIDs")
    found += [f"--exclude-source {source}" for source in was["exclude_sources"] if source not in now.exclude_sources]
    texts = Counter(now.held_out.names if now.held_out else ())
    sets = [name for name, of in store.last_screen.held_out().items() if of["texts"] > texts[name]]
    if sets or ("held_out_sha256" in was and now.held_out is None):
        found.append(f"--exclude-blurb{' with all texts of ' if sets else ''}{', '.join(sets)}")
    return found


def _overlap(database: duckdb.DuckDBPyConnection, held_out: HeldOut | None) -> dict[str, dict[str, int]]:
    """Create the table of the documents that hold held-out texts, and count these."""
    documents: list[str] = []
    found: dict[int, list[str]] = {}  # the documents of each text
    if held_out is not None:
        ((total,),) = database.execute("SELECT count(*) FROM newest WHERE abstract_bytes > 0").fetchall()
        with progress("comparing", total, "documents") as advance:
            for batch in database.sql(_TEXTS).to_arrow_reader(_BATCH):
                ids, texts = (column.to_pylist() for column in batch.columns)
                for number, held in held_out.search(texts):
                    documents.append(ids[number])
                    for text in held:
                        found.setdefault(text, []).append(ids[number])
                advance(len(ids))
    database.execute("CREATE TEMP TABLE overlapping AS SELECT unnest(?::VARCHAR[]) AS doc_id", [documents])
    return held_out.counts(found) if held_out is not None else {}


def read_pmids(path: Path) -> frozenset[int]:
    """Read a file with one PMID a line; empty lines are skipped.

    Raises:
        InputError: the file can't be read, or a line is no PMID.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file: it must hold one PMID a line") from error
    pmids = set()
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                pmids.add(parse_pmid(line))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}; the file must hold one PMID a line") from error
    if not pmids:
        raise InputError(f"{path} holds no PMID: it must hold one a line")
    return frozenset(pmids)


def _exclude(database: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Create the tables of what to exclude."""
    sources: Sequence[str] = sorted(settings.exclude_sources)
    database.execute("CREATE TEMP TABLE excluded_sources AS SELECT unnest(?::VARCHAR[]) AS source", [sources])
    database.execute(
        "CREATE TEMP TABLE excluded_pmids AS SELECT unnest(?::BIGINT[]) AS pmid", [sorted(settings.exclude_pmids)]
    )
    database.execute(_EXCLUDED)
    known = {row[0] for row in database.execute("SELECT DISTINCT source FROM every_row").fetchall()}
    for source in sources:
        if source not in known:
            names = ", ".join(sorted(known)[:10]) + (", ..." if len(known) > 10 else "")
            hint = meant(source, known, f"there are {names}")
            raise InputError(f"--exclude-source {source}: no document has this source; {hint}")
