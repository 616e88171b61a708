"""Sentences as Punkt finds them, its mistakes included."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.blurb.readers.sentences import lower_case_words, split_sentences

KNOWN = frozenset({"in", "the", "also", "a"})
PIECES = st.sampled_from(
    ["a", "B", "dr", "In", "H", "1", "10.5", ".", "...", " ", "  ", "\t", ")", '"', "(", "?", "!", "-", "--", ","]
)


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text, KNOWN)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It binds. it acts! Does it? Yes.", ["It binds.", "it acts!", "Does it?", "Yes."]),
        ("Injected i.p. daily.", ["Injected i.p.", "daily."]),  # "i.p" is unknown to the model
        ("After 72 h. In rats.", ["After 72 h. In rats."]),  # "h." never ends a sentence
        ("Granzyme B. In rats.", ["Granzyme B.", "In rats."]),
        ("Putkey, B. Biochemistry.", ["Putkey, B. Biochemistry."]),  # never in lower case: a name
        ("Factor α. Also seen.", ["Factor α.", "Also seen."]),
        ("Vs. In vs. Rats.", ["Vs.", "In vs. Rats."]),
        ("Of END-D. Quantities.", ["Of END-D. Quantities."]),  # as "D."
        ("From 1.5. to 2.", ["From 1.5. to 2."]),
        ("From 1.5. To 2.", ["From 1.5.", "To 2."]),
        ("So ... The end. 2. Next.", ["So ...", "The end.", "2.", "Next."]),
        ('He said "no." Then (yes.) Now.', ['He said "no."', "Then (yes.)", "Now."]),
        ("U.S. Food. p.m. It is.", ["U.S. Food.", "p.m.", "It is."]),
        ("A title.\tThe text", ["A title.", "The text"]),
        ("No end", ["No end"]),
        ("", []),
        (" \n", []),
    ],
)
def test_rules(text: str, wanted: list[str]) -> None:
    assert parts(text) == wanted


@given(st.lists(PIECES, max_size=60).map("".join))
def test_nothing_is_lost(text: str) -> None:
    spans = split_sentences(text, KNOWN)
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    kept = "".join(text[start:end] for start, end in spans)
    assert "".join(kept.split()) == "".join(text.split())


def test_long_texts_take_linear_time() -> None:
    assert len(parts("a." * 100_000 + " In")) == 2
    assert len(parts("word. " * 50_000)) == 50_000


def test_lower_case_words() -> None:
    assert lower_case_words(["In vitro, IL-2 p53 mRNA", "x_y 5-alpha in-house"]) == {
        "vitro",
        "p53",
        "x_y",
        "alpha",
        "in-house",
    }
