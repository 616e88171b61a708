"""The commands and the walk of docs/explorer.md, as what takes its pictures goes them."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import screenshots

DOCS = Path(__file__).parents[3] / "docs"


def test_the_commands_and_the_walk_of_the_page(tmp_path: Path) -> None:
    with screenshots.as_documented(tmp_path, documents=20) as url:
        taken = {path.name for path in screenshots.taken(url, tmp_path)}
    page = (DOCS / "explorer.md").read_text(encoding="utf-8")
    assert taken == set(re.findall(r"\(images/(.+?)\)", page))
    assert screenshots.LINK in page
    for name in taken:
        assert (DOCS / "images" / name).stat().st_size < 200_000
