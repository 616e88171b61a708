"""The command line: what it says of a mistyped word is one line, whatever it is read on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pubmedbert.cli import main


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (["fill-mask", "[MASK]", "--topk", "3"], "there is no option --topk; did you mean --top-k?"),
        (["fill-mask", "[MASK]", "--modle=a"], "there is no option --modle; did you mean --model?"),
        (["fill-mask", "[MASK]", "--xyz"], "there is no option --xyz; see pubmedbert fill-mask --help"),
        (["serve", "--modle", "bundled"], "there is no option --modle; did you mean --model?"),
        (["serve", "--xyz=1"], "there is no option --xyz; see pubmedbert serve --help"),
        (["serve", "bundled"], "pubmedbert serve has no place for bundled; write --model bundled"),
        (["serve", "my model"], "pubmedbert serve has no place for 'my model'; write --model 'my model'"),
        (
            ["shards", "a", "--store", "a", "--tokenizer", "b", "--out", "c"],
            "pubmedbert shards has no place for a; see pubmedbert shards --help",
        ),
        (["fillmask", "[MASK]"], "there is no command fillmask; did you mean fill-mask?"),
        (["fillmask", "--help"], "there is no command fillmask; did you mean fill-mask?"),
        (["corpus", "ad"], "there is no command corpus ad; did you mean add?"),
        (["xyz"], "there is no command xyz; see pubmedbert --help"),
        (
            ["fill-mask", "[MASK]", "--model", "bundeld"],
            "no model 'bundeld': there is no such folder, and hub ids look like owner/name[@revision]; did you mean "
            "bundled?",
        ),
    ],
)
def test_what_was_meant(tokens: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(tokens)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"error: {sentence}\n")


@pytest.mark.parametrize("tokens", [["--precision", "x" * 300], ["--top-k", "[red]" * 60]])
def test_a_long_error_is_one_line(tokens: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fill-mask", "[MASK]", *tokens])
    said = capsys.readouterr().err
    assert tokens[1] in said
    assert said.count("\n") == 1


def test_a_terminal_that_lacks_letters_gets_their_numbers() -> None:
    command = [sys.executable, "-c", "from pubmedbert.cli import main; main()", "fill-mask", "the β [MASK] cell"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    run = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True)
    assert b"\\u03b2" in run.stdout


def test_standard_input_that_is_closed() -> None:
    command = f"{sys.executable} -c 'from pubmedbert.cli import main; main()' fill-mask - <&-"
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (2, "error: standard input is closed: there is nothing to read from -\n")
