"""Predictions as the BLURB leaderboard takes them: one JSON file for each data set, zipped, to be mailed by hand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from pubmedbert.blurb.results import Result, Summary
from pubmedbert.files import atomic_file
from pubmedbert.finetune.predictions import read_predictions

_README = """BLURB submission

Team: {team}
Model: {model}
Model that was fine-tuned: {source}

One JSON file for each data set: "dataset", "task", "metric", "seed" (of the run that is best on the dev set, of
{seeds}; the test set had no part in the choice) and "predictions", a list of "id" and "prediction". A prediction is

- a tag (IOB2) for each word, for named entities and PICO,
- a number for sentence similarity,
- the labels that hold, for document classification,
- a label for everything else.

The organisers score submissions themselves. Compare the form with the instructions on the BLURB site before mailing it.

Data sets here: {here}
Data sets without predictions: {absent}
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same predictions make the same bytes


def write_submission(path: Path, summary: Summary, *, team: str, model: str) -> None:
    """Write the zip file of the predictions on the test sets, of the seed that is best on the dev set.

    Args:
        path: of the zip file.
        summary: of the results; a data set whose best seed has no `test.jsonl` is named as absent.
        team: name of the team.
        model: name of the model on the leaderboard.

    Raises:
        InputError: predictions are damaged, or the file can't be written.
    """
    members = {}
    for result in summary.results:
        file = result.folder / f"seed-{result.best.seed}" / "test.jsonl"
        if file.is_file():
            members[result.dataset] = _member(result, file)
    absent = [*(r.dataset for r in summary.results if r.dataset not in members), *summary.missing]
    readme = _README.format(
        team=team,
        model=model,
        source=summary.model,
        seeds=" or ".join(str(number) for number in sorted({len(result.seeds) for result in summary.results})),
        here=", ".join(members) or "none",
        absent=", ".join(name for name in dict.fromkeys(absent) if name not in members) or "none",
    )
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, text in {"README.txt": readme, **{f"{name}.json": text for name, text in members.items()}}.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)


def _member(result: Result, file: Path) -> str:
    value = {
        "dataset": result.dataset,
        "task": result.task,
        "metric": result.metric.name,
        "seed": result.best.seed,
        "predictions": [{"id": name, "prediction": answer} for name, answer in read_predictions(file)],
    }
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
