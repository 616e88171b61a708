"""What the service accepts, and how it refuses the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from pubmedbert.errors import InputError
from pubmedbert.infer.tokenizer import PIECE_CHARACTERS


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on a request and on what waits; all are above 0."""

    body_bytes: int = 1 << 20
    """Bytes in the body of a request."""
    headers: int = 256
    """Headers of a request."""
    inputs: int = 256
    """Texts in a request."""
    tokens: int = 8192
    """Word pieces in a text, for models that read long texts in windows; others read `max_positions`."""
    piece_characters: int = PIECE_CHARACTERS
    """Characters in a text, for each word piece that it may have."""
    parameter_characters: int = 8192
    """Characters in all targets, or in all labels to ignore."""
    masks: int = 16
    """[MASK]s in a text."""
    targets: int = 64
    """Words to choose between for a mask."""
    work: int = 65_536
    """Word pieces to compute for a text, which targets of several pieces multiply, and words hidden one by one; the
    sentences found for it included."""
    top_k: int = 100
    """Answers for a mask."""
    numbers: int = 1 << 22
    """Numbers in an answer of vectors for each word piece."""
    map_numbers: int = 1 << 25
    """Numbers in the attention maps of a text, which is cut to that: to 482 word pieces by BERT-base, 295 by -large."""
    neighbours: int = 200
    """Occurrences of a word that the explorer finds."""
    untaken_bytes: int = 1 << 28
    """Bytes of all answers that clients have yet to take, a large one included that is to be among them."""
    seconds: float = 30.0
    """From the last byte of a request to its answer."""
    body_seconds: float = 10.0
    """From the end of a request's headers to the last byte of its body; and what `connection.timed` takes."""
    connections: int = 900
    """Connections at once: with them, the files a process usually may open, 1,024, are enough."""
    queue: int = 1024
    """Texts that wait for a model."""
    queue_characters: int = 1 << 24
    """Characters in these."""
    batch_tokens: int = 2048
    """Word pieces that a model computes at once; one text may be longer."""
    stuck_seconds: float = 300.0
    """For a batch, and for a process that replaces another to load the model; then it is replaced itself."""
    drain_seconds: float = 30.0
    """To answer what was accepted before the service ends; `seconds` where that is longer."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 < getattr(self, field.name) < math.inf:
                raise InputError(f"the limit {field.name} must be above 0, and finite, not {getattr(self, field.name)}")


class RefusalError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        sentence: what is wrong and what would be right.
        retry_after: seconds after which another try may be answered.
        reason: a word for the metrics.
    """

    def __init__(self, status: int, sentence: str, *, reason: str = "input", retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.reason = reason
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the status asks for."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})
