"""The stability techniques one by one, against plain fine-tuning on small data: the study of Tinn et al. 2021 in small.

    python -m benchmarks.stability --model MODEL --data DATA --out OUT [--sets biosses,gad10,pubmedqa] [--seeds 10]

Each line is a `pubmedbert finetune` run of ten seeds; the script can be stopped and run again, finished seeds stay. A
line differs from `plain` in the settings that it names. `difference` and `sd ratio` are against plain, with 95%
intervals of a bootstrap over the seeds. Of so many intervals some leave out "no difference" by chance: `p` of the means
(permutation test) and of the spreads (Brown & Forsythe 1974; none where all scores are equal) are corrected for the
number of lines after Holm 1979. The settings were fixed before the test scores were seen.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pubmedbert.blurb.datasets import open_dataset
from pubmedbert.cores import cores
from pubmedbert.finetune import bootstrap
from pubmedbert.finetune.dataset import Dataset, Example, Labelled, Split
from pubmedbert.finetune.recipe import load_recipe
from pubmedbert.finetune.run import finetune
from pubmedbert.finetune.seeds import Job, Opener
from pubmedbert.model.locate import locate

PLAIN = {
    "biosses": ["lr=2e-4", "epochs=20", "batch=16", "select=last"],
    "gad10": ["lr=1e-4", "epochs=3", "batch=16", "select=last"],
    "pubmedqa": ["lr=5e-5", "epochs=5", "batch=4", "select=last", "max_length=64", "long=truncate"],
}
"""What all lines of a data set share; MiniLM, being small, takes higher rates than BERT-BASE. On PubMedQA higher ones
and larger batches left it at the majority's answer; rows are short there, so that eighty runs end in some hours."""
LINES = {
    "plain": [],
    "no bias correction": ["bias_correction=false"],
    "no warm-up": ["warmup=0.0"],
    "freeze 2 of 6 layers": ["freeze=2"],
    "layer-wise decay 0.8": ["layer_decay=0.8"],
    "top layer anew": ["reinit=1"],
    "mean pooling": ["pooling=mean"],
    "twice the epochs": [],
}


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(PLAIN))
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    if given.seeds < 2:
        parser.error("a standard deviation needs two seeds or more")
    for name in given.sets.split(","):
        print(f"\n### {name}, {given.seeds} seeds, {' '.join(PLAIN[name])}\n")
        results = {line: run(name, line, given) for line in LINES}
        print("| | test | sd | dev | collapsed | difference | p | sd ratio | p |\n" + "|---" * 9 + "|")
        for text in rows(results):
            print(text, flush=True)


def run(name: str, line: str, given: argparse.Namespace) -> dict[str, Any]:
    """One cell: ten seeds with the settings of a line."""
    opener: Opener = partial(tenth, given.data) if name == "gad10" else partial(open_dataset, name, given.data)
    settings = [*PLAIN[name], *LINES[line]]
    if line == "twice the epochs":
        settings = [f"epochs={2 * int(text.split('=')[1])}" if text.startswith("epochs") else text for text in settings]
    recipe = load_recipe("plain", opener().task, "small", [*settings, "restarts=0"])
    workers = min(cores(), given.seeds)
    job = Job(
        open=opener,
        model=locate(given.model),
        model_name=given.model,
        recipe=recipe,
        seeds=given.seeds,
        keep="none",
        workers=workers,
        threads=max(cores() // workers, 1),
    )
    return finetune(job, given.out / name / line.replace(" ", "-"))


def tenth(data: Path) -> Dataset:
    """GAD with a tenth of its training sentences, chosen by a hash of their text."""
    whole = open_dataset("gad", data)
    return Dataset("gad10", whole.task, whole.metric, whole.labels, partial(_some, data), whole.negative)


def _some(data: Path, split: Split) -> Sequence[Example]:
    examples = open_dataset("gad", data).read(split)
    if split != "train":
        return examples
    return [one for one in examples if isinstance(one, Labelled) and hashlib.sha256(one.text.encode()).digest()[0] < 26]


def rows(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The lines of the table, in percent."""
    scores = {line: [entry["test"] for entry in result["seeds"]] for line, result in results.items()}
    (first, plain), *others = scores.items()
    means = holm({line: p_of_means(found, plain) for line, found in others})
    spread = [line for line, found in others if min(np.ptp(found), np.ptp(plain)) > 0]
    spreads = holm({line: p_of_spreads(scores[line], plain) for line in spread})
    for line, result in results.items():
        collapsed = sum(entry["collapsed"] for entry in result["seeds"])
        cells = [line, f"{100 * result['test']['mean']:.1f}", f"{100 * result['test']['sd']:.1f}"]
        cells += [f"{100 * result['dev']['mean']:.1f}", f"{collapsed} of {len(plain)}"]
        if line != first:
            found = bootstrap.interval(scores[line], plain)
            mean, ratio = found.mean, found.sd_ratio
            cells += [f"{100 * mean.value:+.1f} [{100 * mean.low:+.1f}, {100 * mean.high:+.1f}]"]
            cells += [f"{means[line]:.3f}"]
            cells += ["-" if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"]
            cells += [f"{spreads[line]:.3f}" if line in spreads else "-"]
        yield f"| {' | '.join(cells + [''] * (9 - len(cells)))} |"


def p_of_means(first: Sequence[float], second: Sequence[float]) -> float:
    """How often seeds dealt out at random to the two sides differ as much in their means."""

    def difference(one: Any, other: Any, axis: int) -> Any:
        return np.mean(one, axis=axis) - np.mean(other, axis=axis)

    found = stats.permutation_test((first, second), difference, n_resamples=9999, vectorized=True, rng=0)
    return float(found.pvalue)


def p_of_spreads(first: Sequence[float], second: Sequence[float]) -> float:
    """That the scores, not all equal, spread as far from their median on both sides."""
    return float(stats.levene(first, second, center="median").pvalue)


def holm(found: Mapping[str, float]) -> dict[str, float]:
    """The p of several tests, by name, corrected for their number (Holm 1979)."""
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(found, key=found.__getitem__)):
        least = max(least, min(1.0, (len(found) - rank) * found[name]))
        corrected[name] = least
    return corrected


if __name__ == "__main__":
    main()
