"""Line charts of runs as SVG that takes its colours from the page: light or dark, and no script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

MOST_RUNS = 6
"""Runs that can be told apart in a chart."""
POINTS = 400
"""Points of a line: more cannot be seen."""

_WIDTH, _HEIGHT = 540, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 44
# Okabe and Ito's colours, which the colour-blind can tell apart, darkened for paper and lightened for a dark page.
_LIGHT = ("#0072b2", "#c14f00", "#007a59", "#a0508a", "#8a6d00", "#3d3d3d")
_DARK = ("#56b4e9", "#f08a3c", "#2fc79a", "#e0a3cc", "#f0d442", "#cfd6dd")
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2")
_MARKS = ("circle", "square", "triangle", "diamond", "cross", "ring")


def style() -> str:
    """CSS of the charts; the page defines --ink, --soft and --line for light and dark."""
    light = "".join(f"--run{place}: {colour}; " for place, colour in enumerate(_LIGHT))
    dark = "".join(f"--run{place}: {colour}; " for place, colour in enumerate(_DARK))
    runs = "".join(f".run{place} {{ --run: var(--run{place}); }}\n" for place in range(MOST_RUNS))
    return f""":root {{ {light}}}
@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}
{runs}.chart {{ width: 100%; height: auto; display: block; font-size: 12px; fill: var(--ink); }}
.chart .grid {{ stroke: var(--line); stroke-width: 1; }}
.chart .line {{ stroke: var(--run); stroke-width: 1.8; fill: none; stroke-linejoin: round; }}
.chart .thin {{ stroke-width: 1.1; opacity: .75; }}
.chart .raw {{ stroke-width: .8; opacity: .3; }}
.chart .band {{ fill: var(--run); opacity: .14; }}
.chart .mark {{ fill: var(--run); stroke: var(--paper); stroke-width: .8; }}
.chart .ring {{ fill: var(--paper); stroke: var(--run); stroke-width: 1.6; }}
.chart .level {{ stroke: var(--soft); stroke-width: 1.3; stroke-dasharray: 5 4; }}
.chart .soft {{ fill: var(--soft); }}
.key {{ width: 46px; height: 14px; flex: none; }}
"""


@dataclass(frozen=True)
class Line:
    """Some values of a run."""

    run: int
    """Which run: its colour, dashes and marks."""
    x: Sequence[float]
    y: Sequence[float]
    marked: bool = False
    """A mark at every point, as for evaluations."""
    band: bool = False
    """What the values are around the line: themselves, or, where they are many, a band from least to most."""
    smooth: bool = False
    """The line is a running mean."""


@dataclass(frozen=True)
class Level:
    """A level to compare with, across the whole chart."""

    y: float
    name: str


@dataclass(frozen=True)
class _Scale:
    """Values to places in the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def chart(
    title: str, across: str, up: str, lines: Sequence[Line], levels: Sequence[Level] = (), *, log: bool = False
) -> str:
    """An SVG chart; nothing where no line has a point.

    Args:
        title: what is shown, for readers who do not see it.
        across: what the x axis shows.
        up: what the y axis shows.
        lines: in the order in which they are drawn.
        levels: to compare with.
        log: whether the y axis is logarithmic, for values above 0.
    """
    drawn = [line for line in (_finite(line, log) for line in lines) if line.x]
    if not drawn:
        return ""
    x_scale, y_scale = _scales(drawn, levels, log)
    parts = [
        *_axes(x_scale, y_scale, across, up),
        *(part for level in levels for part in _level(level, y_scale)),
        *(part for line in drawn for part in _line(line, x_scale, y_scale)),
    ]
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def key(run: int) -> str:
    """The line and mark of a run, for a legend."""
    return (
        f'<svg class="chart key run{run}" viewBox="0 0 46 14" aria-hidden="true">'
        f'<line class="line" x1="1" x2="45" y1="7" y2="7"{_dashes(run)}/>{_mark(run, 23, 7)}</svg>'
    )


def _finite(line: Line, log: bool) -> Line:
    """The points that can be drawn, few enough to be seen."""
    pairs = [
        (x, y)
        for x, y in zip(line.x, line.y, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)
    ]
    return Line(line.run, [x for x, _ in pairs], [y for _, y in pairs], line.marked, line.band, line.smooth)


def _scales(lines: Sequence[Line], levels: Sequence[Level], log: bool) -> tuple[_Scale, _Scale]:
    xs = [x for line in lines for x in (line.x[0], line.x[-1])]
    low, high = min(0.0, *xs), max(xs)
    right = _WIDTH - _RIGHT
    across = _Scale(low, high if high > low else low + 1, _LEFT, right)
    ys = [y for line in lines for y in _seen(line)] + [level.y for level in levels]
    bottom, top = min(ys), max(ys)
    if log:
        bottom, top = bottom / 1.1, top * 1.1
    else:
        margin = 0.05 * (top - bottom) or max(abs(top) * 0.05, 1e-9)
        bottom, top = (0.0 if 0 <= bottom < 0.35 * top else bottom - margin), top + margin
    return across, _Scale(bottom, top, _HEIGHT - _BOTTOM, _TOP, log)


def _seen(line: Line) -> list[float]:
    """The values that decide the scale: of many, all but the outermost hundredths, so that a spike hides nothing."""
    if line.marked or len(line.y) < 100:
        return list(line.y)
    ordered = sorted(line.y)
    cut = len(ordered) // 100
    return [ordered[cut], ordered[-1 - cut]]


def _axes(x_scale: _Scale, y_scale: _Scale, across: str, up: str) -> Iterator[str]:
    for value, label in _ticks(y_scale):
        y = y_scale(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(_LEFT - 6, y + 4, label, "end")
    for value, label in _ticks(x_scale):
        x = x_scale(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM + 4}"/>'
        yield _text(x, _HEIGHT - _BOTTOM + 17, label, "middle")
    yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, across, "middle soft")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text class="soft" transform="translate(13 {middle:g}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
    )


def _level(level: Level, scale: _Scale) -> Iterator[str]:
    y = scale(level.y)
    yield f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield _text(_WIDTH - _RIGHT - 2, y - 5, level.name, "end soft")


def _line(line: Line, x_scale: _Scale, y_scale: _Scale) -> Iterator[str]:
    buckets = _buckets(line)
    y_low, y_high = sorted((y_scale.start, y_scale.end))

    def place(x: float, y: float) -> str:
        return f"{x_scale(x):.1f},{min(max(y_scale(y), y_low), y_high):.1f}"

    if line.band and len(buckets) == len(line.x):
        values = [place(x, value) for x, value in zip(line.x, line.y, strict=True)]
        yield f'<polyline class="line raw run{line.run}" points="{" ".join(values)}"/>'
    elif line.band:
        edge = [place(x, high) for x, _, high, _ in buckets] + [place(x, low) for x, low, _, _ in reversed(buckets)]
        yield f'<polygon class="band run{line.run}" points="{" ".join(edge)}"/>'
    points = [place(x, mean) for x, _, _, mean in buckets]
    thin = "" if line.marked else " thin"
    yield f'<polyline class="line{thin} run{line.run}" points="{" ".join(points)}"{_dashes(line.run)}/>'
    if line.marked:
        every = max(1, -(-len(points) // 25))
        for point in points[::-every][::-1]:
            x, y = (float(part) for part in point.split(","))
            yield f'<g class="run{line.run}">{_mark(line.run, x, y)}</g>'


def _buckets(line: Line) -> list[tuple[float, float, float, float]]:
    """x, least, most and mean of neighbouring points; the mean is a running one where it is asked for."""
    size = max(1, -(-len(line.x) // POINTS))
    means = running_mean(line.y) if line.smooth else list(line.y)
    found = []
    for first in range(0, len(line.x), size):
        ys, smooth = line.y[first : first + size], means[first : first + size]
        last = min(first + size, len(line.x)) - 1
        x = line.x[last] if size == 1 else (line.x[first] + line.x[last]) / 2
        found.append((x, min(ys), max(ys), sum(smooth) / len(smooth)))
    return found


def running_mean(values: Sequence[float], share: float = 0.015) -> list[float]:
    """Exponential mean with bias correction, as wide as `share` of the run."""
    decay = 1 - 1 / max(len(values) * share, 1)
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        out.append(mean / weight)
    return out


def _ticks(scale: _Scale) -> list[tuple[float, str]]:
    """Round values along an axis, with their labels."""
    if scale.log and scale.high / scale.low > 10:
        powers = range(math.ceil(math.log10(scale.low)), math.floor(math.log10(scale.high)) + 1)
        return [(10.0**power, _short(10.0**power)) for power in powers]
    width = scale.high - scale.low
    power = 10.0 ** math.floor(math.log10(width / 5))
    step = next(step for factor in (1, 2, 5, 10) if (step := factor * power) * 6 >= width)
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    return [(number * step, _short(number * step)) for number in range(first, last + 1)]


def _short(value: float) -> str:
    """A number as an axis has it: 1.5M, 20k, 0.25, 1e-4."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")


def _dashes(run: int) -> str:
    return f' stroke-dasharray="{_DASHES[run]}"' if _DASHES[run] else ""


def _mark(run: int, x: float, y: float) -> str:
    """The mark of a run: shapes are told apart where colours are not."""
    kind = _MARKS[run]
    if kind in ("circle", "ring"):
        return f'<circle class="{"mark" if kind == "circle" else "ring"}" cx="{x:g}" cy="{y:g}" r="3.6"/>'
    shapes = {
        "square": ((-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)),
        "triangle": ((0, -4.2), (4, 3.2), (-4, 3.2)),
        "diamond": ((0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)),
        "cross": ((-1.3, -4.2), (1.3, -4.2), (1.3, 4.2), (-1.3, 4.2)),
    }
    points = " ".join(f"{x + dx:g},{y + dy:g}" for dx, dy in shapes[kind])
    return f'<polygon class="mark" points="{points}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    anchor = kind.split()[0]
    soft = ' class="soft"' if "soft" in kind else ""
    return f'<text{soft} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
