"""A small model and small data sets that it can learn: what an `imatinib` is, and whether a text names one."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pubmedbert.finetune.own_data import open_own
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.finetune.run import finetune
from pubmedbert.finetune.seeds import Job
from pubmedbert.model import hf
from pubmedbert.model.config import ModelConfig
from pubmedbert.model.encoder import initialise
from pubmedbert.model.heads import Bert
from pubmedbert.vocab.folder import build as build_tokenizer
from pubmedbert.vocab.folder import save
from tests.infer.conftest import WORDS

FAST = Recipe(lr=1e-2, epochs=4, batch=16, dropout=0.1, max_length=32, restarts=0, precision="fp32")
"""Settings that a model this small learns with."""
FILLER = ("a", "b", "c", ".", "is", "the", "tyrosine")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with new weights, a pooler and 19 word pieces."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save(build_tokenizer(WORDS), folder)
    config = ModelConfig(
        vocab_size=len(WORDS), layers=2, width=32, heads=2, ffn=64, max_positions=48, initializer_range=0.2
    )
    model = Bert(config, pooler=True)
    initialise(model, config, 0)
    hf.save(model, folder)
    return folder


def sentences(count: int, seed: int) -> list[list[str]]:
    draw = random.Random(seed)
    return [
        [draw.choice((*FILLER, "imatinib", "kinase", "inhibitor")) for _ in range(draw.randint(2, 12))]
        for _ in range(count)
    ]


def tags(words: list[str]) -> list[str]:
    """Imatinib is a drug; "kinase inhibitor" is one of two words."""
    found = []
    for place, word in enumerate(words):
        after = place > 0 and words[place - 1] == "kinase"
        begins = word == "imatinib" or (word == "kinase" and words[place + 1 : place + 2] == ["inhibitor"])
        found.append("B-Drug" if begins else "I-Drug" if word == "inhibitor" and after else "O")
    return found


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets, one TOML file for each task."""
    folder = tmp_path_factory.mktemp("own")
    for split, (count, seed) in {"train": (96, 1), "dev": (24, 2), "test": (24, 3)}.items():
        found = sentences(count, seed)
        lines = ["\n".join(f"{word}\t{tag}" for word, tag in zip(words, tags(words), strict=True)) for words in found]
        (folder / f"{split}.conll").write_text("\n\n".join(lines) + "\n")
        rows: list[dict[str, object]] = []
        for words in found:
            held = [name for name in ("imatinib", "kinase") if name in words]
            text = " ".join(words)
            rows.append({"text": text, "label": "drug" if "imatinib" in words else "none", "held": held})
            rows[-1] |= {"other": "the imatinib", "score": float(words.count("imatinib"))}
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = {kind: "".join(f'{s} = "{s}.{kind}"\n' for s in ("train", "dev", "test")) for kind in ("conll", "jsonl")}
    conll, jsonl = 'format = "conll"\n' + paths["conll"], 'format = "jsonl"\ntext = "text"\n' + paths["jsonl"]
    for task, settings in {
        "ner": conll,
        "classification": jsonl + 'label = "label"\n',
        "relation": jsonl + 'label = "label"\nnegative = "none"\n',
        "multilabel": jsonl + 'label = "held"\n',
        "pairs": jsonl + 'text_b = "other"\nlabel = "label"\n',
        "similarity": jsonl + 'text_b = "other"\nlabel = "score"\n',
    }.items():
        (folder / f"{task}.toml").write_text(f'task = "{task}"\n{settings}')
    return folder


def job(own: Path, tiny: Path, task: str = "ner", **changes: Any) -> Job:
    """Two seeds of a task of `own` on `tiny`."""
    opened = partial(open_own, own / f"{task}.toml")
    return replace(Job(open=opened, model=tiny, model_name="tiny", recipe=FAST, seeds=2), **changes)


@pytest.fixture(scope="session")
def finished(own: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds, which no test changes."""
    folder = tmp_path_factory.mktemp("runs") / "ner"
    finetune(job(own, tiny), folder)
    return folder


def content(folder: Path) -> dict[str, Any]:
    """What a run left, without the seconds it took."""
    result = json.loads((folder / "result.json").read_text())
    for entry in result["seeds"]:
        entry.pop("seconds")
    files = sorted(path for path in folder.glob("seed-*/*") if path.name not in ("seed.json", "README.md"))
    return {"result": result} | {str(path.relative_to(folder)): path.read_bytes() for path in files}
