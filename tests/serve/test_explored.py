"""What a model says of itself to the explorer, and which index it takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.model.head import Head
from pubmedbert.serve.deadline import Deadline
from pubmedbert.serve.explored import Explored
from pubmedbert.serve.process import Loading
from tests.infer.tuned_folders import HEADS, tuned_folder


def test_a_model_of_one_label_is_no_regression(tmp_path: Path) -> None:
    """The page goes by `problem`: how many labels there are does not tell."""
    for head in (Head(level="text", labels=("risk",), problem="multi"), HEADS["regression"]):
        folder = tuned_folder(tmp_path / head.problem, head)
        about = Explored(folder, Loading(model=str(folder)), Deadline()).about
        assert (about["problem"], len(head.labels)) == (head.problem, 1)


def test_an_index_of_another_tokenizer_is_refused(index: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["mask"], tmp_path / "model"))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"do_lower_case": False}))
    with pytest.raises(InputError, match="was made with another tokenizer of this model; make an index for this one"):
        Explored(folder, Loading(model=str(folder), indexes=[str(index)]), Deadline())
