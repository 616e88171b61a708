"""`pubmedbert report`."""

from __future__ import annotations

from pathlib import Path


def report(*run: Path, out: Path = Path("report.html")) -> None:
    """Curves, final figures and differing settings of pretraining runs beside each other, as one page.

    Parameters
    ----------
    run
        Folders of runs, up to six.
    out
        The HTML page to write.
    """
    from pubmedbert.pretrain.report import write_comparison

    print(write_comparison(run, out))
