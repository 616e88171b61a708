"""`pubmedbert sample`."""

from __future__ import annotations

from pathlib import Path


def sample(folder: Path, /) -> None:
    """Write a generated sample of PubMed's files: some thousand abstracts about real drugs, as gzipped NLM XML.

    Parameters
    ----------
    folder
        Where the file goes; made where it is missing.
    """
    from pubmedbert.progress import say
    from pubmedbert.sample.generate import generate

    say(f"{generate(folder)}: for `pubmedbert corpus add`; the abstracts are short, so screen with --min-words 15")
