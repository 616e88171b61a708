"""`pubmedbert fill-mask` as a person or a program calls it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pubmedbert.cli import main
from pubmedbert.infer.masks import commands
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.infer.masks.show import show
from tests.infer.test_fill_mask import assert_same

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
    assert_same(json.loads(printed), FillMask(padded_vocabulary)(texts, top_k=3))
    assert printed.count("\n") == 1


def test_targets(padded_vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = ("fill-mask", "the [MASK]", "--model", padded_vocabulary, "--targets", "Kinase, imatinib,,", "--json")
    answers = json.loads(output(capsys, *tokens))
    assert {answer["token_str"] for answer in answers} == {"kinase", "imatinib"}
    tokens = ("fill-mask", "the [MASK]", "--model", padded_vocabulary, "--targets", '"a,b", kinase', "--json")
    answers = json.loads(output(capsys, *tokens))
    assert {answer["token_str"] for answer in answers} == {"a, b", "kinase"}


def test_an_option_that_does_not_exist_is_told_before_the_model_is_read(refused: Refused, tmp_path: Path) -> None:
    assert refused("fill-mask", "a [MASK]", "--topk", "3", "--model", tmp_path / "none").startswith(
        "there is no option --topk"
    )


def test_lines_where_there_is_no_terminal(padded_vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = ("fill-mask", "the [MASK] is a", "--model", padded_vocabulary, "--top-k", 2)
    printed = output(capsys, *tokens).splitlines()
    answers = FillMask(padded_vocabulary).fill(["the [MASK] is a"], top_k=2)[0][0]
    assert printed == [f"{a['score']:.4f}\t{a['token_str']}\t{a['text']}" for a in answers]
    printed = output(capsys, *tokens, "a [MASK] b [MASK]").splitlines()
    titles = [line for line in printed if "\t" not in line]
    assert titles == ["the [MASK] is a", "a [MASK] b [MASK] (mask 1 of 2)", "a [MASK] b [MASK] (mask 2 of 2)"]
    assert len(printed) == 9
    both = FillMask(padded_vocabulary).fill(["a [MASK] b [MASK]"], top_k=1)[0]
    assert [line.split("\t")[2] for line in printed[4::3]] == [answers[0]["text"] for answers in both]
    spelt = output(capsys, "fill-mask", "A  KINASE,[MASK]", "--model", padded_vocabulary).split("\t")[2]
    assert spelt.startswith("A  KINASE,")


def test_a_table_with_bars_on_a_terminal(padded_vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda: console)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    text = "the [MASK] is [b]a"
    filled = FillMask(padded_vocabulary).fill([text])
    show([text], filled)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert text in shown  # brackets are no markup
    assert "█" * 20 in shown
    for answer in filled[0][0]:
        assert f"{answer['score']:.2%}" in shown
        assert answer["text"] in shown


def test_texts_from_standard_input(
    padded_vocabulary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "the [MASK] é\r\n\n[MASK] is a\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    printed = output(capsys, "fill-mask", "-", "--model", padded_vocabulary, "--json")
    assert_same(json.loads(printed), FillMask(padded_vocabulary)(["the [MASK] é", "[MASK] is a"]))


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"\n \n", "standard input holds no text"), (b"[MASK]\n\xff", "standard input, line 2: byte 1 is not UTF-8")],
)
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
        (["[MASK]", "--targets", "b☃"], "the target 'b☃' is unknown to this model"),
        (["[MASK]", "--order", "best-first"], "--order is for --joint"),
        (["[MASK]", "--beam", "3"], "--beam is for --joint and --pieces"),
        (["[MASK]", "--scoring", "l2r"], "--scoring is for --targets without --joint"),
        (["[MASK]", "--json", "--jsonl"], "exclude each other; choose one"),
        (["[MASK]", "--file", "-"], "named both by --file and by arguments"),
        (["--file", "no/such/file"], "no/such/file: No such file"),
        (["[MASK]", "--no-such-option"], "there is no option --no-such-option; see pubmedbert fill-mask --help"),
        (["[MASK]", "--topk=3"], "there is no option --topk; did you mean --top-k?"),
        (["[MASK]", "--targets", "1,2-dichloroethane"], "the comma in '1,2' of --targets may be part of a word"),
        (["[MASK]", "--targets", 'a,"b'], "a double quote in --targets 'a,\"b' is not closed"),
        (["[MASK]", "--targets", '"1,2-dichloroethane, insulin'], "is not closed; close it after the word"),
        (["[MASK]", "--targets", '"a"b"c"'], "--targets must be words separated by commas"),
        (["[MASK]", "--targets", "[SEP]", "--joint"], "the target [SEP] is no word"),
    ],
)
def test_bad_input_is_one_sentence(padded_vocabulary: Path, refused: Refused, tokens: list[str], match: str) -> None:
    assert match in refused("fill-mask", *tokens, "--model", padded_vocabulary)


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_of_json_for_each_text(padded_vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["the [MASK] is a", "a [MASK] b [MASK]"]
    printed = lines(output(capsys, "fill-mask", *texts, "--model", padded_vocabulary, "--jsonl", "--pieces", 2))
    expected = FillMask(padded_vocabulary).fill(texts, pieces=2)
    assert [line["text"] for line in printed] == texts
    for line, masks in zip(printed, expected, strict=True):
        for found, answers in zip(line["masks"], masks, strict=True):
            assert [answer["tokens"] for answer in found] == [answer["tokens"] for answer in answers]
            assert {line["text"][answer["start"] : answer["end"]] for answer in found} == {"[MASK]"}


def test_joint_fillings(padded_vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = ("fill-mask", "a [MASK] b [MASK]", "--model", padded_vocabulary, "--joint", "--top-k", 3, "--beam", 20)
    fillings = json.loads(output(capsys, *tokens, "--json"))
    assert [list(filling) for filling in fillings] == [["score", "log_probability", "sequence", "text", "words"]] * 3
    printed = [line.split("\t") for line in output(capsys, *tokens).splitlines()]
    assert [text for _, _, text in printed] == [filling["text"] for filling in fillings]
    assert [words.split(", ") for _, words, _ in printed] == [
        [word["token_str"] for word in filling["words"]] for filling in fillings
    ]


@pytest.mark.parametrize("joint", [False, True])
def test_a_file_of_texts(
    padded_vocabulary: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    joint: bool,
) -> None:
    monkeypatch.setattr(commands, "CHUNK", 3)
    texts = [f"{'b ' * (number % 5)}[MASK] is {'a ' * (number % 3)}" for number in range(10)]
    (tmp_path / "texts.txt").write_text("\ufeff" + "\n\n".join(texts))
    options = ["--joint"] if joint else []
    printed = output(capsys, "fill-mask", "--file", tmp_path / "texts.txt", "--model", padded_vocabulary, *options)
    found = lines(printed)
    assert [line["line"] for line in found] == list(range(1, 21, 2))
    assert [line["text"] for line in found] == texts
    key = "fillings" if joint else "masks"
    alone = lines(output(capsys, "fill-mask", *texts, "--jsonl", "--model", padded_vocabulary, *options))
    for one, other in zip(found, alone, strict=True):
        strings = [json.dumps(line[key]).split('"token_str": ')[1:] for line in (one, other)]
        assert [string.split(",")[0] for string in strings[0]] == [string.split(",")[0] for string in strings[1]]


@pytest.mark.parametrize("form", ["--json", "--jsonl"])
def test_a_file_is_printed_as_it_always_is(
    padded_vocabulary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a [MASK]\n")
    tokens = ("fill-mask", "--file", file, "--model", padded_vocabulary)
    assert output(capsys, *tokens, form) == output(capsys, *tokens)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_texts(
    padded_vocabulary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text(text)
    main(["fill-mask", "--file", str(file), "--model", str(padded_vocabulary)])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{file} holds no text: there was nothing to fill" in printed.err


@pytest.mark.parametrize(
    ("bad", "said"), [(b"no mask", "the text 'no mask' has no [MASK]"), (b"\xff [MASK]", "byte 1 is not UTF-8")]
)
def test_a_stream_is_answered_up_to_a_bad_line(
    padded_vocabulary: Path,
    bad: bytes,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands, "CHUNK", 2)
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(b"[MASK]\n\na [MASK]\n[MASK] b\n" + bad + b"\n[MASK]"))
    )
    with pytest.raises(SystemExit) as caught:
        main(["fill-mask", "--file", "-", "--model", str(padded_vocabulary)])
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert [line["line"] for line in lines(printed.out)] == [1, 3, 4]
    assert f"\nerror: standard input, line 5: {said}" in f"\n{printed.err}"


def test_a_pipe_is_answered_as_its_lines_come(padded_vocabulary: Path) -> None:
    code = "from pubmedbert.cli import main; main()"
    command = [sys.executable, "-c", code, "fill-mask", "--file", "-", "--model", str(padded_vocabulary)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        for number in (1, 2):
            run.stdin.write(b"a [MASK]\n")
            run.stdin.flush()
            assert json.loads(run.stdout.readline())["line"] == number  # while the pipe is still open
        run.stdin.close()
        assert run.stdout.read() == b""
    assert run.returncode == 0


def test_the_progress_bar_does_not_swallow_the_answers(padded_vocabulary: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("[MASK] is a\n" * 5)
    ours, theirs = os.openpty()
    wide = os.environ | {"COLUMNS": "300"}
    code = "from pubmedbert.cli import main; main()"
    tokens = ["fill-mask", "--file", str(tmp_path / "texts.txt"), "--model", str(padded_vocabulary)]
    command = [sys.executable, "-c", code, *tokens]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=wide, check=True, timeout=120, text=True)
    os.close(theirs)
    assert len(lines(done.stdout)) == 5
    assert b"texts" in os.read(ours, 65536)
    os.close(ours)


def test_models_that_cannot_be_used(tmp_path: Path, refused: Refused) -> None:
    assert "there is no such folder" in refused("fill-mask", "[MASK]", "--model", tmp_path / "nothing")
    assert "cannot read config.json" in refused("fill-mask", "[MASK]", "--model", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    (tmp_path / "model.safetensors").touch()
    assert "only 'bert' can be loaded" in refused("fill-mask", "[MASK]", "--model", tmp_path)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom pubmedbert.cli import main\n"
        "try:\n    main(['fill-mask', '--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'huggingface_hub', 'tokenizers', 'numpy'} & sys.modules.keys())\n"
        "import pubmedbert.infer.masks.fill_mask\n"
        "print({'torch', 'huggingface_hub'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "--top-k" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["set()", "set()"]
