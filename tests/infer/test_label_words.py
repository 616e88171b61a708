"""Words of running texts as the corpora of taggers have them."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.infer.labels.words import spaced, way
from tests.infer.tuned_folders import HEADS, tuned_folder


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("IL-2 binds TNF-α, not NF-kappa B.", ["IL-2", "binds", "TNF-α", ",", "not", "NF-kappa", "B", "."]),
        ("(see interleukin-2 (IL-2)), Ca2+", ["(", "see", "interleukin-2", "(", "IL-2", ")", ")", ",", "Ca2+"]),
        ("NF-kappa(B) in 'vivo' 50%?!", ["NF-kappa(B)", "in", "'", "vivo", "'", "50", "%", "?", "!"]),
        ("... - )", [".", ".", ".", "-", ")"]),
        (" \u2003 \u200b", []),
        ("中文aspirin糖尿病 stroke", ["中", "文", "aspirin", "糖", "尿", "病", "stroke"]),
        ("\u200baspirin\u200b, stroke\u00ad so\u00adft", ["aspirin", ",", "stroke", "so\u00adft"]),
    ],
)
def test_words_between_spaces(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in spaced(text)] == words


@given(st.text(st.sampled_from("aβ1-+/()[],. \n\u2003%'"), max_size=40) | st.text(max_size=20))
def test_words_hold_all_but_spaces(text: str) -> None:
    spans = list(spaced(text))
    assert all(start < end for start, end in spans)
    assert seen("".join(text[start:end] for start, end in spans)) == seen("".join(text.split()))
    assert spans == sorted(spans)
    assert not any(unicodedata.category(text[end]) == "Cf" for span in spans for end in (span[0], span[1] - 1))


def seen(text: str) -> str:
    return "".join(mark for mark in text if unicodedata.category(mark) != "Cf")


def test_the_way_of_a_corpus() -> None:
    assert way([["IL-2", "binds"], ["NF-kappa", "-", "B", "and/or"]]) == "spaces"
    assert way([["IL", "-", "2"], ["a-b"]]) == "pieces"
    assert way([["no", "marks"], []]) == "pieces"


def test_a_tagger_reads_texts_in_the_way_of_its_corpus(tmp_path: Path) -> None:
    text, words = "Anti-IL-2 (sic), treats.", ["Anti-IL-2", "(", "sic", ")", ",", "treats", "."]
    model = Predictor(tuned_folder(tmp_path / "spaces", HEADS["tags"], words="spaces"))
    by_words: Any = model.predict_words([words])[0]["entities"]
    by_text: Any = model.predict_texts([text])[0]["entities"]
    starts = [start for start, _ in spaced(text)]
    wanted = [(one["entity"], starts[one["first"]], one["score"]) for one in by_words]
    assert [(one["entity"], one["start"], one["score"]) for one in by_text] == wanted
    assert wanted
    strange = tuned_folder(tmp_path / "lines", HEADS["tags"], words="lines")
    with pytest.raises(InputError, match="words must be pieces or spaces, not 'lines'"):
        Predictor(strange)
