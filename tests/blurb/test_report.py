"""The report: what it says of invented results, and what it refuses."""

from __future__ import annotations

import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from pubmedbert.blurb.published import published
from pubmedbert.blurb.registry import NAMES
from pubmedbert.blurb.report import write_report
from pubmedbert.blurb.results import check_model
from pubmedbert.blurb.score import blurb_score
from pubmedbert.errors import InputError
from pubmedbert.finetune.metrics import METRICS

KINDS = {
    "ebm-pico": ("words", "word_macro_f1", ["I-PAR", "O"]),
    "chemprot": ("relation", "micro_f1", "CPR:3"),
    "ddi": ("relation", "micro_f1", "effect"),
    "gad": ("relation", "micro_f1", "1"),
    "biosses": ("similarity", "pearson", 3.25),
    "hoc": ("multilabel", "multilabel_f1", ["a", "b"]),
    "pubmedqa": ("pairs", "accuracy", "yes"),
    "bioasq": ("pairs", "accuracy", "no"),
}
NASTY = '<script>alert("x")</script> & | `*_'


def write_result(folder: Path, name: str, scores: list[float] | None, **changes: object) -> None:
    """A data set's folder: test scores in percent, dev one higher for odd seeds; None for hidden test labels."""
    task, metric, prediction = KINDS.get(name, ("ner", "entity_f1", ["B-Gene", "O"]))
    runs: list[dict[str, Any]] = []
    for seed, score in enumerate(scores or [50.0]):
        run = {"seed": seed, "dev": (score + seed % 2) / 100, "restarts": 0, "seconds": 12.3, "best_epoch": 3}
        runs.append(run | ({"test": score / 100} if scores else {}))
        predictions = folder / name / f"seed-{seed}" / "test.jsonl"
        predictions.parent.mkdir(parents=True)
        lines = [{"id": f"{seed}-{row}", "prediction": prediction, "scores": [0.5]} for row in range(2)]
        predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result: dict[str, object] = {
        "dataset": name,
        "task": task,
        "metric": metric,
        "definition": METRICS[metric].definition,
        "model": "bundled",
        "recipe": {"rate": 3e-5, "epochs": 20},
        "counts": {"train": 100, "dev": 10, "test": 2},
        "notes": [],
        "seeds": runs,
    }
    (folder / name / "result.json").write_text(json.dumps(result | changes))


def all_of_blurb(folder: Path, scores: list[float] | None = None) -> None:
    for place, name in enumerate(NAMES):
        write_result(folder, name, scores or [70.0 + place, 72.0 + place, 74.0 + place])


class Page(HTMLParser):
    """The page's tags, which must be closed in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_all_thirteen(tmp_path: Path) -> None:
    all_of_blurb(tmp_path)
    report: Any = write_report(tmp_path, {})
    means = {name: 72.0 + place for place, name in enumerate(NAMES)}
    assert report["blurb"]["mean"] == pytest.approx(blurb_score(means))
    assert report["blurb"]["sd"] == pytest.approx(2 * (1 / 5 + 1 + 1 / 3 + 1 + 1 + 1 / 2) ** 0.5 / 6)
    assert report["tasks"]["question answering"]["mean"] == pytest.approx(83.5)
    assert report["missing"] == {}
    assert list(report["datasets"]) == list(NAMES)
    gad = report["datasets"]["gad"]
    assert gad["test"] == {"mean": pytest.approx(80.0), "sd": pytest.approx(2.0)}
    assert (gad["best_seed"], len(gad["seeds"]), gad["published"]["PubMedBERT"]) == (2, 3, 83.96)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    markdown = (tmp_path / "report.md").read_text()
    assert f"BLURB score: {blurb_score(means):.2f} ± " in markdown
    assert "| GAD | relations | micro F1 | 80.00 ± 2.00 | 3 | 80.33 ± 2.08 | 83.96 |" in markdown
    assert "Missing" not in markdown
    page = Page((tmp_path / "report.html").read_text())
    assert "BLURB score" in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 13
    for metric in {kind for _, kind, _ in KINDS.values()} | {"entity_f1"}:
        assert METRICS[metric].definition in page.text


def test_no_score_of_fewer(tmp_path: Path) -> None:
    write_result(tmp_path, "ncbi-disease", [85.0, 86.0])
    write_result(tmp_path, "pubmedqa", [55.0])
    write_result(tmp_path, "bioasq", None)
    write_result(tmp_path, "biosses", [90.0])
    (tmp_path / "gad").mkdir()  # stopped before its result
    report: Any = write_report(tmp_path, {"gad": "the folder gad/ is not there", "mine": "no such file"})
    assert report["blurb"] is None
    assert {task: mean for task, mean in report["tasks"].items() if mean} == {
        "sentence similarity": {"mean": pytest.approx(90.0), "sd": None, "caveat": ""}
    }
    assert list(report["missing"]) == [
        *(n for n in NAMES if n not in ("ncbi-disease", "pubmedqa", "biosses")),
        "mine",
    ]
    assert report["missing"]["gad"] == "the folder gad/ is not there"
    assert report["missing"]["bioasq"] == "its test set was not scored"
    assert report["missing"]["hoc"] == "it was not run"
    assert report["datasets"]["bioasq"]["test"] is None
    sentence = "There is no BLURB score, for 10 of its 13 data sets have no test score"
    markdown, page = (tmp_path / "report.md").read_text(), Page((tmp_path / "report.html").read_text())
    assert sentence in markdown
    assert sentence in page.text
    assert "| 55.00 | 1 |" in markdown
    assert "| BC5-chem | it was not run |" in markdown
    assert sum(tag == "svg" for tag, _ in page.tags) == 3


def test_other_data_sets_come_last(tmp_path: Path) -> None:
    write_result(tmp_path, "a-new-set", [40.0, 41.0])
    write_result(tmp_path, "jnlpba", [78.0])
    report: Any = write_report(tmp_path, {})
    assert list(report["datasets"]) == ["jnlpba", "a-new-set"]
    assert report["datasets"]["a-new-set"]["published"] == {}
    assert "| a-new-set | ner | entity F1 | 40.50 ± 0.71 | 2 |" in (tmp_path / "report.md").read_text()


def test_the_page_stands_alone_and_escapes(tmp_path: Path) -> None:
    nasty: dict[str, Any] = {"model": NASTY, "recipe": {NASTY: NASTY}, "counts": {NASTY: NASTY}, "definition": NASTY}
    write_result(tmp_path, "gad", [80.0], **nasty, notes=[NASTY])
    write_result(tmp_path, "hoc", [0.0, 0.0], model=NASTY)
    write_report(tmp_path, {NASTY: NASTY})
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.text.count(NASTY) >= 6
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not [
        name for _, attributes in page.tags for name in attributes if name in ("src", "href") or name[:2] == "on"
    ]
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    markdown = (tmp_path / "report.md").read_text()
    assert not re.search(r"(?<!\\)[<`*|]script|(?<!\\)<", markdown)
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3, 8}


def test_pictures(tmp_path: Path) -> None:
    write_result(tmp_path, "pubmedqa", [55.0, 60.0, 50.0])
    write_report(tmp_path, {})
    picture = re.search(r"<svg.*</svg>", (tmp_path / "report.html").read_text(), re.S)
    assert picture
    svg = ElementTree.fromstring(picture[0])
    assert len(svg.findall("circle")) == 3
    rows = [row for row in published() if "pubmedqa" in row.scores]
    assert [line.get("class") for line in svg.findall("line")].count("tick") == len(rows)
    names = [text.text for text in svg.findall("text")]
    assert names.index("BioM-ALBERT xxlarge PMC") < names.index("PubMedBERT") < names.index("BlueBERT")
    places = [float(dot.get("cx", 0)) for dot in svg.findall("circle")]
    assert places[2] < places[0] < places[1]
    assert 172 <= min(places) < max(places) <= 350


def test_submission(tmp_path: Path) -> None:
    write_result(tmp_path, "biosses", [90.0, 91.0, 89.0, 90.0])
    write_result(tmp_path, "hoc", None)
    write_result(tmp_path, "gad", [80.0])
    (tmp_path / "gad" / "seed-0" / "test.jsonl").unlink()
    write_report(tmp_path, {}, team="A team", model="A model")
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert archive.namelist() == ["README.txt", "biosses.json", "hoc.json"]
        readme = archive.read("README.txt").decode()
        biosses, hoc = (json.loads(archive.read(f"{name}.json")) for name in ("biosses", "hoc"))
    assert "Team: A team\nModel: A model\nModel that was fine-tuned: bundled\n" in readme
    assert "Data sets here: biosses, hoc\n" in readme
    assert "gad" in readme.rsplit("without predictions:")[1]
    assert "hoc" not in readme.rsplit("without predictions:")[1]
    assert biosses == {
        "dataset": "biosses",
        "task": "similarity",
        "metric": "pearson",
        "seed": 1,
        "predictions": [{"id": "1-0", "prediction": 3.25}, {"id": "1-1", "prediction": 3.25}],
    }
    assert hoc["predictions"][0] == {"id": "0-0", "prediction": ["a", "b"]}
    first = (tmp_path / "submission.zip").read_bytes()
    write_report(tmp_path, {}, team="A team", model="A model")
    assert (tmp_path / "submission.zip").read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, '"seeds" must be a list'),
        ({"seeds": [{"seed": 0}]}, '"dev" of every seed must be a number, not null'),
        ({"seeds": [{"seed": 0, "dev": float("nan"), "restarts": 0, "seconds": 1}]}, "not NaN"),
        ({"metric": "bleu"}, "no metric 'bleu'"),
        ({"dataset": "../gad"}, "its folder must have that name"),
        ({"model": None}, '"model" must be a text, not null'),
        ({"notes": "a"}, '"notes" must be a list'),
        ({"counts": 3}, '"counts" must be an object, not 3'),
    ],
)
def test_damaged_results(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_result(tmp_path, "gad", [80.0], **changes)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        write_report(tmp_path, {})
    assert "gad/result.json" in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_some_seeds_without_test(tmp_path: Path) -> None:
    write_result(tmp_path, "gad", [80.0, 81.0])
    path = tmp_path / "gad" / "result.json"
    result = json.loads(path.read_text())
    del result["seeds"][1]["test"]
    path.write_text(json.dumps(result))
    with pytest.raises(InputError, match="some seeds have a test score"):
        write_report(tmp_path, {})


def test_nothing_and_too_much(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no result"):
        write_report(tmp_path, {})
    write_result(tmp_path, "gad", [80.0])
    write_result(tmp_path, "ddi", [80.0], model="another")
    with pytest.raises(InputError, match=r"several models \(another, bundled\)"):
        write_report(tmp_path, {})


def test_a_model_is_its_weights_whatever_it_is_called(tmp_path: Path) -> None:
    write_result(tmp_path, "gad", [80.0], model="./m", weights="abc")
    write_result(tmp_path, "ddi", [80.0], model="m", weights="abc")
    write_report(tmp_path, {})
    check_model(tmp_path, "abc")
    (tmp_path / "gad" / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result\.json is of other weights \(m\)"):
        check_model(tmp_path, "xyz")


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "a"}', "3"])
def test_damaged_predictions(tmp_path: Path, line: str) -> None:
    write_result(tmp_path, "gad", [80.0])
    path = tmp_path / "gad" / "seed-0" / "test.jsonl"
    path.write_text('{"id": "a", "prediction": "b"}\n' + line + "\n")
    with pytest.raises(InputError, match=r'test\.jsonl, line 2: a JSON object with "id" and "prediction"'):
        write_report(tmp_path, {})


def test_what_does_not_compare_is_said_beside_the_score(tmp_path: Path) -> None:
    fallen = {"seed": 0, "dev": 0.5, "test": 1.0, "restarts": 2, "seconds": 1.0, "best_epoch": 1, "collapsed": True}
    write_result(tmp_path, "gad", [70.0], seeds=[fallen], comparable=False)
    write_result(tmp_path, "biosses", [70.0])
    report = write_report(tmp_path, {})
    caveat = "100.00 (1 of 1 seeds collapsed; other data than published)"
    assert caveat in (tmp_path / "report.html").read_text()
    assert caveat in (tmp_path / "report.md").read_text()
    assert "BLURB score: 11 of 13 data sets are missing" in Page((tmp_path / "report.html").read_text()).text
    datasets = cast("dict[str, dict[str, object]]", report["datasets"])
    assert [(one["collapsed"], one["comparable"]) for one in datasets.values()] == [(1, False), (0, True)]


def test_what_does_not_compare_is_said_beside_the_means(tmp_path: Path) -> None:
    fallen = {"seed": 0, "dev": 0.5, "test": 0.6, "restarts": 2, "seconds": 1.0, "best_epoch": 1, "collapsed": True}
    changes: dict[str, dict[str, Any]] = {"biosses": {"seeds": [fallen]}, "gad": {"comparable": False}}
    for name in NAMES:
        write_result(tmp_path, name, [60.0], **changes.get(name, {}))
    write_result(tmp_path, "mine", [60.0], comparable=False)
    report: Any = write_report(tmp_path, {})
    biosses, gad = "BIOSSES: 1 of 1 seeds collapsed", "GAD: other data than published"
    assert report["blurb"]["caveat"] == f"{gad}; {biosses}"
    assert {task: mean["caveat"] for task, mean in report["tasks"].items() if mean["caveat"]} == {
        "relations": gad,
        "sentence similarity": biosses,
    }
    markdown, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert f"BLURB score: 60.00 ({gad}; {biosses})" in markdown
    assert f"| sentence similarity | 60.00 ({biosses}) |" in markdown
    assert f"<b>60.00</b><span>BLURB score</span><small>{gad}; {biosses}</small>" in page
    assert "<span>question answering</span></li>" in page
