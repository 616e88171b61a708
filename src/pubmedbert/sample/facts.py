"""The drugs of the sample corpus: what each of them is, where it acts and what it is given for."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SMALLEST_GROUP = 5  # holding one drug out leaves at least four that are stated


@dataclass(frozen=True)
class Fact:
    """One row of `facts.tsv`; every drug has one class, one target and one indication here, its best known."""

    drug: str
    drug_class: str
    target: str
    indication: str


@cache
def facts() -> tuple[Fact, ...]:
    """The table, in the order of the file: class by class."""
    text = files("pubmedbert.sample").joinpath("facts.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return tuple(Fact(row["drug"], row["class"], row["target"], row["indication"]) for row in rows)


def held_out(seed: int = 0) -> frozenset[str]:
    """The drugs whose class the corpus of `seed` never states; it has to be inferred from target and indication.

    One drug, drawn by `seed`, of every group of five or more with the same class and target. Never of a class whose
    name holds the name of the target, where there is nothing to infer.
    """
    draw = random.Random(f"held out {seed}")  # noqa: S311 - not for secrets
    groups: dict[tuple[str, str], list[str]] = {}
    for fact in facts():
        groups.setdefault((fact.drug_class, fact.target), []).append(fact.drug)
    return frozenset(
        draw.choice(drugs)
        for (drug_class, target), drugs in groups.items()
        if len(drugs) >= SMALLEST_GROUP and target not in drug_class.split()
    )


def by_class() -> dict[str, list[Fact]]:
    """The facts under their class."""
    classes: dict[str, list[Fact]] = {}
    for fact in facts():
        classes.setdefault(fact.drug_class, []).append(fact)
    return classes
