"""Tags and entities: conlleval's rules, and the way from scheme to scheme and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.infer.labels.spans import SCHEMES, entities, from_scheme, tag_names, to_scheme

ANY_TAG = st.sampled_from(["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in ("X", "Y-Z"))])
BARE_TAG = st.sampled_from(list("OBIES"))
ANY_TAGS = st.lists(ANY_TAG, max_size=12)


@st.composite
def iob2(draw: st.DrawFn) -> list[str]:
    """Valid IOB2: entities of one to four words with gaps of any size, none included."""
    tags: list[str] = []
    for kind, length, gap in draw(
        st.lists(st.tuples(st.sampled_from("XY"), st.integers(1, 4), st.integers(0, 2)), max_size=5)
    ):
        tags += ["O"] * gap + [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
    return tags + ["O"] * draw(st.integers(0, 2))


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("", []),
        ("O O", []),
        ("B-X I-X O B-Y", [("X", 0, 2), ("Y", 3, 4)]),
        ("I-X I-X B-X O", [("X", 0, 2), ("X", 2, 3)]),  # IOB1
        ("I-X I-Y I-Y", [("X", 0, 1), ("Y", 1, 3)]),  # IO
        ("B-X L-X U-X O U-Y", [("X", 0, 2), ("X", 2, 3), ("Y", 4, 5)]),  # BIOUL
        ("B-X E-X S-X O S-Y", [("X", 0, 2), ("X", 2, 3), ("Y", 4, 5)]),  # BIOES
        ("B I O B", [("", 0, 2), ("", 3, 4)]),
        ("B-X I-Y", [("X", 0, 1), ("Y", 1, 2)]),
        ("L-X I-X", [("X", 0, 1), ("X", 1, 2)]),
        ("O L-X", [("X", 1, 2)]),
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
    ],
)
def test_entities(tags: str, found: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == found


@given(st.one_of(ANY_TAGS, st.lists(BARE_TAG, max_size=12)))
def test_seqeval_finds_the_same(tags: list[str]) -> None:
    reference = pytest.importorskip("seqeval.metrics.sequence_labeling")
    found = [("" if kind == "_" else kind, first, last + 1) for kind, first, last in reference.get_entities(tags)]
    assert entities(tags) == found


@pytest.mark.parametrize("tag", ["", "X", "B-", "O-X", "b-X", "BX", "-DOCSTART-", "Disease"])
def test_other_tags_are_refused(tag: str) -> None:
    with pytest.raises(InputError, match="is no tag"):
        entities(["O", tag])


def test_tag_names() -> None:
    assert tag_names(["X", "Y"], "bio") == ("O", "B-X", "I-X", "B-Y", "I-Y")
    assert tag_names(["X"], "bioul") == ("O", "B-X", "I-X", "U-X", "L-X")
    assert tag_names(["X"], "io") == ("O", "I-X")
    assert tag_names([""], "bio") == ("O", "B", "I")


def test_schemes_by_hand() -> None:
    gold = ["B-X", "I-X", "I-X", "B-X", "O", "B-Y", "I-Y", "B-Y"]
    assert to_scheme(gold, "bioul") == ["B-X", "I-X", "L-X", "U-X", "O", "B-Y", "L-Y", "U-Y"]
    assert to_scheme(gold, "io") == ["I-X", "I-X", "I-X", "I-X", "O", "I-Y", "I-Y", "I-Y"]
    assert to_scheme(["B", "I", "B"], "bioul") == ["B", "L", "U"]


@pytest.mark.parametrize("call", [lambda: tag_names(["X"], "iob"), lambda: to_scheme([], "iob")])
def test_an_unknown_scheme_is_named(call: object) -> None:
    assert callable(call)
    with pytest.raises(InputError, match="one of bio, bioul, io, not 'iob'"):
        call()


@given(iob2(), st.sampled_from(["bio", "bioul"]))
def test_round_trip(tags: list[str], scheme: str) -> None:
    encoded = to_scheme(tags, scheme)
    assert from_scheme(encoded) == tags
    assert to_scheme(encoded, scheme) == encoded


@given(iob2())
def test_io_merges_neighbours_of_one_type_only(tags: list[str]) -> None:
    merged: list[tuple[str, int, int]] = []
    for kind, start, end in entities(tags):
        if merged and merged[-1][0] == kind and merged[-1][2] == start:
            kind, start, _ = merged.pop()
        merged.append((kind, start, end))
    assert entities(to_scheme(tags, "io")) == merged


@given(ANY_TAGS, st.sampled_from(SCHEMES))
def test_a_scheme_has_its_own_tags_only(tags: list[str], scheme: str) -> None:
    assert set(to_scheme(tags, scheme)) <= set(tag_names(["X", "Y-Z"], scheme))


@given(ANY_TAGS)
def test_predictions_keep_their_entities(tags: list[str]) -> None:
    assert entities(from_scheme(tags)) == entities(tags)
