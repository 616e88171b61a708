import io
from collections import Counter

import pytest
from rich.console import Console

from pubmedbert.sample.facts import facts, held_out
from pubmedbert.sample.recall import CARD_SENTENCE, MASK, Question, questions, recall, table

HELD_OUT = held_out(0)
QUESTIONS = questions(facts(), HELD_OUT)
KNOWN = {
    word
    for fact in facts()
    for cell in (fact.drug, fact.drug_class, fact.target, fact.indication)
    for word in cell.split()
}


def test_questions_are_well_formed() -> None:
    lower = {word.lower() for word in KNOWN}
    assert len(set(QUESTIONS)) == len(QUESTIONS)
    for question in QUESTIONS:
        assert question.text.count(MASK) == 1
        assert question.answers
        assert question.answers <= lower
        assert "{" not in question.text


def test_every_kind_is_asked() -> None:
    kinds = Counter(question.kind for question in QUESTIONS)
    assert set(kinds) == {
        "drug from class", "drug from target", "drug from indication",
        "class", "class, never stated", "target", "indication",
    }  # fmt: skip
    assert min(kinds.values()) >= 20


def test_the_card_sentence_is_a_question() -> None:
    (question,) = [question for question in QUESTIONS if question.text == CARD_SENTENCE]
    assert {"gefitinib", "erlotinib", "imatinib"} <= question.answers
    assert question.answers == {fact.drug for fact in facts() if fact.drug_class == "tyrosine kinase inhibitor"}


def test_held_out_drugs_are_asked_apart() -> None:
    for question in QUESTIONS:
        if question.kind in ("class", "class, never stated"):
            about_held_out = any(drug in question.text.split() for drug in HELD_OUT)
            assert about_held_out == (question.kind == "class, never stated"), question


def test_the_rest_of_a_phrase_does_not_give_the_answer_away() -> None:
    texts = {question.text for question in QUESTIONS}
    assert "olaparib is a [MASK] inhibitor." in texts
    assert "gefitinib is often used for [MASK] cancer." in texts
    assert not any("[MASK] pump inhibitor" in text or "[MASK] kinase inhibitor" in text for text in texts)


def test_recall_counts() -> None:
    asked = [
        Question("[MASK] one", frozenset({"a", "b"}), "first"),
        Question("[MASK] two", frozenset({"a"}), "first"),
        Question("[MASK] three", frozenset({"c"}), "second"),
    ]
    answers = {
        "[MASK] one": ["B", "x"],
        "[MASK] two": ["x", "y", "z", "w", " a"],
        "[MASK] three": ["1", "2", "3", "4", "5", "c"],
    }
    first, second = recall(lambda texts: [answers[text] for text in texts], asked)
    assert (first.kind, first.questions, first.recall_at_1, first.recall_at_5) == ("first", 2, 0.5, 1.0)
    assert (first.baseline_at_1, first.baseline_at_5) == (1.0, 1.0)
    assert (second.recall_at_1, second.recall_at_5) == (0.0, 0.0)


def test_fixed_answers_do_not_pass() -> None:
    rows = recall(lambda texts: [["hypertension", "lung", "diabetes", "asthma", "rheumatoid"]] * len(texts), QUESTIONS)
    assert max(row.baseline_at_1 for row in rows) < 0.2
    assert max(row.baseline_at_5 for row in rows) < 0.5


def test_fill_must_answer_every_question() -> None:
    with pytest.raises(ValueError, match="zip"):
        recall(lambda texts: [], QUESTIONS)


def test_table_shows_all_rows() -> None:
    rows = recall(lambda texts: [["imatinib"]] * len(texts), QUESTIONS)
    console = Console(file=io.StringIO(), width=120)
    console.print(table(rows))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(row.kind in text for row in rows)
