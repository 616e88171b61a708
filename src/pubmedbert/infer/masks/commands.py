"""`pubmedbert fill-mask`."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from inspect import signature
from json import dumps
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from cyclopts import Parameter

from pubmedbert.errors import InputError, meant
from pubmedbert.infer.engine import Backend
from pubmedbert.infer.engines.forms import Precision
from pubmedbert.infer.lines import blocks, numbered, standard_input
from pubmedbert.infer.masks.show import show, show_jointly
from pubmedbert.progress import beside_answers, say

CHUNK = 256
"""Most lines of a file read, filled and printed at a time."""
FEW = 4
"""So many texts are answered sooner by a model that is not made ready for many."""

_QUOTED = re.compile('"[^"]*"')
_BETWEEN_DIGITS = re.compile(r"\d['′]*,\d+")

Fill = Callable[[Sequence[str]], list[Any]]
"""From texts to their answers, or to their joint fillings."""


def fill_mask(
    *texts: Annotated[str, Parameter(allow_leading_hyphen=True)],
    model: str = "bundled",
    top_k: int = 5,
    targets: str | None = None,
    pieces: int | None = None,
    joint: Annotated[bool, Parameter(negative="")] = False,
    scoring: Literal["word-l2r", "original", "l2r"] | None = None,
    order: Literal["left-to-right", "best-first"] | None = None,
    beam: int | None = None,
    file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    jsonl: Annotated[bool, Parameter(negative="")] = False,
    precision: Precision | None = None,
    backend: Backend = "auto",
) -> None:
    """Fill the [MASK] in texts: the most probable words, with their probabilities.

    Parameters
    ----------
    texts
        Texts with [MASK] in place of a word, such as "[MASK] is a tyrosine kinase inhibitor."; a single - reads them
        from standard input, one per line, all before the first is answered, and prints as for texts named here.
    model
        "bundled", a folder in Hugging Face layout, or a hub id such as
        microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract.
    top_k
        Answers for each mask; with --joint, for each text.
    targets
        The only words to answer, separated by commas, of any number of word pieces; a word with a comma in it stands in
        double quotes: '"1,2-dichloroethane", insulin'.
    pieces
        Search for whole words of 1 to so many word pieces, not for single pieces.
    joint
        Fill all masks of a text together, so that the words agree with each other.
    scoring
        How targets of several pieces are scored: by the pseudo-log-likelihood within words from left to right
        (word-l2r, the default), the original one, or the chain rule over the whole target (l2r).
    order
        The order in which --joint fills masks: left-to-right (the default), or best-first, the most certain mask first.
    beam
        Hypotheses kept in the search of --joint and --pieces; 10 unless more answers are asked for.
    file
        Read texts from a file, one per line (- is standard input), of any length, and print a line of JSON for each:
        in blocks of 256, and from a pipe as soon as it has no more for the moment.
    json
        Print what the Hugging Face fill-mask API returns; with --joint, the list of fillings. With --file it changes
        nothing.
    jsonl
        Print a line of JSON for each text: the text, and for each mask its place in it and its answers; --file does.
    precision
        fp32, or int8 where the model has an int8 export, which is then the default.
    backend
        What computes: onnx (onnxruntime) or torch; auto is torch only where onnxruntime is not installed.
    """
    _check_used(scoring, order, beam, targets is not None, pieces is not None, joint)
    if json and jsonl and file is None:
        raise InputError("--json and --jsonl exclude each other; choose one")
    if file is not None and texts:
        raise InputError("texts are named both by --file and by arguments; leave one of them out")
    given = _given(texts) if file is None else []
    words = None if targets is None else _words(targets)
    options = {"scoring": scoring, "order": order, "beam": beam, "targets": words, "pieces": pieces, "top_k": top_k}
    chosen = {name: value for name, value in options.items() if value is not None}

    from pubmedbert.infer.masks.fill_mask import FillMask

    filler = FillMask(model, precision=precision, backend=backend, one_shot=0 < len(given) <= FEW)
    fill: Fill = partial(filler.fill_jointly if joint else filler.fill, **chosen)  # type: ignore[arg-type]
    key = "fillings" if joint else "masks"
    if file is not None:
        _fill_lines(file, fill, key)
        return
    filled = fill(given)
    if jsonl:
        for text, found in zip(given, filled, strict=True):
            print(dumps({"text": text, key: found}, ensure_ascii=False))
    elif json:
        several = not joint and filler.several(words, pieces)
        print(dumps(_api_form(filled, joint, several), ensure_ascii=False))
    else:
        (show_jointly if joint else show)(given, filled)


def _fill_lines(file: str, fill: Fill, key: str) -> None:
    """Fill the lines of a file, or of a pipe as they arrive, and print them as JSON, a block at a time."""
    from pubmedbert.infer.masks.masked_text import TextError

    name = "standard input" if file == "-" else file
    out = sys.stdout  # a progress bar takes its place while it is shown
    count = 0
    with _opened(file) as stream, beside_answers(f"filling {name}", "texts") as advance:
        for block in blocks(stream, name, CHUNK):
            given = [(number, text) for number, text in block if text.strip()]
            failure = None
            try:
                filled = fill([text for _, text in given])
            except TextError as error:
                failure = InputError(f"{name}, line {given[error.index][0]}: {error}")
                given = given[: error.index]
                filled = fill([text for _, text in given])
            for (number, text), found in zip(given, filled, strict=True):
                print(dumps({"line": number, "text": text, key: found}, ensure_ascii=False), file=out)
            out.flush()
            advance(len(given))
            count += len(given)
            if failure is not None:
                raise failure
    if not count:
        say(f"{name} holds no text: there was nothing to fill")


def _opened(file: str) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(standard_input()) if file == "-" else Path(file).open("rb")


def _api_form(filled: list[Any], joint: bool, several: bool) -> object:
    from pubmedbert.infer.masks.answers import api_form

    if joint:
        return filled[0] if len(filled) == 1 else filled
    return api_form(filled, several=several)


def _given(texts: Sequence[str]) -> list[str]:
    """The texts of the command line, or the lines of standard input for a single "-"."""
    if not texts:
        raise InputError("name a text with [MASK] in it, or - to read texts from standard input")
    if list(texts) != ["-"]:
        if mistaken := next((text for text in texts if text.startswith("--") and "[MASK]" not in text), None):
            option = mistaken.split("=")[0]
            known = [f"--{name.replace('_', '-')}" for name in signature(fill_mask).parameters if name != "texts"]
            raise InputError(f"there is no option {option}; {meant(option, known, 'see pubmedbert fill-mask --help')}")
        return list(texts)
    given = [line for _, line in numbered(standard_input(), "standard input") if line.strip()]
    if not given:
        raise InputError("standard input holds no text")
    return given


def _words(targets: str) -> list[str]:
    """Targets as they are written: separated by commas, in double quotes where they hold one."""
    try:
        (words,) = csv.reader([targets], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        if targets.count('"') % 2:
            sentence = f"a double quote in --targets {targets!r:.80} is not closed; close it after the word"
            raise InputError(sentence) from error
        raise InputError(f"--targets must be words separated by commas, not {targets!r:.80} ({error})") from error
    between = _BETWEEN_DIGITS.search(_QUOTED.sub("", targets))
    if between is not None:
        raise InputError(
            f"the comma in {between[0]!r} of --targets may be part of a word: write the word in double quotes, "
            "or a blank after the comma"
        )
    return [word.strip() for word in words if word.strip()]


def _check_used(
    scoring: str | None, order: str | None, beam: int | None, targets: bool, pieces: bool, joint: bool
) -> None:
    """Refuse options that would do nothing."""
    if scoring is not None and (joint or not targets):
        raise InputError("--scoring is for --targets without --joint; leave it out")
    if order is not None and not joint:
        raise InputError("--order is for --joint; leave it out, or add --joint")
    if beam is not None and not (joint or pieces):
        raise InputError("--beam is for --joint and --pieces; leave it out, or add one of them")
