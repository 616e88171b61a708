"""Sentences as Punkt finds them (Kiss & Strunk 2006), without its trained model.

BLURB's ChemProt was made with the English Punkt model of NLTK, so what is a candidate pair depends on that splitter's
very mistakes ("i.p." ends a sentence, "72 h." never does). Here are its rules. Of what its model was trained to know
(on news), the abbreviations are a list; which words are also written in lower case, and so may begin a sentence with
a capital, is learned from the texts themselves, as the paper does it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise, zip_longest

_WITH_PERIOD = """
c d e f g h k l m n p r s t v w
dr jr lt mr mrs ms prof sr adm col gen maj messrs rep reps sen
jan feb aug sep sept oct nov dec fri tues wed
ala ariz calif colo conn fla ga ill kan ky mich minn nev okla ore tenn va vt wash wis
bros cie co corp cos inc ltd ave chg ct ft mg ok pa st sw vs yr
a.d a.m b.v d.c j.b j.c j.j j.k j.p j.r l.a l.f m.b.a m.j n.c n.j n.v n.y ph.d p.m s.a s.c u.k u.n u.s u.s.a
"""
_OPENERS = """
although among both but despite even he however i if in indeed instead it many meanwhile moreover most nevertheless
nonetheless nor similarly since so some the there these they this though thus under when while yet
"""
_ABBREVIATIONS = frozenset(_WITH_PERIOD.split())
"""Of single letters not a, b, i, j, o, q, u, x, y, z: the model has it so."""
_STARTERS = frozenset(_OPENERS.split())
"""Words that, with a capital, begin a sentence after an abbreviation."""
_UNKNOWN = frozenset({"inactive"})
"""Words that the texts hold in lower case and Punkt's model, by what it did to ChemProt, does not."""

_CLOSING = r"[)\";}\]*:@'({\[?!]"  # what can't be inside a word
_END = re.compile(rf"[.?!](?={_CLOSING}|$)")
_WORD = re.compile(
    rf"""-{{2,}} | \.{{2,}} | (?:\.\s){{2,}}\.
    | (?=[^("`{{\[:;&\#*@)}}\]\-,])\S+?(?=\s|$|{_CLOSING}|-{{2,}}|\.{{2,}}|,(?:$|\s|{_CLOSING}|-{{2,}}|\.{{2,}}))
    | \S""",
    re.VERBOSE,
)
_TRAILING = re.compile(r"[\"')\]}]+?(?:\s+|(?=--)|$)", re.MULTILINE)  # belongs to the sentence that just ended
_NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*\.?")
_INITIAL = re.compile(r"[^\W\d]\.")
_LOWER_CASE = re.compile(r"(?<![^\W_])[^\W\d_][\w-]*")


def lower_case_words(texts: Iterable[str]) -> frozenset[str]:
    """The words that texts hold in lower case: with a capital, they begin a sentence."""
    words = {word for text in texts for word in _LOWER_CASE.findall(text) if word.islower()}
    return frozenset(words - _UNKNOWN)


def split_sentences(text: str, known: Collection[str]) -> list[tuple[int, int]]:
    """Start and end of the sentences of a text, in characters; white space between them is left out.

    Args:
        text: any text.
        known: the words known in lower case, of `lower_case_words`.
    """
    cuts = list(_cuts(text, known))
    starts, ends = [0, *(start for _, start in cuts)], [*(end for end, _ in cuts), len(text.rstrip())]
    spans = []
    moved = 0
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        start += moved
        trailing = _TRAILING.match(text[starts[place + 1] : ends[place + 1]]) if place < len(cuts) else None
        moved = trailing.end() if trailing else 0
        if trailing:
            end = starts[place + 1] + len(trailing[0].rstrip())
        if start < end:
            spans.append((start, end))
    return spans


def _cuts(text: str, known: Collection[str]) -> Iterator[tuple[int, int]]:
    """Where a sentence ends, and where the next begins."""
    runs = list(re.finditer(r"\S+", text))
    for run, following in zip_longest(runs, runs[1:]):
        end = max((match.end() for match in _END.finditer(run[0])), default=0)
        inside = end < len(run[0])
        if not end or not (inside or following):
            continue
        after = run[0][end] if inside or not following else f" {following[0]}"
        if _ends(_WORD.findall(run[0][:end] + after), known):
            cut = run.start() + end
            yield cut, following.start() if following and not inside else cut


def _ends(words: list[str], known: Collection[str]) -> bool:
    """Whether a sentence ends before the last of the words."""
    return any(_ends_between(word, following, known) for word, following in pairwise(words))


def _ends_between(word: str, following: str, known: Collection[str]) -> bool:
    """Whether a sentence ends between two words (Kiss & Strunk 2006, section 4)."""
    if word in (".", "?", "!"):
        return True
    if not word.endswith(".") or (word.endswith("..") and word.strip(". ")):
        return False
    capital, goes_on = following[0].isupper(), following[0].islower() or following in tuple(";:,.!?")
    next_word = following.lower() if _abbreviated(following) else following.lower().removesuffix(".")
    if _INITIAL.fullmatch(word):
        return not (_abbreviated(word) or goes_on or (capital and next_word not in known))
    if _abbreviated(word):
        return capital and next_word in _STARTERS
    return not (_NUMBER.fullmatch(word) and goes_on)


def _abbreviated(word: str) -> bool:
    """Whether the period of a word is part of it; so it is of "...", of "72 h." and of "END-D."."""
    kind = word.removesuffix(".").lower()
    return not kind.strip(". ") or kind in _ABBREVIATIONS or kind.rsplit("-", 1)[-1] in _ABBREVIATIONS
