"""The picture of benchmarks/budget.py: a panel for each recipe, beside what was changed and the loop's last loss."""

from __future__ import annotations

from typing import Any

from pubmedbert.pretrain.charts import curves
from pubmedbert.pretrain.charts.curves import Level, Line

WIDTH, HEIGHT, TITLE, ACROSS = 540, 300, 26, 3
COLOURS = """:root { --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --paper: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4af; --line: #3d444d; --paper: #0d1117; } }
text { font-family: sans-serif; }
"""


def panels(target: dict[str, Any], ours: dict[str, Any], unigram: float) -> str:
    """One SVG file: first the loop with `mini` and `mini-fast`, then each change beside the one that it was made to."""
    plain, fast = ours.get("mini"), ours["mini-fast"]
    drawn = [("mini (blue), the loop (orange), mini-fast (green)", [plain, target, fast])]
    for name, one in ours.items():
        if name not in ("mini", "mini-fast"):
            before = [None, None, fast] if name.startswith("mini-fast") else [plain, None, None]
            drawn.append((f"{name} (purple)", [*before, one]))
    parts = []
    for number, (title, results) in enumerate(drawn):
        lines = [line(run, one) for run, one in enumerate(results) if one]
        levels = [Level(unigram, "word frequencies")]
        if target not in results:  # else its own curve ends there
            levels.append(Level(target["loss"], "the loop at its end"))
        picture = curves.chart(title, "minutes", "held-out loss", lines, levels)
        x, y = number % ACROSS * WIDTH, number // ACROSS * (HEIGHT + TITLE)
        inside = picture.replace("<svg ", f'<svg x="{x}" y="{y + TITLE}" width="{WIDTH}" height="{HEIGHT}" ', 1)
        parts.append(
            f'<text x="{x + WIDTH / 2}" y="{y + 18}" text-anchor="middle" fill="var(--ink)">{title}</text>{inside}'
        )
    high = -(-len(drawn) // ACROSS) * (HEIGHT + TITLE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {ACROSS * WIDTH} {high}">'
        f"<style>{COLOURS}{curves.style()}</style>"
        f'<rect width="100%" height="100%" fill="var(--paper)"/>{"".join(parts)}</svg>\n'
    )


def line(run: int, one: dict[str, Any]) -> Line:
    """A run's held-out losses, without the untrained model's, which would flatten all others."""
    points = [(seconds / 60, loss) for seconds, loss in one["points"] if seconds > 0]
    return Line(run, [x for x, _ in points], [y for _, y in points], marked=True)
