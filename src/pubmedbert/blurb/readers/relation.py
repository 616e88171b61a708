"""How a pair of entities is shown to the model in its sentence (Gu et al. 2020, section 2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pubmedbert.errors import InputError

Style = Literal["dummies", "markers", "original"]
STYLES: tuple[Style, ...] = get_args(Style)
"""Entities replaced by `@GENE$` (BLURB's files), marked as `[E1] p53 [/E1]`, or left as they are."""


@dataclass(frozen=True, slots=True)
class Span:
    """An entity in a text, in characters."""

    start: int
    end: int
    kind: str
    """As dummies name it: `GENE`, `CHEMICAL`, `DRUG`."""


def show(text: str, first: Span, second: Span, style: Style, merged: str) -> str:
    """The sentence with its pair.

    Args:
        text: the sentence.
        first: the entity that begins first.
        second: the other one.
        style: how they are shown.
        merged: what a dummy calls two entities that overlap, such as `CHEM-GENE`; they are one.
    """
    if style == "original":
        return text
    if style == "markers":
        return _mark(text, first, second)
    if first.end > second.start:
        return f"{text[: first.start]}@{merged}${text[max(first.end, second.end) :]}"
    between = text[first.end : second.start]
    return f"{text[: first.start]}@{first.kind}${between}@{second.kind}${text[second.end :]}"


def check_style(style: str) -> Style:
    """The style of that name.

    Raises:
        InputError: there is none.
    """
    for known in STYLES:
        if style == known:
            return known
    raise InputError(f"the style of relations must be one of {', '.join(STYLES)}, not {style!r}")


def _mark(text: str, first: Span, second: Span) -> str:
    # Sorting keeps this order where places are equal: what ends, the second before the first, then what begins.
    marks = sorted(
        [(second.end, " [/E2]"), (first.end, " [/E1]"), (first.start, "[E1] "), (second.start, "[E2] ")],
        key=lambda mark: mark[0],
    )
    parts, done = [], 0
    for place, mark in marks:
        parts += [text[done:place], mark]
        done = place
    return "".join(parts) + text[done:]
