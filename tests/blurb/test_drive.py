"""`finetune`, `blurb` and `compare` through the command line, on small files in the forms of the originals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pubmedbert.blurb.registry import NAMES
from pubmedbert.cli import main
from pubmedbert.model import hf
from pubmedbert.model.config import ModelConfig
from pubmedbert.vocab.folder import build, save
from tests.e2e.test_docs import small_blurb
from tests.finetune.conftest import own, tiny
from tests.infer.conftest import WORDS, refused
from tests.model.reference import our_model

__all__ = ["own", "refused", "tiny"]

QUICK = ["--seeds", "2", "--workers", "1", "--set", "epochs=1", "--set", "restarts=0"]


@pytest.fixture(scope="module")
def blurb_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small_blurb(folder)
    return folder


@pytest.fixture(scope="module")
def report(blurb_data: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "blurb"
    main(["blurb", "--model", str(tiny), "--data", str(blurb_data), "--out", str(folder), *QUICK])
    return folder


def test_blurb_runs_what_is_there_and_says_what_is_missing(report: Path) -> None:
    written = json.loads((report / "report.json").read_text())
    assert {name for name in NAMES if (report / name).is_dir()} == {"ncbi-disease", "gad", "biosses"}
    text = json.dumps(written)
    assert "EBM-PICO/dev.tsv, test.tsv, train.tsv" in text
    page = (report / "report.md").read_text()
    assert "There is no BLURB score, for 10 of its 13 data sets" in page
    assert "conlleval" in page
    assert (report / "report.html").read_text().count("<svg") >= 3
    assert (report / "submission.zip").exists()
    assert [path.name for path in (report / "ncbi-disease").glob("seed-*/model.safetensors")] == ["model.safetensors"]


def test_blurb_again_does_nothing_but_report(
    report: Path, blurb_data: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in report.glob("*/seed-*/*")}
    main(["blurb", "--model", str(tiny), "--data", str(blurb_data), "--out", str(report), *QUICK])
    assert {path: path.stat().st_mtime_ns for path in report.glob("*/seed-*/*")} == before
    assert capsys.readouterr().err.count("nothing to do") == 3


def test_blurb_goes_on_under_another_name_of_the_model_only(
    report: Path, blurb_data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(report, tmp_path / "out")
    other = shutil.copytree(tiny, tmp_path / "other")
    main(["blurb", "--model", str(other), "--data", str(blurb_data), "--out", str(out), *QUICK])
    assert json.loads((out / "gad" / "result.json").read_text())["model"] == str(other)
    model = hf.load(other)
    model.encoder.embeddings.words.weight.data += 1
    hf.save(model, other)
    with pytest.raises(SystemExit, match="2"):
        main(["blurb", "--model", str(other), "--data", str(blurb_data), "--out", str(out), "--datasets", "gad"])
    assert "is of other weights" in capsys.readouterr().err


def test_compare_two_runs(
    report: Path, blurb_data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [
        "finetune",
        "--model",
        str(tiny),
        "--dataset",
        "gad",
        "--data",
        str(blurb_data),
        "--out",
        str(tmp_path / "b"),
    ]
    main([*run, *QUICK, "--recipe", "plain", "--set", "lr=1e-2"])
    capsys.readouterr()
    main(["compare", str(report / "gad"), str(tmp_path / "b"), "--data", str(blurb_data), "--resamples", "50"])
    said = capsys.readouterr().out
    assert said.startswith("gad: micro F1 of ")
    assert "(bootstrap over 2 examples and the seeds (2 and 2), 50 resamples)" in said


def test_ones_own_data_needs_no_folder(
    own: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for task in ("ner", "classification"):
        toml, out = str(own / f"{task}.toml"), str(tmp_path / task)
        main(["finetune", "--model", str(tiny), "--dataset", toml, "--out", out, *QUICK, "--json"])
        assert json.loads(capsys.readouterr().out)["dataset"] == task
    main(["predict", "--model", str(tmp_path / "ner" / "seed-1"), str(own / "test.jsonl")])
    answers = capsys.readouterr().out.splitlines()
    assert len(answers) == 24
    assert all("entities" in json.loads(answer) for answer in answers)


def test_data_that_cannot_be_had_is_refused_with_what_to_fetch(
    blurb_data: Path, tiny: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run = ["finetune", "--model", tiny, "--data", blurb_data, "--out", tmp_path / "run", "--dataset"]
    said = refused(*run, "ebm-pico")
    assert "EBM-PICO/dev.tsv, test.tsv, train.tsv" in said
    assert "fetch" in said
    assert not (tmp_path / "run").exists()
    assert "none of bc5-chem, " in refused(*run, "bc6")
    assert "--data must name the folder that holds GAD/" in refused(
        "finetune", "--model", tiny, "--dataset", "gad", "--out", tmp_path / "run"
    )
    assert "no BLURB data set 'bc6'" in refused("blurb", "--data", blurb_data, "--out", tmp_path, "--datasets", "bc6")
    for data, sentence in ((tmp_path / "no", "which is no folder"), (tmp_path, "none of 13 data sets is in")):
        assert sentence in refused("blurb", "--model", tiny, "--data", data, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_runs_on_different_data_are_not_compared(report: Path, blurb_data: Path, refused: Callable[..., str]) -> None:
    said = refused("compare", report / "gad", report / "biosses", "--data", blurb_data)
    assert "compare runs on one data set" in said


def test_real_ebm_pico_is_refused_for_want_of_its_training_file(
    real_data: Path, tiny: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    said = refused("finetune", "--model", tiny, "--data", real_data, "--dataset", "ebm-pico", "--out", tmp_path / "run")
    assert "train.tsv" in said
    assert "fetch" in said


def test_a_damaged_run_is_one_sentence(report: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    shutil.copytree(report / "gad", tmp_path / "gad")
    (tmp_path / "gad" / "result.json").write_text("{")
    assert "is not JSON" in refused("compare", tmp_path / "gad", report / "gad")


def test_a_data_set_that_fails_does_not_stop_the_others(
    blurb_data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(blurb_data, tmp_path / "data")
    (data / "GAD" / "train.tsv").write_text("index\tsentence\n")
    names = ["--datasets", "gad,biosses"]
    with pytest.raises(SystemExit, match="2"):
        main(["blurb", "--model", str(tiny), "--data", str(data), "--out", str(tmp_path / "out"), *QUICK, *names])
    assert capsys.readouterr().err.splitlines()[-1].endswith("gad could not be run: gad: the train split is empty")
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["missing"]["gad"] == "gad: the train split is empty"
    assert written["datasets"]["biosses"]["test"] is not None


def test_a_damaged_model_of_a_data_set_does_not_stop_the_others(
    blurb_data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["blurb", "--model", str(tiny), "--data", str(blurb_data), "--out", str(tmp_path), *QUICK]
    command += ["--datasets", "gad,biosses", "--keep", "all"]
    main(command)
    for seed in (tmp_path / "gad").glob("seed-*"):
        (seed / "test.jsonl").unlink()
        (seed / "model.safetensors").write_bytes((seed / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "gad could not be run" in capsys.readouterr().err
    written = json.loads((tmp_path / "report.json").read_text())
    assert "model.safetensors" in written["missing"]["gad"]
    assert written["datasets"]["biosses"]["test"] is not None


def test_an_old_result_of_a_data_set_that_fails_now_is_not_reported(
    report: Path, blurb_data: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = shutil.copytree(blurb_data, tmp_path / "data"), shutil.copytree(report, tmp_path / "out")
    lines = (data / "BIOSSES" / "train.tsv").read_text().splitlines()
    (data / "BIOSSES" / "train.tsv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(SystemExit, match="2"):
        main(["blurb", "--model", str(tiny), "--data", str(data), "--out", str(out), *QUICK])
    assert "biosses could not be run" in capsys.readouterr().err
    written = json.loads((out / "report.json").read_text())
    assert "was made with other examples in train" in written["missing"]["biosses"]
    assert written["datasets"].keys() == {"ncbi-disease", "gad"}
    assert "was made with other examples" in (out / "report.md").read_text()


def test_a_damaged_result_is_written_anew_when_its_turn_comes(
    report: Path, blurb_data: Path, tiny: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(report, tmp_path / "out")
    whole = (out / "gad" / "result.json").read_text()
    (out / "gad" / "result.json").write_text("{")
    main(["blurb", "--model", str(tiny), "--data", str(blurb_data), "--out", str(out), *QUICK])
    assert (out / "gad" / "result.json").read_text() == whole


def test_compare_says_what_is_missing(
    own: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    run, toml = str(tmp_path / "ner"), str(own / "ner.toml")
    main(["finetune", "--model", str(tiny), "--dataset", toml, "--out", run, *QUICK, "--no-test"])
    capsys.readouterr()
    assert "is a run on your own data ner: name its TOML file with --dataset" in refused("compare", run, run)
    assert "was not scored on a test split" in refused("compare", run, run, "--dataset", toml)


def test_a_length_is_cut_to_the_model_and_one_that_was_asked_for_refused(
    own: Path, tiny: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    given = ["finetune", "--model", str(tiny), "--dataset", str(own / "ner.toml"), "--out", str(tmp_path / "run")]
    said = refused(*given, *QUICK, "--set", "max_length=300")
    assert "max_length = 300, but" in said
    assert "reads 48 word pieces at most" in said
    main([*given, *QUICK])
    assert json.loads((tmp_path / "run" / "result.json").read_text())["recipe"]["max_length"] == 48


def test_predictions_for_another_test_split_are_not_compared(
    own: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    data = shutil.copytree(own, tmp_path / "own")
    toml, runs = str(data / "classification.toml"), [str(tmp_path / name) for name in "ab"]
    for run in runs:
        main(["finetune", "--model", str(tiny), "--dataset", toml, "--out", run, *QUICK])
    main(["compare", *runs, "--dataset", toml, "--resamples", "20"])
    assert "24 examples and the seeds (2 and 2), 20 resamples" in capsys.readouterr().out
    lines = (data / "test.jsonl").read_text().splitlines()
    (data / "test.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    assert "for other texts than the test split" in refused("compare", *runs, "--dataset", toml)
    other = str(own / "relation.toml")
    assert "is a run on classification with" in refused("compare", *runs, "--dataset", other)


def test_a_search_leaves_what_a_recipe_file_sets(own: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("lr = 2e-3\nbatch = 8\nepochs = 1\n")
    toml, out = str(own / "classification.toml"), tmp_path / "run"
    run = ["finetune", "--model", str(tiny), "--dataset", toml, "--out", str(out), "--recipe", str(tmp_path / "r.toml")]
    main([*run, "--seeds", "1", "--search", "1"])
    recipe = json.loads((out / "result.json").read_text())["recipe"]
    assert (recipe["lr"], recipe["batch"], recipe["epochs"]) == (2e-3, 8, 1)


def test_blurb_searches_each_data_set(blurb_data: Path, tiny: Path, tmp_path: Path) -> None:
    chosen = ["--datasets", "biosses", "--set", "epochs=1", "--set", "restarts=0", "--seeds", "1", "--search", "2"]
    main(["blurb", "--model", str(tiny), "--data", str(blurb_data), "--out", str(tmp_path / "out"), *chosen])
    assert json.loads((tmp_path / "out" / "biosses" / "settings.json").read_text())["search"] == 2
    assert json.loads((tmp_path / "out" / "biosses" / "result.json").read_text())["recipe"]["epochs"] == 1


def test_a_style_is_for_data_with_offsets(
    own: Path, blurb_data: Path, tiny: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    style = ["--set", "style=markers"]
    said = refused(
        "finetune", "--model", tiny, "--dataset", own / "relation.toml", "--out", tmp_path / "a", *QUICK, *style
    )
    assert "comes without the places of what is related" in said
    gad = ["--model", str(tiny), "--data", str(blurb_data)]
    said = refused("finetune", *gad, "--dataset", "gad", "--out", tmp_path / "b", *QUICK, *style)
    assert "style = markers goes with chemprot and ddi only: gad" in said
    main(["blurb", *gad, "--datasets", "gad", "--out", str(tmp_path / "c"), *QUICK, *style])
    assert json.loads((tmp_path / "c" / "gad" / "result.json").read_text())["recipe"]["style"] == "dummies"


def test_a_folder_that_is_no_run_is_refused_before_anything_is_trained(
    report: Path, blurb_data: Path, tiny: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    shutil.copytree(report / "gad", tmp_path / "out" / "gad-old")
    said = refused("blurb", "--model", tiny, "--data", blurb_data, "--out", tmp_path / "out", *QUICK)
    assert "so its folder must have that name" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gad-old"]


@pytest.mark.parametrize(
    ("dataset", "file", "old", "new", "sentence"),
    [
        ("gad", "seed-0/seed.json", '"seed": 0', '"other": 0', 'is damaged ("seed" is None): delete'),
        ("gad", "seed-0/seed.json", '"collapsed"', '"dev": "x", "collapsed"', "is damaged (\"dev\" is 'x')"),
        ("gad", "seed-1/test.jsonl", '"prediction": "', '"prediction": "x', "line 1: "),
        ("biosses", "seed-1/test.jsonl", '"prediction": ', '"prediction": "x", "a": ', 'line 1: "x" is no answer to'),
        (
            "ncbi-disease",
            "seed-0/test.jsonl",
            '"prediction": [',
            '"prediction": ["O", ',
            "is no answer to ncbi-disease",
        ),
    ],
)
def test_damaged_files_of_a_seed_are_one_sentence(
    dataset: str,
    file: str,
    old: str,
    new: str,
    sentence: str,
    report: Path,
    blurb_data: Path,
    tiny: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(report / dataset, tmp_path / dataset)
    text = (run / file).read_text()
    assert old in text
    (run / file).write_text(text.replace(old, new, 1))
    before = (run / "result.json").read_bytes()
    given = ["--model", str(tiny), "--dataset", dataset, "--data", str(blurb_data), "--out", str(run), "--keep", "best"]
    with pytest.raises(SystemExit, match="2"):
        main(["finetune", *given, *QUICK])
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert (run / "result.json").read_bytes() == before
    assert sentence in refused("compare", run, report / dataset, "--data", blurb_data)


def test_a_second_text_needs_a_model_that_reads_two(own: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    save(build(WORDS), tmp_path / "one")
    hf.save(
        our_model(ModelConfig(vocab_size=len(WORDS), layers=1, width=8, heads=1, ffn=8, token_types=1)),
        tmp_path / "one",
    )
    data = shutil.copytree(own, tmp_path / "own")
    with (data / "classification.toml").open("a") as file:
        file.write('text_b = "other"\n')
    toml = data / "classification.toml"
    said = refused("finetune", "--model", tmp_path / "one", "--dataset", toml, "--out", tmp_path / "run", *QUICK)
    assert "reads one text at a time" in said


def test_pairs_need_a_model_that_reads_two_texts(own: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    save(build(WORDS), tmp_path / "one")
    hf.save(
        our_model(ModelConfig(vocab_size=len(WORDS), layers=1, width=8, heads=1, ffn=8, token_types=1)),
        tmp_path / "one",
    )
    said = refused(
        "finetune", "--model", tmp_path / "one", "--dataset", own / "pairs.toml", "--out", tmp_path / "run", *QUICK
    )
    assert "reads one text at a time" in said
