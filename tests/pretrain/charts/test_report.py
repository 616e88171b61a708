"""The page of one run and of several: well formed, without scripts, and honest about what does not compare."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from lxml import etree

from pubmedbert.errors import InputError
from pubmedbert.pretrain.charts.bars import bars
from pubmedbert.pretrain.charts.curves import Level, Line, chart, running_mean
from pubmedbert.pretrain.charts.panels import charts
from pubmedbert.pretrain.charts.record import read
from pubmedbert.pretrain.report import write_comparison, write_report

FOUND = {"by_frequency": [{"name": "10-99", "words": 40, "pieces": 40, "accuracy": 0.25}], "by_pieces": []}


def make_run(folder: Path, steps: int = 300, lr: float = 1e-3, masks: str = "m", **evaluation: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'size = "mini"\nobjective = "mlm"\nlr = {lr}\n\n[machine]\nthreads = 2\n')
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(steps + 1):
            at: dict[str, object] = {"step": step, "tokens": step * 4096, "seconds": step * 0.5}
            loss = 4 + 3 * math.exp(-step / 90) + 0.1 * math.sin(step)
            if step:
                norm = math.nan if step == 7 else 1 + abs(math.cos(step))
                line: dict[str, object] = {
                    "loss": loss,
                    "lr": lr * (1 - step / steps),
                    "grad_norm": norm,
                    "unigram_loss": 7.1,
                }
                file.write(json.dumps(at | line) + "\n")
            if step % 50 == 0:
                line = {"eval_loss": loss, "eval_accuracy": 0.3, "unigram_loss": 7.1, "masks": masks}
                file.write(json.dumps(at | line | evaluation) + "\n")
    return folder


def pictures(page: str) -> list[etree._Element]:
    """The SVG pictures of a page, parsed as XML."""
    parts = page.split("<svg")[1:]
    return [etree.fromstring("<svg" + part[: part.index("</svg>") + 6]) for part in parts]


def test_one_run_has_all_curves_and_no_script(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run")).read_text()
    assert "<script" not in page
    assert "http" not in page
    assert len(pictures(page)) == 6
    for title in ("Loss by step", "Loss by tokens read", "Loss by time trained", "Tokens per second", "Learning rate"):
        assert f"<h3>{title}</h3>" in page
    assert "unigram model" in page
    assert "nan" not in page


def test_a_run_without_a_step_is_a_page_too(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", steps=0)).read_text()
    assert "No step has been made yet" in page


def test_several_runs_are_told_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / part / "<run>", lr=lr) for part, lr in (("a", 1e-3), ("b", 2e-3))]
    (runs[0] / "evaluation.json").write_text(json.dumps({"breakdown": FOUND}))
    page = write_comparison(runs, tmp_path / "page.html").read_text()
    assert "<run>" not in page
    assert "a/&lt;run&gt;" in page
    assert "b/&lt;run&gt;" in page
    differ = page[page.index("What differs") : page.index("<details>")]
    assert "0.001" in differ
    assert "0.002" in differ
    assert "mini" not in differ
    assert "do not compare" not in page
    assert "25.0% of 40" in page
    assert len(pictures(page)) == 2 + 6 + 1, "the legend, the curves and the bars"
    assert "nan" not in page


def test_runs_of_other_masks_are_warned_of(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, masks=name) for name in ("one", "two")]
    assert "do not compare" in write_comparison(runs, tmp_path / "page.html").read_text()


def test_other_terms_of_the_loss_have_their_picture(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", eval_rtd_loss=0.2)
    assert "Held-out loss, rtd" in charts([read(run)])


def test_one_run_of_a_comparison_is_the_page_of_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert write_comparison([run], tmp_path / "page.html").read_text() == write_report(run).read_text()


def test_what_is_no_run_is_a_sentence(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=2)
    (tmp_path / "empty").mkdir()
    for folders, sentence in (
        ([run, tmp_path / "empty"], "is no run"),
        ([run, run], "named twice"),
        ([], "1 to 6 runs, not 0"),
        ([run] * 7, "1 to 6 runs, not 7"),
    ):
        with pytest.raises(InputError, match=sentence):
            write_comparison(folders, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_spike_does_not_hide_the_curve() -> None:
    values = [5.0 - n / 1000 for n in range(1000)]
    values[500] = 1e6
    picture = chart("it", "step", "loss", [Line(0, range(1000), values, smooth=False)])
    labels = [text.text for text in etree.fromstring(picture).iter("text")]
    assert not any("k" in label or "M" in label for label in labels if label and label[0].isdigit())


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [0.0, 0.0], [math.nan, 1.0, math.inf], [-1.0, 1.0]])
@pytest.mark.parametrize("log", [False, True])
def test_odd_values_give_a_picture_or_nothing(values: list[float], log: bool) -> None:
    line = Line(3, range(len(values)), values, marked=True)
    picture = chart("it", "step", "loss", [line], [Level(2.0, "level")], log=log)
    if picture:
        assert "nan" not in picture
        assert "inf" not in picture
        etree.fromstring(picture)


def test_the_running_mean_starts_unbiased() -> None:
    assert running_mean([3.0] * 50) == pytest.approx([3.0] * 50)
    assert running_mean([]) == []


def test_bars_are_as_long_as_shares() -> None:
    picture = etree.fromstring(bars("it", {"a": [(0, 0.5, "50%")], "b": [(0, 0.25, "25%")]}))
    widths = [float(rect.get("width") or 0) for rect in picture.iter("rect") if "bar" in (rect.get("class") or "")]
    assert widths[0] == 2 * widths[1]
