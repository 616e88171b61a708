"""Less compute for the same loss: what recipes reach in a sixth of the time that a run_mlm-style loop is given.

    pubmedbert shards ... --out SHARDS
    python -m benchmarks.budget --shards SHARDS --work RESULTS --out docs/benchmarks.md

The loop of benchmarks/run_mlm.py trains for `--minutes` under each of some learning rates and batches; its best run
counts. Ours trains for a sixth of that: the recipe `mini`, each change to it alone, several together
(`mini-fast`), and that without each of its parts or with one more. Held-out loss under the same frozen masks. Every run
is a process of its own; what is finished is kept in `--work`, so that the same command goes on after a stop. `--quick`
does everything once, tiny, in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, cpu
from benchmarks.page import put
from benchmarks.panels import panels

from pubmedbert.model.precision import in_bf16

LOOP = ((1e-3, 16), (2e-3, 16), (1e-3, 8), (5e-4, 16), (1e-3, 32))
"""Learning rate and rows of the loop that are tried, each with all of the time: in less it learns word frequencies
only. They are tried in the precision that this processor is faster in, the first in the other one, too, where that is
not many times slower. Dropout would only cost it time: no text is read twice."""
CHANGES = {
    "mini": [],
    "lr 2e-3": ["lr=2e-3"],
    "bf16": ["precision=bf16"],
    "Muon": ["optimizer=muon", "lr=2e-3"],
    "rows 16": ["rows=16"],
    "rows 8 to 48": ["rows_start=8", "rows=48", "ramp=0.5"],
    "masked share 30% to 15%": ["mask_share=0.3", "mask_share_end=0.15"],
    "100% [MASK]": ["as_mask=1.0", "as_random=0.0"],
    "length 48 to 128": ["phases=[{share=0.7, length=48}, {share=0.3, length=128}]"],
    "word frequencies": ["unigram_bias=true"],
    "word frequencies and neighbours": ["unigram_bias=true", "neighbours=5"],
    "weight averaging": ["average=0.98"],
}
"""Ours: what is changed in `mini`."""
TOGETHER = {
    "without neighbours": ["neighbours=0"],
    "without Muon": ["optimizer=adamw"],
    "without a falling masked share": ["mask_share=0.15", "mask_share_end=0"],
    "and rows 8 to 48": CHANGES["rows 8 to 48"],
    "and length 48 to 128": CHANGES["length 48 to 128"],
}
"""Ours: what is changed in `mini-fast`, whose name goes before."""
QUICK = ("mini", "lr 2e-3", "mini-fast without Muon")
"""What `--quick` runs beside `mini-fast`."""
FASTER = 6
"""How many times less time ours has."""


def main() -> None:
    """Run what is not there yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of results, made where it is missing")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the loop")
    parser.add_argument("--out", type=Path, help="page whose part is replaced, pictures in images/ beside it; or print")
    parser.add_argument("--settings", type=int, default=9, help="try the first so many of the loop's only")
    parser.add_argument("--only", default="", help="run these of ours only, names with semicolons between")
    parser.add_argument("--whole", action="store_true", help="give mini-fast all of the loop's time, too")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        from benchmarks.run_mlm import run

        asked = json.loads(given.loop)
        print(json.dumps(run(**asked | {"shards": given.shards})))
        return
    given.work.mkdir(parents=True, exist_ok=True)
    given.half = begun(given)
    put("\n".join(page(given)) + "\n", given.out, "budget")


def begun(given: argparse.Namespace) -> bool:
    """Whether this processor is faster in bfloat16, as it was when the folder of results was begun.

    What was measured for other minutes, at another scale or on another processor is none of these results: such a
    folder is refused.
    """
    path = given.work / "begun.json"
    asked = {"minutes": given.minutes, "quick": given.quick, "processor": cpu()}
    if not path.exists():
        path.write_text(json.dumps(asked | {"half": in_bf16("auto", "cpu")}), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    half = bool(found.pop("half", False))
    if found != asked:
        sys.exit(f"{given.work} was begun with {found}, this is {asked}: choose another --work")
    return half


def page(given: argparse.Namespace) -> Iterator[str]:
    """Run everything; yield the lines of its part of the page."""
    size, rows, length = ("tiny", 16, 32) if given.quick else ("mini", 1024, 128)
    short = given.minutes / FASTER
    half = given.half
    tried = dict(list(settings(half).items())[: 2 if given.quick else given.settings])
    common = {"size": size, "length": length, "rows": rows, "minutes": given.minutes}
    tuned = {name: loop(given, f"loop {name}", common | {"settings": one}) for name, one in tried.items()}
    scaled = [f"size={size}", f"length={length}", f"evaluate_rows={rows}", f"minutes={short}"]
    scaled += [f"evaluate_length={length}", "evaluate_every=50" if not given.quick else "evaluate_every=2"]
    every = recipes(half)
    names = given.only.split(";") if given.only else list(QUICK if given.quick else every)
    names = ["mini-fast", *(name for name in names if name != "mini-fast")]  # first, as it is what matters
    found = {name: recipe(given, name, every[name][0], scaled + every[name][1]) for name in names}
    yield from told(given, tuned, {name: found[name] for name in every if name in found})
    if given.whole:
        longer = [*scaled, f"minutes={given.minutes}"]
        one = recipe(given, f"mini-fast in {given.minutes:g} minutes", "mini-fast", longer)
        yield ""
        yield (
            f"In all of the loop's time `mini-fast` reaches {one['loss']:.4f} ({one['steps']:,} steps, "
            f"{one['tokens']:,} word pieces)."
        )


def recipes(half: bool) -> dict[str, tuple[str, list[str]]]:
    """What ours is tried with: by name a recipe and what is changed in it.

    Args:
        half: whether this processor is faster in bfloat16, so that it is tried, too.
    """
    alone = {name: ("mini", change) for name, change in CHANGES.items() if half or name != "bf16"}
    together = {f"mini-fast {name}": ("mini-fast", change) for name, change in TOGETHER.items()}
    return alone | {"mini-fast": ("mini-fast", [])} | together


def settings(half: bool) -> dict[str, dict[str, Any]]:
    """What the loop is tried with, by name.

    Args:
        half: whether this processor is faster in bfloat16.
    """
    tried = [(*one, half) for one in LOOP] + [(*LOOP[0], False)] * half
    return {
        f"lr {lr:g}, {rows} rows, dropout 0, {'bf16' if bf16 else 'fp32'}": {
            "lr": lr,
            "rows": rows,
            "dropout": 0.0,
            "bf16": bf16,
        }
        for lr, rows, bf16 in tried
    }


def loop(given: argparse.Namespace, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The loop, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.budget", "--shards", str(given.shards), "--work", str(given.work)]
    return kept(given.work, name, lambda: json.loads(output([*command, "--loop", json.dumps(asked)])))


def recipe(given: argparse.Namespace, name: str, named: str, settings: list[str]) -> dict[str, Any]:
    """A recipe of ours, by the command line."""
    folder = given.work / f"run {name}"
    command = [sys.executable, "-m", "pubmedbert", "pretrain", "--recipe", named]
    command += ["--shards", str(given.shards), "--out", str(folder)]

    def run() -> dict[str, Any]:
        output([*command, *(part for setting in settings for part in ("--set", setting))])
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        points = [(line["seconds"], line["eval_loss"]) for line in lines if "eval_loss" in line]
        last = next(line for line in reversed(lines) if "eval_loss" in line)
        found = {"points": points, "loss": last["eval_loss"], "unigram": last["unigram_loss"]}
        return found | {"steps": last["step"], "tokens": last["tokens"]}

    return kept(given.work, name, run)


def kept(work: Path, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A result, from before or made now, with the commit it was made with."""
    path = work / f"{name}.json"
    if not path.exists():
        found = run() | {"commit": commit()}
        path.write_text(json.dumps(found), encoding="utf-8")
        print(f"{name}: {found['loss']:.4f} after {found['points'][-1][0]:.0f} s", file=sys.stderr)
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def output(command: list[str]) -> str:
    """What a command prints; its own lines go where ours go."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def told(given: argparse.Namespace, tuned: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The lines, and the pictures."""
    best = min(tuned, key=lambda name: tuned[name]["loss"])
    target, fast = tuned[best], ours["mini-fast"]
    unigram, bar = fast["unigram"], target["loss"]
    yield "## Less compute for the same loss"
    yield ""
    yield opening(given, best, tuned, ours)
    yield ""
    yield "| recipe | held-out loss | against the loop | is where the loop ends after | steps | word pieces |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, one in ours.items():
        after = reached(one["points"], bar)
        cells = [f"{one['loss']:.4f}", f"{one['loss'] - bar:+.4f}", "-" if after is None else f"{after:.0f} s"]
        yield f"| {name} | {' | '.join(cells)} | {one['steps']:,} | {one['tokens']:,} |"
    yield ""
    verdict = "met" if fast["loss"] <= bar else "missed"
    yield f"`mini-fast` in 1/{FASTER} of the loop's time: {fast['loss']:.4f} against {bar:.4f} ({verdict})."
    if after := reached(fast["points"], bar):
        yield f"It passes the loop's loss after 1/{target['points'][-1][0] / after:.0f} of the loop's time."
    yield from unfinished(given, tuned, ours)
    if given.out:
        images = given.out.parent / "images"
        images.mkdir(exist_ok=True)
        (images / "less-compute.svg").write_text(panels(target, ours, unigram), encoding="utf-8")
        yield ""
        yield "![Held-out loss by minutes: the loop, mini, mini-fast, and each change to them](images/less-compute.svg)"
    yield ""
    yield "The loop, in six times as much time as ours has:"
    yield ""
    yield "| loop | held-out loss | steps | word pieces |"
    yield "| --- | --- | --- | --- |"
    for name, one in tuned.items():
        yield f"| {name} | {one['loss']:.4f} | {one['steps']:,} | {one['tokens']:,} |"


def opening(
    given: argparse.Namespace, best: str, tuned: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]]
) -> str:
    """What was compared, where and with what code."""
    target, unigram = tuned[best], ours["mini-fast"]["unigram"]
    commits = sorted({str(one["commit"]) for one in (*tuned.values(), *ours.values())})
    return (
        f"{cpu()}, {os.cpu_count()} cores, commit{'s' * (len(commits) > 1)} {', '.join(commits)}. A run_mlm-style "
        f"loop (transformers, AdamW, full blocks, whole words masked; {best}, the best of {len(tuned)} that were tried "
        f"for {given.minutes:g} minutes each) reaches a held-out loss of {target['loss']:.4f} in "
        f"{target['points'][-1][0] / 60:.1f} minutes and {target['tokens']:,} word pieces: "
        f"{unigram - target['loss']:.2f} nats below word frequencies alone ({unigram:.4f}). Ours has "
        f"{given.minutes / FASTER:g} minutes. Same shape, vocabulary, texts and frozen masks; every model is a plain "
        "BERT."
    )


def unfinished(given: argparse.Namespace, tuned: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """The line that says what was not run, where something was not."""
    every, listed = settings(given.half), recipes(given.half).keys() - {"mini", "mini-fast"}
    if tuned.keys() == every.keys() and listed <= ours.keys():
        return
    yield ""
    yield (
        f"Provisional: of the loop's {len(every)} settings {len(tuned)} were run, of the {len(listed)} changes to "
        f"`mini` and `mini-fast` {len(listed & ours.keys())}."
    )


def reached(points: list[tuple[float, float]], bar: float) -> float | None:
    """Seconds until a loss is at the bar for good, a straight line between evaluations; None where it never is."""
    if points[-1][1] > bar:
        return None
    last = max((number for number, (_, loss) in enumerate(points) if loss > bar), default=-1)
    if last < 0:
        return points[0][0]
    (before, above), (after, below) = points[last : last + 2]
    return before + (after - before) * (above - bar) / (above - below)


if __name__ == "__main__":
    main()
