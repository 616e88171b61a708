"""The gate: int8 is written where it agrees with fp32, in part where it must be, and refused otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.infer.engine import open_engine
from pubmedbert.infer.engines import gate
from pubmedbert.infer.engines.gate import Agreement, answer, ask, compare
from pubmedbert.infer.engines.mixed_precision import Choice, choose
from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint
from pubmedbert.infer.export.export import export
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model import hf
from pubmedbert.model.attention import SelfAttention
from pubmedbert.model.checkpoint import Checkpoint
from pubmedbert.model.locate import BUNDLED


def hostile(folder: Path, layers: int) -> Path:
    """The bundled model with outliers in its first layers: the same in fp32, and beyond what 8 bits can tell apart.

    One value of each head's mix is a thousand times as large, and the output matrix takes a thousandth of it.
    """
    shutil.copytree(BUNDLED, folder)
    model = hf.load(BUNDLED)
    width = model.config.width
    with torch.no_grad():
        for layer in range(layers):
            attention = model.get_submodule(f"encoder.layers.{layer}.attention")
            assert isinstance(attention, SelfAttention)
            values = slice(2 * width, None, 64)
            attention.qkv.weight[values] *= 1000
            attention.qkv.bias[values] *= 1000
            attention.output.weight[:, ::64] /= 1000
    hf.save(model, folder)
    return folder


def test_questions_are_the_same_each_time_and_hide_one_piece_in_seven() -> None:
    tokenizer = ModelTokenizer(BUNDLED, 30522)
    questions = ask(tokenizer, None, 512)
    assert questions == ask(tokenizer, None, 512)
    assert gate.LEAST_MASKS <= questions.masks <= gate.MOST_MASKS + 100
    for row, places in zip(questions.rows, questions.where, strict=True):
        assert [place for place, piece in enumerate(row) if piece == tokenizer.mask_id] == list(places)
        assert 0 not in places
        assert len(row) - 1 not in places
        assert len(places) <= len(row) // 7 + 1


def test_texts_to_judge_by(tmp_path: Path) -> None:
    tokenizer = ModelTokenizer(BUNDLED, 30522)
    text = tmp_path / "text.txt"
    text.write_text("one two three four\n\n" * 150 + "long " * 900, encoding="utf-8")
    questions = ask(tokenizer, text, 64)
    assert max(map(len, questions.rows)) == 64
    text.write_text("Too short.\n")
    with pytest.raises(InputError, match=r"text\.txt is too short to judge int8 by: it gives \d masks, 200 are wanted"):
        ask(tokenizer, text, 64)
    text.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"text\.txt, line 1: byte 1 is not UTF-8"):
        ask(tokenizer, text, 64)
    with pytest.raises(InputError, match="cannot read"):
        ask(tokenizer, tmp_path / "nothing", 64)


def test_a_model_agrees_with_itself() -> None:
    questions = ask(ModelTokenizer(BUNDLED, 30522), None, 512).first(40)
    engine = open_engine(BUNDLED)
    found = compare(answer(engine, questions), open_engine(BUNDLED, backend="torch"), questions)
    assert found.masks == questions.masks
    assert found.top1 == 1
    assert found.score_error_max < 1e-5


def test_the_bundled_model_in_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    main(["export", "bundled", "--out", str(out), "--int8"])
    said = capsys.readouterr().err
    assert "int8 against fp32: the same best piece at " in said
    figures = json.loads((out / "int8.json").read_text())
    assert not any(path.is_dir() for path in out.iterdir())
    assert fingerprint(out) == fingerprint(BUNDLED) == figures["fingerprint"]
    assert figures["top1"] >= figures["bar"] == 0.97
    assert figures["score_error_mean"] < 0.01
    rounded, exact = open_engine(out), open_engine(out, precision="fp32")
    assert (rounded.name, exact.name) == ("onnx int8", "onnx fp32")
    questions = ask(ModelTokenizer(out, 30522), None, 512)
    again = compare(answer(exact, questions), rounded, questions)
    assert again.top1 == figures["top1"]
    export(out, out)  # an export without int8 takes its place
    assert open_engine(out).name == "onnx fp32"


def test_what_was_judged_is_not_judged_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, text = tmp_path / "out", tmp_path / "text.txt"
    judged: list[Path] = []

    def choosing(checkpoint: Checkpoint, questions: gate.Questions, work: Path, threads: int) -> Choice:
        judged.append(work)
        return Choice(frozenset({"0.up"}), (), Agreement(500, 0.98, 0.01, 0.2))

    monkeypatch.setattr("pubmedbert.infer.export.int8_export.choose", choosing)
    tokens = ["export", "bundled", "--out", str(out), "--int8"]
    main(tokens)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    main(tokens)
    assert f"{out / 'int8.json'} is up to date: int8 was judged for these weights before" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert len(judged) == 1
    for number, content in enumerate(("one two three four\n" * 300, "five six seven eight\n" * 300), start=2):
        text.write_text(content)
        main([*tokens, "--text", str(text)])
        main([*tokens, "--text", str(text)])
        assert len(judged) == number  # by a text, or by another one
    (out / "int8.json").write_text("{")
    main(tokens)
    assert len(judged) == 4


def test_what_int8_harms_stays_in_fp32(tmp_path: Path) -> None:
    folder = hostile(tmp_path / "model", 2)
    questions = ask(ModelTokenizer(folder, 30522), None, 512)
    same = compare(answer(open_engine(BUNDLED), questions), open_engine(folder), questions)
    assert same.top1 == 1  # in fp32 it is the bundled model
    (tmp_path / "work").mkdir()
    choice = choose(read_checkpoint(folder, "mlm"), questions, tmp_path / "work", 1)
    assert choice.agreement.top1 >= 0.97
    assert set(choice.fp32) == {"0.output", "1.output"}
    assert len(choice.int8) == 18
    assert choice.report()["fp32_matrices"] == list(choice.fp32)


def test_a_model_that_int8_ruins_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pubmedbert.infer.engines.gate.BAR", 1.01)
    with pytest.raises(InputError) as caught:
        export("bundled", tmp_path / "out", int8=True)
    sentence = str(caught.value)
    assert "int8 answers of this model differ too much from fp32: the same best piece at 98." in sentence
    assert "with 8 of 20 matrices in fp32, the same best piece at" in sentence
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_int8_truly_ruins_is_refused(tmp_path: Path) -> None:
    """Outliers wherever states are multiplied: one number in each row of every matrix, which takes all of its scale."""
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED, folder)
    model = hf.load(BUNDLED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter[:, 0] += 30  # the same outlier in every row: in fp32 a model like any other
    hf.save(model, folder)
    with pytest.raises(InputError, match="int8 answers of this model differ too much from fp32"):
        export(folder, tmp_path / "out", int8=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_scores_count_as_well_as_the_best_piece() -> None:
    assert Agreement(500, 0.98, 0.01, 0.2).passes
    assert not Agreement(500, 0.96, 0.01, 0.2).passes
    assert not Agreement(500, 1.0, 0.06, 0.2).passes


def test_a_text_without_int8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ask for int8, too"):
        export("bundled", tmp_path / "out", text=tmp_path / "text.txt")
