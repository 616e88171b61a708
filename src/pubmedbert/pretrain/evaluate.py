"""Held-out loss under frozen masks: the same rows and the same masks for every model on the same shards."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.files import write_json
from pubmedbert.model import hf
from pubmedbert.model.locate import locate
from pubmedbert.pretrain.breakdown import Breakdown, break_down, look
from pubmedbert.pretrain.feed import Feed, feed, fingerprint
from pubmedbert.pretrain.objective import unigram_loss
from pubmedbert.pretrain.pseudo import Pseudo, frozen_sentences, pseudo_perplexity
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.progress import counted, say
from pubmedbert.shards.read import Shards, open_shards
from pubmedbert.shards.samples import Pack
from pubmedbert.vocab.folder import dump, load


@dataclass(frozen=True)
class Evaluation:
    """What a model does on frozen masks."""

    eval_loss: float
    """Mean cross-entropy in nats per masked word piece."""
    eval_accuracy: float
    """Share of masked word pieces predicted right."""
    unigram_loss: float
    """Loss of the corpus's unigram model on the same masks."""
    masked: int
    """Masked word pieces."""
    masks: str
    """Hash of rows, masks and labels: only losses of equal hashes compare."""
    breakdown: Breakdown
    """The accuracy by word frequency and word length."""
    pseudo: Pseudo | None
    """Pseudo-perplexity of held-out sentences, where it was asked for."""


def evaluate_model(name: str, shards_folder: Path, rows: int, length: int | None = None, pseudo: int = 0) -> Evaluation:
    """Evaluate a model on the held-out documents of shards.

    Args:
        name: "bundled", a model folder, a hub id or the folder of a run, whose newest checkpoint is taken. What is
            found of a run is kept in its evaluation.json, for its report.
        shards_folder: what `pubmedbert shards` wrote.
        rows: held-out rows.
        length: longest row in word pieces; 128 or, if that is less, all that the model reads, unless given.
        pseudo: held-out sentences whose pseudo-perplexity is measured.

    Raises:
        InputError: a number is out of its range, the model's vocabulary is not the shards', or nothing of the held-out
            rows is masked.
        ModelError: the model can't be loaded or has no masked-language-model head.
    """
    if pseudo < 0:
        raise InputError(f"--pseudo must be a whole number from 0, not {pseudo}")
    shards = open_shards(shards_folder)
    shards.verify("heldout")
    folder, tokenizer, run = find(name)
    check_vocabulary(tokenizer, shards)
    model = hf.load(folder, need_vocabulary=True)
    heldout, packs = frozen_packs(shards, rows, length, model.config.max_positions)
    places = look(model, counted(packs, "evaluating held-out rows", "batches"), heldout.special.continuation)
    if not len(places.labels):
        raise InputError("no word piece of the held-out rows is masked; evaluate more or longer rows")
    found = None
    if pseudo:
        sentences = frozen_sentences(heldout.split, pseudo, model.config.max_positions - 2, heldout.special)
        found = pseudo_perplexity(model, sentences, heldout.special)
    result = Evaluation(
        eval_loss=float(places.losses.mean()),
        eval_accuracy=float(places.right.mean()),
        unigram_loss=unigram_loss(shards.unigram, packs),
        masked=len(places.labels),
        masks=fingerprint(packs),
        breakdown=break_down(places, shards.unigram),
        pseudo=found,
    )
    if run is not None:
        write_json(run / runs.EVALUATION, {"checkpoint": folder.name} | asdict(result))
    return result


def frozen_packs(
    shards: Shards, rows: int, length: int | None, positions: int, objective: str = "mlm"
) -> tuple[Feed, list[Pack]]:
    """Held-out rows under their frozen masks, and the feed that they are from.

    Args:
        shards: whose held-out documents are read.
        rows: how many.
        length: longest row in word pieces; None for 128, or fewer where the model reads fewer.
        positions: what the model reads.
        objective: of its training.

    Raises:
        InputError: a number is out of its range.
    """
    length = min(128, positions) if length is None else length
    if rows < 1:
        raise InputError(f"--rows must be a whole number from 1, not {rows}")
    if not 4 <= length <= positions:
        raise InputError(f"--length must be from 4 to {positions}, the longest row that the model reads, not {length}")
    heldout = feed(
        shards, "heldout", Recipe(objective=objective, length=length, evaluate_rows=rows, max_positions=positions)
    )
    packs = heldout.frozen()
    if (found := sum(len(pack.lengths) for pack in packs)) < rows:
        say(f"the held-out documents fill {found:,} rows, not {rows:,}")
    return heldout, packs


def check_vocabulary(tokenizer: Path, shards: Shards) -> None:
    """Refuse shards that were not made with a model's tokenizer.

    Raises:
        InputError: they were not.
    """
    if dump(load(tokenizer)) != dump(load(shards.tokenizer_folder)):
        raise InputError(
            f"{shards.folder} was not made with the tokenizer of {tokenizer}: evaluate another model, or make shards "
            "with that one"
        )


def find(name: str) -> tuple[Path, Path, Path | None]:
    """Where the weights of a model or a run are, where the tokenizer is, and the run they belong to, if any.

    Raises:
        InputError: the run has no intact checkpoint, or not its tokenizer.
        ModelError: there is no such model.
    """
    run = Path(name)
    if not (run / "checkpoints").is_dir():
        folder = locate(name)
        return folder, folder, None
    for folder, _ in runs.intact(run):
        return folder, runs.tokenizer(run), run
    raise InputError(f"the run {run} has no intact checkpoint yet; 'pubmedbert pretrain' writes them")
