"""Clients of a fill-mask service, good and bad, in a process of their own: `python -m benchmarks.clients KIND ...`.

`load URL TEXTS ANSWERS SECONDS CLIENTS` asks for texts as fast as they are answered and checks every answer against
ANSWERS; `bad URL SECONDS` sends what no service likes. Both print a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

Answer = list[dict[str, Any]]


async def load(url: str, texts: list[str], expected: list[Answer], seconds: float, clients: int) -> dict[str, Any]:
    """Ask for random texts from many clients at once; each waits for its answer before it asks again."""
    spent: list[float] = []
    counts: Counter[str] = Counter()
    worst = 0.0
    began = time.perf_counter()

    async def client(number: int) -> None:
        nonlocal worst
        rng = random.Random(number)  # noqa: S311
        while time.perf_counter() - began < seconds:
            chosen = rng.randrange(len(texts))
            start = time.perf_counter()
            try:
                response = await session.post(f"{url}/fill-mask", json={"inputs": texts[chosen]})
            except httpx.HTTPError as error:
                counts[f"lost: {type(error).__name__}"] += 1
                continue
            if response.status_code != 200:
                counts[f"status {response.status_code}"] += 1
                continue
            end = time.perf_counter()
            spent.append(end - start)
            counts["within"] += end - began <= seconds
            kind, error_ = judged(response.json(), expected[chosen])
            counts[kind] += 1
            worst = max(worst, error_)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=600, limits=limits) as session:
        await asyncio.gather(*(client(number) for number in range(clients)))
    ranked = sorted(spent)
    return {
        "answers": len(spent),
        "rate": counts.pop("within", 0) / seconds,
        "p50": ranked[len(ranked) // 2] if ranked else math.nan,
        "p99": ranked[math.ceil(0.99 * len(ranked)) - 1] if ranked else math.nan,
        "error": worst,
        "counts": dict(counts),
    }


def judged(answer: Answer, expected: Answer) -> tuple[str, float]:
    """Whether an answer is that of a request alone, and the largest difference of a score.

    Equal are answers of the same sequences, whose scores differ by no more than 1e-5 and a thousandth of themselves.

    Args:
        answer: what came.
        expected: the best of the request alone; more of them, as equal scores may change places.
    """
    known = {one["token"]: one for one in expected}
    if any(one["token"] in known and one["sequence"] != known[one["token"]]["sequence"] for one in answer):
        return "mixed up", 0.0
    error, equal = 0.0, bool(answer)
    for one in answer:
        score = known.get(one["token"], expected[-1])["score"]
        error = max(error, abs(one["score"] - score))
        equal = equal and abs(one["score"] - score) <= min(1e-5, 1e-3 * score)
    return "equal" if equal else "unequal", error


def bad(url: str, seconds: float) -> dict[str, Any]:
    """Slow clients, aborted requests, huge bodies and bad UTF-8, again and again; what they were answered."""
    place = urlsplit(url)
    address = (place.hostname or "", place.port or 80)
    head = b"POST /fill-mask HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    wrong = b'{"inputs": "\xff\xfe [MASK]"}'
    text = json.dumps({"inputs": ["[MASK] is a long text. " * 20] * 20}).encode()
    sent = {
        "slow headers": b"POST /fill-mask HTT",
        "slow body": head % 1000 + b'{"inputs": ',
        "huge claim": head % (1 << 40),
        "huge chunked body": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40,
        "bad UTF-8": head % len(wrong) + wrong,
        "noise": bytes(range(256)) * 4,
        "aborted request": head % len(text) + text,
    }
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in sent}
    end = time.monotonic() + seconds
    waiting: list[tuple[str, socket.socket]] = []
    while time.monotonic() < end:
        for kind, data in sent.items():
            client = socket.create_connection(address, timeout=60)
            try:
                client.sendall(data)
            except OSError:
                counts[kind]["connection closed"] += 1
            if kind == "aborted request":
                client.close()
                counts[kind]["left"] += 1
            else:
                waiting.append((kind, client))
        time.sleep(0.5)
    patience = time.monotonic() + max(2.0, seconds)
    for kind, client in waiting:
        with client:
            client.settimeout(max(0.01, patience - time.monotonic()))
            try:
                said = client.recv(100)[9:12].decode() or "connection closed"
            except TimeoutError:
                said = "no answer yet"
            except OSError:
                said = "connection closed"
        counts[kind][said] += 1
    return {kind: dict(found) for kind, found in counts.items()}


def main() -> None:
    """Be the clients that the command line names."""
    kind, url, *rest = sys.argv[1:]
    if kind == "bad":
        print(json.dumps(bad(url, float(rest[0]))))
        return
    texts, expected = (json.loads(Path(file).read_text()) for file in rest[:2])
    print(json.dumps(asyncio.run(load(url, texts, expected, float(rest[2]), int(rest[3])))))


if __name__ == "__main__":
    main()
