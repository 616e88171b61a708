"""Recipes, schedule, optimizer, objective and evaluation, each on its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.model import hf
from pubmedbert.model.config import SIZES, config_to_hf
from pubmedbert.model.encoder import initialise
from pubmedbert.model.flops import training_flops
from pubmedbert.model.heads import Bert
from pubmedbert.pretrain.feed import feed, fingerprint, special_pieces
from pubmedbert.pretrain.objective import masked_loss, unigram_loss
from pubmedbert.pretrain.recipe import RECIPES, Recipe, load_recipe
from pubmedbert.shards.read import open_shards
from pubmedbert.vocab.folder import build, save

TINY = Recipe(size="tiny", length=32, max_positions=64, rows=8, pack_tokens=128, dropout=0.0, attention_dropout=0.0)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_package_loads_and_round_trips(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path.stem)
    copy = tmp_path / "copy.toml"
    copy.write_text(recipe.toml())
    assert load_recipe(str(copy)) == recipe


def test_overrides_win_and_text_needs_no_quotes() -> None:
    recipe = load_recipe("mini", ["size=tiny", "lr=1e-4", "steps = 7"])
    assert (recipe.size, recipe.lr, recipe.steps) == ("tiny", 1e-4, 7)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("size=huge", "size must be one of tiny, mini"),
        ("steps=0", "steps must be from 1"),
        ("steps=1.5", "steps must be a whole number"),
        ("steps=true", "steps must be a whole number"),
        ("lr=fast", "lr must be a number"),
        ("length=600", "length must be from 4 to 512"),
        ("pack_tokens=64", "pack_tokens must be from 128"),
        ("mask_share=1.0", "mask_share must be from"),
        ("nonsense=1", "unknown setting 'nonsense'"),
        ("size=[1]", r"size must be text, not \[1\]"),
        ("seed=-1", "seed must be from 0"),
        ("seed=99999999999999999999999", "seed must be from 0"),
        ("max_positions=99999999999", "max_positions must be from 4 to 65536"),
        ("steps", "--set takes key=value"),
        ("objective=mlm+nsp", "needs rows of two segments: set two_segments = true"),
        ("phases=[{share=0.5}]", "shares of the phases add up to 0.5 instead of 1"),
        ("phases=[{length=64}]", "a phase needs its share"),
        ("phases=[{share=1, size='base'}]", "a phase: unknown setting 'size'"),
        ("phases=[{share=1, length=1024}]", "length must be from 4 to 512"),
        ("phases=3", r"phases must be tables, such as \[\[phases\]\]"),
        ("as_random=0.5", "as_mask must be from 0 to 0.5"),
    ],
)
def test_bad_settings_are_named(override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_recipe("mini", [override])


def test_no_recipe_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no recipe 'nothing'.*mini"):
        load_recipe("nothing")
    broken = tmp_path / "broken.toml"
    broken.write_text("steps = = 3")
    with pytest.raises(InputError, match="is not TOML"):
        load_recipe(str(broken))


def test_loss_and_gradients_equal_those_of_transformers(shards: Path) -> None:
    opened = open_shards(shards)
    config = TINY.model(opened.meta.vocab_size, 0)
    model = Bert(config)
    initialise(model, config, seed=3)
    pack = max(feed(opened, "train", TINY).step(0), key=lambda part: len(part.lengths))
    loss, right = masked_loss(model, pack)
    loss.backward()  # type: ignore[no-untyped-call]

    values = {key: value for key, value in config_to_hf(config).items() if key != "architectures"}
    theirs = BertForMaskedLM(BertConfig(**values, attn_implementation="eager"))
    theirs.load_state_dict(hf.state_to_hf(model), strict=False)
    longest = max(pack.lengths)
    ids = torch.zeros(len(pack.lengths), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    attention = torch.zeros_like(ids)
    flat = torch.full((len(pack.tokens),), -100)
    flat[torch.from_numpy(pack.where)] = torch.from_numpy(pack.labels)
    first = 0
    for row, length in enumerate(pack.lengths):
        ids[row, :length] = torch.from_numpy(pack.tokens[first : first + length])
        labels[row, :length] = flat[first : first + length]
        attention[row, :length] = 1
        first += length
    answer = theirs(input_ids=ids, attention_mask=attention, labels=labels)
    (answer.loss * len(pack.where)).backward()
    assert loss.item() == pytest.approx(answer.loss.item() * len(pack.where), rel=1e-5)
    assert 0 <= int(right) <= len(pack.where)
    ours = dict(model.named_parameters())["encoder.embeddings.words.weight"].grad
    other = theirs.bert.embeddings.word_embeddings.weight.grad
    assert ours is not None
    assert torch.allclose(ours, other, atol=1e-4)


def test_unigram_loss_is_the_cross_entropy_of_the_counts(shards: Path) -> None:
    opened = open_shards(shards)
    packs = feed(opened, "heldout", TINY).frozen()
    labels = np.concatenate([pack.labels for pack in packs])
    shares = (opened.unigram + 1) / (opened.unigram + 1).sum()
    assert unigram_loss(opened.unigram, packs) == pytest.approx(-np.mean([np.log(shares[i]) for i in labels]))


def test_steps_cross_epochs_and_read_every_row_equally_often(shards: Path) -> None:
    opened = open_shards(shards)
    run = feed(opened, "train", replace(TINY, rows=100))
    rows = len(run.table)
    steps = -(-3 * rows // 100)
    seen = sum(len(pack.lengths) for step in range(steps) for pack in run.step(step))
    assert seen == steps * 100
    assert fingerprint(run.step(5)) == fingerprint(feed(opened, "train", replace(TINY, rows=100)).step(5))
    assert fingerprint(run.step(5)) != fingerprint(run.step(6))


def test_the_fingerprint_is_of_rows_and_masks_not_of_their_packing(shards: Path) -> None:
    opened = open_shards(shards)
    packed = [feed(opened, "heldout", replace(TINY, pack_tokens=size)).frozen() for size in (32, 100, 10_000)]
    assert len({len(packs) for packs in packed}) == 3
    assert len({fingerprint(packs) for packs in packed}) == 1
    trained_otherwise = feed(opened, "heldout", replace(TINY, mask_share=0.3, as_mask=1.0, as_random=0.0)).frozen()
    assert fingerprint(trained_otherwise) == fingerprint(packed[0]), "evaluation masks are the same for every run"
    other = feed(opened, "heldout", replace(TINY, evaluate_mask_share=0.3)).frozen()
    assert fingerprint(other) != fingerprint(packed[0])


def test_padding_is_where_the_tokenizer_has_it(tmp_path: Path) -> None:
    save(build(["[UNK]", "[CLS]", "a", "b", "[SEP]", "[MASK]", "[PAD]"]), tmp_path / "tokenizer")
    kinds = special_pieces(tmp_path / "tokenizer")
    assert (kinds.pad, kinds.cls, kinds.sep, kinds.mask) == (6, 1, 4, 5)
    assert kinds.replacements.tolist() == [2, 3]
    assert TINY.model(7, kinds.pad).pad_id == 6


def test_flops_of_a_layer_counted_by_hand() -> None:
    config = replace(SIZES["tiny"], layers=1, vocab_size=10)
    forward = 2 * 8 * (3 * 128 * 128 + 128 * 128 + 2 * 128 * 512)  # projections of 8 tokens
    forward += 2 * 2 * 128 * (3 * 3 + 5 * 5)  # scores and mixing of rows of 3 and 5
    forward += 2 * 2 * (128 * 128 + 128 * 10)  # the head at 2 positions
    assert training_flops(config, [3, 5], 2) == 3 * forward


def test_evaluate_command_repeats_the_runs_last_evaluation(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = ["--shards", str(shards), "--set", "size=tiny", "--set", "steps=3", "--set", "length=32"]
    main(["pretrain", "--recipe", "mini", "--out", str(tmp_path / "run"), *tokens, "--set", "pack_tokens=512"])
    main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "model")])
    capsys.readouterr()
    main(["evaluate", "--model", str(tmp_path / "model"), "--shards", str(shards), "--length", "32", "--json"])
    result = json.loads(capsys.readouterr().out)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert result["masks"] == last["masks"]
    assert result["eval_loss"] == pytest.approx(last["eval_loss"], abs=1e-5)
    assert result["eval_accuracy"] == pytest.approx(last["eval_accuracy"])
