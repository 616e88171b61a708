"""Converted models on onnxruntime: rows without padding, many of them in streams of one thread each."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pubmedbert.infer.engines.converted import Converted
from pubmedbert.infer.engines.forms import Output

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import onnxruntime

BATCH_TOKENS = 128
"""Most word pieces of several rows in one call: up to here reading the weights takes as long as multiplying by them."""
_ONE_SHOT_CALLS = 8
"""Up to so many calls, laying the weights out for speed takes longer than it saves."""


class OnnxEncoder:
    """An encoder on onnxruntime; see `pubmedbert.infer.engine.Encoder`. Threads may share it.

    A single call has all threads; several calls run beside each other in streams of one thread, the longest first,
    because a thread for each row leaves no one waiting. Each way holds the weights, laid out for it, from its first
    use on: a process that goes both ways, as a service does, holds them twice.

    In fp32 short rows of one length share a call. In int8 each row has its own, as activations are rounded by the range
    of a call: an answer must not depend on other rows.

    Args:
        converted: the model.
        threads: processor threads used.
        one_shot: start fast rather than run fast.
        output: what `hidden` gives: states, or "heads", what the last layer's heads give.
    """

    def __init__(
        self,
        converted: Converted,
        threads: int,
        *,
        one_shot: bool = False,
        output: Literal["hidden", "heads"] = "hidden",
    ) -> None:
        self.name = f"onnx {converted.precision}"
        self.width = converted.width
        self.max_positions = converted.max_positions
        self._converted = converted
        self._threads = threads
        self._one_shot = one_shot
        self._output: Output = output
        self._batch_tokens = BATCH_TOKENS if converted.precision == "fp32" else 0
        self._sessions: dict[tuple[Output, int], onnxruntime.InferenceSession] = {}
        self._opening = threading.Lock()

    def hidden(
        self,
        rows: Sequence[Sequence[int]],
        where: Sequence[Sequence[int]] | None = None,
        seconds: Sequence[int] | None = None,
    ) -> list[NDArray[np.float32]]:
        """States of the last layer; see `pubmedbert.infer.engine.Encoder`."""
        places = [range(len(row)) for row in rows] if where is None else where
        states = [np.empty((len(chosen), self.width), np.float32) for chosen in places]
        self._run(self._output, rows, places, seconds, states)
        return states

    def _run(
        self,
        output: Output,
        rows: Sequence[Sequence[int]],
        where: Sequence[Sequence[int]],
        seconds: Sequence[int] | None,
        results: Sequence[NDArray[np.float32]],
    ) -> None:
        """Compute an output at the places of each row, into `results`."""
        calls = list(_calls(rows, where, self._batch_tokens))
        several = len(calls) > (_ONE_SHOT_CALLS if self._one_shot else 1)
        session = self._session(output, 1 if several else self._threads)

        def run(call: Sequence[int]) -> None:
            (values,) = session.run(None, _feed(call, rows, where, seconds))  # [B*M, ...]
            for row, part in zip(call, np.split(values, len(call)), strict=True):
                results[row][:] = part

        for _ in self._streams.map(run, calls) if several and self._threads > 1 else map(run, calls):
            pass  # an error in a stream is raised here

    @cached_property
    def _streams(self) -> Executor:
        from concurrent.futures import ThreadPoolExecutor  # a command that asks for one row does without

        return ThreadPoolExecutor(self._threads, thread_name_prefix="stream")

    def _session(self, output: Output, threads: int) -> onnxruntime.InferenceSession:
        with self._opening:
            key = (output, threads)
            if key not in self._sessions:
                self._converted = self._converted.present()
                many = threads < self._threads
                self._sessions[key] = _open(self._converted, output, threads, prepack=many or not self._one_shot)
            return self._sessions[key]


class OnnxEngine(OnnxEncoder):
    """A model that fills masks on onnxruntime; see `pubmedbert.infer.engine.Engine`."""

    def __init__(self, converted: Converted, threads: int, *, one_shot: bool = False) -> None:
        self.vocab_size = converted.vocab_size
        super().__init__(converted, threads, one_shot=one_shot)

    def logits(self, rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Score the vocabulary; see `pubmedbert.infer.engine.Engine`."""
        counts = [len(places) for places in where]
        scores = np.empty((sum(counts), self.vocab_size), np.float32)  # [M, V]
        self._run("logits", rows, where, None, np.split(scores, np.cumsum(counts)[:-1]))  # views of the rows' parts
        return scores


@dataclass(frozen=True)
class Views:
    """What a model computes on the way for one row."""

    attentions: NDArray[np.float32]
    """`[layers, H, T, T]`: how much each place (third axis) looks at each (fourth); rows add up to 1."""
    hidden: NDArray[np.float32]
    """`[layers + 1, T, D]`: the embeddings, and the states after each layer."""
    heads: NDArray[np.float32]
    """`[layers, T, D]`: what the heads of each layer give, side by side, before they are mixed."""


class Explorer:
    """The attentions and hidden states of all layers, and what their heads give, in fp32.

    Args:
        converted: the model.
        threads: processor threads used.
    """

    def __init__(self, converted: Converted, threads: int) -> None:
        self._layers = converted.layers
        self._session = _open(converted, "views", threads, prepack=True)
        self.max_positions = converted.max_positions

    def views(self, rows: Sequence[Sequence[int]], seconds: Sequence[int] | None = None) -> Iterator[Views]:
        """Yield what is computed for each row; each is `layers * H * T * T` numbers and more, so one at a time.

        Args:
            rows: word-piece ids, [CLS] and [SEP] included; at least one, at most `max_positions`.
            seconds: the place where the second segment begins in each row; the row's length where there is none.
        """
        count = self._layers
        attentions, heads = ([f"{name}.{layer}" for layer in range(count)] for name in ("attention", "heads"))
        states = [f"hidden.{layer}" for layer in range(count + 1)]
        for number in range(len(rows)):
            feed = _feed([number], rows, None, seconds)
            values = self._session.run([*attentions, *heads, *states], feed)
            yield Views(
                attentions=np.concatenate(values[:count]),
                hidden=np.stack(values[2 * count :]),
                heads=np.stack(values[count : 2 * count]),
            )

    def attention(self, row: Sequence[int], layer: int) -> NDArray[np.float32]:
        """The attentions `[H, T, T]` of a row in one layer, from 0."""
        (maps,) = self._session.run([f"attention.{layer}"], _feed([0], [row], None, None))
        return np.asarray(maps[0], np.float32)

    def attentions(
        self, rows: Sequence[Sequence[int]], seconds: Sequence[int] | None = None
    ) -> list[NDArray[np.float32]]:
        """The attentions `[layers, H, T, T]` of each row."""
        return [views.attentions for views in self.views(rows, seconds)]


def _calls(rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Rows that share a call, longest first: of one length and one number of places, at least one."""
    shapes = [(len(row), len(places)) for row, places in zip(rows, where, strict=True)]
    call: list[int] = []
    for row in sorted(range(len(rows)), key=lambda row: shapes[row], reverse=True):
        if call and (shapes[row] != shapes[call[0]] or (len(call) + 1) * shapes[row][0] > batch_tokens):
            yield call
            call = []
        if shapes[row][1]:
            call.append(row)
    if call:
        yield call


def _feed(
    call: Sequence[int],
    rows: Sequence[Sequence[int]],
    where: Sequence[Sequence[int]] | None,
    seconds: Sequence[int] | None,
) -> dict[str, NDArray[np.int64]]:
    """The inputs of a graph for rows of one length."""
    tokens = np.array([rows[row] for row in call], dtype=np.int64)  # [B, T]
    length = tokens.shape[1]
    positions = np.arange(length)  # [T]
    starts = [length if seconds is None else seconds[row] for row in call]
    types = (positions >= np.array(starts)[:, None]).astype(np.int64)  # [B, T]
    feed = {"tokens": tokens, "types": types, "positions": positions}
    if where is not None:
        wanted = [number * length + place for number, row in enumerate(call) for place in where[row]]
        feed["where"] = np.array(wanted, dtype=np.int64)  # [B*M]
    return feed


def _open(converted: Converted, output: Output, threads: int, *, prepack: bool) -> onnxruntime.InferenceSession:
    """A session of a graph.

    Raises:
        onnxruntime's errors: the file is damaged.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # rows have any length: a plan for each would be kept for ever
    if not prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    path: Any = str(converted.graph(output))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
