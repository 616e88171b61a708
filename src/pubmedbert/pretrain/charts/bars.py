"""Horizontal bars as SVG that takes its colours from the page: what share of masked words each run predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP = 540, 150, 100, 13, 10

STYLE = """.bars { width: 100%; height: auto; display: block; font-size: 12px; fill: var(--ink); }
.bars .bar { fill: var(--run); }
.bars .track { fill: var(--line); opacity: .45; }
.bars .soft { fill: var(--soft); }
"""
"""CSS of the bars; the colours of runs are those of `pubmedbert.pretrain.charts.curves`."""


def bars(title: str, groups: Mapping[str, Sequence[tuple[int, float, str]]]) -> str:
    """An SVG picture of shares.

    Args:
        title: what is shown, for readers who do not see it.
        groups: for each label the bars beside it: number of the run, share from 0 to 1, and what to write at its end.
    """
    parts, y = [], 4.0
    width = _WIDTH - _LEFT - _RIGHT
    for label, group in groups.items():
        middle = y + len(group) * _BAR / 2 + 4
        parts.append(f'<text x="{_LEFT - 8}" y="{middle:g}" text-anchor="end">{escape(label)}</text>')
        for run, share, text in group:
            size = f'height="{_BAR - 2}" rx="2"'
            parts.append(f'<rect class="track" x="{_LEFT}" y="{y:g}" width="{width}" {size}/>')
            parts.append(f'<rect class="bar run{run}" x="{_LEFT}" y="{y:g}" width="{share * width:.1f}" {size}/>')
            parts.append(f'<text class="soft" x="{_WIDTH - _RIGHT + 6}" y="{y + _BAR - 3:g}">{escape(text)}</text>')
            y += _BAR
        y += _GAP
    return (
        f'<svg class="bars" viewBox="0 0 {_WIDTH} {y:g}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )
