"""A run of several seeds: what it leaves, what it refuses, and that kills and workers change nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pubmedbert.errors import InputError
from pubmedbert.finetune import loop
from pubmedbert.finetune.dataset import Example, Split, hidden
from pubmedbert.finetune.loop import Fitted, Setup
from pubmedbert.finetune.own_data import open_own
from pubmedbert.finetune.predictions import read_predictions
from pubmedbert.finetune.run import finetune
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.model import precision
from pubmedbert.model.locate import locate
from tests.finetune.conftest import FAST, content, job


def test_a_run_leaves_models_predictions_and_a_result(finished: Path, own: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    assert result["dataset"] == "ner"
    assert result["metric"] == "entity_f1"
    assert "conlleval" in result["definition"]
    assert result["counts"] == {"train": 96, "dev": 24, "test": 24}
    assert [entry["seed"] for entry in result["seeds"]] == [0, 1]
    tests = [entry["test"] for entry in result["seeds"]]
    assert result["test"]["mean"] == pytest.approx(sum(tests) / 2)
    assert result["test"]["sd"] == pytest.approx(abs(tests[0] - tests[1]) / 2**0.5)
    assert result["test"]["mean"] > 0.5
    for seed in (0, 1):
        names = {path.name for path in (finished / f"seed-{seed}").iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "dev.jsonl", "test.jsonl", "seed.json"} <= names
    assert not list(finished.glob(".seed-*")), "no checkpoint is left"


def test_the_saved_model_gives_the_saved_predictions(finished: Path, own: Path) -> None:
    examples = open_own(own / "ner.toml").read("test")
    predictor = Predictor(finished / "seed-1")
    found = predictor.predict_words([example.words for example in examples])  # type: ignore[union-attr]
    saved = [answer for _, answer in read_predictions(finished / "seed-1" / "test.jsonl")]
    assert [tuple(one["tags"]) for one in found] == saved  # type: ignore[arg-type]


def test_a_finished_run_is_left_as_it_is(
    finished: Path, own: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(finished)
    finetune(job(own, tiny), finished)
    assert content(finished) == before
    assert "nothing to do" in capsys.readouterr().err


def test_more_seeds_are_added_to_those_that_are_there(finished: Path, own: Path, tiny: Path, tmp_path: Path) -> None:
    finetune(job(own, tiny, seeds=1), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test"]["sd"] is None
    first = (tmp_path / "run" / "seed-0").stat().st_mtime_ns
    finetune(job(own, tiny), tmp_path / "run")
    assert (tmp_path / "run" / "seed-0").stat().st_mtime_ns == first
    assert content(tmp_path / "run") == content(finished)


def test_the_faster_precision_is_measured_once_for_a_run(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str, asked: str, gain: float, seeds: int = 2) -> dict[str, Any]:
        monkeypatch.setattr(precision, "gain", lambda: gain)
        finetune(job(own, tiny, recipe=replace(FAST, epochs=2, precision=asked), seeds=seeds), tmp_path / name)
        return content(tmp_path / name)

    halves, exact = trained("bf16", "bf16", 1.0), trained("fp32", "fp32", 2.0)
    assert halves["result"]["recipe"]["precision"] == "bf16"
    assert halves["seed-1/model.safetensors"] != exact["seed-1/model.safetensors"]
    assert trained("slow", "auto", 1.1) == exact
    trained("fast", "auto", 2.0, seeds=1)
    assert trained("fast", "auto", 1.1) == halves, "a run goes on as it began"


def test_only_the_best_model_is_kept_where_asked(own: Path, tiny: Path, tmp_path: Path) -> None:
    result = finetune(job(own, tiny, keep="best"), tmp_path / "run")
    best = max(result["seeds"], key=lambda entry: entry["dev"])["seed"]
    assert [path.parent.name for path in (tmp_path / "run").glob("*/model.safetensors")] == [f"seed-{best}"]
    assert len(list((tmp_path / "run").glob("*/test.jsonl"))) == 2
    finetune(job(own, tiny, keep="none"), tmp_path / "none")
    assert not list((tmp_path / "none").glob("*/model.safetensors"))


def test_a_seed_that_collapsed_is_not_the_best(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = loop.fit

    def one_answer_scores_more(ready: Setup, seed: int, *rest: Any) -> Fitted:
        fitted = fit(ready, seed, *rest)
        return replace(fitted, dev=1.0, collapsed=True) if seed == 0 else replace(fitted, dev=0.5, collapsed=False)

    monkeypatch.setattr(loop, "fit", one_answer_scores_more)
    finetune(job(own, tiny, keep="best"), tmp_path / "run")
    assert [path.parent.name for path in (tmp_path / "run").glob("*/model.safetensors")] == ["seed-1"]


def test_an_empty_test_split_is_told_before_training(own: Path, tiny: Path, tmp_path: Path) -> None:
    whole = open_own(own / "ner.toml")
    empty = replace(whole, read=lambda split: [] if split == "test" else whole.read(split))
    with pytest.raises(InputError, match="the test split is empty"):
        finetune(job(own, tiny, open=lambda: empty), tmp_path / "run")
    assert not list((tmp_path / "run").glob("seed-*"))


def test_what_an_earlier_call_did_not_keep_is_trained_again(
    finished: Path, own: Path, tiny: Path, tmp_path: Path
) -> None:
    def models() -> list[str]:
        return sorted(path.parent.name for path in (tmp_path / "run").glob("seed-*/model.safetensors"))

    finetune(job(own, tiny, keep="none"), tmp_path / "run")
    assert models() == []
    finetune(job(own, tiny, keep="best"), tmp_path / "run")
    assert len(models()) == 1
    finetune(job(own, tiny, keep="all"), tmp_path / "run")
    assert models() == ["seed-0", "seed-1"]
    assert content(tmp_path / "run") == content(finished)
    finetune(job(own, tiny, keep="none"), tmp_path / "run")
    assert models() == []


def test_the_result_is_of_the_models_that_lie_there(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(job(own, tiny, keep="none"), tmp_path / "run")
    fit = loop.fit
    monkeypatch.setattr(loop, "fit", lambda ready, seed, *rest: fit(ready, seed + 7, *rest))  # as another machine would
    result = finetune(job(own, tiny, keep="best"), tmp_path / "run")
    for entry in result["seeds"]:
        note = json.loads((tmp_path / "run" / f"seed-{entry['seed']}" / "seed.json").read_text())
        assert entry["seconds"] == note["seconds"]
        assert entry["dev"] == note["dev"]


def test_types_that_only_the_test_split_has_are_named(own: Path, tiny: Path, tmp_path: Path) -> None:
    data = shutil.copytree(own, tmp_path / "own")
    tagged = (data / "test.conll").read_text()
    (data / "test.conll").write_text(tagged.replace("B-Drug", "B-Gene", 1))
    result = finetune(job(data, tiny, seeds=1, keep="none", recipe=replace(FAST, epochs=1)), tmp_path / "run")
    assert result["notes"] == ["The test split has labels that the other splits lack: Gene."]


def test_test_labels_are_not_read_before_every_seed_is_done(own: Path, tiny: Path, tmp_path: Path) -> None:
    reads: list[tuple[str, int]] = []
    opened = open_own(own / "ner.toml")

    def read(split: Split) -> Sequence[Example]:
        reads.append((split, len(list((tmp_path / "run").glob("seed-*/seed.json")))))
        examples = opened.read(split)
        return examples if reads[-1] == ("test", 2) or split != "test" else hidden(examples)

    finetune(job(own, tiny, open=lambda: replace(opened, read=read)), tmp_path / "run")
    assert [seeds for split, seeds in reads if split == "test"] == [0, 2], "texts first, labels when all is done"
    without = finetune(job(own, tiny, test=False), tmp_path / "without")
    assert "test" not in without
    assert not list((tmp_path / "without").glob("*/test.jsonl"))
    before = [path.stat().st_mtime_ns for path in (tmp_path / "without").glob("*/model.safetensors")]
    finetune(job(own, tiny), tmp_path / "without")
    assert content(tmp_path / "without") == content(tmp_path / "run"), "the saved models are asked"
    assert [path.stat().st_mtime_ns for path in (tmp_path / "without").glob("*/model.safetensors")] == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"recipe": replace(FAST, lr=1e-3)}, "was made with lr = 0.01, now it is 0.001"),
        ({"task": "classification"}, "was made with .*; choose another --out or the old value"),
    ],
)
def test_a_folder_of_another_run_is_refused(
    finished: Path, own: Path, tiny: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        finetune(job(own, tiny, **changes), finished)


def test_changed_data_are_another_run(own: Path, tiny: Path, tmp_path: Path) -> None:
    for name in ("ner.toml", "train.conll", "dev.conll", "test.conll"):
        shutil.copy(own / name, tmp_path / name)
    finetune(job(tmp_path, tiny, seeds=1), tmp_path / "run")
    test = tmp_path / "test.conll"
    test.write_text(test.read_text().replace("imatinib", "kinase", 1))
    with pytest.raises(InputError, match="predicted for other texts"):
        finetune(job(tmp_path, tiny, seeds=1), tmp_path / "run")
    train = tmp_path / "train.conll"
    train.write_text(train.read_text() + "\nthe\tO\n")
    with pytest.raises(InputError, match="was made with other examples in train"):
        finetune(job(tmp_path, tiny, seeds=1), tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "key", "value", "sentence"),
    [
        ("tokenizer_config.json", "do_lower_case", False, "was made with tokenizer = "),
        ("config.json", "num_attention_heads", 4, "was made with heads = 2, now it is 4"),
    ],
)
def test_another_tokenizer_or_shape_is_another_run(
    own: Path, tiny: Path, tmp_path: Path, name: str, key: str, value: object, sentence: str
) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    finetune(job(own, model, seeds=1), tmp_path / "run")
    settings = json.loads((model / name).read_text())
    assert settings[key] != value
    (model / name).write_text(json.dumps(settings | {key: value}))
    with pytest.raises(InputError, match=sentence):
        finetune(job(own, model, seeds=2), tmp_path / "run")


def test_a_run_of_an_older_version_is_refused(finished: Path, own: Path, tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    settings = json.loads((folder / "settings.json").read_text())
    del settings["shape"]
    (folder / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="begun by an older version"):
        finetune(job(own, tiny), folder)


def test_settings_that_failed_do_not_hold_the_folder(own: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="freeze = 7"):
        finetune(job(own, tiny, seeds=1, recipe=replace(FAST, freeze=7)), tmp_path / "run")
    assert finetune(job(own, tiny, seeds=1), tmp_path / "run")["recipe"]["freeze"] == 0


@pytest.mark.parametrize("split", ["train", "test"])
def test_bad_labels_leave_nothing(own: Path, tiny: Path, tmp_path: Path, split: str) -> None:
    data = shutil.copytree(own, tmp_path / "own")
    rows = [json.loads(line) for line in (data / f"{split}.jsonl").read_text().splitlines()]
    rows[7]["score"] = "much"
    (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=rf'{split}\.jsonl, line 8: "score"'):
        finetune(job(data, tiny, "similarity"), tmp_path / "a" / "run")
    assert not (tmp_path / "a").exists()


def test_rows_longer_than_the_model_reads_are_refused(own: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"max_length = 600, but .* reads \d+ word pieces at most"):
        finetune(job(own, tiny, recipe=replace(FAST, max_length=600)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_else_is_refused(own: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds notes\.txt and is no fine-tuning run"):
        finetune(job(own, tiny), tmp_path)


def test_the_bundled_model_can_be_fine_tuned(own: Path, tmp_path: Path) -> None:
    recipe = replace(FAST, epochs=1, lr=1e-4)
    finetune(job(own, locate("bundled"), seeds=1, recipe=recipe), tmp_path / "run")
    assert load_file(tmp_path / "run" / "seed-0" / "model.safetensors")["classifier.weight"].shape[0] == 3
