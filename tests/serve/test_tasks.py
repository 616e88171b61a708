"""Answers against transformers' pipelines, and what becomes of a batch with a bad text in it."""

from __future__ import annotations

import json
import math
import shutil
import tracemalloc
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import pipeline

from pubmedbert.infer.engine import open_engine
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.infer.masks import masked_text
from pubmedbert.model import electra_hf
from pubmedbert.model.config import SIZES
from pubmedbert.model.electra import Electra
from pubmedbert.model.head import Head
from pubmedbert.serve import deadline, frames
from pubmedbert.serve.deadline import Deadline
from pubmedbert.serve.process import Loading
from pubmedbert.serve.tasks import Loaded, activated, answer_all, load
from tests.infer.minilm import MINILM, TOKENIZER_FILES
from tests.infer.tuned_folders import HEADS, tuned_folder

NOTES = [
    "Imatinib is given for chronic myeloid leukaemia, and acetylsalicylic acid for pain.",
    "Hyperphenylalaninaemia (PKU) & co-trimoxazole: a case report.",
    "x",
]


def job(task: str, text: str, alone: bool = False, **parameters: object) -> Mapping[str, Any]:
    return {"task": task, "text": text, "pair": None, "parameters": parameters, "alone": alone, "seconds": 30}


def answers(loaded: Loaded, *jobs: Mapping[str, Any]) -> list[Any]:
    found = answer_all(loaded, jobs)
    assert all(status == frames.OK for status, _ in found), found
    return [json.loads(payload) for _, payload in found]


@pytest.fixture(scope="session")
def loaded(folders: dict[str, Path]) -> dict[str, Loaded]:
    return {name: load(Loading(model=str(folder))) for name, folder in folders.items()}


def same(ours: object, theirs: object) -> bool:
    """Equal but for the last digits of numbers."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(value, theirs[key]) for key, value in ours.items())
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float):
        return math.isclose(ours, float(theirs), abs_tol=1e-4)  # type: ignore[arg-type]
    return ours == theirs


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_token_classification_is_that_of_transformers(
    strategy: str, folders: dict[str, Path], loaded: dict[str, Loaded]
) -> None:
    reference = pipeline("token-classification", model=str(folders["tags"]), aggregation_strategy=strategy)
    for text in NOTES:
        (ours,) = answers(loaded["tags"], job("token-classification", text, aggregation_strategy=strategy))
        assert same(ours, reference(text)), (ours, reference(text))
    (everything,) = answers(
        loaded["tags"], job("token-classification", NOTES[0], aggregation_strategy=strategy, ignore_labels=[])
    )
    assert same(
        everything,
        pipeline("token-classification", model=str(folders["tags"]), aggregation_strategy=strategy, ignore_labels=[])(
            NOTES[0]
        ),
    )


@pytest.mark.parametrize("strategy", ["first", "average", "max"])
def test_a_word_with_an_accent_of_its_own_is_a_word(
    strategy: str, folders: dict[str, Path], loaded: dict[str, Loaded]
) -> None:
    """Where this is not as in transformers, which glues the word to the one before it."""
    composed = "pain and na\u00efve drug"
    reference = pipeline("token-classification", str(folders["tags"]), aggregation_strategy=strategy, ignore_labels=[])
    texts = (composed, unicodedata.normalize("NFD", composed))
    ours = answers(
        loaded["tags"],
        *(job("token-classification", text, aggregation_strategy=strategy, ignore_labels=[]) for text in texts),
    )
    theirs = [reference(text) for text in texts]
    assert same(ours[0], theirs[0])
    words, apart = ([(one["entity_group"], one["word"]) for one in found] for found in ours)
    assert words == apart
    assert words != [(one["entity_group"], one["word"]) for one in theirs[1]]


@pytest.mark.parametrize("name", ["single", "multi", "regression"])
@pytest.mark.parametrize("function", [None, "softmax", "sigmoid", "none"])
def test_text_classification_is_that_of_transformers(
    name: str, function: str | None, folders: dict[str, Path], loaded: dict[str, Loaded]
) -> None:
    reference = pipeline("text-classification", model=str(folders[name]))
    options: dict[str, Any] = {} if function is None else {"function_to_apply": function}
    for text in NOTES:
        (ours,) = answers(loaded[name], job("text-classification", text, **options))
        assert same(ours, reference(text, top_k=None, **options))
        (first,) = answers(loaded[name], job("text-classification", text, top_k=1, **options))
        assert first == ours[:1]


def test_states_are_those_of_transformers(folders: dict[str, Path], loaded: dict[str, Loaded]) -> None:
    reference = pipeline("feature-extraction", model=str(folders["encoder"]))
    ours = answers(loaded["encoder"], *(job("feature-extraction", text, pooling="none") for text in NOTES))
    for text, states in zip(NOTES, ours, strict=True):
        assert np.allclose([states], reference(text), atol=1e-4)


def test_one_bad_text_does_not_spoil_the_others(loaded: dict[str, Loaded]) -> None:
    jobs = [
        job("fill-mask", "a [MASK]", top_k=3),
        job("fill-mask", "no mask"),
        job("feature-extraction", "a"),
        job("fill-mask", "[MASK] b", top_k=1),
        job("feature-extraction", "a " * 100),
        job("fill-mask", "[MASK] b", alone=True, targets=["drug", "acetylsalicylic"]),
        job("fill-mask", "[MASK] b", alone=True, targets=[""]),
    ]
    found = answer_all(loaded["mask"], jobs)
    statuses = [status for status, _ in found]
    refused = frames.REFUSED
    assert statuses == [frames.OK, refused, frames.OK, frames.OK, refused, frames.OK, refused]
    first, last = json.loads(found[0][1]), json.loads(found[3][1])
    assert (len(first), len(last)) == (3, 1)
    assert first == answers(loaded["mask"], jobs[0])[0]
    assert {answer["token_str"] for answer in json.loads(found[5][1])} == {"drug", "acetylsalicylic"}
    assert "too long" in found[4][1].decode()


def test_states_that_are_no_numbers_are_a_fault_of_the_model(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(folders["encoder"], tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.LayerNorm.bias"][0] = np.nan
    save_file(weights, folder / "model.safetensors")
    ((status, _),) = answer_all(load(Loading(model=str(folder))), [job("feature-extraction", "a")])
    assert status == frames.FAILED
    assert "no finite numbers" in capsys.readouterr().err


def test_a_discriminator_gives_its_states(tmp_path: Path) -> None:
    config = replace(SIZES["tiny"], vocab_size=30522)
    electra_hf.save(Electra(config, 0.5), tmp_path)
    for name in TOKENIZER_FILES:
        shutil.copy(MINILM / name, tmp_path)
    found = load(Loading(model=str(tmp_path)))
    assert found.about["tasks"] == ["feature-extraction"]
    assert "'kind': 'encoder'" in str(found.about["explore"])
    (vector,) = answers(found, job("feature-extraction", "a cell"))
    assert len(vector) == config.width


def test_without_a_named_architecture_the_weights_tell(folders: dict[str, Path], tmp_path: Path) -> None:
    for model, task in ((folders["mask"], "fill-mask"), (MINILM, "feature-extraction")):
        folder = Path(shutil.copytree(model, tmp_path / task))
        values = json.loads((folder / "config.json").read_text())
        values.pop("architectures", None)
        (folder / "config.json").write_text(json.dumps(values))
        assert str(load(Loading(model=str(folder))).about["tasks"]).startswith(f"['{task}'")


@pytest.mark.parametrize("words", ["pieces", "spaces"])
def test_first_gives_the_entities_of_predict(tmp_path: Path, words: str) -> None:
    text = "Anti-IL-2 (sic) and IL-2 and anti-CD20/CD3 antibodies, treats co-trimoxazole."
    folder = tuned_folder(tmp_path / words, HEADS["tags"], words=words)
    (found,) = answers(
        load(Loading(model=str(folder))), job("token-classification", text, aggregation_strategy="first")
    )
    wanted: Any = Predictor(folder).predict_texts([text])[0]["entities"]
    kinds = [(one["entity_group"], one["start"], one["end"], round(one["score"], 5)) for one in found]
    assert kinds == [(one["entity"], one["start"], one["end"], round(one["score"], 5)) for one in wanted]
    assert len(wanted) > 2


@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
@pytest.mark.parametrize(
    ("labels", "extra"),
    [
        (("O", "B-X", "I-X", "U-X", "L-X"), {}),
        (("O", "B-X", "I-X", "S-X", "E-X"), {}),
        (("O", "B", "I"), {}),
        (("O", "NOUN", "VERB"), {"task": "words"}),
    ],
    ids=["bioul", "bioes", "untyped", "classes"],
)
def test_tags_of_any_scheme_are_read(tmp_path: Path, strategy: str, labels: tuple[str, ...], extra: Any) -> None:
    text = "Imatinib is given for chronic myeloid leukaemia, and aspirin for pain."
    folder = tuned_folder(tmp_path / "model", Head(level="tokens", labels=labels), **extra)
    (found,) = answers(
        load(Loading(model=str(folder))), job("token-classification", text, aggregation_strategy=strategy)
    )
    kinds = set(labels[1:]) if extra else {label[2:] for label in labels[1:]}
    assert found
    assert {one["entity_group"] for one in found} <= kinds
    if strategy == "first":
        wanted: Any = Predictor(folder).predict_texts([text])[0]["entities"]
        assert [(one["entity_group"], one["start"], one["end"]) for one in found] == [
            (one["entity"], one["start"], one["end"]) for one in wanted
        ]
        assert any(" " in text[one["start"] : one["end"]] for one in found), "of several words"


@pytest.mark.parametrize("name", ["mask", "tags"])
def test_a_folder_that_goes_while_it_is_served_is_a_fault(
    name: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(folders[name], tmp_path / "model"))
    found = load(Loading(model=str(folder)))
    folder.rename(tmp_path / "gone")
    view = job("explore/view", "a cell", masks=[], predictions=True, name=name)
    hidden = job("explore/occlusion", "a cell", masks=[], place=1, answer=None, words=True)
    for one in (view, hidden):
        ((status, said),) = answer_all(found, [one])
        assert (status, said) == (frames.FAILED, b"the model cannot answer; the log says why")
        assert str(folder) in capsys.readouterr().err


def test_another_tokenizer_is_another_model_to_serve(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["encoder"], tmp_path / "model"))
    before = load(Loading(model=str(folder))).about["fingerprint"]
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"do_lower_case": False}))
    assert load(Loading(model=str(folder))).about["fingerprint"] != before


def test_what_nobody_waits_for_is_not_computed(folders: dict[str, Path]) -> None:
    """Several passes: targets of several pieces, occlusion."""
    loaded = load(Loading(model=str(folders["mask"])))
    scored = job("fill-mask", "a [MASK]", targets=["imatinib inhibits"], top_k=1)
    hidden = job("explore/occlusion", "imatinib inhibits", masks=[], place=1, answer=None, words=True)
    for one in (scored, hidden):
        ((status, said),) = answer_all(loaded, [{**one, "seconds": -2.0}])
        assert status == frames.REFUSED
        assert said.startswith(b"no answer in time;")
        ((status, _),) = answer_all(loaded, [one])
        assert status == frames.OK


def test_an_engine_with_a_clock_scores_as_one_without(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(folders["mask"])
    rows, where = [[2, 5, 3], [2, 5, 6, 7, 3], [2, 3], [2, 8, 9, 3]], [[1], [1, 3], [], [0, 2]]
    calls: list[int] = []
    real = engine.logits

    def noted(rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> Any:
        calls.append(len(rows))
        return real(rows, where)

    monkeypatch.setattr(engine, "logits", noted)
    monkeypatch.setattr(deadline, "CHUNK", 6)
    found = deadline.PunctualEngine(engine, Deadline()).logits(rows, where)
    assert calls == [1, 1, 2]
    np.testing.assert_allclose(found, real(rows, where), atol=1e-5)


def broken(task: Any) -> Loaded:
    return Loaded({"t": task}, {}, Deadline())


def test_a_fault_is_told_and_logged(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def answer(self, jobs: Any) -> Any:
            if any(job["text"] == "bad" for job in jobs):
                raise ZeroDivisionError
            return [job["text"] for job in jobs]

    found = answer_all(broken(Broken()), [job("t", "good"), job("t", "bad")])
    assert found[0] == (frames.OK, b'"good"')
    assert found[1][0] == frames.FAILED
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_fault_of_many_is_not_told_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def answer(self, jobs: Any) -> Any:
            raise ValueError(" and ".join(job["text"] for job in jobs))

    assert [status for status, _ in answer_all(broken(Broken()), [job("t", "mine"), job("t", "theirs")])] == [
        frames.FAILED,
        frames.FAILED,
    ]
    said = capsys.readouterr().err
    assert "ValueError: mine\n" in said
    assert "mine and theirs" not in said


def test_what_jobs_share_is_sent_once() -> None:
    shared = {"targets": ["a"] * 1000}
    jobs = [{"task": "t", "text": str(number), "parameters": shared} for number in range(100)]
    jobs.append({"task": "t", "text": "x", "parameters": {}})
    payload = frames.jobs_to_json(jobs)
    assert len(payload) < 15_000
    assert frames.jobs_from_json(payload) == jobs


def test_answers_hold_no_copies_of_the_text(loaded: dict[str, Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a megabyte of one unknown word, sixteen masks and a hundred answers for each would be gigabytes."""
    monkeypatch.setattr(masked_text, "PIECE_CHARACTERS", 10_000)
    text = "[MASK] " * 16 + "a" * 300_000
    tracemalloc.start()
    (found,) = answers(loaded["mask"], job("fill-mask", text, top_k=100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [len(mask) for mask in found] == [100] * 16
    assert peak < 64 << 20


def test_extreme_logits_stay_numbers() -> None:
    logits = np.array([-1e4, 0.0, 1e4])
    assert activated(logits, "softmax").tolist() == [0, 0, 1]
    assert activated(logits, "sigmoid").tolist() == [0, 0.5, 1]
