"""The BLURB score: the mean over six task types of the mean over the data sets of each (Gu et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot
from statistics import fmean

from pubmedbert.blurb.registry import GROUPS, NAMES
from pubmedbert.errors import InputError


def task_means(scores: Mapping[str, float]) -> dict[str, float]:
    """The mean of each task type whose data sets all have a score; others are left out.

    Args:
        scores: by data set; in percent or not, the means are in the same unit.
    """
    return {
        task: fmean(scores[name] for name in names) for task, names in GROUPS.items() if scores.keys() >= set(names)
    }


def task_sds(sds: Mapping[str, float]) -> dict[str, float]:
    """The standard deviation of each task mean over seeds that are drawn for every data set by itself.

    Args:
        sds: of one run of each data set; task types that miss one are left out.
    """
    return {
        task: hypot(*(sds[name] for name in names)) / len(names)
        for task, names in GROUPS.items()
        if sds.keys() >= set(names)
    }


def blurb_score(scores: Mapping[str, float]) -> float:
    """The BLURB score, in the unit of the scores.

    Args:
        scores: by data set; all 13 are needed, others are ignored.

    Raises:
        InputError: a data set is missing: a mean over fewer is not the BLURB score.
    """
    if absent := [name for name in NAMES if name not in scores]:
        raise InputError(f"the BLURB score needs all {len(NAMES)} data sets; there is no score of {', '.join(absent)}")
    return fmean(task_means(scores).values())


def blurb_sd(sds: Mapping[str, float]) -> float | None:
    """The standard deviation of the score with one seed drawn for every data set; None unless all 13 have one."""
    tasks = task_sds(sds)
    return hypot(*tasks.values()) / len(GROUPS) if len(tasks) == len(GROUPS) else None
