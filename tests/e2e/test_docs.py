"""Every command that README and docs name is run, in the order of the page, on a small generated world."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pubmedbert.cli import COMMANDS, main
from pubmedbert.finetune import search
from pubmedbert.pretrain import recipe
from pubmedbert.sample.generate import generate
from tests.infer.minilm import MINILM
from tests.serve.conftest import serving

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ONE_EPOCH = ["--seeds", "1", "--workers", "1", "--set", "epochs=1", "--set", "restarts=0"]
SMALLER = {
    "finetune": ONE_EPOCH,
    "blurb": ONE_EPOCH,
    "corpus screen": ["--min-words", "15"],
    "vocab train": ["--size", "900"],
    "shards": ["--heldout", "0.05"],
    "pretrain": [
        part
        for setting in (
            "size=tiny",
            "minutes=0",
            "steps=3",
            "length=32",
            "rows=8",
            "evaluate_rows=8",
            "checkpoint_every=2",
        )
        for part in ("--set", setting)
    ],
}
"""What is added to the long commands to scale them down; the rest of each command is run as it stands."""


def commands(page: Path) -> list[list[str]]:
    """The `pubmedbert` commands in the page's shell blocks, line by line, comments dropped."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "pubmedbert":
                found.append(words[1:])
    return found


def verb(words: list[str]) -> str:
    """The name of the command, one word or two."""
    return " ".join(words[:2]) if isinstance(COMMANDS.get(words[0]), dict) else words[0]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the inputs that the pages name, cut down, and a quickstart recipe of three steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "abstracts").mkdir(parents=True)
    sample = generate(tmp_path / "data" / "pubmed_xml")
    shutil.copytree(tmp_path / "data" / "pubmed_xml", tmp_path / "pubmed")
    assert sample.exists()
    text = "We measured glucose in plasma of patients on metformin and saw that it fell by a third within weeks. "
    records: list[dict[str, object]] = [
        {"pmid": number, "title": f"Study {number}", "abstract": f"{number}. {text}"} for number in range(1, 40)
    ]
    records[0]["source"] = "ohsumed_23"
    with gzip.open(tmp_path / "data" / "abstracts" / "abstracts-00.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "unseen.txt").write_text(text + "\n")
    (tmp_path / "texts.txt").write_text("[MASK] is a drug.\n")
    shutil.copytree(MINILM, tmp_path / "general", ignore=shutil.ignore_patterns("*.safetensors"))
    small_blurb(tmp_path / "data")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "topics.toml").write_text(
        'task = "classification"\nformat = "jsonl"\ntrain = "train.jsonl"\ndev = "train.jsonl"\ntest = "train.jsonl"\n'
    )
    (tmp_path / "own" / "train.jsonl").write_text(
        '{"text": "Aspirin eases pain.", "label": "drug"}\n{"text": "The liver is an organ.", "label": "body"}\n'
    )
    monkeypatch.setattr(search, "GRID", {"lr": [1e-5, 5e-5]})
    recipes = tmp_path / "recipes"
    shutil.copytree(recipe.RECIPES, recipes)
    small = recipe.load_recipe("quickstart", SMALLER["pretrain"][1::2])
    (recipes / "quickstart.toml").write_text(small.toml())
    monkeypatch.setattr(recipe, "RECIPES", recipes)
    return tmp_path


def small_blurb(data: Path) -> None:
    """Three of BLURB's data sets, of a few examples each, and a text to predict."""
    (data / "notes.txt").write_text("Imatinib is given for chronic myeloid leukaemia.\n")
    (data / "NCBI-disease").mkdir()
    for split in ("train", "devel", "test"):
        (data / "NCBI-disease" / f"{split}.tsv").write_text("Severe\tO\nasthma\tB-Disease\n.\tO\n\nNone\tO\n.\tO\n")
    for folder, rows in {
        "GAD": "index\tsentence\tlabel\n0\t@GENE$ causes @DISEASE$.\t1\n1\tNo link of @GENE$ and @DISEASE$.\t0\n",
        "BIOSSES": "pair_id\tsent1\tsent2\tscore\n1\tIt grows.\tIt grew.\t3.8\n2\tIt grows.\tHe sleeps.\t0.2\n",
    }.items():
        (data / folder).mkdir()
        for split in ("train", "dev", "test"):
            (data / folder / f"{split}.tsv").write_text(rows)


def expanded(words: list[str], world: Path) -> Iterator[str]:
    """The words with variables and file patterns filled in, as a shell would; without a GPU on the CPU."""
    for word in words:
        if word == "cuda" and not torch.cuda.is_available():
            word = "cpu"
        filled = word.replace("$DATA", str(world / "data")).replace("$GENERAL", str(world / "general"))
        if "*" in filled:
            yield from sorted(str(path) for path in world.glob(str(Path(filled).relative_to(world))))
        else:
            yield filled


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_page_runs(page: Path, world: Path) -> None:
    found = commands(page)
    if page.name == "README.md":
        assert found
    for words in found:
        if verb(words) == "serve":  # would serve for ever
            with serving(*expanded(words[1:], world)) as service:
                assert service.url
            continue
        smaller = SMALLER.get(verb(words), [])
        main([*expanded(words, world), *([] if smaller[:1] == ["--min-words"] and "--min-words" in words else smaller)])


def test_every_command_answers_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name, entry in COMMANDS.items():
        verbs = [[name, part] for part in entry] if isinstance(entry, dict) else [[name]]
        for words in verbs:
            main([*words, "--help"])
            assert " ".join(words) in capsys.readouterr().out
