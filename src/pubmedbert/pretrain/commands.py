"""`pubmedbert pretrain` and `pubmedbert evaluate`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pubmedbert.errors import InputError


def pretrain(
    *,
    recipe: str,
    shards: Path,
    out: Path,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    device: str = "cpu",
    log: str = "",
) -> None:
    """Pretrain an encoder with whole-word masking. The same command resumes a run that was stopped.

    On several processes or machines, start it by torchrun: torchrun --nproc-per-node 8 -m -- pubmedbert pretrain ...

    Parameters
    ----------
    recipe
        A recipe of the package (pubmedbert-base, pubmedbert-large, mini, small ...) or a TOML file.
    shards
        Folder made by `pubmedbert shards`.
    out
        Folder of the run: config.toml, metrics.jsonl, checkpoints/ and report.html.
    set_
        A setting that differs from the recipe, as key=value; may be given several times.
    device
        cpu, or cuda: each process takes the GPU of its number.
    log
        Where metrics go beside metrics.jsonl: tensorboard, wandb, or both with a comma between.
    """
    from pubmedbert.pretrain.distributed import leave
    from pubmedbert.pretrain.loop import pretrain as run
    from pubmedbert.pretrain.recipe import load_recipe

    names = [name.strip() for name in log.split(",") if name.strip()]
    stopped_by = run(load_recipe(recipe, set_ or ()), shards, out, device=device, log=names)
    leave(128 + stopped_by if stopped_by else 0)  # as a shell reports a process that a signal ended


def evaluate(
    *,
    model: str = "bundled",
    shards: Path,
    rows: int = 2048,
    length: int | None = None,
    pseudo: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Loss, accuracy by word frequency and perplexity on held-out documents under frozen masks.

    Of an ELECTRA: how well the discriminator finds what the generator replaced, beside the best constant answer.

    Parameters
    ----------
    model
        "bundled", a folder in Hugging Face layout, a hub id, or the folder of a run: its newest checkpoint is taken and
        its report will show the result. The vocabulary must be the one of the shards.
    shards
        Folder made by `pubmedbert shards`.
    rows
        Held-out rows to evaluate.
    length
        Longest row in word pieces; 128 or, if that is less, all that the model reads, unless given.
    pseudo
        Held-out sentences whose pseudo-perplexity is measured, too: each costs a forward pass for each of its pieces.
        Not of an ELECTRA, whose discriminator predicts no words.
    json
        Print JSON instead of tables for people.
    """
    from json import dumps
    from math import exp

    from pubmedbert.model.checkpoint import read_config
    from pubmedbert.model.electra_checkpoint import DISCRIMINATOR
    from pubmedbert.pretrain.evaluate import evaluate_model, find
    from pubmedbert.pretrain.evaluate_show import show, show_detection

    if read_config(find(model)[0]).get("architectures") == [DISCRIMINATOR]:
        from pubmedbert.pretrain.detection import evaluate_electra

        if pseudo:
            raise InputError("--pseudo is of masked language models: a discriminator predicts no words")
        detection, masks = evaluate_electra(model, shards, rows, length)
        if json:
            print(dumps(asdict(detection) | {"masks": masks}))
        else:
            show_detection(detection, masks)
        return
    result = evaluate_model(model, shards, rows, length, pseudo)
    if json:
        print(dumps(asdict(result) | {"perplexity": exp(min(result.eval_loss, 700.0))}))
    else:
        show(result)
