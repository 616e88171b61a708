"""The picture of runs: an HTML page without scripts or outside links, for one run or for several beside each other."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.files import write_text
from pubmedbert.pretrain.charts import bars, curves
from pubmedbert.pretrain.charts.panels import breakdown, charts
from pubmedbert.pretrain.charts.record import Record, read

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c2430; --paper: #fff; --card: #f7f9fb; --line: #d5dbe3; --soft: #5a6675; }}
@media (prefers-color-scheme: dark) {{ :root {{
  --ink: #e6ebf1; --paper: #151a21; --card: #1b222b; --line: #39424e; --soft: #a4b0be; }} }}
* {{ box-sizing: border-box; }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; margin-bottom: .25rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.25rem; }}
h3 {{ font-size: .95rem; margin: 0 0 .25rem; font-weight: 600; }}
p.lead, .soft {{ color: var(--soft); }} p.lead {{ margin-top: 0; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
th, td {{ text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); }}
td.number, th.number {{ text-align: right; white-space: nowrap; }}
.facts {{ display: flex; flex-wrap: wrap; gap: .5rem 2rem; padding: 0; list-style: none; }}
.facts b {{ display: block; font-size: 1.35rem; font-weight: 600; }}
.facts span {{ color: var(--soft); font-size: .875rem; }}
.cards {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }}
.card {{ background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .8rem .9rem; margin: 0;
  min-width: 0; }}
.legend {{ display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; padding: 0; list-style: none; }}
.legend li {{ display: flex; align-items: center; gap: .5rem; }}
summary {{ cursor: pointer; color: var(--soft); }}
{style}</style></head><body>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{body}
</body></html>
"""


def write_report(folder: Path, page: Path | None = None, *, title: str = "", first: str = "") -> Path:
    """Write `report.html` of a run: curves, evaluations and settings.

    Args:
        folder: of the run, with `config.toml` and `metrics.jsonl`.
        page: where to write it, `report.html` in the run's folder unless given.
        title: of the page, unless the run's name will do.
        first: HTML that goes before the run.

    Returns:
        The page.
    """
    record = read(folder)
    body = [first, _facts(record), charts([record]), breakdown([record]), _evaluations(record), _settings(record)]
    lead = f"{record.settings['size']} BERT, {_objective(record)} with whole-word masking"
    return _write(page or folder / "report.html", title or f"Pretraining run {record.name}", lead, body)


def write_comparison(folders: Sequence[Path], page: Path) -> Path:
    """Write a page with several runs beside each other.

    Args:
        folders: of the runs.
        page: where to write it.

    Returns:
        The page.

    Raises:
        InputError: a folder is no run, is named twice, or there are more runs than can be told apart.
    """
    if not 1 <= len(folders) <= curves.MOST_RUNS:
        raise InputError(f"a report shows 1 to {curves.MOST_RUNS} runs, not {len(folders)}")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is named twice; name each once")
    for folder in folders:
        if not (folder / runs.CONFIG).is_file():
            raise InputError(f"{folder} is no run (it has no {runs.CONFIG}); name the --out of 'pubmedbert pretrain'")
    if len(folders) == 1:
        return write_report(folders[0], page)
    records = [read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    body = [_legend(records), _warnings(records), _finals(records), charts(records), breakdown(records)]
    return _write(page, "Pretraining runs", f"{len(records)} runs", [*body, _differences(records)])


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """An HTML table; `numbers` aligns the cells to the right, but for the first column."""
    kinds = [' class="number"' if numbers and place else "" for place in range(len(head))]
    top = "".join(f"<th{kind}>{html.escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{html.escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _write(page: Path, title: str, lead: str, body: Sequence[str]) -> Path:
    style = curves.style() + bars.STYLE
    write_text(page, _PAGE.format(title=html.escape(title), lead=html.escape(lead), style=style, body="\n".join(body)))
    return page


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as many parents as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _objective(record: Record) -> str:
    return {"mlm+nsp": "masked language model and next sentences", "electra": "replaced-token detection"}.get(
        str(record.settings.get("objective")), "masked language model"
    )


def _facts(record: Record) -> str:
    """The run's numbers at a glance."""
    if not record.steps or not record.evaluations:
        return "<p>No step has been made yet.</p>"
    last, end = record.evaluations[-1], record.steps[-1]
    facts = (
        (f"{last['eval_loss']:.3f}", "held-out loss, nats"),
        (f"{last['unigram_loss']:.3f}", "unigram loss, nats"),
        (f"{last['eval_accuracy']:.1%}", "held-out accuracy"),
        (f"{end['step']:,}", "steps"),
        (f"{end['tokens'] / 1e6:,.1f} M", "tokens read"),
        (f"{end['seconds'] / 60:,.1f} min", "training time"),
        (f"{end['tokens'] / max(end['seconds'], 1e-9):,.0f}", "tokens per second"),
    )
    return (
        '<ul class="facts">' + "".join(f"<li><b>{value}</b><span>{name}</span></li>" for value, name in facts) + "</ul>"
    )


def _legend(records: Sequence[Record]) -> str:
    items = (f"<li>{curves.key(run)}{html.escape(record.name)}</li>" for run, record in enumerate(records))
    return f'<ul class="legend">{"".join(items)}</ul>'


def _warnings(records: Sequence[Record]) -> str:
    """Say which held-out losses do not compare."""
    masks = {record.evaluations[-1].get("masks") for record in records if record.evaluations}
    if len(masks) <= 1:
        return ""
    return "<p><b>The runs were evaluated on different rows or masks: their held-out losses do not compare.</b></p>"


def _finals(records: Sequence[Record]) -> str:
    """How each run ended."""
    rows = []
    for record in records:
        if not record.steps or not record.evaluations:
            rows.append([record.name, *["-"] * 9])
            continue
        end, last = record.steps[-1], record.evaluations[-1]
        smooth = curves.running_mean([s["loss"] for s in record.steps])[-1]
        best = min(e["eval_loss"] for e in record.evaluations if e.get("masks") == last.get("masks"))
        figures = (f"{last['eval_loss']:.4f}", f"{best:.4f}", f"{last['unigram_loss']:.4f}")
        rows.append(
            [
                record.name,
                f"{end['step']:,}",
                f"{end['tokens'] / 1e6:,.1f} M",
                f"{end['seconds'] / 60:,.1f}",
                f"{end['tokens'] / max(end['seconds'], 1e-9):,.0f}",
                f"{smooth:.4f}",
                *figures,
                f"{record.skipped:,}",
            ]
        )
    heads = (
        "run",
        "steps",
        "tokens",
        "minutes",
        "tokens/s",
        "training loss",
        "held-out loss",
        "best",
        "unigram",
        "skipped",
    )
    return "<h2>How they ended</h2>" + table(heads, rows, numbers=True)


def _evaluations(record: Record) -> str:
    head = ("step", "tokens", "held-out loss", "unigram loss", "accuracy")
    rows = [
        (
            f"{e['step']:,}",
            f"{e['tokens']:,}",
            f"{e['eval_loss']:.4f}",
            f"{e['unigram_loss']:.4f}",
            f"{e['eval_accuracy']:.2%}",
        )
        for e in record.evaluations
    ]
    return "<h2>Evaluations</h2>" + table(head, rows, numbers=True)


def _settings(record: Record) -> str:
    rows = [(key, _shown(value)) for key, value in record.settings.items()]
    return "<h2>Settings</h2>" + table(("setting", "value"), rows)


def _differences(records: Sequence[Record]) -> str:
    """The settings in which runs differ, and the others folded away."""
    keys = list(dict.fromkeys(key for record in records for key in record.settings))
    rows = [(key, *(_shown(record.settings.get(key)) for record in records)) for key in keys]
    differ = [row for row in rows if len(set(row[1:])) > 1]
    same = [row[:2] for row in rows if len(set(row[1:])) == 1]
    head = ("setting", *(record.name for record in records))
    shown = table(head, differ) if differ else "<p>All settings are the same.</p>"
    folded = f"<details><summary>settings that all share</summary>{table(('setting', 'value'), same)}</details>"
    return f"<h2>What differs</h2>{shown}{folded}"


def _shown(value: object) -> str:
    """A setting as text."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return "; ".join(_shown(part) for part in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return str(value)
