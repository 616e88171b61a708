"""The queue of a model: fair between requests, bounded, cut into batches of a number of word pieces.

The order is that of start-time fair queueing (Goyal, Vin, Cheng 1996): a text is stamped with the work that its request
has put before it, counted from a clock that goes on by each request's share of the work done. So a request of one text
does not wait for all of a request of hundreds that came earlier, and nothing waits for ever. Nobody waits for a batch
to fill: while a model computes one, the next one gathers.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count


@dataclass(eq=False, slots=True)
class Entry:
    """A text that waits for its answer."""

    tokens: int
    """Word pieces to compute."""
    characters: int
    """Of the text, and of a second one."""
    job: dict[str, object]
    """What the model's process is told."""
    answer: asyncio.Future[bytes]
    until: float
    """When its request is no longer waited for, by the clock of the event loop."""
    tries: int = field(init=False, default=0)
    """Processes that were given it."""
    rank: tuple[float, int] = field(init=False, default=(0.0, 0))
    """Its place in the queue: the stamp, and for equal ones the order of arrival."""
    request: int = field(init=False, default=0)
    """The number of its request."""

    def __lt__(self, other: Entry) -> bool:
        """Whether it comes before another."""
        return self.rank < other.rank


class QueueFullError(Exception):
    """There is no room for the texts of a request."""


class FairQueue:
    """Entries in a fair order.

    Args:
        limit: most entries.
        characters: most characters in them all.
    """

    def __init__(self, limit: int, characters: int) -> None:
        self._limit = limit
        self._characters = characters
        self._heap: list[Entry] = []
        self._clock = 0.0
        self._arrivals = count()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def tokens(self) -> int:
        """Word pieces that wait."""
        return sum(entry.tokens for entry in self._heap)

    def has_room(self, count: int, characters: int) -> bool:
        """Whether a request of so many texts and characters would be taken; one that is alone always is."""
        waiting = sum(entry.characters for entry in self._heap)
        return not self._heap or (len(self._heap) + count <= self._limit and waiting + characters <= self._characters)

    def put(self, entries: Sequence[Entry]) -> None:
        """Queue the texts of a request, all or none.

        Raises:
            QueueFullError: there is no room.
        """
        if not self.has_room(len(entries), sum(entry.characters for entry in entries)):
            raise QueueFullError
        stamp, request = self._clock, next(self._arrivals)
        for entry in entries:
            entry.rank, entry.request = (stamp, next(self._arrivals)), request
            stamp += entry.tokens
            heapq.heappush(self._heap, entry)
        self._filled.set()

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Queue again what a batch did not answer; it keeps its place, and the limit does not apply."""
        for entry in entries:
            heapq.heappush(self._heap, entry)
        self._filled.set()

    def drop(self, entries: Sequence[Entry]) -> None:
        """Take the texts of a request out, where they still wait."""
        gone = set(map(id, entries))
        self._heap = [entry for entry in self._heap if id(entry) not in gone]
        heapq.heapify(self._heap)

    async def filled(self) -> None:
        """Wait until there is something to take."""
        while not self._heap:
            self._filled.clear()
            await self._filled.wait()

    def take(self, budget: int) -> list[Entry]:
        """Take the next texts, at least one where there are any, the longest first.

        An engine of several streams ends sooner when the long ones begin. What was in a batch that a process did not
        survive is computed alone: it may be the cause.

        Args:
            budget: most word pieces, where there is more than one text.
        """
        active = len({entry.request for entry in self._heap})
        taken: list[Entry] = []
        total = 0
        while self._heap:
            entry = self._heap[0]
            if taken and (total + entry.tokens > budget or entry.tries or taken[0].tries):
                break
            taken.append(heapq.heappop(self._heap))
            total += entry.tokens
        if taken:
            self._clock = max(self._clock + total / active, taken[-1].rank[0])
        return sorted(taken, key=lambda entry: -entry.tokens)
