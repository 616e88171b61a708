"""Tags of words, and the entities they spell, whatever the scheme."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pubmedbert.errors import InputError

_LETTERS = {"bio": "BI", "bioul": "BIUL", "io": "I"}
SCHEMES = tuple(_LETTERS)
"""What a model can be trained to tag with: begin, inside, outside; these with unit-length and last; inside, outside."""

_END, _SINGLE = frozenset("EL"), frozenset("SU")  # BIOES and BIOUL differ in these letters only
_OPENING = frozenset("B") | _SINGLE
_CLOSED = frozenset("O") | _END | _SINGLE


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities that tags spell, by the rules of the CoNLL-2000 script `conlleval`, seqeval's default mode.

    An entity runs as far as its type does and no tag ends it (E, L, S, U) or begins another (B, S, U). An I or E
    without a beginning begins one: so IOB1, IOB2, IO, BIOES and BIOUL are all read, and no prediction is malformed.

    Args:
        tags: of one sentence, such as `B-Disease`, or `B` where there are no types.

    Returns:
        Type ("" where there are none), first word and the one past the last, in the order of the words.

    Raises:
        InputError: a tag of no scheme.
    """
    found: list[tuple[str, int, int]] = []
    start, letter_before, kind_before = -1, "O", ""
    for place, tag in enumerate((*tags, "O")):
        letter, kind = _split(tag)
        opens = letter != "O" and (letter in _OPENING or letter_before in _CLOSED or kind != kind_before)
        if start >= 0 and (opens or letter == "O"):
            found.append((kind_before, start, place))
            start = -1
        if opens:
            start = place
        letter_before, kind_before = letter, kind
    return found


def tag_names(labels: Sequence[str], scheme: str) -> tuple[str, ...]:
    """All tags of a scheme, O first.

    Args:
        labels: the entity types; "" for entities without one.
        scheme: one of `SCHEMES`.
    """
    letters = _letters(scheme)
    return ("O", *(f"{letter}-{label}" if label else letter for label in labels for letter in letters))


def to_scheme(tags: Sequence[str], scheme: str) -> list[str]:
    """The same entities in another scheme; `io` cannot part neighbours of one type.

    Args:
        tags: of one sentence, in any scheme.
        scheme: one of `SCHEMES`.
    """
    _letters(scheme)
    encoded = ["O"] * len(tags)
    for kind, start, end in entities(tags):
        encoded[start:end] = [f"{letter}-{kind}" if kind else letter for letter in _spell(end - start, scheme)]
    return encoded


def from_scheme(tags: Sequence[str]) -> list[str]:
    """Tags of any scheme, as a model predicts them, in IOB2: the form that is written and scored."""
    return to_scheme(tags, "bio")


def _letters(scheme: str) -> str:
    if scheme not in _LETTERS:
        raise InputError(f"the tagging scheme must be one of {', '.join(SCHEMES)}, not {scheme!r}")
    return _LETTERS[scheme]


def _spell(length: int, scheme: str) -> str:
    """The letters of an entity of so many words."""
    if scheme == "io":
        return "I" * length
    if scheme == "bio":
        return "B" + "I" * (length - 1)
    return "U" if length == 1 else "B" + "I" * (length - 2) + "L"


@lru_cache(maxsize=4096)
def _split(tag: str) -> tuple[str, str]:
    """The letter of a tag and its type."""
    letter, dash, kind = tag.partition("-")
    if letter not in ("B", "I", "O", "E", "S", "L", "U") or (dash and not kind) or (kind and letter == "O"):
        raise InputError(f"{tag!r} is no tag: O, or B, I, E, S, L or U, alone or as in B-Disease, is wanted")
    return letter, kind
