"""A fine-tuned model answers what transformers' pipelines answer, and the same in batches, windows and files."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import pipeline

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.infer import lines
from pubmedbert.infer.labels import predict_command
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.infer.labels.rows import RowEncoder, pack
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model import hf
from pubmedbert.model.config import ModelError
from pubmedbert.model.head import Head
from tests.infer.tuned_folders import HEADS, TAGS, tuned, tuned_folder
from tests.model.reference import our_model
from tests.vocab.fakes import HOSTILE

Refused = Callable[..., str]

TEXTS = [
    "Naloxone reverses the antihypertensive effect of clonidine.",
    "In unanesthetized, spontaneously hypertensive rats the decrease in blood pressure produced by i.v. clonidine, "
    "5 to 20 micrograms/kg, was inhibited or reversed by nalozone (0.2 to 2 mg/kg).",
    "Does naïve α-methyldopa bind to opiate receptors?  [SEP] IL-2 & TNF-α!",
    "Gefitinib is an EGFR tyrosine kinase inhibitor, which is often used for breast cancer and NSCLC treatment.",
]
LONG = " ".join(TEXTS * 4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tuned")
    return {name: tuned_folder(root / name, head) for name, head in HEADS.items()}


def their_pipeline(task: str, folder: Path, **options: object) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        return pipeline(task, model=str(folder), device="cpu", **options)


def numbers(value: object) -> list[float]:
    """Every float in an answer."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def without_numbers(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_numbers(item) for item in value]
    return None if isinstance(value, float) else value


def same(left: object, right: object) -> bool:
    return without_numbers(left) == without_numbers(right) and numbers(left) == pytest.approx(numbers(right), abs=1e-5)


def test_entities_are_those_of_transformers(folders: dict[str, Path]) -> None:
    theirs = their_pipeline("token-classification", folders["tags"], aggregation_strategy="first")
    found = Predictor(folders["tags"]).predict_texts(TEXTS[:2] + TEXTS[3:])
    expected = [
        {
            "entities": [
                {
                    "entity": entity["entity_group"],
                    "start": entity["start"],
                    "end": entity["end"],
                    "text": text[entity["start"] : entity["end"]],
                    "score": float(entity["score"]),
                }
                for entity in theirs(text)
            ]
        }
        for text in TEXTS[:2] + TEXTS[3:]
    ]
    assert same(found, expected)
    kinds = [entity["entity"] for answer in expected for entity in answer["entities"]]
    assert len(kinds) > 5
    assert set(kinds) == {"Disease", "Drug"}


@pytest.mark.parametrize("name", ["single", "multi", "regression"])
@pytest.mark.parametrize("pairs", [False, True])
def test_classes_are_those_of_transformers(folders: dict[str, Path], name: str, pairs: bool) -> None:
    theirs = their_pipeline("text-classification", folders[name], top_k=None)
    texts = [TEXTS[0], TEXTS[3]]
    inputs: list[str | tuple[str, str | None]] = [(text, TEXTS[0]) for text in texts] if pairs else [*texts]
    for text, answer in zip(texts, Predictor(folders[name]).predict_texts(inputs), strict=True):
        expected = theirs({"text": text} | ({"text_pair": TEXTS[0]} if pairs else {}))
        scores = {item["label"]: item["score"] for item in expected}
        if name == "regression":
            assert answer == {"score": pytest.approx(scores["score"], abs=1e-5)}
            continue
        assert answer["scores"] == pytest.approx(scores, abs=1e-5)
        if name == "multi":
            assert answer["labels"] == [label for label in HEADS[name].labels if scores[label] > 0.5]
        else:
            assert answer["label"] == expected[0]["label"]
            assert answer["score"] == answer["scores"][answer["label"]]  # type: ignore[index]


@pytest.mark.parametrize("name", HEADS)
def test_a_batch_answers_like_single_texts(folders: dict[str, Path], name: str) -> None:
    predictor = Predictor(folders[name])
    texts = [*TEXTS, LONG, *HOSTILE]
    assert same(predictor.predict_texts(texts), [predictor.predict_texts([text])[0] for text in texts])
    assert predictor.predict_texts([]) == []
    if name == "tags":
        sentences = [text.split() for text in texts]
        assert same(predictor.predict_words(sentences), [predictor.predict_words([words])[0] for words in sentences])


@pytest.mark.parametrize("name", ["single", "mean"])
def test_windows_of_a_text_are_averaged_as_in_training(folders: dict[str, Path], name: str) -> None:
    predictor = Predictor(folders[name])
    rows = RowEncoder(ModelTokenizer(folders[name], 30522), 64).text(TEXTS[0], LONG, 0)
    assert len(rows) > 2
    packed = pack(rows)
    arrays = [torch.from_numpy(array) for array in (packed.tokens, packed.positions, packed.types)]
    with torch.inference_mode():
        logits = tuned(HEADS[name])(*arrays, packed.lengths, owners=torch.from_numpy(packed.owners))
    expected = dict(zip(HEADS[name].labels, logits[0].softmax(dim=0).tolist(), strict=True))
    assert predictor.predict_texts([(TEXTS[0], LONG)])[0]["scores"] == pytest.approx(expected, abs=1e-5)


def test_cut_texts_where_the_model_was_tuned_on_them(tmp_path: Path) -> None:
    windows = Predictor(tuned_folder(tmp_path / "windows", HEADS["single"], max_length=32))
    truncate = Predictor(tuned_folder(tmp_path / "truncate", HEADS["single"], max_length=32, long="truncate"))
    assert truncate.predict_texts([LONG]) == truncate.predict_texts([LONG + " and more"])
    assert truncate.predict_texts([LONG]) != windows.predict_texts([LONG])
    assert truncate.predict_texts(TEXTS[:1]) == windows.predict_texts(TEXTS[:1])


def test_words_keep_their_places(folders: dict[str, Path]) -> None:
    predictor = Predictor(folders["tags"])
    words = [*LONG.split(), "\u200b", "", "x" * 500]
    answer = predictor.predict_words([words, []])
    assert answer[1] == {"tags": [], "entities": []}
    tags, entities = answer[0]["tags"], answer[0]["entities"]
    assert isinstance(tags, list)
    assert isinstance(entities, list)
    assert len(tags) == len(words)
    assert len(entities) > 5
    for entity in entities:
        inside = tags[entity["first"] : entity["end"]]
        assert {tag.split("-")[1] for tag in inside} == {entity["entity"]}
        assert entity["text"] == " ".join(words[entity["first"] : entity["end"]])
        assert 0 < entity["score"] <= 1


def test_offsets_in_texts_longer_than_a_row(folders: dict[str, Path]) -> None:
    entities = Predictor(folders["tags"]).predict_texts([LONG])[0]["entities"]
    assert isinstance(entities, list)
    assert entities[-1]["end"] > len(LONG) - 100
    for entity in entities:
        assert LONG[entity["start"] : entity["end"]] == entity["text"] == entity["text"].strip()


def test_inputs_of_the_wrong_kind(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="one text at a time"):
        Predictor(folders["tags"]).predict_texts([("a", "b")])
    with pytest.raises(InputError, match="classifies texts, not words"):
        Predictor(folders["single"]).predict_words([["a"]])


@pytest.mark.parametrize(
    ("extra", "pairs"),
    [
        ({}, None),
        ({"task": "classification"}, None),  # either is one
        ({"task": "pairs"}, True),
        ({"task": "similarity"}, True),
        ({"task": "classification", "texts": 2}, True),
        ({"task": "relation", "texts": 1}, False),
    ],
)
def test_one_text_or_two_as_in_training(tmp_path: Path, extra: dict[str, object], pairs: bool | None) -> None:
    predictor = Predictor(tuned_folder(tmp_path / "model", HEADS["single"], **extra))
    assert predictor.pairs is pairs
    if pairs is not True:
        assert predictor.predict_texts([TEXTS[0], (TEXTS[0], None)])
    else:
        with pytest.raises(InputError, match="was tuned on pairs of texts; give each its second text"):
            predictor.predict_texts([(TEXTS[0], TEXTS[1]), TEXTS[0]])
    if pairs is not False:
        assert predictor.predict_texts([(TEXTS[0], TEXTS[1]), (TEXTS[0], "")])
    else:
        with pytest.raises(InputError, match="one text at a time"):
            predictor.predict_texts([(TEXTS[0], TEXTS[1])])


def test_logits_are_what_scores_are_made_of(folders: dict[str, Path]) -> None:
    predictor = Predictor(folders["multi"])
    logits = predictor.text_logits([*TEXTS, (TEXTS[0], LONG)])
    for scores, answer in zip(logits, predictor.predict_texts([*TEXTS, (TEXTS[0], LONG)]), strict=True):
        assert scores.shape == (4,)
        assert answer["labels"] == [label for label, score in zip("abcd", scores, strict=True) if score > 0]
    with pytest.raises(InputError, match="does not classify texts"):
        Predictor(folders["tags"]).text_logits(TEXTS)


def test_pieces_are_those_of_transformers(folders: dict[str, Path]) -> None:
    """Its pipeline without aggregation, which speaks of every piece but those it holds to be outside."""
    theirs = their_pipeline("token-classification", folders["tags"], aggregation_strategy="none", ignore_labels=[])
    predictor = Predictor(folders["tags"])
    for text, found in zip(TEXTS[:2], predictor.predict_pieces(TEXTS[:2]), strict=True):
        expected = theirs(text)
        assert found.tokens == [piece["word"] for piece in expected]
        assert found.spans == [(piece["start"], piece["end"]) for piece in expected]
        assert [TAGS[index] for index in found.probabilities.argmax(axis=1)] == [piece["entity"] for piece in expected]
        assert found.probabilities.max(axis=1) == pytest.approx([float(piece["score"]) for piece in expected], abs=1e-4)
        assert len(set(found.words)) < len(found.words)
    with pytest.raises(InputError, match="does not tag words"):
        Predictor(folders["single"]).predict_pieces(TEXTS)


def test_pieces_of_texts_longer_than_a_row(folders: dict[str, Path]) -> None:
    found = Predictor(folders["tags"]).predict_pieces([LONG, ""])
    assert found[0].spans[-1][1] == len(LONG)
    assert found[0].probabilities.shape == (len(found[0].tokens), len(TAGS))
    assert found[0].probabilities.sum(axis=1) == pytest.approx(1)
    assert found[1].tokens == []


def test_torch_answers_the_same(folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        onnx, reference = Predictor(folder), Predictor(folder, backend="torch")
        assert (onnx.engine, reference.engine) == ("onnx fp32", "torch fp32")
        assert same(onnx.predict_texts([*TEXTS, LONG]), reference.predict_texts([*TEXTS, LONG])), name


def test_classes_of_words(tmp_path: Path) -> None:
    words = LONG.split()
    plain = Predictor(tuned_folder(tmp_path / "a", Head(level="tokens", labels=("O", "NOUN", "VERB")), task="words"))
    answer: Any = plain.predict_words([words])[0]
    assert set(answer["tags"]) == {"O", "NOUN", "VERB"}
    runs = [(kind, len(list(run))) for kind, run in groupby(answer["tags"])]
    found = [(entity["entity"], entity["end"] - entity["first"]) for entity in answer["entities"]]
    assert found == [run for run in runs if run[0] != "O"]
    answer = plain.predict_texts([LONG])[0]
    assert {entity["entity"] for entity in answer["entities"]} == {"NOUN", "VERB"}
    head = Head(level="tokens", labels=("O", "I-PAR", "I-INT"))
    answer = Predictor(tuned_folder(tmp_path / "b", head, task="words")).predict_words([words])[0]
    assert set(answer["tags"]) == set(head.labels), "as the data have them"
    assert {entity["entity"] for entity in answer["entities"]} == {"PAR", "INT"}


@pytest.mark.parametrize(
    ("head", "extra", "match"),
    [
        (HEADS["single"], {"texts": 3}, "texts must be 1 or 2, not 3"),
        (HEADS["tags"], {"max_length": 65}, "max_length must be from 8 to 64, not 65"),
        (HEADS["tags"], {"max_length": True}, "max_length must be from 8 to 64, not True"),
        (HEADS["single"], {"long": "cut"}, "long must be windows or truncate, not 'cut'"),
        (Head(level="tokens", labels=("LABEL_0", "LABEL_1")), {}, "cannot name entities, as 'LABEL_0' is no tag"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, head: Head, extra: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        Predictor(tuned_folder(tmp_path / "model", head, **extra))
    assert "config.json" in str(caught.value)


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
        ("tags", "a.csv", b"a", "a.csv must end in .jsonl, .txt, .conll, .tsv"),
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
