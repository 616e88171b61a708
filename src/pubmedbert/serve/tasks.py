"""The tasks of the Hugging Face inference API, computed for many texts at once. This runs in a model's process.

Shapes and defaults are those of the specifications in @huggingface/tasks and of transformers' pipelines.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import FaultError, InputError
from pubmedbert.files import WriteError, read_json
from pubmedbert.infer.engine import Encoder, check_finite, open_encoder, open_engine
from pubmedbert.infer.engines.weights import check_unchanged, fingerprint, read_checkpoint
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.infer.masks.answers import api_form
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.config import config_from_hf
from pubmedbert.model.locate import locate
from pubmedbert.serve import frames
from pubmedbert.serve.aggregate import Write, aggregate
from pubmedbert.serve.deadline import Deadline, PunctualEngine
from pubmedbert.serve.explored import Explored
from pubmedbert.serve.process import Loading
from pubmedbert.vocab import folder as vocabulary

Job = Mapping[str, Any]
"""`task`, `text`, `pair` (a second text or None), `parameters`, `alone` where it is to share no call with others (it
cannot be answered, or asks for words of its own), and `seconds` for which it is waited for."""


class Task(Protocol):
    """One task of a model."""

    def answer(self, jobs: Sequence[Job]) -> Sequence[object]:
        """The answer to each job: bytes, or what JSON can hold.

        Raises:
            InputError: one of the jobs cannot be answered.
        """


@dataclass(frozen=True)
class Loaded:
    """A model that answers."""

    tasks: Mapping[str, Task]
    """By name; the model's own comes first."""
    about: Mapping[str, object]
    """`folder`, `engine` (its name), `tasks`, `labels`, `pairs` (whether each has a second text; None where it may),
    `max_tokens`, the longest text in word pieces ([CLS] and [SEP] included) or None where texts are read in windows,
    for models that give vectors `width`, `fingerprint`, of the model and its tokenizer, and in `explore` what
    `explored.Explored.about` has."""
    deadline: Deadline
    """Of what is computed."""


class FillMaskTask:
    """`fill-mask`. Jobs that choose from the whole vocabulary are one call, each with its own `top_k`."""

    def __init__(self, fill: FillMask) -> None:
        self._fill = fill

    def answer(self, jobs: Sequence[Job]) -> Sequence[object]:
        """A list of `{score, token, token_str, sequence}`; for several masks a list of these."""
        counts = [job["parameters"].get("top_k") or 5 for job in jobs]
        targets = jobs[0]["parameters"].get("targets")
        given = [targets] if isinstance(targets, str) else targets
        filled = self._fill.fill([job["text"] for job in jobs], top_k=max(counts), targets=given, written=False)
        several = self._fill.several(given, None)
        kept = ([mask[:top_k] for mask in masks] for masks, top_k in zip(filled, counts, strict=True))
        return [api_form([masks], several=several) for masks in kept]


class TokenTask:
    """`token-classification`."""

    def __init__(self, predictor: Predictor, write: Write) -> None:
        self._predictor = predictor
        self._write = write

    def answer(self, jobs: Sequence[Job]) -> Sequence[object]:
        """A list of `{entity_group, score, word, start, end}`; `{entity, score, index, ...}` for "none"."""
        labels = self._predictor.head.labels
        answers = []
        for job, pieces in zip(jobs, self._predictor.predict_pieces([job["text"] for job in jobs]), strict=True):
            strategy = job["parameters"].get("aggregation_strategy") or "simple"
            ignored = job["parameters"].get("ignore_labels")
            left_out = {"O"} if ignored is None else set(ignored)
            answers.append(aggregate(job["text"], pieces, labels, strategy, left_out, self._write))
        return answers


class TextTask:
    """`text-classification`."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._usual = {"single": "softmax", "multi": "sigmoid", "regression": "none"}[predictor.head.problem]

    def answer(self, jobs: Sequence[Job]) -> Sequence[object]:
        """A list of `{label, score}`, the best first."""
        logits = self._predictor.text_logits([(job["text"], job["pair"]) for job in jobs])
        return [self._ranked(row, job["parameters"]) for row, job in zip(logits, jobs, strict=True)]

    def _ranked(self, logits: NDArray[np.float64], parameters: Mapping[str, Any]) -> list[dict[str, object]]:
        scores = activated(logits, parameters.get("function_to_apply") or self._usual)
        labels = self._predictor.head.labels
        order = np.argsort(-scores, kind="stable")[: parameters.get("top_k")]
        return [{"label": labels[index], "score": float(scores[index])} for index in order]


class FeatureTask:
    """`feature-extraction`: one vector for each text, or with `pooling` "none" one for each word piece."""

    def __init__(self, encoder: Encoder, tokenizer: ModelTokenizer) -> None:
        self._encoder = encoder
        self._tokenizer = tokenizer

    def answer(self, jobs: Sequence[Job]) -> Sequence[object]:
        """`[D]`, or `[T, D]` ([CLS] and [SEP] included)."""
        rows = [self._row(job["text"], job["parameters"]) for job in jobs]
        poolings = [job["parameters"].get("pooling") or "mean" for job in jobs]
        where = [[0] if pooling == "cls" else range(len(row)) for row, pooling in zip(rows, poolings, strict=True)]
        states = self._encoder.hidden(rows, where)
        for state in states:
            check_finite(state)
        return [
            pooled(state, pooling, job["parameters"].get("normalize")).astype(np.float64).tolist()
            for state, pooling, job in zip(states, poolings, jobs, strict=True)
        ]

    def _row(self, text: str, parameters: Mapping[str, Any]) -> list[int]:
        row = self._tokenizer.encode(text)
        most = self._encoder.max_positions
        if len(row) <= most:
            return row
        if not parameters.get("truncate"):
            raise InputError(
                f"the text is too long: {len(row)} word pieces with [CLS] and [SEP], the model reads at most {most}; "
                'shorten it or ask for "truncate": true'
            )
        if parameters.get("truncation_direction") == "left":
            return [row[0], *row[len(row) - most + 1 :]]
        return [*row[: most - 1], row[-1]]


def activated(logits: NDArray[np.float64], function: str) -> NDArray[np.float64]:
    """Scores from logits by "softmax", "sigmoid" or "none", over the last axis."""
    if function == "none":
        return logits
    if function == "sigmoid":
        return (1 + np.tanh(logits / 2)) / 2
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def pooled(state: NDArray[np.float32], pooling: str, normalize: bool | None) -> NDArray[np.float32]:
    """The vector of a text, of length 1 unless `normalize` is false; its states, as they are unless it is true.

    Args:
        state: `[T, D]` states of the text; `[1, D]` for "cls".
        pooling: "mean" (over [CLS] and [SEP] too, as sentence-transformers has it), "cls", or "none".
        normalize: None for the default.
    """
    if pooling != "none":
        state = state[0] if pooling == "cls" else state.mean(axis=0)
    if normalize or (normalize is None and pooling != "none"):
        state = state / np.maximum(np.linalg.norm(state, axis=-1, keepdims=True), 1e-12)
    return state


def load(loading: Loading) -> Loaded:
    """Load a model, find its tasks and compute once, so that the first request finds it warm.

    Raises:
        InputError: the folder has no tokenizer, or one that does not fit; an index or the tagger cannot be used.
        ModelError: there is no such model, or it cannot be read.
    """
    folder = locate(loading.model)
    mark = fingerprint(folder)
    deadline = Deadline()
    loaded = _load(folder, loading, deadline)
    explored = Explored(folder, loading, deadline)
    check_unchanged(folder, mark)
    about = {**loaded.about, "fingerprint": f"{mark} {explored.tokenizer}", "explore": explored.about}
    return Loaded({**loaded.tasks, **explored.tasks}, about, deadline)


def _load(folder: Path, loading: Loading, deadline: Deadline) -> Loaded:
    """A model with its tasks, the first of which is its own."""
    values = read_json(folder / "config.json")
    options: dict[str, Any] = {
        "precision": loading.precision,
        "backend": loading.backend,
        "threads": loading.threads,
    }
    named = str(values.get("architectures") or "")
    about: dict[str, object] = {"folder": str(folder.resolve())}
    if "Classification" in named:
        return _tuned(folder, options, about, deadline)
    tasks: dict[str, Task] = {}
    encoder: Encoder
    if _fills_masks(folder, named):
        encoder = engine = PunctualEngine(open_engine(folder, **options), deadline)
        tasks["fill-mask"] = FillMaskTask(FillMask(folder, engine=engine))
    else:
        encoder = open_encoder(folder, **options)
    tokenizer = ModelTokenizer(folder, config_from_hf(values, str(folder / "config.json")).vocab_size)
    tasks["feature-extraction"] = FeatureTask(encoder, tokenizer)
    encoder.hidden([tokenizer.encode("Warm.")])
    about |= {"engine": encoder.name, "max_tokens": encoder.max_positions, "width": encoder.width}
    about |= {"pairs": False, "labels": []}
    return Loaded(tasks, about | {"tasks": [*tasks]}, deadline)


def _fills_masks(folder: Path, named: str) -> bool:
    """Whether a model has a vocabulary head; a discriminator (`ElectraForPreTraining`) has another."""
    if named:
        return "MaskedLM" in named or "BertForPreTraining" in named
    return read_checkpoint(folder, "encoder").has_vocabulary


def _tuned(folder: Path, options: dict[str, Any], about: dict[str, object], deadline: Deadline) -> Loaded:
    predictor = Predictor(folder, backend=options["backend"], threads=options["threads"])  # fp32, whatever is asked
    head = predictor.head
    tasks: dict[str, Task] = (
        {"token-classification": TokenTask(predictor, vocabulary.load(folder).decoder.decode)}
        if head.level == "tokens"
        else {"text-classification": TextTask(predictor)}
    )
    predictor.predict_texts([("Warm.", "Warm." if predictor.pairs else None)])
    about |= {"engine": predictor.engine, "max_tokens": None, "pairs": predictor.pairs, "labels": list(head.labels)}
    return Loaded(tasks, about | {"tasks": [*tasks]}, deadline)


def answer_all(loaded: Loaded, jobs: Sequence[Job]) -> list[frames.Frame]:
    """The answers to jobs, in order; what fails with others is tried alone, so that only the cause is refused."""
    began = time.monotonic()
    answers: dict[int, frames.Frame] = {}
    groups: dict[Hashable, list[int]] = {}
    for number, job in enumerate(jobs):
        key = number if job["alone"] else job["task"]
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        task, given = loaded.tasks[jobs[numbers[0]]["task"]], [jobs[number] for number in numbers]
        loaded.deadline.set(began + max(job["seconds"] for job in given))
        found = _together(task, given) or [_alone(task, job) for job in given]
        answers |= zip(numbers, found, strict=True)
    return [answers[number] for number in range(len(jobs))]


def _together(task: Task, jobs: Sequence[Job]) -> list[frames.Frame] | None:
    """The answers of one call; None where it failed, and nobody is told why: that may quote anybody's text."""
    try:
        return [_written(answer) for answer in task.answer(jobs)]
    except Exception:
        return None


def _alone(task: Task, job: Job) -> frames.Frame:
    try:
        return _written(task.answer([job])[0])
    except (FaultError, WriteError):
        traceback.print_exc(chain=False)
        return frames.FAILED, b"the model cannot answer; the log says why"
    except InputError as error:
        return frames.REFUSED, str(error).encode("utf-8", "replace")
    except Exception:  # a fault of ours must not take the others' answers with it
        traceback.print_exc(chain=False)
        return frames.FAILED, b"the model failed on this text; the log says why"


def _written(answer: object) -> frames.Frame:
    if isinstance(answer, bytes):
        return frames.OK, answer
    return frames.OK, json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
