"""A small world to pretrain in: sentences with structure, a vocabulary and shards of them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pubmedbert.cli import main
from pubmedbert.pretrain.loop import pretrain
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.shards.write import write_shards
from pubmedbert.vocab.folder import save
from pubmedbert.vocab.train import train

SUBJECTS = ("aspirin", "warfarin", "insulin", "metformin", "imatinib", "morphine", "digoxin", "heparin")
VERBS = ("inhibits", "lowers", "binds", "activates")
OBJECTS = ("cyclooxygenase", "thrombin", "glucose", "kinase", "opioid", "sodium", "factor", "receptor")


SMALL = Recipe(
    precision="fp32",
    size="tiny",
    length=32,
    max_positions=64,
    rows=16,
    pack_tokens=256,
    steps=12,
    lr=2e-3,
    evaluate_every=5,
    checkpoint_every=4,
)


class Corpus:
    """Documents in which the object follows from the subject, so that context helps."""

    def __init__(self, documents: int, seed: int = 0) -> None:
        rng = random.Random(seed)
        self.documents = [
            (str(number), f"On {rng.choice(SUBJECTS)}", self.abstract(rng)) for number in range(documents)
        ]

    @staticmethod
    def abstract(rng: random.Random) -> str:
        sentences = []
        for _ in range(rng.randint(2, 6)):
            which = rng.randrange(len(SUBJECTS))
            dose = rng.randint(1, 50)
            sentences.append(f"In {dose} patients {SUBJECTS[which]} {rng.choice(VERBS)} the {OBJECTS[which]}.")
        return " ".join(sentences)

    def texts(self) -> Iterator[tuple[str, str, str]]:
        return iter(self.documents)

    def kept(self) -> int:
        return len(self.documents)

    def fingerprint(self) -> str:
        return f"corpus of {len(self.documents)}"


def make_shards(folder: Path, documents: int = 400, heldout: float = 0.1) -> Path:
    """Vocabulary and shards of a small corpus under `folder`; returns the shards."""
    corpus = Corpus(documents)
    save(
        train((text for _, title, abstract in corpus.texts() for text in (title, abstract)), 200), folder / "tokenizer"
    )
    write_shards(corpus, folder / "tokenizer", folder / "shards", heldout=heldout)
    return folder / "shards"


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("world"))


def metrics(run: Path) -> list[dict[str, object]]:
    """The run's metrics without the only thing that differs between equal runs, the seconds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.pop("seconds") >= 0
    return lines


@pytest.fixture(scope="session")
def finished(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `SMALL`, which nobody may change."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    pretrain(SMALL, shards, run)
    return run


def settings(recipe: Recipe) -> list[str]:
    """The recipe as command-line overrides of `mini`."""
    return [part for line in recipe.toml().splitlines() for part in ("--set", line)]


def changed(recipe: Recipe, **settings: object) -> Recipe:
    return replace(recipe, **settings)  # type: ignore[arg-type]


def fails(capsys: pytest.CaptureFixture[str], *tokens: object) -> str:
    """Run the command line, which must print one sentence and exit with 2."""
    with pytest.raises(SystemExit) as stopped:
        main([str(token) for token in tokens])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    return error
