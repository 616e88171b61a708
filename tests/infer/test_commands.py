"""`pubmedbert fill-mask` as a person or a program calls it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from pubmedbert.cli import main
from pubmedbert.infer import commands
from pubmedbert.infer.fill_mask import FillMask

Refused = Callable[..., str]


def output(capsys: pytest.CaptureFixture[str], *tokens: object) -> str:
    main([str(token) for token in tokens])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "texts", [["[MASK] is a kinase inhibitor."], ["a [MASK] b [MASK]"], ["[MASK] is a", "a [MASK] b [MASK]"]]
)
def test_json_is_the_answer_of_the_api(
    padded_vocabulary: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = output(capsys, "fill-mask", *texts, "--model", padded_vocabulary, "--json", "--top-k", 3)
    assert json.loads(printed) == FillMask(padded_vocabulary)(texts, top_k=3)
    assert printed.count("\n") == 1


def test_targets(padded_vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = ("fill-mask", "the [MASK]", "--model", padded_vocabulary, "--targets", "Kinase, imatinib,,", "--json")
    answers = json.loads(output(capsys, *tokens))
    assert {answer["token_str"] for answer in answers} == {"kinase", "imatinib"}


def test_lines_where_there_is_no_terminal(padded_vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = ("fill-mask", "the [MASK] is a", "--model", padded_vocabulary, "--top-k", 2)
    lines = output(capsys, *tokens).splitlines()
    answers = FillMask(padded_vocabulary).fill(["the [MASK] is a"], top_k=2)[0][0]
    assert lines == [f"{a['score']:.4f}\t{a['token_str']}\t{a['sequence']}" for a in answers]
    lines = output(capsys, *tokens, "a [MASK] b [MASK]").splitlines()
    titles = [line for line in lines if "\t" not in line]
    assert titles == ["the [MASK] is a", "a [MASK] b [MASK] (mask 1 of 2)", "a [MASK] b [MASK] (mask 2 of 2)"]
    assert len(lines) == 9


def test_a_table_with_bars_on_a_terminal(padded_vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda: console)
    text = "the [MASK] is [b]a"
    filled = FillMask(padded_vocabulary).fill([text])
    commands.show([text], filled)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert text in shown  # brackets are no markup
    assert "█" * 20 in shown
    for answer in filled[0][0]:
        assert f"{answer['score']:.2%}" in shown
        assert answer["sequence"] in shown


def test_texts_from_standard_input(
    padded_vocabulary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "the [MASK] é\r\n\n[MASK] is a\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    printed = output(capsys, "fill-mask", "-", "--model", padded_vocabulary, "--json")
    assert json.loads(printed) == FillMask(padded_vocabulary)(["the [MASK] é", "[MASK] is a"])


@pytest.mark.parametrize(("data", "match"), [(b"\n \n", "standard input holds no text"), (b"\xff [MASK]", "Unicode")])
def test_standard_input_that_cannot_be_filled(
    padded_vocabulary: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, data: bytes, match: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert match in refused("fill-mask", "-", "--model", padded_vocabulary)


@pytest.mark.parametrize(
    ("tokens", "match"),
    [
        ([], "name a text with [MASK] in it"),
        (["no mask"], "'no mask' has no [MASK]"),
        (["<mask> is"], "write [MASK] for '<mask>'"),
        ([""], "is empty"),
        (["[MASK]" + " a" * 100], "is too long: 103 word pieces"),
        (["[MASK]", "--top-k", "0"], "top_k must be from 1 to 19"),
        (["[MASK]", "--top-k", "many"], "--top-k"),
        (["[MASK]", "--targets", ","], "targets is empty"),
        (["[MASK]", "--targets", "bc"], "one word piece of this model's vocabulary, but it is 2: b ##c"),
        (["[MASK]", "--no-such-option"], "'--no-such-option' has no [MASK]"),
    ],
)
def test_bad_input_is_one_sentence(padded_vocabulary: Path, refused: Refused, tokens: list[str], match: str) -> None:
    assert match in refused("fill-mask", *tokens, "--model", padded_vocabulary)


def test_models_that_cannot_be_used(tmp_path: Path, refused: Refused) -> None:
    assert "there is no such folder" in refused("fill-mask", "[MASK]", "--model", tmp_path / "nothing")
    assert "cannot read config.json" in refused("fill-mask", "[MASK]", "--model", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    assert "only 'bert' can be loaded" in refused("fill-mask", "[MASK]", "--model", tmp_path)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom pubmedbert.cli import main\n"
        "try:\n    main(['fill-mask', '--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'huggingface_hub', 'tokenizers', 'numpy'} & sys.modules.keys())\n"
        "import pubmedbert.infer.fill_mask\n"
        "print({'torch', 'huggingface_hub'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "--top-k" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["set()", "set()"]
