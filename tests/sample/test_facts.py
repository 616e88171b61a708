import re
from collections import Counter

from pubmedbert.sample.facts import by_class, facts, held_out


def test_table_is_complete() -> None:
    table = facts()
    assert len(table) >= 200
    for fact in table:
        cells = (fact.drug, fact.drug_class, fact.target, fact.indication)
        assert all(cell and cell == cell.strip() for cell in cells), fact
        assert re.fullmatch("[a-z]+", fact.drug), fact
        assert re.fullmatch("[A-Z][A-Z0-9]+", fact.target), fact


def test_no_drug_twice() -> None:
    assert max(Counter(fact.drug for fact in facts()).values()) == 1


def test_classes_are_large_enough() -> None:
    classes = by_class()
    assert 20 <= len(classes) <= 30
    assert min(map(len, classes.values())) >= 4
    assert len(classes["tyrosine kinase inhibitor"]) >= 20


def test_names_are_not_words_of_other_columns() -> None:
    words = {
        word for fact in facts() for cell in (fact.drug_class, fact.target, fact.indication) for word in cell.split()
    }
    assert not words & {fact.drug for fact in facts()}


def test_held_out_drugs_are_spread_and_drawn_by_seed() -> None:
    assert held_out(0) == held_out(0) != held_out(1)
    for seed in range(5):
        drugs = held_out(seed)
        assert 0.10 <= len(drugs) / len(facts()) <= 0.15
        assert len({fact.drug_class for fact in facts() if fact.drug in drugs}) >= 20
        for drug_class, members in by_class().items():
            assert sum(fact.drug not in drugs for fact in members) >= 4, drug_class


def test_held_out_class_can_be_inferred() -> None:
    for fact in facts():
        if fact.drug in held_out(0):
            companions = [one for one in facts() if (one.drug_class, one.target) == (fact.drug_class, fact.target)]
            assert len(companions) >= 5
            assert fact.target.lower() not in fact.drug_class.lower().split()
