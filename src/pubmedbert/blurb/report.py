"""The report on a model's fine-tuning: JSON to compute with, Markdown to quote, HTML to look at, and a submission."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pubmedbert.blurb.page import METHOD, OVERVIEW, overview, page
from pubmedbert.blurb.published import published
from pubmedbert.blurb.registry import GROUPS, title
from pubmedbert.blurb.results import Result, Score, Summary, summarize
from pubmedbert.blurb.submission import write_submission
from pubmedbert.files import write_json, write_text


def write_report(
    folder: Path,
    missing: Mapping[str, str],
    failed: Mapping[str, str] | None = None,
    *,
    team: str = "TEAM",
    model: str = "MODEL",
) -> dict[str, object]:
    """Write `report.json`, `report.md`, `report.html` and `submission.zip` into a folder of results.

    Args:
        folder: with a folder for each data set that holds `result.json` and `seed-N/test.jsonl`.
        missing: data sets that were not run, and why.
        failed: data sets that could not be run, and why; what an earlier run left of them is not reported.
        team: named in the submission.
        model: its name in the submission.

    Returns:
        What `report.json` holds; scores are in percent, correlations times 100.

    Raises:
        InputError: there is no result, a file is damaged, or the folder can't be written.
    """
    summary = summarize(folder, missing, failed or {})
    report = _report(summary)
    write_submission(folder / "submission.zip", summary, team=team, model=model)
    write_text(folder / "report.html", page(summary))
    write_text(folder / "report.md", _markdown(summary))
    write_json(folder / "report.json", report)
    return report


def _report(summary: Summary) -> dict[str, object]:
    return {
        "model": summary.model,
        "method": METHOD,
        "blurb": _mean(summary),
        "tasks": {task: _mean(summary, task) for task in GROUPS},
        "missing": summary.missing,
        "datasets": {result.dataset: _dataset(result) for result in summary.results},
        "published": {row.name: {"blurb": row.blurb, "source": row.source, "note": row.note} for row in published()},
    }


def _dataset(result: Result) -> dict[str, object]:
    return {
        "task": result.task,
        "metric": result.metric.name,
        "definition": result.definition,
        "unit": result.metric.unit,
        "test": _score(result.test),
        "dev": _score(result.dev),
        "seeds": [asdict(seed) for seed in result.seeds],
        "best_seed": result.best.seed,
        "counts": result.counts,
        "notes": list(result.notes),
        "comparable": result.comparable,
        "collapsed": sum(seed.collapsed for seed in result.seeds),
        "recipe": result.recipe,
        "published": {row.name: row.scores[result.dataset] for row in published() if result.dataset in row.scores},
    }


def _score(score: Score | None) -> dict[str, float | None] | None:
    return None if score is None else asdict(score)


def _mean(summary: Summary, task: str = "") -> dict[str, object] | None:
    """The mean of a task type, or the BLURB score, with its caveat."""
    score = summary.mean(task)
    return None if score is None else {**asdict(score), "caveat": summary.caveat(task)}


def _told(summary: Summary, task: str = "") -> str:
    """The same as text."""
    score, caveat = summary.mean(task), summary.caveat(task)
    return "" if score is None else f"{score}{f' ({caveat})' if caveat else ''}"


def _markdown(summary: Summary) -> str:
    results = summary.results
    tasks = [(task, _told(summary, task) or "-") for task in GROUPS]
    missing = [(title(name), reason) for name, reason in summary.missing.items()]
    metrics = dict.fromkeys(f"- {_plain(result.metric.title)}: {_plain(result.definition)}" for result in results)
    notes = [f"- {_plain(result.title)}: {_plain(note)}" for result in results for note in result.notes]
    sections = [
        "# BLURB report",
        f"Model: {_plain(summary.model)}",
        f"BLURB score: {_plain(_told(summary)) or 'none'}",
        _plain(summary.incomplete),
        _plain(METHOD),
        _table(OVERVIEW, overview(results)),
        _table(("task type", "mean"), tasks),
        "## Metrics\n\n" + "\n".join(metrics),
        "## Missing\n\n" + _table(("data set", "why"), missing) if missing else "",
        "## Notes\n\n" + "\n".join(notes) if notes else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(_plain(cell) for cell in row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|&~])", r"\\\1", " ".join(text.split()))
