"""The BLURB score: every aggregate in print comes out of the row it stands under."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.blurb.published import Published, published
from pubmedbert.blurb.registry import GROUPS, NAMES, title
from pubmedbert.blurb.score import blurb_score, blurb_sd, task_means, task_sds
from pubmedbert.errors import InputError

ROWS = {row.name: row for row in published()}
ONE_DECIMAL = ("PubMedBERT, run again", "BioLinkBERT base, run again")


def test_the_thirteen() -> None:
    assert len(NAMES) == len(set(NAMES)) == 13
    assert {name: title(name).lower().replace(" ", "-") for name in NAMES} == {name: name for name in NAMES}


def test_both_scores_of_pubmedbert() -> None:
    assert round(blurb_score(ROWS["PubMedBERT"].scores), 2) == 81.16
    later = ROWS["PubMedBERT, quoted later"]
    assert round(blurb_score(later.scores), 2) == 81.10
    assert (later.scores["jnlpba"], later.scores["gad"]) == (80.06, 82.34)
    means = task_means(ROWS["PubMedBERT"].scores)
    assert [round(means[task], 2) for task in ("named entities", "relations", "question answering")] == [
        86.08,
        81.19,
        71.70,
    ]


@pytest.mark.parametrize("row", [row for row in published() if row.blurb], ids=lambda row: row.name)
def test_published_aggregates(row: Published) -> None:
    """To the last digit in print: 0.005, but 0.05 for the two rows that were printed with one decimal."""
    assert row.blurb is not None
    assert blurb_score(row.scores) == pytest.approx(row.blurb, abs=0.05 if row.name in ONE_DECIMAL else 0.005)


def test_rows_are_sound() -> None:
    assert len(ROWS) == len(published()) == 18
    for row in published():
        assert row.source
        assert set(row.sd) <= set(row.scores) <= set(NAMES)
        assert tuple(row.scores) == tuple(name for name in NAMES if name in row.scores)
        assert all(45 < value < 100 for value in row.scores.values())
        assert (row.blurb is None) >= (len(row.scores) < 13)


@pytest.mark.parametrize("name", NAMES)
def test_no_score_without_all(name: str) -> None:
    scores = {other: 1.0 for other in NAMES if other != name}
    with pytest.raises(InputError, match=f"needs all 13 data sets; there is no score of {name}$"):
        blurb_score(scores)
    means = task_means(scores)
    assert len(means) == 5
    assert not any(name in GROUPS[task] for task in means)


def test_all_missing_are_named() -> None:
    with pytest.raises(InputError, match=r"no score of gad, hoc$"):
        blurb_score({name: 1.0 for name in NAMES if name not in ("gad", "hoc")} | {"mine": 1.0})
    assert task_means({}) == {}


@given(st.lists(st.floats(0, 100), min_size=13, max_size=13), st.sampled_from(NAMES))
def test_every_task_type_weighs_a_sixth(values: list[float], name: str) -> None:
    scores = dict(zip(NAMES, values, strict=True))
    size = next(len(names) for names in GROUPS.values() if name in names)
    raised = scores | {name: scores[name] + 6 * size}
    assert blurb_score(raised) == pytest.approx(blurb_score(scores) + 1)
    assert 0 <= blurb_score(scores) <= 100


def test_standard_deviations() -> None:
    sds = dict.fromkeys(NAMES, 1.0)
    assert task_sds(sds)["relations"] == pytest.approx(3**-0.5)
    assert blurb_sd(sds) == pytest.approx((1 / 5 + 1 + 1 / 3 + 1 + 1 + 1 / 2) ** 0.5 / 6)
    assert blurb_sd({name: 1.0 for name in NAMES if name != "ddi"}) is None
    assert "relations" not in task_sds({"ddi": 1.0})
