"""Held-out texts in documents."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pubmedbert.corpus.overlap as module
from pubmedbert.corpus.overlap import RUN, HeldOut

WORDS = [f"w{number}" for number in range(6)]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25)


def runs(words: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}


@given(texts=st.lists(TEXTS, max_size=4), documents=st.lists(TEXTS, min_size=1, max_size=4))
def test_equals_sets_of_runs(texts: list[list[str]], documents: list[list[str]]) -> None:
    held_out = HeldOut({"set": [" ".join(text) for text in texts]})
    found = dict(held_out.search([" ".join(document) for document in documents]))
    expected = {}
    for number, document in enumerate(documents):
        holds = [
            index
            for index, text in enumerate(texts)
            if runs(text) and 2 * len(runs(text) & runs(document)) >= len(runs(text))
        ]
        if holds:
            expected[number] = holds
    assert found == expected
    assert held_out.judged.tolist() == [bool(runs(text)) for text in texts]


SENTENCE = "Gefitinib, an inhibitor of EGFR, slowed the growth of non-small-cell tumours in mice."


def test_case_spaces_and_punctuation_do_not_count() -> None:
    as_words = "gefitinib , an inhibitor of EGFR , slowed the growth of non - small - cell tumours in mice ."
    assert list(HeldOut({"ner": [as_words]}).search(["Nothing here.", f"Before. {SENTENCE} After."])) == [(1, [0])]


def test_no_run_goes_over_a_dummy() -> None:
    held_out = HeldOut({"relations": ["@DRUG$, an inhibitor of EGFR, slowed the growth of @DISEASE$ in mice."]})
    assert list(held_out.search([SENTENCE])) == [(0, [0])]
    assert not HeldOut({"relations": ["@DRUG$ slowed the growth of @DISEASE$ in some of the mice."]}).judged.any()


def test_half_of_the_runs_are_enough() -> None:
    text = " ".join(f"t{number}" for number in range(15))  # 8 runs
    held_out = HeldOut({"a": [text]})
    first = " ".join(f"t{number}" for number in range(11))  # 4 of them
    assert list(held_out.search([first])) == [(0, [0])]
    assert list(held_out.search([first.rsplit(" ", 1)[0]])) == []


def text_of(word: str, count: int) -> str:
    return " ".join(f"{word}{number}" for number in range(count))


def test_a_text_joined_from_several_documents_is_found_by_its_pieces() -> None:
    sentences = [f"{text_of(word, 22)}." for word in "abc"]
    held_out = HeldOut({"short": [SENTENCE], "long": [" ".join(sentences)]})
    assert list(held_out.search(["Nothing.", f"Before. {sentences[1]} After."])) == [(1, [1])]
    assert list(held_out.search([text_of("b", 15)])) == [(0, [1])]  # 8 of the 15 runs of a piece
    assert list(held_out.search([text_of("b", 14)])) == []
    assert held_out.judged.tolist() == [True, True]


def test_short_sentences_are_no_pieces() -> None:
    short = [f"{text_of(word, 10)}." for word in "abcdefg"]  # pieces of two, and the last of three
    held_out = HeldOut({"long": [" ".join(short)]})
    assert list(held_out.search([short[0], short[2], short[6]])) == []
    assert list(held_out.search(["", " ".join(short[2:4])])) == [(1, [0])]
    assert list(held_out.search([" ".join(short[5:])])) == [(0, [0])]  # 13 of the 23 runs of the last piece


def test_a_dummy_parts_the_runs_of_pieces_too() -> None:
    held_out = HeldOut({"long": [f"{text_of('a', 12)} @GENE$ {text_of('b', 12)}. {text_of('c', 25)}."]})
    assert list(held_out.search([f"{text_of('a', 12)} KRAS {text_of('b', 12)}"])) == [(0, [0])]


def test_the_digest_tells_rules_and_texts_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"a": [f"{SENTENCE} {SENTENCE} {SENTENCE}"]}
    before = HeldOut(texts).digest
    assert HeldOut(texts).digest == before
    assert HeldOut({"b": texts["a"]}).digest != before
    for name, value in (("RUN", 9), ("SHARE", 0.6), ("PIECE", 10)):
        with monkeypatch.context() as changed:
            changed.setattr(module, name, value)
            assert HeldOut(texts).digest != before


def test_no_run_joins_two_documents() -> None:
    half = SENTENCE.index("slowed")
    assert list(HeldOut({"a": [SENTENCE]}).search([SENTENCE[:half], SENTENCE[half:]])) == []


def test_nothing_to_find() -> None:
    assert list(HeldOut({}).search([SENTENCE])) == []
    assert list(HeldOut({"a": []}).search([""])) == []
