"""The report as one HTML page: no script, nothing from elsewhere, light and dark, wide and narrow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from pubmedbert.blurb import plot
from pubmedbert.blurb.published import published
from pubmedbert.blurb.registry import NAMES, title
from pubmedbert.blurb.results import Result, Seed, Summary, task_type

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c2430; --paper: #fff; --card: #f7f9fb; --line: #d5dbe3; --soft: #5a6675;
  --ours: #0072b2; --theirs: #c4561a; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6ebf1; --paper: #151a21; --card: #1b222b; --line: #39424e; --soft: #a4b0be;
    --ours: #56b4e9; --theirs: #e69f00; }} }}
* {{ box-sizing: border-box; }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; margin-bottom: .25rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.25rem; }}
h3 {{ font-size: 1rem; margin: 0; }}
p.lead, small, .soft {{ color: var(--soft); }} p.lead {{ margin-top: 0; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
th, td {{ text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); }}
td.number, th.number {{ text-align: right; }}
.facts {{ display: flex; flex-wrap: wrap; gap: .5rem 2rem; padding: 0; list-style: none; }}
.facts b {{ display: block; font-size: 1.35rem; font-weight: 600; }}
.facts span {{ color: var(--soft); font-size: .875rem; }}
.facts small {{ display: block; max-width: 20rem; color: var(--theirs); }}
.cards {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }}
.card {{ background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .9rem 1rem;
  min-width: 0; }}
.card p {{ margin: .25rem 0 .5rem; font-size: .875rem; }}
.card ul {{ margin: .25rem 0; padding-left: 1.1rem; font-size: .875rem; }}
.caveat {{ font-weight: 600; color: var(--theirs); }}
details {{ font-size: .875rem; margin-top: .4rem; }} summary {{ cursor: pointer; color: var(--soft); }}
pre {{ overflow-x: auto; margin: .5rem 0; }}
{style}</style></head><body>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{body}
</body></html>
"""

METHOD = (
    "Numbers are percent, correlations times 100. Mean ± standard deviation (n - 1) is over seeds; one seed has no "
    "deviation. What was chosen was chosen on the dev sets, but where the recipe says select = last: there the last "
    "epoch is kept. Test labels were read only to score. The deviation of a task type and of the BLURB score is that "
    "of one seed drawn for every data set by itself."
)
"""What holds for all numbers of a report."""


OVERVIEW = ("data set", "task type", "metric", "test", "seeds", "dev", "PubMedBERT, published")
"""What `overview` has in its columns."""


def overview(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A row for each data set, as text."""
    theirs = next(row for row in published() if row.name == "PubMedBERT").scores
    return [
        (
            result.title,
            task_type(result.dataset) or result.task,
            result.metric.title,
            f"{result.test or '-'}{f' ({result.caveat})' if result.caveat else ''}",
            str(len(result.seeds)),
            str(result.dev),
            f"{theirs[result.dataset]:.2f}" if result.dataset in theirs else "-",
        )
        for result in results
    ]


def page(summary: Summary) -> str:
    """The whole page."""
    body = [
        _facts(summary),
        _missing(summary),
        f'<h2>Data sets</h2><p class="soft">{escape(METHOD)}</p>',
        _table(OVERVIEW, overview(summary.results), numbers=3),
        "<h2>Seeds and published scores</h2>",
        '<div class="cards">' + "".join(_card(result) for result in summary.results) + "</div>",
        _published(),
    ]
    lead = f"Model: {summary.model}"
    return _PAGE.format(title="BLURB report", style=plot.STYLE, lead=escape(lead), body="\n".join(body))


def _facts(summary: Summary) -> str:
    facts = [(str(score), task, summary.caveat(task)) for task, score in summary.tasks.items()]
    absent = sum(name in summary.missing for name in NAMES)
    none = ("none", f"BLURB score: {absent} of {len(NAMES)} data sets are missing", "")
    facts.insert(0, none if summary.blurb is None else (str(summary.blurb), "BLURB score", summary.caveat()))
    items = "".join(
        f"<li><b>{value}</b><span>{escape(name)}</span>{f'<small>{escape(caveat)}</small>' if caveat else ''}</li>"
        for value, name, caveat in facts
    )
    return f'<ul class="facts">{items}</ul>'


def _missing(summary: Summary) -> str:
    if not summary.missing:
        return ""
    rows = [(title(name), reason) for name, reason in summary.missing.items()]
    return f"<h2>What is missing</h2><p>{escape(summary.incomplete)}</p>" + _table(("data set", "why"), rows)


def _card(result: Result) -> str:
    counts = ", ".join(f"{split} {count}" for split, count in result.counts.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    caveat = f'<p class="caveat">{escape(result.caveat)}</p>' if result.caveat else ""
    if result.test is None:
        picture = f'<p class="soft">The test set was not scored; dev: {result.dev}.</p>'
    else:
        picture = plot.plot(result, published())
    seeds = _table(
        ("seed", "dev", "test", "epoch kept", "restarts", "seconds"), [_seed(s) for s in result.seeds], numbers=0
    )
    recipe = escape(json.dumps(result.recipe, indent=2, ensure_ascii=False))
    return (
        f'<section class="card"><h3>{escape(result.title)} '
        f"<small>{escape(result.metric.title)}</small></h3>"
        f'<p class="soft">{escape(result.definition)} Examples: {escape(counts)}.</p>{caveat}{picture}'
        f"{f'<ul>{notes}</ul>' if notes else ''}"
        f"<details><summary>every seed</summary>{seeds}</details>"
        f"<details><summary>recipe</summary><pre>{recipe}</pre></details></section>"
    )


def _seed(seed: Seed) -> tuple[str, ...]:
    test = "-" if seed.test is None else f"{seed.test:.2f}"
    epoch = "-" if seed.best_epoch is None else str(seed.best_epoch)
    restarts = f"{seed.restarts}{', collapsed' if seed.collapsed else ''}"
    return (str(seed.seed), f"{seed.dev:.2f}", test, epoch, restarts, f"{seed.seconds:,.0f}")


def _published() -> str:
    rows = [
        (row.name, "-" if row.blurb is None else f"{row.blurb:.2f}", f"{row.source}. {row.note}".strip())
        for row in published()
    ]
    text = (
        "<p>As printed, mostly means over five or ten seeds of which the deviations were not printed. Data preparation "
        "and tuning differ from paper to paper: a difference of a point is no proof.</p>"
    )
    return "<h2>Published models</h2>" + text + _table(("model", "BLURB score", "source"), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, numbers: int | None = None) -> str:
    """An HTML table; from column `numbers` on the cells are aligned to the right."""
    kinds = [' class="number"' if numbers is not None and place >= numbers else "" for place in range(len(head))]
    top = "".join(f"<th{kind}>{escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _cell(text: str) -> str:
    """A cell's text; a caveat behind a score may break into lines, a mean and its deviation may not."""
    return escape(text).replace(" ± ", "&nbsp;±&nbsp;")
