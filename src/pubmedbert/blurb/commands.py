"""`pubmedbert finetune`, `pubmedbert blurb` and `pubmedbert compare`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pubmedbert.errors import InputError

Keep = Literal["all", "best", "none"]
Set = Annotated[list[str] | None, Parameter(name="--set", negative="")]


def finetune(
    *,
    model: str = "bundled",
    dataset: str,
    data: Path | None = None,
    out: Path,
    seeds: int | None = None,
    recipe: str = "auto",
    set_: Set = None,
    search: int = 0,
    keep: Keep = "all",
    workers: int | None = None,
    test: bool = True,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Fine-tune a model on a BLURB data set or your own. The same command resumes a run that was stopped.

    Parameters
    ----------
    model
        "bundled", a folder in Hugging Face layout or a hub id.
    dataset
        A BLURB data set (bc5-chem, bc5-disease, ncbi-disease, bc2gm, jnlpba, ebm-pico, chemprot, ddi, gad, biosses,
        hoc, pubmedqa, bioasq), or a TOML file that describes your own.
    data
        Folder that holds the BLURB data sets; not needed for your own.
    out
        Folder of the run: seed-N/ (model and predictions) and result.json.
    seeds
        Runs with different new weights, order and dropout; by default 10 for biosses, bioasq and pubmedqa, else 5, as
        in the paper.
    recipe
        auto (chosen by the model's size and the task), plain, small, base, large, electra, or a TOML file.
    set_
        A setting that differs from the recipe, as key=value; may be given several times.
    search
        First try so many settings of the paper's grid on dev, and take the best.
    keep
        Which model folders stay: all, the best on dev, or none.
    workers
        Seeds trained side by side; by default one for each core.
    test
        Predict and score the test split, once, when all seeds are done.
    json
        Print what result.json says instead of a line for people.
    """
    from json import dumps

    from pubmedbert.blurb.drive import Options, finetune_one, summary

    options = Options(seeds=seeds, recipe=recipe, given=set_ or (), keep=keep, workers=workers, search=search)
    result = finetune_one(model, dataset, data, out, options, test=test)
    print(dumps(result) if json else f"{summary(result)}; {out}/result.json\n{result['title']}: {result['definition']}")


def blurb(
    *,
    model: str = "bundled",
    data: Path,
    out: Path,
    datasets: str = "",
    seeds: int | None = None,
    recipe: str = "auto",
    set_: Set = None,
    search: int = 0,
    keep: Keep = "best",
    workers: int | None = None,
    team: str = "",
) -> None:
    """Fine-tune a model on every BLURB data set that is there and report. The same command resumes what was stopped.

    Parameters
    ----------
    model
        "bundled", a folder in Hugging Face layout or a hub id.
    data
        Folder that holds the BLURB data sets.
    out
        Folder of the report: report.html, report.md, report.json, submission.zip and a run for each data set.
    datasets
        The only ones to run, separated by commas; all by default.
    seeds
        Runs for each data set; by default 10 for biosses, bioasq and pubmedqa, else 5, as in the paper.
    recipe
        auto (chosen by the model's size and the task), plain, small, base, large, electra, or a TOML file.
    set_
        A setting that differs from the recipe, as key=value; may be given several times.
    search
        First try so many settings of the paper's grid on the dev set of each data set, and take the best.
    keep
        Which model folders stay: all, the best on dev, or none.
    workers
        Seeds trained side by side; by default one for each core.
    team
        Who submits: named in submission.zip.
    """
    from pubmedbert.blurb.drive import Options, run_blurb

    names = [name.strip() for name in datasets.split(",") if name.strip()]
    options = Options(seeds=seeds, recipe=recipe, given=set_ or (), keep=keep, workers=workers, search=search)
    failed = run_blurb(model, data, out, options, names=names, team=team)
    print((out / "report.md").read_text(encoding="utf-8"))
    if failed:
        raise InputError(f"{', '.join(failed)} could not be run: {next(iter(failed.values()))}")


def compare(first: Path, second: Path, *, data: Path | None = None, dataset: str = "", resamples: int = 10_000) -> None:
    """Whether one fine-tuning run is better than another: a paired bootstrap over the test set and the seeds.

    Parameters
    ----------
    first
        A run of `pubmedbert finetune`.
    second
        Another one, on the same data set.
    data
        Folder that holds the BLURB data sets.
    dataset
        The TOML file, where the data set is your own.
    resamples
        How often test set and seeds are drawn anew.
    """
    from pubmedbert.blurb.compare import compare_runs

    print(compare_runs(first, second, data, dataset, resamples))
