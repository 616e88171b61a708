"""BioASQ's golden files: questions with their snippets, of which those to be answered yes or no are read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.files import read_json
from pubmedbert.finetune.dataset import Labelled
from pubmedbert.finetune.formats.columns import check_unique
from pubmedbert.infer.tokenizer import valid

ANSWERS = ("yes", "no")


def read_bioasq_golden(path: Path) -> list[Labelled]:
    """Read the yes/no questions of a file that the organisers hand out (`7B_golden.json`); snippets joined by a space.

    Line ends inside a snippet become spaces.

    Raises:
        InputError: the file can't be read, or a question lacks something.
    """
    questions = read_json(path).get("questions")
    if not isinstance(questions, list):
        raise InputError(f'{path} must hold a list "questions"')
    examples = []
    for number, question in enumerate(questions, 1):
        where = f"{path}, question {number}"
        if not isinstance(question, dict):
            raise InputError(f"{where}: a JSON object is wanted")
        if question.get("type") != "yesno":
            continue
        exact = question.get("exact_answer")
        answer = exact[0] if isinstance(exact, list) and exact else exact
        label = checked_answer(where, answer.lower() if isinstance(answer, str) else answer, ANSWERS)
        snippets = question.get("snippets")
        if not isinstance(snippets, list) or not all(isinstance(snippet, dict) for snippet in snippets):
            raise InputError(f'{where}: "snippets" must be a list of objects, each with a "text"')
        passage = joined(where, "snippets", [snippet.get("text") for snippet in snippets])
        examples.append(Labelled(text_of(where, question, "id"), text_of(where, question, "body"), label, passage))
    check_unique([example.id for example in examples], path)
    return examples


def checked_answer(where: str, answer: object, labels: Collection[str]) -> str:
    """An answer that is one of the classes.

    Raises:
        InputError: it is not.
    """
    if not isinstance(answer, str) or answer not in labels:
        raise InputError(f"{where}: the answer must be {' or '.join(labels)}, not {answer!r}")
    return answer


def text_of(where: str, question: dict[str, Any], key: str) -> str:
    """What a question says under a key, which must be some text.

    Raises:
        InputError: it is not.
    """
    value = question.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{where}: "{key}" must be a text')
    return _valid(where, key, value.strip())


def joined(where: str, key: str, texts: object) -> str:
    """A list of texts as one, line ends as spaces.

    Raises:
        InputError: it is no list of texts, or they are empty.
    """
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f'{where}: "{key}" must be a list of texts')
    passage = " ".join(" ".join(text.splitlines()) for text in texts).strip()
    if not passage:
        raise InputError(f'{where}: "{key}" must hold some text')
    return _valid(where, key, passage)


def _valid(where: str, key: str, text: str) -> str:
    try:
        return valid(text)
    except InputError as error:
        raise InputError(f'{where}: "{key}": {error}') from error
