"""Links of exBERT open the right state, states survive their links, and no link fails."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.explore.link import LONGEST_SENTENCE, SENTENCE, State, fit, read, same_model, write

CARD = (
    "?model=microsoft/BiomedNLP-PubMedBERT-{}&modelKind=bidirectional&sentence=Gefitinib%20is%20an%20EGFR%20tyrosine"
    "%20kinase%20inhibitor,%20which%20is%20often%20used%20for%20breast%20cancer%20and%20NSCLC%20treatment.&layer={}"
    "&heads=..0,1,2,3,4,5,6,7,8,9,10,11&threshold=0.7&tokenInd=17&tokenSide=right&maskInds=..&hideClsSep=true"
)
states = st.builds(
    State,
    model=st.sampled_from(["", "bundled", "owner/name", "microsoft/BiomedNLP-PubMedBERT-large-uncased-abstract"]),
    sentence=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    sentence_b=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    layer=st.integers(0, 10**6),
    heads=st.none() | st.sets(st.integers(0, 40)).map(lambda heads: tuple(sorted(heads))),
    threshold=st.floats(0, 1),
    token=st.none() | st.integers(0, 600),
    side=st.sampled_from(["left", "right"]),
    masks=st.sets(st.integers(0, 600)).map(lambda masks: tuple(sorted(masks))),
    hide_special=st.booleans(),
    method=st.sampled_from(["raw", "rollout", "occlusion"]),
)
PARAMETERS = [
    *("model", "modelKind", "sentence", "sentenceB", "layer", "heads", "threshold", "tokenInd", "tokenSide"),
    *("maskInds", "hideClsSep", "method", "corpus", "offsetIdxs"),
]


@pytest.mark.parametrize(
    ("name", "layer"),
    [("base-uncased-abstract-fulltext", 3), ("large-uncased-abstract", 10)],
    ids=["fulltext", "large"],
)
def test_the_links_of_the_model_cards(name: str, layer: int) -> None:
    state, notices = read(CARD.format(name, layer))
    assert notices == []
    assert state == State(
        model=f"microsoft/BiomedNLP-PubMedBERT-{name}",
        sentence=SENTENCE,
        layer=layer,
        heads=tuple(range(12)),
        threshold=0.7,
        token=17,
        side="right",
    )
    assert same_model(state.model, f"microsoft/BiomedNLP-BiomedBERT-{name}")
    assert not same_model(state.model, "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract")
    large = name.startswith("large")
    shown, notices = fit(state, layers=24 if large else 12, heads=16 if large else 12, tokens=21)
    assert shown == state
    assert notices == (["the link chooses heads 1 to 12 of the model's 16"] if large else [])


@given(states)
def test_a_state_survives_its_link(state: State) -> None:
    assert read(write(state)) == (state, [])
    assert read("?" + write(state)) == (state, [])


def test_what_exbert_misread() -> None:
    state, notices = read("threshold=0&tokenInd=0&layer=0&heads=..0&maskInds=..0&hideClsSep=false")
    assert notices == []
    assert (state.threshold, state.token, state.heads, state.masks, state.hide_special) == (0, 0, (0,), (0,), False)
    state, notices = read("sentence=A+cell")
    assert state == State(sentence="A cell")
    assert (state.masks, state.heads) == ((), None)
    assert read("heads=..")[0].heads == ()
    assert read("") == (State(), [])


@pytest.mark.parametrize(
    ("query", "notice"),
    [
        ("layer=-1", "layer=-1 cannot be used here and is left out"),
        ("layer=99999999999999999999", "layer=99999999999999999999 cannot be used here and is left out"),
        ("layer=1e9", "layer=1e9 cannot"),
        ("layer=٣", "layer=٣ cannot"),
        ("threshold=nan", "threshold=nan cannot"),
        ("threshold=1e999", "threshold=1e999 cannot"),
        ("threshold=1.01", "threshold=1.01 cannot"),
        ("heads=..0,x", "heads=..0,x cannot"),
        ("tokenSide=up", "tokenSide=up cannot"),
        ("tokenInd=", "tokenInd= cannot"),
        ("hideClsSep=1", "hideClsSep=1 cannot"),
        ("method=saliency", "method=saliency cannot"),
        ("modelKind=autoregressive", "modelKind is always bidirectional here"),
        ("model=%00", "the name of the model cannot be used"),
        ("maskInds=" + "9" * 99, "maskInds=" + "9" * 30 + "… cannot"),
    ],
)
def test_values_that_cannot_be_used(query: str, notice: str) -> None:
    state, notices = read(query)
    assert state == State()
    assert len(notices) == 1
    assert notices[0].startswith(notice)


@given(st.dictionaries(st.sampled_from(PARAMETERS), st.text(max_size=40)), st.text(max_size=80))
def test_no_link_fails(values: dict[str, str], rest: str) -> None:
    query = "&".join(f"{name}={value}" for name, value in values.items()) + rest
    state, _ = read(query)
    assert read(write(state))[0] == state
    fit(state, layers=2, heads=4, tokens=3)


def test_links_without_end() -> None:
    state, notices = read("sentence=" + "a" * 500_000)
    assert state.sentence == "a" * LONGEST_SENTENCE
    assert len(notices) == 2
    state, notices = read("&".join(f"x{number}=1" for number in range(5000)) + "&layer=3")
    assert (state.layer, len(notices)) == (0, 1)
    assert read("heads=.." + "1," * 5000)[0].heads == (1,)


@pytest.mark.parametrize(
    ("asked", "shown", "notice"),
    [
        ({"layer": 12}, {"layer": 11}, "the model has 12 layers; layer 13 is shown as its last, 12"),
        ({"heads": (3, 12)}, {"heads": (3,)}, "the model has 12 heads; head 13 is none of them"),
        ({"heads": (15,)}, {"heads": (11,)}, "the model has 12 heads; head 16 is none of them"),
        ({"heads": (3, 12, 40)}, {"heads": (3,)}, "the model has 12 heads; heads 13 and 41 are none of them"),
        ({"token": 21}, {"token": None}, "the sentence has 21 word pieces; the pinned place, 21, is none"),
        ({"masks": (3, 21)}, {"masks": (3,)}, "the sentence has 21 word pieces; place 21 cannot be masked"),
        (
            {"masks": tuple(range(20, 30))},
            {"masks": (20,)},
            "the sentence has 21 word pieces; places 21, 22, 23, 24, 25, 26 and 3 more cannot be masked",
        ),
    ],
)
def test_what_the_model_does_not_have(asked: dict[str, Any], shown: dict[str, Any], notice: str) -> None:
    assert fit(State(**asked), layers=12, heads=12, tokens=21) == (State(**shown), [notice])


def test_a_link_is_readable() -> None:
    given = parse_qs(write(State(sentence="a & b", token=0, threshold=0.0)))
    assert given["sentence"] == ["a & b"]
    assert given["tokenInd"] == ["0"]
    assert given["threshold"] == ["0.0"]
    assert given["maskInds"] == [".."]
