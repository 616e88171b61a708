"""`pubmedbert explore index`. Nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def index(
    *,
    store: Path,
    out: Path,
    model: str = "bundled",
    layer: int | None = None,
    of: Literal["states", "heads"] = "states",
    limit: int | None = None,
    threads: int | None = None,
) -> None:
    """Index the words of what the screen kept by what a model makes of them, to search them in the explorer.

    A killed run goes on where it stopped when the same command is given again.

    Parameters
    ----------
    store
        The corpus store.
    out
        The folder of the index to make.
    model
        "bundled", a model folder, or a hub id.
    layer
        Index what is there after so many layers; the last layer where it is left out.
    of
        Index the states after the layer, or what its heads give, side by side, before they are mixed.
    limit
        Index the first so many documents only.
    threads
        Processor threads used; by default as many as there are cores.
    """
    from pubmedbert.corpus.store import Store
    from pubmedbert.explore.index import make_index
    from pubmedbert.model.locate import locate

    made = make_index(Store(store), locate(model), out, layer=layer, of=of, limit=limit, threads=threads)
    size = sum(file["size"] for file in made.meta["files"].values())
    text = made.meta["text_bytes"]
    print(
        f"{out}: {len(made.words):,} words of {len(made.documents):,} documents that the screen kept, in "
        f"{size / 1e6:,.1f} MB, {size / max(text, 1):,.0f} bytes for each byte of text"
    )
