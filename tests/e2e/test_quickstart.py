"""The quickstart, scaled down: the artifacts it leaves are those of the single commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer

from pubmedbert.cli import main
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.pretrain import recipe
from pubmedbert.sample.facts import facts
from pubmedbert.sample.quickstart import ask
from pubmedbert.sample.recall import CARD_SENTENCE

STEPS = ["steps=4", "rows=8", "evaluate_rows=16", "checkpoint_every=2"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "quickstart.toml").write_text(recipe.load_recipe("quickstart", STEPS).toml())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "RECIPES", folder / "recipes")
        main(["quickstart", "--out", str(folder / "out")])
    return folder / "out"


def test_it_leaves_every_artifact(done: Path) -> None:
    for name in ("store/parts", "tokenizer/vocab.txt", "shards/meta.json", "run/metrics.jsonl", "model/README.md"):
        assert (done / name).exists(), name
    page = (done / "report.html").read_text()
    assert "tyrosine kinase inhibitor" in page
    assert "recall@5" in page
    assert "<svg" in page


def test_transformers_loads_the_model(done: Path) -> None:
    model = AutoModelForMaskedLM.from_pretrained(done / "model")
    tokenizer = AutoTokenizer.from_pretrained(done / "model")
    assert tokenizer.model_max_length == 512
    assert model.config.vocab_size == len(tokenizer)


def test_single_commands_go_on_from_its_artifacts(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["corpus", "report", "--store", str(done / "store"), "--json"])
    main(
        ["shards", "--store", str(done / "store"), "--tokenizer", str(done / "tokenizer"), "--out", str(tmp_path / "s")]
    )
    main(["evaluate", "--model", str(done / "model"), "--shards", str(done / "shards"), "--rows", "16"])
    assert "held-out loss" in capsys.readouterr().out


def test_the_real_quickstart_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole of it, some minutes: the card's sentence is filled with drugs that the table calls what it says."""
    main(["quickstart", "--out", str(tmp_path / "out")])
    capsys.readouterr()
    best = FillMask(tmp_path / "out" / "model").fill([CARD_SENTENCE])[0][0]
    inhibitors = {fact.drug for fact in facts() if fact.drug_class == "tyrosine kinase inhibitor"}
    assert len(inhibitors & {answer["token_str"] for answer in best}) >= 3, best
    rows = {row.kind: row for row in ask(FillMask(tmp_path / "out" / "model"))}
    for kind in ("drug from class", "drug from target", "class", "target"):
        assert rows[kind].recall_at_5 > rows[kind].baseline_at_5 + 0.2, rows[kind]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pubmedbert.cli import main\n"
        "for words in ([], ['pretrain'], ['fill-mask'], ['corpus', 'add'], ['quickstart']): main([*words, '--help'])\n"
        "heavy = {'torch', 'duckdb', 'pyarrow', 'lxml', 'numpy', 'tokenizers', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
