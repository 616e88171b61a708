"""`pubmedbert pretrain` and `pubmedbert evaluate`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def pretrain(
    *,
    recipe: str,
    shards: Path,
    out: Path,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
) -> None:
    """Pretrain an encoder from scratch with whole-word masking. The same command resumes a run that was stopped.

    Parameters
    ----------
    recipe
        A recipe of the package (mini, quickstart) or a TOML file.
    shards
        Folder made by `pubmedbert shards`.
    out
        Folder of the run: config.toml, metrics.jsonl, checkpoints/ and report.html.
    set_
        A setting that differs from the recipe, as key=value; may be given several times.
    """
    from pubmedbert.pretrain.loop import pretrain as run
    from pubmedbert.pretrain.recipe import load_recipe

    stopped_by = run(load_recipe(recipe, set_ or ()), shards, out)
    if stopped_by:
        raise SystemExit(128 + stopped_by)  # as a shell reports a process that a signal ended


def evaluate(
    *,
    model: str = "bundled",
    shards: Path,
    rows: int = 2048,
    length: int = 128,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Loss, accuracy and perplexity on held-out documents under frozen masks.

    Parameters
    ----------
    model
        "bundled", a folder in Hugging Face layout or a hub id; its vocabulary must be the one of the shards.
    shards
        Folder made by `pubmedbert shards`.
    rows
        Held-out rows to evaluate.
    length
        Longest row in word pieces.
    json
        Print JSON instead of a line for people.
    """
    from json import dumps
    from math import exp

    from pubmedbert.pretrain.evaluate import evaluate_model

    result = evaluate_model(model, shards, rows, length)
    perplexity = exp(min(result.eval_loss, 700.0))
    if json:
        print(dumps(asdict(result) | {"perplexity": perplexity}))
        return
    print(
        f"held-out loss {result.eval_loss:.4f} nats (unigram {result.unigram_loss:.4f}), "
        f"accuracy {result.eval_accuracy:.2%}, perplexity {perplexity:,.1f}; "
        f"{result.masked:,} masked word pieces, masks {result.masks}"
    )
