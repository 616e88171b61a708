"""Questions with a passage: PubMedQA (Jin et al. 2019) and the yes/no questions of BioASQ (Nentidis et al. 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.files import read_json
from pubmedbert.finetune.dataset import Labelled, Split
from pubmedbert.finetune.formats.bioasq import ANSWERS, checked_answer, joined, text_of
from pubmedbert.finetune.formats.columns import check_unique, read_rows

PUBMEDQA_LABELS = ("yes", "no", "maybe")


def read_pubmedqa(folder: Path, split: Split) -> list[Labelled]:
    """Read a split of the expert-labelled questions, fold 0, as BLURB does: contexts without the long answer.

    Args:
        folder: holds `ori_pqal.json` and `splits.json` (`test`: PMIDs, `folds`: lists of PMIDs, the first is dev), or
            what the origin's script makes of it: `test_set.json`, `pqal_fold0/train_set.json`, `.../dev_set.json`.
        split: which part.

    Raises:
        InputError: a file is missing, or a question lacks something.
    """
    path, *splits = pubmedqa_files(folder, split)
    questions = read_json(path)
    pmids = _fold(splits[0], split) if splits else list(questions)
    return [_pubmedqa(path, pmid, questions.get(pmid)) for pmid in pmids]


def pubmedqa_files(folder: Path, split: Split) -> list[Path]:
    """The files that a split is read from: the questions and, if they are those of all splits, the splits."""
    if (folder / "splits.json").exists():
        return [folder / "ori_pqal.json", folder / "splits.json"]
    return [folder / ("test_set.json" if split == "test" else f"pqal_fold0/{split}_set.json")]


def read_bioasq(path: Path) -> list[Labelled]:
    """Read BLURB's file: id, question, snippets and answer in a tsv without a header.

    Raises:
        InputError: the file can't be read, or an answer is neither yes nor no.
    """
    examples = []
    for row in read_rows(path, "tsv", ("id", "question", "snippets", "answer")):
        answer = checked_answer(row.where, row.cells["answer"], ANSWERS)
        examples.append(Labelled(row.text("id"), row.text("question"), answer, row.text("snippets")))
    check_unique([example.id for example in examples], path)
    return examples


def _pubmedqa(path: Path, pmid: str, question: object) -> Labelled:
    where = f"{path}, {pmid}"
    if not isinstance(question, dict):
        raise InputError(f"{where}: there is no such question, though the split names it")
    contexts = joined(where, "CONTEXTS", question.get("CONTEXTS"))
    label = checked_answer(where, question.get("final_decision"), PUBMEDQA_LABELS)
    return Labelled(pmid, text_of(where, question, "QUESTION"), label, contexts)


def _fold(path: Path, split: Split) -> list[str]:
    """The PMIDs of a split, of fold 0."""
    splits: dict[str, Any] = read_json(path)
    test, folds = splits.get("test"), splits.get("folds")
    if not isinstance(test, list) or not isinstance(folds, list) or not all(isinstance(fold, list) for fold in folds):
        raise InputError(
            f'{path} must hold "test", a list of PMIDs, and "folds", lists of PMIDs of which the first is dev'
        )
    if split == "train":
        return [str(pmid) for fold in folds[1:] for pmid in fold]
    return [str(pmid) for pmid in (test if split == "test" else folds[0] if folds else [])]
