"""The pictures of a report: curves by step, tokens and time, and bars of masked accuracy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby, pairwise
from typing import Any

from pubmedbert.pretrain.charts import bars, curves
from pubmedbert.pretrain.charts.curves import Level, Line
from pubmedbert.pretrain.charts.record import Record

_APART = 0.3
"""Nats between two levels that are both shown."""
_TERM = re.compile(r"eval_(\w+)_loss")


def charts(records: Sequence[Record]) -> str:
    """Curves of all runs, by step, tokens and time."""
    if not any(record.steps for record in records):
        return ""
    alone = len(records) == 1
    longest = max(record.steps[-1]["seconds"] for record in records if record.steps)
    unit, size = ("hours", 3600.0) if longest > 2 * 3600 else ("minutes", 60.0)
    cards = [
        _card("Loss by step", _losses(records, "step", 1, "step", band=alone)),
        _card("Loss by tokens read", _losses(records, "tokens", 1, "tokens")),
        _card("Loss by time trained", _losses(records, "seconds", size, unit)),
        *(_card(f"Held-out loss, {name}", _term(records, name)) for name in _terms(records)),
        _card("Tokens per second", _speeds(records)),
        _card("Gradient norm before clipping", _over_steps(records, "grad_norm", "norm", log=True, smooth=True)),
        _card("Learning rate", _over_steps(records, "lr", "learning rate")),
    ]
    note = (
        "Lines with marks are held-out losses under frozen masks, thin lines the smoothed losses of training batches"
        f"{', around them what the batches had' if alone else ''}; nats per masked word piece."
    )
    return f'<h2>Curves</h2><p class="soft">{note}</p><div class="cards">{"".join(cards)}</div>'


def _card(title: str, picture: str) -> str:
    return f'<figure class="card"><h3>{escape(title)}</h3>{picture}</figure>' if picture else ""


def _losses(records: Sequence[Record], field: str, size: float, across: str, *, band: bool = False) -> str:
    lines = [
        Line(run, [s[field] / size for s in r.steps], [s["loss"] for s in r.steps], band=band, smooth=True)
        for run, r in enumerate(records)
    ]
    lines += [
        Line(run, [e[field] / size for e in found], [e["eval_loss"] for e in found], marked=True)
        for run, r in enumerate(records)
        for found in _compared(r.evaluations)
    ]
    losses = sorted(r.unigram for r in records if math.isfinite(r.unigram))
    ends = losses[-1:] + losses[:1] if losses and losses[-1] - losses[0] > _APART else losses[-1:]
    levels = [Level(value, "unigram model") for value in ends]
    return curves.chart(f"Loss by {across}", across, "loss, nats", lines, levels)


def _compared(evaluations: Sequence[Any]) -> Iterator[list[Any]]:
    """Evaluations in a row under the same masks: a line between others would show a change that is none."""
    for _, found in groupby(evaluations, key=lambda line: line.get("masks")):
        yield list(found)


def _terms(records: Sequence[Record]) -> list[str]:
    """Other terms of the loss that evaluations name."""
    keys = {key: None for record in records for line in record.evaluations for key in line}
    return [match[1] for key in keys if (match := _TERM.fullmatch(key))]


def _term(records: Sequence[Record], name: str) -> str:
    field = f"eval_{name}_loss"
    lines = []
    for run, record in enumerate(records):
        for part in _compared(record.evaluations):
            found = [e for e in part if isinstance(e.get(field), int | float)]
            lines.append(Line(run, [e["step"] for e in found], [e[field] for e in found], marked=True))
    return curves.chart(f"Held-out loss, {name}", "step", "loss, nats", lines)


def _over_steps(records: Sequence[Record], field: str, up: str, *, log: bool = False, smooth: bool = False) -> str:
    lines = []
    for run, record in enumerate(records):
        found = [s for s in record.steps if isinstance(s.get(field), int | float)]
        lines.append(Line(run, [s["step"] for s in found], [s[field] for s in found], smooth=smooth))
    return curves.chart(f"{up} by step", "step", up, lines, log=log)


def _speeds(records: Sequence[Record]) -> str:
    """Tokens per second over windows of a hundredth of the run."""
    lines = []
    for run, record in enumerate(records):
        every = record.steps[:: max(1, len(record.steps) // 100)]
        pairs = [
            (b["step"], (b["tokens"] - a["tokens"]) / (b["seconds"] - a["seconds"]))
            for a, b in pairwise(every)
            if b["seconds"] > a["seconds"]
        ]
        lines.append(Line(run, [x for x, _ in pairs], [y for _, y in pairs]))
    return curves.chart("Tokens per second by step", "step", "tokens/s", lines)


def breakdown(records: Sequence[Record]) -> str:
    """Bars of masked accuracy, where an evaluation of a run has them."""
    cards = []
    for field, title in (
        ("by_frequency", "Words of one piece, by occurrences in training"),
        ("by_pieces", "Whole words right, by number of pieces"),
    ):
        groups: dict[str, list[tuple[int, float, str]]] = {}
        for run, record in enumerate(records):
            for part in record.breakdown.get(field, []):
                text = f"{part['accuracy']:.1%} of {part['words']:,}"
                groups.setdefault(str(part["name"]), []).append((run, float(part["accuracy"]), text))
        if groups:
            cards.append(_card(title, bars.bars(title, groups)))
    if not cards:
        return ""
    return f'<h2>Masked accuracy</h2>{_measured(records)}<div class="cards">{"".join(cards)}</div>'


def _measured(records: Sequence[Record]) -> str:
    """Of which checkpoints the bars are, and whether they compare."""
    shown = [record for record in records if record.breakdown]
    named = (f"{record.name}: {record.broken_down}" if len(records) > 1 else record.broken_down for record in shown)
    text = f'<p class="soft">By <code>pubmedbert evaluate</code>, of {escape(", ".join(named))}.</p>'
    if len({record.breakdown_masks for record in shown}) > 1:
        text += "<p><b>The runs were evaluated on different rows or masks: these bars do not compare.</b></p>"
    return text
