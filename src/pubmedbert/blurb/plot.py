"""A data set's seeds beside the published scores, as SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from pubmedbert.blurb.published import Published
from pubmedbert.blurb.results import Result, Score

_WIDTH, _LEFT, _RIGHT = 450, 172, 350  # of the picture, and where the scale begins and ends
_ROW, _TOP, _OURS = 16, 8, 48  # height of a published row, above everything, and of our two rows with the gap below

STYLE = """
.plot { width: 100%; height: auto; display: block; font-size: 11px; fill: var(--ink); }
.plot .grid { stroke: var(--line); }
.plot .seed { fill: var(--ours); fill-opacity: .45; stroke: var(--ours); }
.plot .ours { stroke: var(--ours); stroke-width: 2.5; }
.plot .guide { stroke: var(--ours); stroke-dasharray: 2 3; }
.plot .tick { stroke: var(--theirs); stroke-width: 3; }
.plot .spread { stroke: var(--theirs); }
.plot .soft { fill: var(--soft); }
.plot .bold { font-weight: 600; }
"""
"""CSS of the pictures; the page defines --ink, --soft, --line, --ours and --theirs for light and dark."""


@dataclass(frozen=True)
class _Scale:
    """Percent to places in the picture."""

    low: float
    high: float

    def __call__(self, value: float) -> str:
        return f"{_LEFT + (value - self.low) / (self.high - self.low) * (_RIGHT - _LEFT):.1f}"


def plot(result: Result, rows: Sequence[Published]) -> str:
    """An SVG picture: a dot for every seed, mean and standard deviation, and below them the published rows, best first.

    Args:
        result: of a data set whose test set was scored.
        rows: published models; those without a score on this data set are left out.

    Raises:
        ValueError: there is no test score.
    """
    ours = result.test
    if ours is None:
        raise ValueError(f"{result.dataset} has no test score to draw")
    name = result.dataset
    theirs = [(row, Score(row.scores[name], row.sd.get(name))) for row in rows if name in row.scores]
    theirs.sort(key=lambda pair: -pair[1].mean)
    seeds = [seed.test for seed in result.seeds if seed.test is not None]
    scale = _scale([*seeds, *_ends(ours), *(end for _, score in theirs for end in _ends(score))])
    bottom = _TOP + _OURS + _ROW * len(theirs)
    parts = [
        *_axis(scale, bottom),
        *_ours(result, ours, seeds, scale, bottom),
        *(part for place, (row, score) in enumerate(theirs) for part in _theirs(row, score, scale, place)),
    ]
    label = f"{name}: test scores of {len(seeds)} seeds, {ours}, beside {len(theirs)} published models"
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {bottom + 22}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


def _ours(result: Result, ours: Score, seeds: Sequence[float], scale: _Scale, bottom: int) -> Iterator[str]:
    dots, bar = _TOP + 8, _TOP + 26
    yield f'<line class="guide" x1="{scale(ours.mean)}" x2="{scale(ours.mean)}" y1="{bar}" y2="{bottom}"/>'
    for seed, value in zip(result.seeds, seeds, strict=True):
        title = f"<title>seed {seed.seed}: {value:.2f}</title>"
        yield f'<circle class="seed" cx="{scale(value)}" cy="{dots}" r="4">{title}</circle>'
    low, high = _ends(ours)
    yield f'<line class="ours" x1="{scale(low)}" x2="{scale(high)}" y1="{bar}" y2="{bar}"/>'
    yield f'<line class="ours" x1="{scale(ours.mean)}" x2="{scale(ours.mean)}" y1="{bar - 6}" y2="{bar + 6}"/>'
    many = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    yield _text(_LEFT - 10, dots + 4, many, "end soft")
    yield _text(_LEFT - 10, bar + 4, "this model, mean ± sd", "end bold")
    yield _text(_RIGHT + 8, bar + 4, str(ours), "bold")


def _theirs(row: Published, score: Score, scale: _Scale, place: int) -> Iterator[str]:
    middle = _TOP + _OURS + _ROW * place + _ROW // 2
    if score.sd is not None:
        low, high = _ends(score)
        yield f'<line class="spread" x1="{scale(low)}" x2="{scale(high)}" y1="{middle}" y2="{middle}"/>'
    x = scale(score.mean)
    yield (
        f'<line class="tick" x1="{x}" x2="{x}" y1="{middle - 5}" y2="{middle + 5}">'
        f"<title>{escape(row.name)}: {score.mean} ({escape(row.source)})</title></line>"
    )
    yield _text(_LEFT - 10, middle + 4, row.name, "end")
    yield _text(_RIGHT + 8, middle + 4, f"{score.mean:.2f}" if score.sd is None else str(score), "soft")


def _axis(scale: _Scale, bottom: int) -> Iterator[str]:
    step = _step(scale.high - scale.low)
    for number in range(math.ceil(scale.low / step), math.floor(scale.high / step) + 1):
        value = number * step
        yield f'<line class="grid" x1="{scale(value)}" x2="{scale(value)}" y1="{_TOP}" y2="{bottom}"/>'
        yield _text(float(scale(value)), bottom + 14, f"{value:g}", "middle soft")


def _scale(values: Sequence[float]) -> _Scale:
    low, high = min(values), max(values)
    margin = max(0.05 * (high - low), 0.5)
    return _Scale(low - margin, high + margin)


def _step(width: float) -> float:
    """A round distance of grid lines, of which there are at most five."""
    power = 10.0 ** math.floor(math.log10(width / 5))
    return next(step for factor in (1, 2, 5, 10) if (step := factor * power) * 5 >= width)


def _ends(score: Score) -> tuple[float, float]:
    sd = score.sd or 0.0
    return score.mean - sd, score.mean + sd


def _text(x: float, y: float, text: str, style: str) -> str:
    anchors = {"end", "middle"} & set(style.split())
    anchor = f' text-anchor="{anchors.pop()}"' if anchors else ""
    return f'<text class="{style}" x="{x:g}" y="{y:g}"{anchor}>{escape(text)}</text>'
