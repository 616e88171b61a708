"""What a model learned from the sample corpus: fill-mask questions in words that the corpus never uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from pubmedbert.sample.facts import Fact
from pubmedbert.sample.generate import indefinite

MASK = "[MASK]"
CARD_SENTENCE = "[MASK] is a tyrosine kinase inhibitor."
TOP = 5
ALIKE = 3  # a part of a phrase is asked for only if so many phrases end alike: "[MASK] inhibitor", "[MASK] cancer"

DRUG_FROM_CLASS = ("[MASK] is {a_class}.", "[MASK] is known as {a_class}.")
DRUG_FROM_TARGET = ("[MASK] acts on {target}.", "[MASK] is known to bind {target}.")
DRUG_FROM_INDICATION = (
    "[MASK] is often used for {indication}.",
    "[MASK] can help with {indication}.",
)
CLASS = ("{drug} is {a_class}.", "{drug} is known as {a_class}.")
TARGET = ("{drug} acts on {target}.", "{drug} is known to bind {target}.")
INDICATION = ("{drug} is often used for {indication}.", "{drug} can help with {indication}.")


@dataclass(frozen=True)
class Question:
    """A text with one mask, the words that fill it rightly (lower case), and what is asked."""

    text: str
    answers: frozenset[str]
    kind: str


@dataclass(frozen=True)
class Row:
    """How many of the questions of a kind a model answers, and how many one fixed list of words would."""

    kind: str
    questions: int
    recall_at_1: float
    recall_at_5: float
    baseline_at_1: float
    baseline_at_5: float

    def shares(self) -> tuple[float, float, float, float]:
        """The four shares, in the order of the table's columns."""
        return self.recall_at_1, self.recall_at_5, self.baseline_at_1, self.baseline_at_5


def questions(facts: Sequence[Fact], held_out: Collection[str]) -> list[Question]:
    """Every fact, asked both ways: the drug masked (any drug of which it holds is right), or the fact masked.

    The kind "class never stated" asks for the class of the held-out drugs; all others ask for what the corpus states,
    in held-out words.
    """
    asked = [*_drug_questions(facts), *_fact_questions(facts, held_out)]
    return list(dict.fromkeys(asked))


def recall(fill: Callable[[list[str]], list[list[str]]], questions: Sequence[Question]) -> list[Row]:
    """Ask all questions and count the right answers by kind.

    Args:
        fill: takes masked texts and returns the five best tokens for each, best first.
        questions: from `questions`.

    Returns:
        A row for each kind. Its baseline answers every question of the kind with the words that are right most often
        in that kind: the best that can be done without reading the question.
    """
    guesses = dict(zip(questions, fill([question.text for question in questions]), strict=True))
    kinds: dict[str, list[Question]] = {}
    for question in questions:
        kinds.setdefault(question.kind, []).append(question)
    rows = []
    for kind, asked in kinds.items():
        counts = Counter(answer for question in asked for answer in sorted(question.answers))
        constant = [word for word, _ in counts.most_common(TOP)]
        learned = [guesses[question] for question in asked]
        fixed = [constant] * len(asked)
        shares = [_share(asked, given, top) for given in (learned, fixed) for top in (1, TOP)]
        rows.append(Row(kind, len(asked), *shares))
    return rows


def table(rows: Iterable[Row]) -> Table:
    """The rows for the console."""
    result = Table(title="Questions in words that are not in the corpus")
    result.add_column("asked for")
    for column in ("questions", "recall@1", "recall@5", "fixed answer @1", "@5"):
        result.add_column(column, justify="right")
    for row in rows:
        result.add_row(row.kind, str(row.questions), *(f"{share:.0%}" for share in row.shares()))
    return result


def _drug_questions(facts: Sequence[Fact]) -> Iterator[Question]:
    for fact in facts:
        slots = _slots(fact)
        for kind, templates, attribute in (
            ("drug from class", DRUG_FROM_CLASS, "drug_class"),
            ("drug from target", DRUG_FROM_TARGET, "target"),
            ("drug from indication", DRUG_FROM_INDICATION, "indication"),
        ):
            value = getattr(fact, attribute)
            answers = frozenset(other.drug for other in facts if getattr(other, attribute) == value)
            for template in templates:
                yield Question(template.format(**slots), answers, kind)


def _fact_questions(facts: Sequence[Fact], held_out: Collection[str]) -> Iterator[Question]:
    for kind, templates, attribute in (
        ("class", CLASS, "drug_class"),
        ("target", TARGET, "target"),
        ("indication", INDICATION, "indication"),
    ):
        phrases = {getattr(fact, attribute) for fact in facts}
        for fact in facts:
            phrase = getattr(fact, attribute)
            answer, masked = _mask_first_word(phrase)
            if masked != MASK and sum(_mask_first_word(other)[1] == masked for other in phrases) < ALIKE:
                continue
            slots = _slots(fact) | {attribute: masked, "a_class": f"{indefinite(phrase)} {masked}"}
            unstated = kind == "class" and fact.drug in held_out
            for template in templates:
                text = template.format(**slots)
                yield Question(text, frozenset({answer}), "class, never stated" if unstated else kind)


def _slots(fact: Fact) -> dict[str, str]:
    drug_class = fact.drug_class
    return {
        "drug": fact.drug,
        "a_class": f"{indefinite(drug_class)} {drug_class}",
        "target": fact.target,
        "indication": fact.indication,
    }


def _mask_first_word(phrase: str) -> tuple[str, str]:
    """The first word in lower case, and the phrase with a mask in its place."""
    first, *rest = phrase.split()
    return first.lower(), " ".join([MASK, *rest])


def _share(asked: Sequence[Question], given: Sequence[Sequence[str]], top: int) -> float:
    right = sum(
        any(word.strip().lower() in question.answers for word in words[:top])
        for question, words in zip(asked, given, strict=True)
    )
    return right / len(asked)
