"""The state of the explorer as the parameters of a URL: those of exBERT, so that its links go on working, and our own.

exBERT's parameters are `model`, `modelKind`, `sentence`, `layer` (from 0), `heads`, `threshold`, `tokenInd`,
`tokenSide`, `maskInds` and `hideClsSep`; arrays are written "..0,3". Ours are `sentenceB` and `method`. Here index 0
and threshold 0 are what they say, `hideClsSep=false` holds, `maskInds` left out masks nothing (exBERT: place 9),
`heads` left out are all that the model has (exBERT: 12). What cannot be read has its default, and a notice: a link
never fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args
from urllib.parse import parse_qsl, quote, urlencode

from pubmedbert.model.locate import current_name

Side = Literal["left", "right"]
Method = Literal["raw", "rollout", "occlusion"]
SENTENCE = "Gefitinib is an EGFR tyrosine kinase inhibitor, which is often used for breast cancer and NSCLC treatment."
"""Shown where a link has none: that of the model cards."""
THRESHOLD = 0.7
LONGEST_SENTENCE = 20_000
"""Characters; more is cut."""
MOST_NUMBERS = 1024
"""In an array; more are left out."""
_LONGEST_QUERY = 400_000
_MOST_FIELDS = 100
_LARGEST = 10**6
_WHOLE = re.compile(r"-?\d{1,9}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class State:
    """What is shown. Places count word pieces from [CLS], which is 0."""

    model: str = ""
    """As the link names it; "" is the service's own."""
    sentence: str = SENTENCE
    sentence_b: str | None = None
    """The second of a pair."""
    layer: int = 0
    """From 0."""
    heads: tuple[int, ...] | None = None
    """From 0, ascending, each once; None is all of the model's."""
    threshold: float = THRESHOLD
    """The share of each place's attention that is drawn, from 0 to 1."""
    token: int | None = None
    """The pinned place."""
    side: Side = "left"
    """Of the pinned place: left is attending, right is attended to."""
    masks: tuple[int, ...] = ()
    """Ascending, each once."""
    hide_special: bool = True
    """Whether [CLS] and [SEP] are hidden."""
    method: Method = "raw"
    """Attention as it is, rolled out, or beside what hiding words changes."""


def read(query: str) -> tuple[State, list[str]]:
    """The state that a URL's query asks for.

    Args:
        query: what follows the "?", or "" for nothing; untrusted.

    Returns:
        The state, and a sentence on each value that could not be used.
    """
    notices: list[str] = []
    if len(query) > _LONGEST_QUERY:
        notices.append("the link is too long; what comes after its beginning is left out")
        query = query[:_LONGEST_QUERY]
    fields = query.removeprefix("?").split("&")
    if len(fields) > _MOST_FIELDS:
        notices.append(f"the link has more than {_MOST_FIELDS} parameters; the others are left out")
    pairs = parse_qsl("&".join(fields[:_MOST_FIELDS]), keep_blank_values=True, errors="replace")
    given = dict(reversed(pairs))  # the first of several holds, as in a browser's URLSearchParams.get
    default = State()

    def value(name: str, parse: Callable[[str], T | None], otherwise: T) -> T:
        """What a parameter says, or else its default."""
        if name not in given:
            return otherwise
        found = parse(given[name])
        if found is None:
            notices.append(f"{name}={_shown(given[name])} cannot be used here and is left out")
        return otherwise if found is None else found

    if given.get("modelKind", "bidirectional") != "bidirectional":
        notices.append("modelKind is always bidirectional here")
    model = given.get("model", default.model).strip()
    if len(model) > 200 or not model.isprintable():
        notices.append("the name of the model cannot be used here and is left out")
        model = default.model
    return (
        State(
            model=model,
            sentence=_cut(given.get("sentence", default.sentence), notices),
            sentence_b=_cut(given["sentenceB"], notices) if "sentenceB" in given else None,
            layer=value("layer", _whole, default.layer),
            heads=value("heads", _array, default.heads),
            threshold=value("threshold", _share, default.threshold),
            token=value("tokenInd", _whole, default.token),
            side=value("tokenSide", _side, default.side),
            masks=value("maskInds", _array, default.masks),
            hide_special=value("hideClsSep", _boolean, default.hide_special),
            method=value("method", _method, default.method),
        ),
        notices,
    )


def write(state: State) -> str:
    """The query of a state: what `read` gives back. All heads and the raw method are left out."""
    pairs = [("model", state.model), ("modelKind", "bidirectional"), ("sentence", state.sentence)]
    if state.sentence_b is not None:
        pairs.append(("sentenceB", state.sentence_b))
    pairs.append(("layer", str(state.layer)))
    if state.heads is not None:
        pairs.append(("heads", _written(state.heads)))
    pairs.append(("threshold", repr(state.threshold)))
    if state.token is not None:
        pairs.append(("tokenInd", str(state.token)))
    pairs += [
        ("tokenSide", state.side),
        ("maskInds", _written(state.masks)),
        ("hideClsSep", str(state.hide_special).lower()),
    ]
    if state.method != "raw":
        pairs.append(("method", state.method))
    return urlencode(pairs, quote_via=quote, safe="/,", errors="replace")


def fit(state: State, *, layers: int, heads: int, tokens: int | None = None) -> tuple[State, list[str]]:
    """A state within what a model has.

    Args:
        state: what is asked for.
        layers: of the model.
        heads: of each layer.
        tokens: of the row, once it is known.

    Returns:
        The state with its layer clamped, and heads, masks and the pinned place left out where there are none such; and
        a sentence on each.
    """
    notices = []
    if state.layer >= layers:
        notices.append(f"the model has {layers} layers; layer {state.layer + 1} is shown as its last, {layers}")
        state = replace(state, layer=layers - 1)
    if state.heads is not None:
        kept = tuple(head for head in state.heads if head < heads)
        if len(kept) < len(state.heads):
            lost = [head + 1 for head in state.heads if head >= heads]
            notices.append(
                f"the model has {heads} heads; {_named('head', lost)} {'is' if len(lost) == 1 else 'are'} none of them"
            )
            kept = kept or (heads - 1,)
        elif kept == tuple(range(12)) and heads > 12:
            notices.append(f"the link chooses heads 1 to 12 of the model's {heads}")
        state = replace(state, heads=kept)
    if tokens is not None:
        if state.token is not None and state.token >= tokens:
            notices.append(f"the sentence has {tokens} word pieces; the pinned place, {state.token}, is none")
            state = replace(state, token=None)
        masks = tuple(place for place in state.masks if place < tokens)
        if len(masks) < len(state.masks):
            lost = [place for place in state.masks if place >= tokens]
            notices.append(f"the sentence has {tokens} word pieces; {_named('place', lost)} cannot be masked")
            state = replace(state, masks=masks)
    return state, notices


def same_model(name: str, other: str) -> bool:
    """Whether two names mean one model: the family's names on the hub from before its renaming are aliases."""
    return current_name(name) == current_name(other)


def _cut(text: str, notices: list[str]) -> str:
    if len(text) > LONGEST_SENTENCE:
        notices.append(f"a sentence is longer than {LONGEST_SENTENCE:,} characters and was cut")
    return text[:LONGEST_SENTENCE]


def _shown(text: str) -> str:
    return text if len(text) <= 30 else text[:30] + "…"


def _written(numbers: Sequence[int]) -> str:
    return ".." + ",".join(map(str, numbers))


def _named(kind: str, numbers: Sequence[int]) -> str:
    """One or several of a kind; of many the first."""
    if len(numbers) == 1:
        return f"{kind} {numbers[0]}"
    most = 6
    shown = [str(number) for number in numbers[:most]]
    *first, last = [*shown, f"{len(numbers) - most} more"] if len(numbers) > most else shown
    return f"{kind}s {', '.join(first)} and {last}"


def _whole(text: str) -> int | None:
    found = int(text) if _WHOLE.fullmatch(text.strip()) else -1
    return found if 0 <= found <= _LARGEST else None


def _array(text: str) -> tuple[int, ...] | None:
    """Of "..0,3": each number once, ascending."""
    inner = text.removeprefix("..")
    parts = inner.split(",", MOST_NUMBERS)[:MOST_NUMBERS] if inner else []
    found = [_whole(part) for part in parts]
    return tuple(sorted({number for number in found if number is not None})) if None not in found else None


def _share(text: str) -> float | None:
    number = float(text) if len(text) < 60 and _NUMBER.fullmatch(text.strip()) else -1.0
    return number if 0 <= number <= 1 else None


def _side(text: str) -> Side | None:
    return "left" if text == "left" else "right" if text == "right" else None


def _method(text: str) -> Method | None:
    return next((method for method in get_args(Method) if method == text), None)


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())
