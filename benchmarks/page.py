"""A page of figures, each part between two lines of its own and replaced by the program that takes its figures."""

from __future__ import annotations

from pathlib import Path


def put(text: str, page: Path | None, part: str) -> None:
    """Put a part of a page in its place there, behind all others where it has none yet; or print it.

    Args:
        text: whole lines.
        page: the file, made where it is missing; None prints.
        part: a name, which stands in the lines around it.
    """
    if page is None:
        print(text)
        return
    opening, closing = f"<!-- {part}: begin -->\n", f"<!-- {part}: end -->\n"
    old = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    if opening not in old:
        old += f"\n{opening}{closing}"
    before, rest = old.split(opening)
    page.write_text(before + opening + text + closing + rest.split(closing)[1], encoding="utf-8")
