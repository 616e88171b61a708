"""The picture of a run: `report.html`, one page without scripts or outside links."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pubmedbert import runs
from pubmedbert.files import write_text

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c2430; --paper: #fff; --line: #d5dbe3; --soft: #5a6675; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6ebf1; --paper: #151a21; --line: #39424e; --soft: #a4b0be; }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: .25rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
p.lead {{ color: var(--soft); margin-top: 0; }}
figure {{ margin: 1rem 0; background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: .5rem; }}
figure svg {{ width: 100%; height: auto; display: block; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); }}
td.number, th.number {{ text-align: right; }}
.facts {{ display: flex; flex-wrap: wrap; gap: .5rem 2rem; padding: 0; list-style: none; }}
.facts b {{ display: block; font-size: 1.35rem; font-weight: 600; }}
.facts span {{ color: var(--soft); font-size: .875rem; }}
</style></head><body>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{body}
</body></html>
"""


def write_report(folder: Path, page: Path | None = None, *, title: str = "", first: str = "") -> Path:
    """Write `report.html` of a run: loss curves against the unigram loss, the evaluations and the settings.

    Args:
        folder: of the run, with `config.toml` and `metrics.jsonl`.
        page: where to write it, `report.html` in the run's folder unless given.
        title: of the page, unless the run's name will do.
        first: HTML that goes before the run.

    Returns:
        The page.
    """
    lines = runs.metrics(folder)
    config = {key: value for key, value in runs.config(folder).items() if not isinstance(value, dict)}
    steps = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "eval_loss" in line]
    body = [
        first,
        _facts(steps, evaluations),
        _figure(steps, evaluations),
        _evaluations(evaluations),
        _settings(config),
    ]
    title = title or f"Pretraining run {folder.resolve().name}"
    lead = f"{config['size']} BERT, masked language model with whole-word masking"
    page = page or folder / "report.html"
    write_text(page, _PAGE.format(title=html.escape(title), lead=html.escape(lead), body="\n".join(body)))
    return page


def _facts(steps: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> str:
    """The run's numbers at a glance."""
    if not steps or not evaluations:
        return "<p>No step has been made yet.</p>"
    last, end = evaluations[-1], steps[-1]
    facts = (
        (f"{last['eval_loss']:.3f}", "held-out loss, nats"),
        (f"{last['unigram_loss']:.3f}", "unigram loss, nats"),
        (f"{last['eval_accuracy']:.1%}", "held-out accuracy"),
        (f"{end['step']:,}", "steps"),
        (f"{end['tokens'] / 1e6:,.1f} M", "tokens read"),
        (f"{end['seconds'] / 60:,.1f} min", "training time"),
        (f"{end['tokens'] / end['seconds']:,.0f}", "tokens per second"),
    )
    return (
        '<ul class="facts">' + "".join(f"<li><b>{value}</b><span>{name}</span></li>" for value, name in facts) + "</ul>"
    )


def _figure(steps: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> str:
    """The loss curve as inline SVG; text stays text."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if not steps:
        return ""
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "pubmedbert", "font.family": "sans-serif", "font.size": 11}
    ):
        figure = Figure(figsize=(9, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            [s["step"] for s in steps],
            [s["loss"] for s in steps],
            color="#9db8d9",
            linewidth=0.8,
            label="training batch",
        )
        smooth = _smooth([s["loss"] for s in steps])
        axes.plot([s["step"] for s in steps], smooth, color="#1f5fa8", linewidth=1.6, label="training, smoothed")
        places, losses = [e["step"] for e in evaluations], [e["eval_loss"] for e in evaluations]
        axes.plot(
            places, losses, color="#c4561a", marker="o", markersize=4, linewidth=1.4, label="held-out, frozen masks"
        )
        if evaluations:
            axes.axhline(
                evaluations[-1]["unigram_loss"], color="#555", linestyle="--", linewidth=1, label="unigram model"
            )
        axes.set(xlabel="step", ylabel="loss (nats per masked word piece)", xlim=(0, None))
        axes.grid(color="#e4e8ee", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return f'<figure role="img" aria-label="Loss over the steps of the run">{svg[svg.index("<svg") :]}</figure>'


def _evaluations(evaluations: list[dict[str, Any]]) -> str:
    head = ("step", "tokens", "held-out loss", "unigram loss", "accuracy")
    rows = [
        (
            f"{e['step']:,}",
            f"{e['tokens']:,}",
            f"{e['eval_loss']:.4f}",
            f"{e['unigram_loss']:.4f}",
            f"{e['eval_accuracy']:.2%}",
        )
        for e in evaluations
    ]
    return "<h2>Evaluations</h2>" + table(head, rows, numbers=True)


def _settings(config: dict[str, Any]) -> str:
    return "<h2>Settings</h2>" + table(("setting", "value"), [(key, str(value)) for key, value in config.items()])


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, numbers: bool = False) -> str:
    """An HTML table; `numbers` aligns the cells to the right."""
    kind = ' class="number"' if numbers else ""
    top = "".join(f"<th{kind}>{html.escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td{kind}>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _smooth(values: list[float], share: float = 0.015) -> list[float]:
    """Exponential mean with bias correction, as wide as `share` of the run."""
    decay = 1 - 1 / max(len(values) * share, 1)
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        out.append(mean / weight)
    return out
