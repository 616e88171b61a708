"""`pubmedbert quickstart`: every stage of the chain, one after the other, on the generated corpus of drug facts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubmedbert.infer.masks.answers import Answer
    from pubmedbert.infer.masks.fill_mask import FillMask
    from pubmedbert.sample.recall import Row

MIN_WORDS = 40
"""The generated abstracts are shorter than PubMed's, so the screen asks for less than the paper's 128 words."""
VOCABULARY = 3000
HELD_OUT = 0.02


def quickstart(*, out: Path = Path("quickstart-out")) -> None:
    """Run the whole chain on a built-in sample: NLM XML, corpus, vocabulary, shards, pretraining, a filled mask.

    Takes some minutes on two CPU cores. Run again, it does only what is missing.

    Args:
        out: folder for store/, tokenizer/, shards/, run/ and model/, as the single commands make them.
    """
    from pubmedbert.corpus import commands as corpus
    from pubmedbert.infer.export.export import export
    from pubmedbert.infer.masks.fill_mask import FillMask
    from pubmedbert.infer.masks.show import show
    from pubmedbert.pretrain.commands import pretrain
    from pubmedbert.progress import say
    from pubmedbert.sample.generate import generate
    from pubmedbert.sample.recall import CARD_SENTENCE
    from pubmedbert.shards.commands import shards
    from pubmedbert.vocab.commands import train

    store, tokenizer, run, model = out / "store", out / "tokenizer", out / "run", out / "model"
    say("1/6 corpus: abstracts about real drugs, generated as NLM XML")
    corpus.add(generate(out), store=store)
    corpus.screen(store=store, min_words=MIN_WORDS)
    say("2/6 vocabulary")
    train(store=store, out=tokenizer, size=VOCABULARY)
    say("3/6 shards")
    shards(store=store, tokenizer=tokenizer, out=out / "shards", heldout=HELD_OUT)
    say("4/6 pretraining from scratch")
    pretrain(recipe="quickstart", shards=out / "shards", out=run)
    say("5/6 export to a Hugging Face folder")
    export(run, model)
    say("6/6 questions")
    fill = FillMask(model)
    rows = ask(fill)
    answers = fill.fill([CARD_SENTENCE])[0][0]
    page = _report(out, rows, answers)
    _show_rows(rows)
    show([CARD_SENTENCE], [[answers]])
    say(f"The whole run with its loss curve: {page}")
    say(f"Go on: pubmedbert fill-mask --model {model} 'Patients with [MASK] were treated with insulin.'")


def ask(fill: FillMask) -> list[Row]:
    """Recall over all facts of the table, in words that the corpus does not hold."""
    from pubmedbert.sample.facts import facts, held_out
    from pubmedbert.sample.recall import TOP, questions, recall

    def best(texts: list[str]) -> list[list[str]]:
        return [[answer["token_str"] for answer in masks[0]] for masks in fill.fill(texts, top_k=TOP)]

    return recall(best, questions(facts(), held_out()))


def _show_rows(rows: Sequence[Row]) -> None:
    from rich.console import Console

    from pubmedbert.sample.recall import table

    Console().print(table(rows))


def _report(out: Path, rows: Sequence[Row], answers: Sequence[Answer]) -> Path:
    """The run's report with what the model answers on top."""
    from pubmedbert.pretrain.report import table, write_report
    from pubmedbert.sample.recall import CARD_SENTENCE

    best = [(answer["token_str"], f"{answer['score']:.3f}", answer["sequence"]) for answer in answers]
    shares = [(row.kind, str(row.questions), *(f"{share:.0%}" for share in row.shares())) for row in rows]
    head = ("asked for", "questions", "recall@1", "recall@5", "fixed answer @1", "fixed answer @5")
    first = (
        f"<h2>{CARD_SENTENCE}</h2>{table(('word', 'score', 'sentence'), best)}"
        "<h2>Questions in words that are not in the corpus</h2>"
        f"{table(head, shares)}"
        "<p>The fixed answer gives every question of a kind the words that are right most often.</p>"
    )
    return write_report(out / "run", out / "report.html", title="pubmedbert quickstart", first=first)
