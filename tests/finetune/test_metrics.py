"""The metrics: by hand, and against seqeval, scikit-learn and scipy."""

from __future__ import annotations

import json
import random
import time
import warnings
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.finetune.metrics import METRICS, Gold, counts, details, from_counts, of, score

TAGS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
CLASSES = ["a", "b", "c", "none"]
NUMBERS = st.floats(-4, 4).map(lambda number: round(number, 2))


def sentences(tags: list[str]) -> st.SearchStrategy[list[tuple[list[str], list[str]]]]:
    """Sentences with gold and predicted tags."""
    words = st.lists(st.tuples(st.sampled_from(tags), st.sampled_from(tags)), min_size=1, max_size=8)
    return st.lists(words.map(lambda pairs: ([a for a, _ in pairs], [b for _, b in pairs])), min_size=1, max_size=6)


def pairs_of(values: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[list[tuple[Any, Any]]]:
    return st.lists(st.tuples(values, values), min_size=least, max_size=20)


def parted(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [gold for gold, _ in pairs], [guess for _, guess in pairs]


@pytest.mark.parametrize(
    ("metric", "gold", "predicted", "wanted"),
    [
        # Three entities, two predicted, one of them with a wrong end: P 1/2, R 1/3.
        ("entity_f1", [["B-X", "I-X", "O", "B-Y"], ["B-X"]], [["B-X", "O", "O", "B-Y"], ["O"]], 2 / 5),
        ("entity_f1", [["B", "I"]], [["I", "I"]], 1.0),
        ("entity_f1", [["B-X"]], [["B-Y"]], 0.0),
        ("entity_f1", [["O"]], [["O"]], 0.0),
        # p: 1 right of 2 predicted, 1 in gold; i: none of 1.
        ("word_macro_f1", [["I-p", "O", "I-i"]], [["I-p", "I-p", "O"]], (2 / 3 + 0) / 2),
        ("micro_f1", ["a", "none", "b", "b"], ["a", "a", "none", "b"], 4 / 6),
        ("accuracy", ["yes", "no", "yes"], ["yes", "yes", "maybe"], 1 / 3),
        ("macro_f1", ["a", "a", "b"], ["a", "b", "b"], 2 / 3),
        ("multilabel_f1", [("a", "b"), (), ("c",)], [("a",), ("c",), ("c",)], 4 / 6),
        ("multilabel_f1", [()], [()], 0.0),
        ("pearson", [1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 1.0),
        ("pearson", [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -1.0),
        ("spearman", [1.0, 2.0, 3.0], [1.0, 10.0, 100.0], 1.0),
    ],
)
def test_by_hand(metric: str, gold: list[Gold], predicted: list[Gold], wanted: float) -> None:
    negative = "none" if metric == "micro_f1" else None
    assert score(metric, gold, predicted, negative=negative) == pytest.approx(wanted)


@pytest.mark.filterwarnings("ignore::UserWarning")  # seqeval's, where there is no entity
@given(sentences(TAGS))
def test_entity_f1_is_seqevals(pairs: list[tuple[list[str], list[str]]]) -> None:
    reference = pytest.importorskip("seqeval.metrics")
    gold, predicted = parted(pairs)
    assert score("entity_f1", gold, predicted) == pytest.approx(reference.f1_score(gold, predicted))
    overall = details("entity_f1", gold, predicted)["overall"]
    assert isinstance(overall, dict)
    assert overall["precision"] == pytest.approx(reference.precision_score(gold, predicted))
    assert overall["recall"] == pytest.approx(reference.recall_score(gold, predicted))


@given(sentences(["O", "I-PAR", "I-INT", "I-OUT"]))
def test_word_macro_f1_is_scikit_learns(pairs: list[tuple[list[str], list[str]]]) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    gold, predicted = parted(pairs)
    labels = ["I-PAR", "I-INT", "I-OUT"]
    wanted = 0.0
    if present := {*chain(*gold), *chain(*predicted)} - {"O"}:  # a class of neither side has no F1
        tags = [*chain(*gold)], [*chain(*predicted)]
        wanted = reference.f1_score(*tags, labels=sorted(present), average="macro", zero_division=0)
    assert score("word_macro_f1", gold, predicted, labels=labels) == pytest.approx(wanted)
    assert score("word_macro_f1", gold, predicted, labels=["O", *labels]) == pytest.approx(wanted)


@given(pairs_of(st.sampled_from(CLASSES)))
def test_single_labels_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    gold, predicted = parted(pairs)
    positive, options = CLASSES[:-1], {"zero_division": 0}
    micro = reference.f1_score(gold, predicted, labels=positive, average="micro", **options)
    macro = reference.f1_score(gold, predicted, average="macro", **options)
    present = reference.f1_score(gold, predicted, labels=sorted(set(gold)), average="macro", **options)
    accuracy = reference.accuracy_score(gold, predicted)
    assert score("micro_f1", gold, predicted, negative="none") == pytest.approx(micro)
    assert score("micro_f1", gold, predicted) == pytest.approx(accuracy)
    assert score("accuracy", gold, predicted, negative="none") == pytest.approx(accuracy)
    assert score("macro_f1", gold, predicted, labels=CLASSES) == pytest.approx(macro)
    assert score("macro_f1", gold, predicted) == pytest.approx(present)


@given(pairs_of(st.sets(st.sampled_from(CLASSES)).map(lambda labels: tuple(sorted(labels)))))
def test_multilabel_f1_is_scikit_learns(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    gold, predicted = parted(pairs)
    tables = [[[int(name in labels) for name in CLASSES] for labels in side] for side in (gold, predicted)]
    wanted = reference.f1_score(*tables, average="micro", zero_division=0)
    assert score("multilabel_f1", gold, predicted) == pytest.approx(wanted)


@given(pairs_of(NUMBERS, least=2))
def test_correlations_are_scipys(pairs: list[tuple[float, float]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    gold, predicted = parted(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = [stats.pearsonr(gold, predicted).statistic, stats.spearmanr(gold, predicted).statistic]
    found = [score("pearson", gold, predicted), score("spearman", gold, predicted)]
    assert found == pytest.approx(np.nan_to_num(wanted), abs=1e-9)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("predicted", [[2.0, 2.0, 2.0], [float("nan"), 1.0, 2.0]])
def test_a_collapsed_regression_has_no_correlation(metric: str, predicted: list[Gold]) -> None:
    assert score(metric, [1.0, 2.0, 3.0], predicted) == 0.0
    assert score(metric, [1.0], [1.0]) == 0.0


@given(pairs_of(st.sampled_from(CLASSES)), st.sampled_from(["micro_f1", "macro_f1", "accuracy"]))
def test_counts_add_up_to_the_score(pairs: list[tuple[str, str]], metric: str) -> None:
    gold, predicted = parted(pairs)
    table = counts(metric, gold, predicted, labels=CLASSES, negative="none")
    assert table.shape == (len(pairs), 9 if metric == "macro_f1" else 3)
    whole = float(from_counts(table.sum(axis=0)))
    assert whole == score(metric, gold, predicted, labels=CLASSES, negative="none")
    assert from_counts(np.stack([table.sum(axis=0)] * 2)).tolist() == [whole] * 2


def test_a_label_outside_the_given_ones_is_still_wrong() -> None:
    assert score("micro_f1", ["a"], ["z"], labels=["a"]) == 0.0
    assert score("entity_f1", [["B-X", "O"]], [["B-X", "B-Z"]], labels=["X"]) == pytest.approx(2 / 3)


def test_details() -> None:
    found = details("micro_f1", ["a", "none", "b"], ["a", "a", "none"], labels=["a", "b", "none"], negative="none")
    assert found == {
        "examples": 3,
        "overall": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        "classes": {
            "a": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1},
            "b": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        },
    }
    assert json.loads(json.dumps(found)) == found
    assert "overall" not in details("accuracy", ["a"], ["a"])
    assert details("pearson", [1.0, 2.0], [1.0, 2.0]) == {"examples": 2}


@pytest.mark.parametrize("call", [score, details])
@pytest.mark.parametrize(
    ("metric", "gold", "predicted", "message"),
    [
        ("accuracy", ["a"], [], "1 examples and 0 predictions"),
        ("accuracy", [], [], "no examples"),
        ("pearson", [1.0], [], "1 examples and 0"),
        ("pearson", [], [], "no examples"),
        ("entity_f1", [["O"], ["O", "O"]], [["O"], ["O"]], "example 2 has 2 words and 1 predicted tags"),
        ("word_macro_f1", [["O"]], [["O", "I-X"]], "example 1 has 1 words and 2"),
        ("bleu", ["a"], ["a"], "no metric 'bleu'"),
        ("entity_f1", [["Disease"]], [["O"]], "'Disease' is no tag"),
    ],
)
def test_what_cannot_be_scored(call: Any, metric: str, gold: list[Gold], predicted: list[Gold], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(metric, gold, predicted)


def test_correlations_have_no_counts() -> None:
    with pytest.raises(ValueError, match="no counts"):
        counts("pearson", [1.0], [1.0])
    with pytest.raises(InputError, match="no metric"):
        of("f1")


def test_right_predictions_have_all_of_the_f1_whatever_else_there_might_have_been() -> None:
    assert score("macro_f1", ["a", "b"], ["a", "b"], labels=("a", "b", "z")) == 1
    assert score("word_macro_f1", [("A", "O")], [("A", "O")], labels=("A", "B")) == 1
    assert score("word_macro_f1", [("O",)], [("O",)], labels=("A", "B")) == 0


def test_definitions_are_sentences_with_a_source() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.definition.endswith(").")
        assert any(character.isdigit() for character in metric.definition)


def test_speed() -> None:
    draw = random.Random(0)
    gold = [[draw.choice(TAGS) for _ in range(25)] for _ in range(4_000)]
    predicted = [[draw.choice(TAGS) for _ in range(25)] for _ in range(4_000)]
    started = time.process_time()
    score("entity_f1", gold, predicted)
    assert time.process_time() - started < 2  # 0.3 s on two idle cores


def test_a_class_that_only_gold_has_is_missed() -> None:
    found = score("macro_f1", ["a", "b", "c"], ["a", "b", "b"], labels=("a", "b"))
    assert found == pytest.approx((1 + 2 / 3 + 0) / 3)
