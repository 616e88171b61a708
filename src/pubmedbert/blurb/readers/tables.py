"""Tables with a header: GAD (Bravo et al. 2015), sentences, and BIOSSES (Sogancioglu et al. 2017), pairs of them."""

from __future__ import annotations

from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled
from pubmedbert.finetune.formats.columns import check_unique, number, read_rows

GAD_LABELS = ("0", "1")
GAD_NEGATIVE = "0"


def read_gad(path: Path) -> list[Labelled]:
    """Read sentences with `@GENE$` and `@DISEASE$`: `index`, `sentence`, `label` (1: they are associated).

    Raises:
        InputError: the file can't be read, or a label is neither 0 nor 1.
    """
    examples = []
    for row in read_rows(path, "tsv"):
        label = row.text("label")
        if label not in GAD_LABELS:
            raise InputError(f"{row.where}: the label must be 0 or 1, not {label!r}")
        examples.append(Labelled(row.text("index"), row.text("sentence"), label))
    check_unique([example.id for example in examples], path)
    return examples


def read_biosses(path: Path) -> list[Labelled]:
    """Read pairs of sentences with the mean of what five annotators gave, from 0 to 4: `sent1`, `sent2`, `score`.

    Raises:
        InputError: the file can't be read, or a score is no number from 0 to 4.
    """
    examples = []
    for row in read_rows(path, "tsv"):
        score = number(row, "score")
        if not 0 <= score <= 4:
            raise InputError(f"{row.where}: the score must be from 0 to 4, not {score}")
        examples.append(Labelled(row.text("pair_id"), row.text("sent1"), score, row.text("sent2")))
    check_unique([example.id for example in examples], path)
    return examples
