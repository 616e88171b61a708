"""The explorer's page at the size of BERT-large: does a slider stay within a frame?

    python -m benchmarks.browser --out docs/benchmarks.md

The page runs in Chromium without a graphics card and without a service: its files and a made view are handed to it.
`sharp` maps are the softmax of normal scores with a standard deviation of 3, `flat` ones of 0.3; the second is harder,
as more edges are drawn. Threshold: choosing the edges of summed heads. `script`: what the page computes for a frame.
`frame`: the time between two frames while the slider moves in every one of them; curves that do not fit into a frame
follow in the next ones, so `settled` is the time until all are there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.machine import place
from benchmarks.page import put

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PAGE = Path(__file__).parents[1] / "src" / "pubmedbert" / "serve" / "page"
ADDRESS = "http://explorer.test"
THRESHOLD_BAR = 8.0  # milliseconds
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu"]
KINDS = {"sharp": 3.0, "flat": 0.3}
MOVES = """async ([count]) => {
  const slider = document.querySelector("#explore-threshold"), view = document.querySelector("#explore .attention");
  const frames = [], scripts = [];
  const next = () => new Promise(requestAnimationFrame);
  let before = await next();
  for (let move = 0; move < count; move++) {
    slider.value = 50 + Math.round(40 * Math.sin(move / 5));
    slider.dispatchEvent(new Event("input"));
    const now = await next();
    frames.push(now - before);
    before = now;
    scripts.push(Number(view.dataset.milliseconds));
  }
  const began = performance.now();
  slider.value = 70;
  slider.dispatchEvent(new Event("input"));
  await next(); await next();
  while (view.dataset.drawn !== view.dataset.curves) await next();
  const settled = performance.now() - began;
  return { frames: frames.slice(2), scripts: scripts.slice(2), settled, curves: Number(view.dataset.curves) };
}"""
THRESHOLD = """async ([length, heads, count]) => {
  const { Maps, ranked, strongest } = await import("/page/explore/maps.js");
  const bytes = Uint8Array.from({ length: heads * length * length }, () => Math.floor(Math.random() ** 3 * 256));
  const maps = new Maps(bytes, [1, heads, length]);
  const all = [...Array(heads).keys()];
  const sum = maps.sum(0, all);
  const order = ranked(sum, length);
  const timed = (work) => [...Array(count)].map((_, number) => {
    const began = performance.now();
    work(number);
    return performance.now() - began;
  });
  const thresholds = timed((number) => strongest(sum, order, length, number / count));
  return [thresholds, timed(() => ranked(maps.sum(0, all), length))];
}"""


def main() -> None:
    """Measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--moves", type=int, default=120, help="of the slider")
    parser.add_argument("--out", type=Path, help="page of figures to put them in; without it, print")
    given = parser.parse_args()
    lines = [
        "## The explorer's page",
        "",
        f"{place()}; Chromium without a graphics card; {given.tokens} tokens, {given.layers} layers of {given.heads} "
        "heads; milliseconds, median [95th percentile].",
        "",
        *measure(given.layers, given.heads, given.tokens, given.moves),
    ]
    put("\n".join(lines) + "\n", given.out, "browser")


def measure(layers: int, heads: int, tokens: int, moves: int) -> Iterator[str]:
    """The rows of the table."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("error: there is no chromium on this machine; install it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for number, (kind, deviation) in enumerate(KINDS.items()):
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            hand_over(page, layers, heads, tokens, deviation)
            if not number:
                thresholds, sums = page.evaluate(THRESHOLD, [tokens, heads, 100])
                yield (
                    f"Threshold of a sum: {shown(thresholds)}, at most {THRESHOLD_BAR:g} wanted; "
                    f"a new sum of all heads: {shown(sums)}."
                )
                yield ""
                yield "| maps | curves at 70% | script | frame | settled |"
                yield "| --- | ---: | ---: | ---: | ---: |"
            found = page.evaluate(MOVES, [moves])
            yield (
                f"| {kind} | {found['curves']:,} | {shown(found['scripts'])} | {shown(found['frames'])} | "
                f"{found['settled']:.0f} |"
            )
            page.close()
        browser.close()


def shown(times: list[float]) -> str:
    """The median and the 95th percentile."""
    return f"{statistics.median(times):.1f} [{statistics.quantiles(times, n=20)[-1]:.1f}]"


def hand_over(page: Page, layers: int, heads: int, tokens: int, deviation: float) -> None:
    """Open the page with its files and a made view, and nothing else."""
    answers: dict[str, str | bytes] = {
        "/models": json.dumps([{"name": "made", "tasks": ["fill-mask"]}]),
        "/explore/models": json.dumps({"default": "made", "models": [about(layers, heads)], "tagger": None}),
        "/explore/state": json.dumps({"state": state(heads), "notices": [], "missing": None}),
        "/explore/view": made_view(layers, heads, tokens, deviation),
    }

    def answer(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path in answers:
            route.fulfill(body=answers[path])
        elif path == "/explore":
            route.fulfill(path=PAGE / "index.html")
        else:
            route.fulfill(path=PAGE / path.removeprefix("/page/"))

    page.route(f"{ADDRESS}/**", answer)
    page.goto(f"{ADDRESS}/explore")
    page.wait_for_function("() => document.querySelector('#explore .attention')?.dataset.curves")


def about(layers: int, heads: int) -> dict[str, Any]:
    """The model, as the service says it."""
    named = {"name": "made", "asked": "made", "kind": "mlm", "layers": layers, "heads": heads}
    return named | {"max_tokens": 512, "pairs": True, "labels": None, "level": None, "index": None}


def state(heads: int) -> dict[str, Any]:
    """What is shown at first."""
    chosen: dict[str, Any] = {"model": "made", "asked": "made", "sentence": "Made.", "sentence_b": None, "layer": 0}
    chosen |= {"heads": [*range(heads)], "threshold": 0.7, "token": None, "side": "left", "masks": []}
    return chosen | {"hide_special": True, "method": "raw"}


def made_view(layers: int, heads: int, tokens: int, deviation: float) -> bytes:
    """A view of random maps, as bytes."""
    import numpy as np

    from pubmedbert.explore.rows import Row, Token
    from pubmedbert.explore.view import View
    from pubmedbert.explore.wire import encode

    scores = np.random.default_rng(0).normal(0, deviation, (layers, heads, tokens, tokens)).astype(np.float32)
    powers = np.exp(scores)
    row = tuple(
        Token(place, f"piece{place}", 0, 0, 0, place, special=place in (0, tokens - 1)) for place in range(tokens)
    )
    maps = powers / powers.sum(axis=-1, keepdims=True)
    empty = np.empty(0, np.float32)
    return encode(View(Row(row, tokens), maps, hidden=empty, heads=empty, guesses=None, says=None, notices=()))


if __name__ == "__main__":
    main()
