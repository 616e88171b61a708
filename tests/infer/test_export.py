"""Exports: what transformers and this project load, all or nothing."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml  # type: ignore[import-untyped]
from transformers import AutoModelForMaskedLM, AutoTokenizer

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.files import sha256
from pubmedbert.infer.export.export import export
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.model import hf
from pubmedbert.model.config import ModelError
from pubmedbert.vocab.folder import build, save
from tests.infer.conftest import WORDS, outspoken
from tests.infer.minilm import MINILM
from tests.model.reference import furthest, our_logits

FILES = {
    "README.md",
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}
METRICS = """\
{"step": 0, "tokens": 0, "seconds": 0.0, "eval_loss": 10.5, "eval_accuracy": 0.0, "unigram_loss": 6.0}
{"step": 1, "tokens": 500, "seconds": 0.5, "loss": 10.4}
{"step": 10, "tokens": 5000, "seconds": 5.0, "eval_loss": 4.25, "eval_accuracy": 0.125, "unigram_loss": 6.0}
not JSON
{"step": 11, "tokens": 5500, "seconds": 5.5, "eval_loss": 1.0, "eval_accuracy": 0.9, "unigram_loss": 6.0}
{"step": 12, "eval_l"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose newest complete checkpoint is step-10."""
    folder = tmp_path / "run"
    for step in (2, 9, 10, 11):
        checkpoint = folder / "checkpoints" / f"step-{step}"
        checkpoint.mkdir(parents=True)
        model = outspoken(24, max_positions=128)
        with torch.no_grad():
            assert model.vocabulary is not None
            model.vocabulary.bias.add_(torch.arange(24), alpha=step)
        hf.save(model, checkpoint)
        if step < 11:
            files = {name: sha256(checkpoint / name) for name in ("config.json", "model.safetensors")}
            (checkpoint / "state.json").write_text(json.dumps({"step": step, "files": files}))
    (folder / "checkpoints" / ".step-12.99.tmp").mkdir()
    save(build(WORDS), folder / "tokenizer")
    (folder / "config.toml").write_text('size = "tiny"\nlr = 0.0006\nsteps = 12\n\n[shards]\ncorpus = "c0ffee"\n')
    (folder / "metrics.jsonl").write_text(METRICS)
    return folder


def transformers_logits(folder: Path, text: str) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        model, info = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return model.eval()(**tokenizer(text, return_tensors="pt")).logits[0]


def front_matter(folder: Path) -> tuple[dict[str, Any], str]:
    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", (folder / "README.md").read_text(), re.DOTALL)
    assert match
    return yaml.safe_load(match[1]), match[2]


def test_a_run_becomes_a_model_folder(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "mine"
    export(run, out)
    assert {path.name for path in out.iterdir()} == FILES
    text = "The [MASK] is a tyrosine kinase."
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.model_max_length == 128
    fill = FillMask(out)
    ids = fill._tokenizer.encode(text)
    assert tokenizer(text)["input_ids"] == ids
    source = hf.load(run / "checkpoints" / "step-10")
    assert furthest(our_logits(source, [ids]), [transformers_logits(out, text)]) < 1e-4
    assert furthest(our_logits(source, [ids]), our_logits(hf.load(out), [ids])) == 0


def test_the_card_of_a_run(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "mine")
    head, body = front_matter(tmp_path / "mine")
    assert head == {
        "language": "en",
        "license": "mit",
        "tags": ["exbert", "fill-mask", "biomedical"],
        "library_name": "transformers",
        "pipeline_tag": "fill-mask",
        "widget": [{"text": "[MASK] is a tyrosine kinase inhibitor."}],
    }
    assert body.startswith("\n# mine\n")
    for part in (
        "after step 10, before the end of the run.",
        "frozen masks: loss 4.2500 nats, unigram model 6.0000 nats, accuracy 12.50%",
        "| lr | 0.0006 |",
        "| corpus | `c0ffee` |",
        'pipeline("fill-mask", model="mine")',
        'FillMask("mine")("[MASK] is a tyrosine kinase inhibitor.")',
        "at most 128 word pieces",
        "do not use it for clinical decisions",
        "2007.15779",
        "2112.07869",
    ):
        assert part in body
    assert body.count("@article{") == 2
    assert body.count("{") == body.count("}")


@pytest.mark.parametrize(("settings", "end"), [("steps = 10", "."), ("minutes = 2", ", before"), ("minutes = 1", ".")])
def test_whether_a_run_was_at_its_end(run: Path, tmp_path: Path, settings: str, end: str) -> None:
    (run / "config.toml").write_text(f'size = "tiny"\n{settings}\n')
    (run / "metrics.jsonl").write_text(
        '{"step": 9, "tokens": 9, "seconds": 55.0}\n{"step": 10, "tokens": 9, "seconds": 61.5}\n'
    )
    export(run, tmp_path / "mine")
    assert f"after step 10{end}" in (tmp_path / "mine" / "README.md").read_text()


def test_a_run_without_evaluation(run: Path, tmp_path: Path) -> None:
    (run / "metrics.jsonl").unlink()
    export(run, tmp_path / "mine")
    assert "Held-out" not in front_matter(tmp_path / "mine")[1]


def test_the_length_of_bert(tmp_path: Path) -> None:
    source = tmp_path / "source"
    save(build(WORDS), source)
    hf.save(outspoken(24, max_positions=512), source)
    export(source, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 512


def test_half_precision(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "full")
    export(run, tmp_path / "half", "float16")
    full, half = (tmp_path / name / "model.safetensors" for name in ("full", "half"))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    text = "the [MASK]."
    assert furthest([transformers_logits(half.parent, text)], [transformers_logits(full.parent, text)]) < 0.1
    ids = FillMask(half.parent)._tokenizer.encode(text)
    assert furthest(our_logits(hf.load(half.parent), [ids]), [transformers_logits(half.parent, text)]) < 1e-4


def test_a_model_without_card_gets_one_that_claims_no_licence(padded_vocabulary: Path, tmp_path: Path) -> None:
    export(str(padded_vocabulary), tmp_path / "out")
    head, body = front_matter(tmp_path / "out")
    assert "license" not in head
    assert "from `padded`, which came without a card: training and licence are those of that model" in body


def test_a_model_keeps_its_card_and_its_spacing(padded_vocabulary: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(padded_vocabulary, source)
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\nÄ model.\n")
    config = source / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"clean_up_tokenization_spaces": True}))
    export(source, tmp_path / "out")
    assert front_matter(tmp_path / "out") == ({"license": "apache-2.0"}, "Ä model.\n")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").clean_up_tokenization_spaces is True


def test_a_card_of_ours_names_the_folder(run: Path, tmp_path: Path) -> None:
    export("bundled", tmp_path / "mine")
    head, body = front_matter(tmp_path / "mine")
    assert head["license"] == "mit"
    assert "bundled" not in body
    export(run, tmp_path / "first")
    export(tmp_path / "first", tmp_path / "second")
    cards = [(tmp_path / name / "README.md").read_text() for name in ("first", "second")]
    assert cards[0].count("first") == 4
    assert cards[0].replace("first", "second") == cards[1]


def test_a_published_pubmedbert_gets_what_it_lacked(tmp_path: Path) -> None:
    """A pickle, old names, vocab.txt and do_lower_case alone: as the family lies on the hub."""
    source = tmp_path / "source"
    source.mkdir()
    hf.save(outspoken(30522), source)
    state = hf.state_to_hf(hf.load(source))
    (source / "model.safetensors").unlink()
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in state.items()}
    torch.save(old, source / "pytorch_model.bin")
    shutil.copy(MINILM / "vocab.txt", source)
    (source / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    export(source, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    text = "Gefitinib is an EGFR tyrosine kinase [MASK]."
    ids = FillMask(source)._tokenizer.encode(text)
    assert furthest(our_logits(hf.load(source), [ids]), [transformers_logits(tmp_path / "out", text)]) < 1e-4


def test_an_older_export_is_replaced(run: Path, padded_vocabulary: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(padded_vocabulary, out)
    before = sha256(out / "model.safetensors")
    export(run, out)
    assert sha256(out / "model.safetensors") != before
    export(out, out, "float16")  # onto itself
    assert json.loads((out / "config.json").read_text())["dtype"] == "float16"
    assert "after step 10" in (out / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_half_written_is_left(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | type[BaseException]
) -> None:
    def interrupted(*arguments: object) -> None:
        raise error

    export(run, tmp_path / "older")
    before = {path.name: path.read_bytes() for path in (tmp_path / "older").iterdir()}
    monkeypatch.setattr("pubmedbert.vocab.folder.write_files", interrupted)
    for out in (tmp_path / "older", tmp_path / "fresh"):
        with pytest.raises((KeyboardInterrupt, InputError)):
            export(run, out)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "older"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "older").iterdir()} == before


def test_outputs_that_must_not_give_way(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    (tmp_path / "out" / "thesis.tex").touch()
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "README.md").touch()
    (tmp_path / "file").touch()
    for name, sentence in (
        ("out", r"holds thesis\.tex, which no export wrote; choose another folder"),
        ("run", "holds checkpoints, which no export wrote"),
        ("papers", "is no older export"),
        ("file", "is no folder"),
    ):
        with pytest.raises(InputError, match=sentence):
            export(run, tmp_path / name)
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_runs_that_cannot_be_exported(run: Path, tmp_path: Path) -> None:
    weights = run / "checkpoints" / "step-10" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    export(run, tmp_path / "older")
    card = (tmp_path / "older" / "README.md").read_text()
    assert "after step 9, before the end of the run." in card
    assert "frozen masks, at step 0: loss 10.5000" in card
    weights.write_bytes(whole)
    shutil.rmtree(run / "tokenizer")
    with pytest.raises(InputError, match="tokenizer is not a folder"):
        export(run, tmp_path / "out")
    save(build([*WORDS, "d", "e", "f", "g", "h", "i"]), run / "tokenizer")
    with pytest.raises(InputError, match="tokenizer has 25 entries, the model's vocabulary only 24"):
        export(run, tmp_path / "out")
    (run / "config.toml").write_text("size = ")
    with pytest.raises(InputError, match=r"config\.toml is damaged"):
        export(run, tmp_path / "out")
    for state in run.rglob("state.json"):
        state.unlink()
    with pytest.raises(InputError, match="has no intact checkpoint yet"):
        export(run, tmp_path / "out")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(InputError, match="has no intact checkpoint yet"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no masked-language-model head"):
        export(MINILM, tmp_path / "out")
    with pytest.raises(ModelError, match="there is no such folder"):
        export(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(InputError, match="dtype must be float32 or float16"):
        export(MINILM, tmp_path / "out", "int8")
    assert not (tmp_path / "out").exists()


def test_the_command(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    main(["export", str(run), "--out", str(out), "--dtype", "float16"])
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines()[-1].startswith(f"{out}: a model of 0.")
    assert "there is no such folder" in refused("export", tmp_path / "nothing", "--out", out)
    assert "dtype" in refused("export", run, "--out", out, "--dtype", "int8")
    assert "--out" in refused("export", run)
