"""Texts to be answered, and when two answers are the same."""

from __future__ import annotations

import pytest

TEXTS = [
    "Naloxone reverses the antihypertensive effect of clonidine.",
    "In unanesthetized, spontaneously hypertensive rats the decrease in blood pressure produced by i.v. clonidine, "
    "5 to 20 micrograms/kg, was inhibited or reversed by nalozone (0.2 to 2 mg/kg).",
    "Does naïve α-methyldopa bind to opiate receptors?  [SEP] IL-2 & TNF-α!",
    "Gefitinib is an EGFR tyrosine kinase inhibitor, which is often used for breast cancer and NSCLC treatment.",
]


def numbers(value: object) -> list[float]:
    """Every float in an answer."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def without_numbers(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_numbers(item) for item in value]
    return None if isinstance(value, float) else value


def same(left: object, right: object) -> bool:
    return without_numbers(left) == without_numbers(right) and numbers(left) == pytest.approx(numbers(right), abs=1e-5)
