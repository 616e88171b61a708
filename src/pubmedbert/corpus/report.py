"""What a store holds, as numbers: for `report.json` and for the terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pubmedbert.corpus.screen import REASONS
from pubmedbert.corpus.store import Store, as_pattern, choose_newest

if TYPE_CHECKING:
    import duckdb

TOP = 20
"""How many sources, languages and publication types are listed."""

_COLUMNS = """
    year, source, languages, publication_types, len(sections) > 0 AS structured,
    CASE WHEN abstract = '' THEN 0 ELSE 1 + length(abstract) - length(replace(abstract, ' ', '')) END
        + CASE WHEN title = '' THEN 0 ELSE 1 + length(title) - length(replace(title, ' ', '')) END AS words,
    length(title) + length(abstract) AS characters
"""
_YEARS_IN_THE_TERMINAL = 40
_BAR = 40


def summarize(store: Store) -> dict[str, Any]:
    """Count what the store holds.

    Years, languages, types, sources and the share of structured abstracts are those of the live documents, before the
    screen; words (whitespace-separated) and characters are those of title and abstract of what the screen kept.
    `screen` is None if there is no screen, or it is older than the parts; its `held_out` are the texts of data sets
    found in the corpus.

    Raises:
        InputError: the store is empty or damaged.
    """
    parts = store.parts()
    with store.connect() as database:
        choose_newest(database, _COLUMNS)
        database.execute("CREATE TEMP TABLE live AS FROM newest")
        undeleted = _one(database, "SELECT count(*) FROM undeleted")
        live = _one(database, "SELECT count(*) FROM live")
        with_abstract = _one(database, "SELECT count(*) FROM live WHERE abstract_bytes > 0")
        structured = _one(database, "SELECT count(*) FROM live WHERE structured")
        citations = sum(part.citations for part in parts)
        return {
            "parts": len(parts),
            "citations": citations,
            "deletions": sum(part.deletions for part in parts),
            "deleted": citations - undeleted,
            "superseded": undeleted - live,
            "live": live,
            "with_abstract": with_abstract,
            "structured_share": round(structured / with_abstract, 4) if with_abstract else 0.0,
            "screen": _screen(database, store),
            "years": _counts(database, "SELECT coalesce(year::VARCHAR, 'unknown') AS name FROM live", by_name=True),
            "languages": _counts(database, "SELECT unnest(languages) AS name FROM live"),
            "publication_types": _counts(database, "SELECT unnest(publication_types) AS name FROM live"),
            "sources": _counts(database, "SELECT source AS name FROM live"),
        }


def show(report: dict[str, Any], name: str) -> None:
    """Print a report as tables on standard output."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)  # names come from data: brackets and colons in them are no markup
    console.print(_table(f"{name}: rows", {k: report[k] for k in ("parts", "citations", "deletions")}))
    console.print(_table("documents", {k: report[k] for k in ("deleted", "superseded", "live", "with_abstract")}))
    console.print(f"structured abstracts: {report['structured_share']:.1%} of those with an abstract\n")
    if screen := report["screen"]:
        console.print(_table("screen", {"kept": screen["kept"], **screen["dropped"]}, share_of=report["live"]))
        console.print(f"kept: {screen['words']:,} words, {screen['characters']:,} characters of title and abstract\n")
    else:
        console.print("not screened, or parts were added since: run pubmedbert corpus screen\n")
    years = dict(report["years"])
    unknown = years.pop("unknown", 0)
    console.print(_table(f"years (unknown: {unknown:,})", _bins(years), share_of=report["live"], bars=True))
    for key in ("languages", "publication_types", "sources"):
        console.print(_table(key.replace("_", " "), report[key], share_of=report["live"]))


def _screen(database: duckdb.DuckDBPyConnection, store: Store) -> dict[str, Any] | None:
    screened = store.last_screen.seen()
    if screened is None or screened[0] != store.parts_digest():
        return None
    path = [as_pattern(store.screen_file)]
    dropped = dict(
        database.execute("SELECT reason, count(*) FROM screen_of(?) WHERE NOT kept GROUP BY ALL", path).fetchall()
    )
    kept, words, characters = database.execute(
        "SELECT count(*), coalesce(sum(words), 0)::BIGINT, coalesce(sum(characters), 0)::BIGINT "
        "FROM live JOIN screen_of(?) AS screen USING (doc_id) WHERE screen.kept",
        path,
    ).fetchone() or (0, 0, 0)
    return {
        "settings": json.loads(screened[1]),
        "kept": kept,
        "dropped": {reason: dropped.get(reason, 0) for reason in REASONS},
        "held_out": store.contamination(),
        "words": words,
        "characters": characters,
    }


def _one(database: duckdb.DuckDBPyConnection, query: str) -> int:
    row = database.execute(query).fetchone()
    return int(row[0]) if row else 0


def _counts(database: duckdb.DuckDBPyConnection, query: str, by_name: bool = False) -> dict[str, int]:
    """How often each `name` occurs: all of them in their order, or the most frequent."""
    order = "name" if by_name else f"count(*) DESC, name LIMIT {TOP}"
    return dict(database.execute(f"FROM ({query}) SELECT name, count(*) GROUP BY name ORDER BY {order}").fetchall())


def _bins(years: dict[str, int]) -> dict[str, int]:
    """Years as they are, or decades where there are too many for a terminal."""
    if len(years) <= _YEARS_IN_THE_TERMINAL:
        return years
    bins: dict[str, int] = {}
    for year, count in years.items():
        name = f"{year[:-1]}0s"
        bins[name] = bins.get(name, 0) + count
    return bins


def _table(title: str, counts: dict[str, int], share_of: int = 0, bars: bool = False) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    largest = max(counts.values(), default=0)
    for name, count in counts.items():
        share = [f"{count / share_of:6.1%}"] if share_of else []
        bar = ["█" * round(_BAR * count / largest) or "▏"] if bars and largest else []
        table.add_row(name, f"{count:,}", *share, *bar)
    return table
