"""What the front tells a model's process that computes: the batch at hand is not waited for any more.

It goes through a pipe of its own, as the number of the batch, counted from 1: what is told too late is of no batch at
hand, and does no harm.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress

_NUMBER = struct.Struct(">Q")


class Teller:
    """The front's end.

    The other is `reading`, to be passed on and closed by the caller.
    """

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(writing, False)
        self._pipe = os.fdopen(writing, "wb", buffering=0)

    def tell(self, number: int) -> None:
        """Nobody waits for this batch."""
        with suppress(OSError, ValueError):  # the process has ended, or has been told to
            self._pipe.write(_NUMBER.pack(number))

    def close(self) -> None:
        """Nothing more will be told."""
        self._pipe.close()


class Listener:
    """The end of the model's process.

    Args:
        reading: the descriptor of `Teller.reading`.
    """

    def __init__(self, reading: int) -> None:
        self.at_hand = 0
        """The number of the batch that is computed."""
        self._reading = reading
        self._last = 0

    def __call__(self) -> bool:
        """Whether nobody waits for the batch at hand."""
        with suppress(BlockingIOError):  # there is no more to read
            while told := os.read(self._reading, _NUMBER.size):
                (self._last,) = _NUMBER.unpack(told)
        return self._last == self.at_hand
