"""Recipes: presets by size and task, overrides, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Task
from pubmedbert.finetune.recipe import NAMES, SIZES, Recipe, chosen, load_recipe, size_of


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", get_args(Task))
@pytest.mark.parametrize("size", SIZES)
def test_every_recipe_loads_for_every_task(name: str, task: Task, size: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, task, size)
    (tmp_path / "copy.toml").write_text(recipe.toml())
    assert load_recipe(str(tmp_path / "copy.toml"), task, size) == recipe


def test_the_papers_techniques_are_the_presets() -> None:
    assert load_recipe("auto", "ner", "base").freeze > 0
    assert load_recipe("auto", "ner", "base").layer_decay == 1.0
    for size in ("large", "electra"):
        assert load_recipe("auto", "relation", size).layer_decay < 1.0
        assert load_recipe("auto", "relation", size).freeze == 0
    similarity = load_recipe("auto", "similarity", "base")
    assert (similarity.reinit, similarity.freeze, similarity.layer_decay) == (1, 0, 1.0)
    plain = load_recipe("plain", "similarity", "base")
    assert (plain.reinit, plain.freeze, plain.layer_decay) == (0, 0, 1.0)


def test_what_is_set_has_the_last_word() -> None:
    recipe = load_recipe("auto", "ner", "base", ["freeze=1", "lr=1e-4", "pooling = max", "bias_correction=false"])
    assert (recipe.freeze, recipe.lr, recipe.pooling, recipe.bias_correction) == (1, 1e-4, "max", False)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("lr=0", "lr must be from"),
        ("epochs=1.5", "epochs must be a whole number"),
        ("pooling=sum", "pooling must be one of pooler, cls, mean, max"),
        ("scheme=iob", "scheme must be one of bio, bioul, io"),
        ("bias_correction=1", "bias_correction must be true or false"),
        ("layers=3", "unknown setting 'layers'"),
        ("lr", "--set takes key=value"),
    ],
)
def test_bad_settings_are_refused(override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_recipe("plain", "ner", "base", [override])


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(InputError, match="none of auto, plain"):
        load_recipe("best", "ner", "base")


@pytest.mark.parametrize(
    ("layers", "model", "size"),
    [
        (6, "minilm", "small"),
        (12, "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "base"),
        (24, "microsoft/BiomedNLP-BiomedBERT-large-uncased-abstract", "large"),
        (24, "microsoft/BiomedNLP-BiomedELECTRA-large-uncased-abstract", "electra"),
    ],
)
def test_sizes(layers: int, model: str, size: str) -> None:
    assert size_of(layers, model) == size


def test_an_electra_is_known_by_its_config_too() -> None:
    assert size_of(4, "runs/mine", "electra") == "electra"


def test_defaults_are_plain() -> None:
    assert Recipe().freeze == Recipe().reinit == 0


def test_what_the_user_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "auto").write_text("lr = 1e-3\n")  # a recipe of the package is no file
    (tmp_path / "mine.toml").write_text("lr = 1e-3\nepochs = 2\n")
    assert chosen("auto", ["batch=8"]) == ("batch",)
    assert chosen("mine.toml", ["batch=8"]) == ("lr", "epochs", "batch")
