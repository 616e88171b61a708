"""`pubmedbert predict`: files of every kind in, JSON lines or a table out, and one sentence for what cannot be read."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pubmedbert.cli import main
from pubmedbert.infer import lines
from pubmedbert.infer.labels import predict_command
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.model import hf
from pubmedbert.model.config import ModelError
from tests.infer.answers import TEXTS, same
from tests.infer.tuned_folders import HEADS, tuned_folder
from tests.model.reference import our_model

Refused = Callable[..., str]


def printed(capsys: pytest.CaptureFixture[str], *tokens: object) -> list[Any]:
    main(["predict", *(str(token) for token in tokens)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_file_of_texts(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n\n".join(TEXTS).encode())
    expected = Predictor(folders["single"]).predict_texts(TEXTS)
    assert same(printed(capsys, file, "--model", folders["single"]), expected)


def test_json_lines_of_all_kinds(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_command, "CHUNK", 3)
    predictor = Predictor(folders["tags"])
    records: list[dict[str, object]] = [
        {"id": "a", "text": TEXTS[0]},
        {"words": TEXTS[1].split(), "text": "not read"},
        {"id": 3, "tokens": TEXTS[3].split()},
        {"id": None, "text": TEXTS[2], "text_b": None},
        {"text": ""},
    ]
    file = tmp_path / "all.jsonl"
    file.write_text("\n".join(json.dumps(record) for record in records))
    texts = predictor.predict_texts([TEXTS[0], TEXTS[2], ""])
    words = predictor.predict_words([TEXTS[1].split(), TEXTS[3].split()])
    expected = [{"id": "a"} | texts[0], words[0], {"id": 3} | words[1], {"id": None} | texts[1], texts[2]]
    assert same(printed(capsys, file, "--model", folders["tags"]), expected)


def test_pairs(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"text": TEXTS[0], "text_b": TEXTS[1], "words": ["not", "read"]}))
    expected = Predictor(folders["regression"]).predict_texts([(TEXTS[0], TEXTS[1])])
    assert same(printed(capsys, file, "--model", folders["regression"]), expected)


@pytest.mark.parametrize("ending", ["conll", "tsv"])
def test_token_files(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    sentences = [TEXTS[0].split(), TEXTS[3].split()]
    space = "\t" if ending == "tsv" else " "
    sentences[0].insert(1, "\u00a0")  # a word like any other: columns are parted by tabs or plain spaces
    lines = [
        "# text = two sentences",
        f"-DOCSTART-{space}1",
        "",
        *(f"{word}{space}O" for word in sentences[0]),
        "",
        " ",
        *sentences[1],
    ]
    file = tmp_path / f"tokens.{ending}"
    file.write_text("\n".join(lines))
    assert same(printed(capsys, file, "--model", folders["tags"]), Predictor(folders["tags"]).predict_words(sentences))


@pytest.mark.parametrize("as_json", [True, False])
def test_standard_input(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    lines = [json.dumps({"text": text}) if as_json else text for text in TEXTS]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(("\n" + "\n".join(lines)).encode())))
    expected = Predictor(folders["multi"]).predict_texts(TEXTS)
    assert same(printed(capsys, "-", "--model", folders["multi"]), expected)


def test_a_pipe_is_answered_as_its_lines_come(folders: dict[str, Path]) -> None:
    code = "from pubmedbert.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", "-", "--model", str(folders["single"])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        for text in ("", *TEXTS[:2]):
            run.stdin.write(f"{text}\n".encode())
            run.stdin.flush()
            assert not text or "label" in json.loads(run.stdout.readline())  # while the pipe is still open
        run.stdin.close()
        assert run.stdout.read() == b""
    assert run.returncode == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [("all.jsonl", b'{"text": "a"}\n\n{"text": "b"}\n{}\n{"text": "c"}'), ("all.conll", b"a O\n\nb O\n\n\tO\n")],
)
def test_what_comes_before_a_bad_line_is_answered(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(tmp_path / name), "--model", str(folders["tags"])])
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert "line 4: " in said.err or "line 5: " in said.err


@pytest.mark.parametrize("name", ["empty.txt", "empty.jsonl", "empty.conll"])
def test_nothing_in_nothing_out(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("\n\n")
    assert printed(capsys, tmp_path / name, "--model", folders["tags"]) == []


@pytest.mark.parametrize(
    ("model", "name", "data", "match"),
    [
        ("tags", "a.jsonl", b'\n\n{"text"', "a.jsonl, line 3: not JSON"),
        ("tags", "a.jsonl", b"[1]", "line 1: a JSON object is wanted, not list"),
        ("tags", "a.jsonl", b'{"title": "a"}', 'line 1: this model tags words: an object with "text" or "words"'),
        ("single", "a.jsonl", b'{"words": ["a"]}', 'line 1: this model classifies texts: one with "text" is wanted'),
        ("tags", "a.jsonl", b'{"words": "a"}', 'line 1: "words" must be a list of strings, not "a"'),
        ("tags", "a.jsonl", b'{"tokens": [1]}', 'line 1: "tokens" must hold strings, not 1'),
        ("single", "a.jsonl", b'{"text": "a", "text_b": 2}', 'line 1: "text_b" must hold strings, not 2'),
        ("tags", "a.jsonl", b'{"text": "a", "text_b": "b"}', "line 1: this model tags one text at a time"),
        ("tags", "a.jsonl", b'{"text": "\\ud800"}', 'line 1: "text" holds half of a surrogate pair'),
        ("tags", "a.jsonl", b'{"id": ["\\ud800"], "text": "a"}', 'line 1: "id" holds half of a surrogate pair'),
        ("tags", "a.txt", b"\n\xff", "a.txt, line 2: byte 1 is not UTF-8"),
        ("tags", "a.conll", b"a O\n\tO", "a.conll, line 2: the first column, the token, is empty"),
        ("single", "a.tsv", b"a\tO", "a.tsv holds words, but this model classifies texts"),
        ("tags", "a.csv", b"a", "a.csv must end in .jsonl, .txt, .conll, .iob"),
    ],
)
def test_bad_files_are_one_sentence(
    folders: dict[str, Path], tmp_path: Path, refused: Refused, model: str, name: str, data: bytes, match: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert match in refused("predict", tmp_path / name, "--model", folders[model])


@pytest.mark.parametrize(
    ("texts", "name", "data", "match"),
    [
        (
            2,
            "a.jsonl",
            b'{"text": "a"}',
            "a.jsonl, line 1: this model was tuned on pairs of texts; give each its second",
        ),
        (2, "a.txt", b"\na", 'a.txt, line 2: this model was tuned on pairs of texts: .jsonl with "text" and "text_b"'),
        (1, "a.jsonl", b'{"text": "a", "text_b": "b"}', "line 1: this model reads one text at a time"),
    ],
)
def test_files_of_too_many_texts_or_too_few(
    tmp_path: Path, refused: Refused, texts: int, name: str, data: bytes, match: str
) -> None:
    (tmp_path / name).write_bytes(data)
    folder = tuned_folder(tmp_path / "model", HEADS["single"], texts=texts)
    assert match in refused("predict", tmp_path / name, "--model", folder)


def test_lines_too_long(
    folders: dict[str, Path], tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_LONGEST", 1 << 20)
    (tmp_path / "a.txt").write_text("\n" + "b" * (2 << 20))
    assert "line 2: it is longer than 1 MB" in refused("predict", tmp_path / "a.txt", "--model", folders["tags"])


def test_models_and_files_that_are_not_there(folders: dict[str, Path], tmp_path: Path, refused: Refused) -> None:
    assert "No such file" in refused("predict", tmp_path / "a.txt", "--model", folders["tags"])
    (tmp_path / "a.txt").write_text("a")
    assert "--model" in refused("predict", tmp_path / "a.txt")
    assert "there is no such folder" in refused("predict", tmp_path / "a.txt", "--model", tmp_path / "nothing")
    pretrained = tmp_path / "pretrained"
    pretrained.mkdir()
    hf.save(our_model(), pretrained)
    assert "that of a fine-tuned model is" in refused("predict", tmp_path / "a.txt", "--model", pretrained)
    with pytest.raises(ModelError, match="that of a fine-tuned model is"):
        Predictor(pretrained)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom pubmedbert.cli import main\n"
        "try:\n    main(['predict', '--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'huggingface_hub', 'tokenizers', 'numpy'} & sys.modules.keys())\n"
        "import pubmedbert.infer.labels.rows\n"
        "print({'torch', 'huggingface_hub'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ".conll" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["set()", "set()"]
