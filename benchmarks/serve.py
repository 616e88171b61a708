"""The service under load and under faults, against a plain FastAPI server around the transformers pipeline.

    python -m benchmarks.serve --data DATA --seconds 120 --clients 200 --out docs/benchmarks.md

Three phases. `load`: as many clients as said, each with one request at a time, texts of 20 to 300 word pieces with one
[MASK]; the servers run side by side and are asked in turns, round after round. Every answer is compared with that of
the same server to the same request alone. `faults`: good clients beside slow ones, aborted requests, huge bodies, bad
UTF-8 and a model process that is killed again and again. `schema`: schemathesis against the OpenAPI description.
The model has base size and random weights, sharpened so that answers differ, and int8 is not judged before it is used:
speed is measured here, not quality; --model names another. What our servers lose, mix up or answer otherwise than
alone is told on standard error, and the exit code is 1. Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from benchmarks import infer
from benchmarks.machine import place
from benchmarks.page import put

NAIVE, FP32, INT8 = "FastAPI + pipeline", "pubmedbert serve, fp32", "pubmedbert serve, int8"
BAR = 3.0
"""How many times the answers of the plain server ours must give."""
SPREAD = 3.0
"""Standard deviation of the logits of a sharpened model: its best words have some hundredths of the probability."""
START = 120.0
"""Seconds that a server may take to start, or to start again."""


def main() -> None:
    """Run the phases, or be the plain server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with abstracts/*.jsonl.gz")
    parser.add_argument("--model", help="a model with an int8 export; without it, one of random weights is made")
    parser.add_argument("--size", default="base", help="of the model that is made")
    parser.add_argument("--seconds", type=float, default=120.0, help="of load on each server, in all rounds")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--phases", default="load,faults,schema")
    parser.add_argument("--out", type=Path, help="page whose part on the service is replaced; without it, print")
    parser.add_argument("--naive", nargs=2, metavar=("MODEL", "PORT"), help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=2, metavar=("MODEL", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and clients are ended on the way out
    if given.naive:
        naive(*given.naive)
        return
    if given.prepare:
        prepare(Path(given.prepare[0]), given.prepare[1])
        return
    troubles: list[str] = []
    with tempfile.TemporaryDirectory() as work:
        lines = list(report(given, Path(work), troubles))
    put("\n".join(lines) + "\n", given.out, "serve")
    if troubles:
        sys.exit("\n".join(troubles))


def prepare(model: Path, size: str) -> None:
    """A model of random weights, sharpened, with an int8 verdict that no one reached. It imports torch."""
    from math import sqrt

    import numpy as np
    from benchmarks.finetune import make_model
    from safetensors.numpy import load_file, save_file

    from pubmedbert.infer.engines.verdict import write_verdict
    from pubmedbert.infer.engines.weight_file import matrices
    from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint

    make_model(model, size)
    config = read_checkpoint(model, "mlm").config
    weights = model / "model.safetensors"
    tensors = load_file(weights)
    for name, tensor in tensors.items():
        if tensor.shape == (config.vocab_size, config.width):
            tensors[name] = tensor * np.float32(SPREAD / (tensor.std() * sqrt(config.width)))
    save_file(tensors, weights, {"format": "pt"})
    write_verdict(model, fingerprint(model), {}, frozenset(matrices(config, vocabulary=True)))


def naive(model: str, port: str) -> None:
    """The server that people write first. Its one thread is no handicap: more of them share the same cores."""
    import uvicorn
    from fastapi import Body, FastAPI
    from transformers import pipeline

    fill = pipeline("fill-mask", model=model)
    app = FastAPI()

    @app.post("/fill-mask")
    async def answer(inputs: str = Body(embed=True), parameters: dict[str, Any] | None = None) -> Any:
        return fill(inputs, **(parameters or {"top_k": 5}))

    uvicorn.run(app, port=int(port), log_level="warning")


def report(given: argparse.Namespace, work: Path, troubles: list[str]) -> Iterator[str]:
    """Run the phases; yield the lines of the page, and add what must not be to `troubles`."""
    os.environ["PUBMEDBERT_CACHE"] = str(work / "cache")
    model = given.model
    if model is None:
        model = str(work / "model")
        Path(model).mkdir()
        subprocess.run([sys.executable, "-m", "benchmarks.serve", "--prepare", model, given.size], check=True)
    kind = "sharpened random weights" if given.model is None else given.model
    yield f"## Service\n\n{place()}; {kind}; {given.clients} clients.\n"
    phases = given.phases.split(",")
    if "load" in phases:
        texts = list(infer.texts(given.data, Path(model), given.texts))
        (work / "texts.json").write_text(json.dumps(texts))
        yield from load(given, model, texts, work, troubles)
    if "faults" in phases:
        with ours(model, "fp32") as (url, process):
            yield from faults(given, url, process, work, troubles)
    if "schema" in phases:
        with ours(model, "fp32") as (url, _):
            yield from schema(url, 10 if given.seconds < 60 else 100, troubles)


def load(given: argparse.Namespace, model: str, texts: list[str], work: Path, troubles: list[str]) -> Iterator[str]:
    """The phase of many clients: the servers in turns."""
    with ExitStack() as stack:
        urls = {
            NAIVE: stack.enter_context(plain(model)),
            FP32: stack.enter_context(ours(model, "fp32"))[0],
            INT8: stack.enter_context(ours(model, "int8"))[0],
        }
        single = {name: [alone(url, text) for text in texts] for name, url in urls.items()}
        for name, answers in single.items():
            (work / f"{name}.json").write_text(json.dumps(answers))
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in urls}
        for round_ in range(given.rounds):
            for name, url in urls.items():
                print(f"load, round {round_ + 1} of {given.rounds}, {name}", file=sys.stderr)
                files = [str(work / "texts.json"), str(work / f"{name}.json")]
                results[name].append(clients("load", url, *files, given.seconds / given.rounds, given.clients))
    yield "| server | answers | a second | against the plain one | p50, s | p99, s | checked against the text alone |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    rates = {name: sum(one["rate"] for one in rounds) / given.rounds for name, rounds in results.items()}
    for name, rounds in results.items():
        ratio = rates[name] / rates[NAIVE] if rates[NAIVE] else float("inf")
        judged = ", ".join(f"{count:,} {kind}" for kind, count in totals(rounds).items())
        if name != NAIVE and [*totals(rounds)] != ["equal"]:
            troubles.append(f"{name}, load: {judged}")
        error = max(one["error"] for one in rounds)
        yield (
            f"| {name} | {sum(one['answers'] for one in rounds):,} | {rates[name]:.1f} | {ratio:.1f}× "
            f"| {max(one['p50'] for one in rounds):.2f} | {max(one['p99'] for one in rounds):.2f} "
            f"| {judged}; largest difference of a score {error:.1e} |"
        )
    yield f"\np50 and p99 are those of the worst of {given.rounds} rounds. Bar: {BAR:g}× (int8)."
    yield agreement(single[INT8], single[FP32]) + "\n"


def agreement(int8: list[Any], fp32: list[Any]) -> str:
    """How the answers of the two are alike, each text alone."""
    same = sum(one[0]["token"] == other[0]["token"] for one, other in zip(int8, fp32, strict=True))
    errors = [0.0]
    for one, other in zip(int8, fp32, strict=True):
        scores = {answer["token"]: answer["score"] for answer in other}
        errors += [abs(answer["score"] - scores[answer["token"]]) for answer in one if answer["token"] in scores]
    return (
        f"int8, not judged, has the best word of fp32 for {same} of {len(fp32)} texts; "
        f"scores of the ten best differ by at most {max(errors):.1e}."
    )


def faults(
    given: argparse.Namespace, url: str, process: subprocess.Popen[bytes], work: Path, troubles: list[str]
) -> Iterator[str]:
    """The phase of bad clients and killed processes, beside good clients who must not notice."""
    texts = ["[MASK] is a tyrosine kinase inhibitor.", "Aspirin eases [MASK] and [MASK].".replace(" and [MASK]", "")]
    (work / "few.json").write_text(json.dumps(texts))
    (work / "few answers.json").write_text(json.dumps([alone(url, text) for text in texts]))
    files = [str(work / "few.json"), str(work / "few answers.json")]
    seconds = max(3.0, given.seconds / 2)  # in less, good clients could be done before a process is killed
    good = start_clients("load", url, *files, seconds, max(2, given.clients // 10))
    bad = start_clients("bad", url, seconds)
    killed = 0
    while good.poll() is None:
        health(url)  # a text whose process ends twice is refused, so the one before is up again
        time.sleep(max(1.0, seconds / 5))
        for worker in psutil.Process(process.pid).children() if good.poll() is None else []:
            worker.kill()
            killed += 1
    found = finished(good)
    told = "; ".join(f"{kind}: {', '.join(map(str, kinds))}" for kind, kinds in finished(bad).items())
    judged = ", ".join(f"{count:,} {kind}" for kind, count in found["counts"].items())
    yield f"Faults: beside them, good clients had {judged}, p99 {found['p99']:.2f} s; {killed} model processes killed."
    state = health(url)
    yield f"Bad clients were answered: {told}. Afterwards: {state}.\n"
    if [*found["counts"]] != ["equal"]:
        troubles.append(f"faults: {judged}")
    if state != "ready":
        troubles.append(f"faults: the service is {state} afterwards")


def health(url: str) -> str:
    """What /health says, once it says that all is well or the last process has had its time to start again."""
    end = time.monotonic() + START
    while (state := httpx.get(f"{url}/health").json()["status"]) != "ready" and time.monotonic() < end:
        time.sleep(0.2)
    return str(state)


def schema(url: str, examples: int, troubles: list[str]) -> Iterator[str]:
    """The phase of schemathesis."""
    program = str(Path(sys.executable).with_name("schemathesis"))
    options = ["--checks", "not_a_server_error,response_schema_conformance", "--max-examples", str(examples)]
    done = subprocess.run(
        [program, "run", f"{url}/openapi.json", *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        troubles.append(f"schema: {done.stdout[-5000:]}")
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("pubmedbert_requests_total")]
    total = sum(float(line.split()[-1]) for line in counted)
    failed = sum(float(line.split()[-1]) for line in counted if 'status="5' in line)
    verdict = "passed" if done.returncode == 0 else "FAILED"
    yield f"schemathesis {verdict}: {total:,.0f} requests, {failed:,.0f} answered with 5xx."


def alone(url: str, text: str) -> Any:
    """The ten best answers to a request that is alone."""
    request = {"inputs": text, "parameters": {"top_k": 10}}
    return httpx.post(f"{url}/fill-mask", json=request, timeout=600).raise_for_status().json()


def totals(rounds: list[dict[str, Any]]) -> dict[str, int]:
    """What was said of all answers."""
    kinds = {kind for one in rounds for kind in one["counts"]}
    return {kind: sum(one["counts"].get(kind, 0) for one in rounds) for kind in sorted(kinds)}


def start_clients(*words: object) -> subprocess.Popen[bytes]:
    """Clients in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.clients", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def finished(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What clients say at their end."""
    output, _ = process.communicate()
    if process.returncode:
        sys.exit("the clients failed")
    found: dict[str, Any] = json.loads(output)
    return found


def clients(*words: object) -> dict[str, Any]:
    """What clients found."""
    return finished(start_clients(*words))


@contextmanager
def ours(model: str, precision: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`pubmedbert serve`; yields its address and process."""
    program = str(Path(sys.executable).with_name("pubmedbert"))
    options = ["--model", f"model={model}", "--precision", precision, "--port", "0", "--timeout", "600"]
    end = time.monotonic() + START
    # Appended to: what is read here must not move the place where the service writes.
    with tempfile.TemporaryFile("a+b") as log, subprocess.Popen([program, "serve", *options], stderr=log) as process:
        try:
            while not (ready := [line for line in lines(log) if line.get("message") == "ready"]):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit("the service did not start")
                time.sleep(0.1)
            yield ready[0]["url"], process
        finally:
            process.send_signal(signal.SIGTERM)


def lines(log: Any) -> list[dict[str, Any]]:
    """The log so far."""
    log.seek(0)
    return [json.loads(line) for line in log.read().splitlines() if line.startswith(b"{") and line.endswith(b"}")]


@contextmanager
def plain(model: str) -> Iterator[str]:
    """The plain server; yields its address."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.serve", "--naive", model, str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + START
            while not _answers(f"{url}/openapi.json"):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit("the plain server did not start")
                time.sleep(0.2)
            yield url
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
