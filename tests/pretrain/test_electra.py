"""ELECTRA as an objective: its losses, what is drawn, what it is judged by, and runs of it."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F
from transformers import ElectraForMaskedLM, ElectraForPreTraining

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.model import electra, electra_hf, hf
from pubmedbert.model.config import SIZES
from pubmedbert.pretrain.detection import detect, judge
from pubmedbert.pretrain.electra import Electra, draws, flops, run
from pubmedbert.pretrain.feed import Feed, feed
from pubmedbert.pretrain.loop import pretrain
from pubmedbert.pretrain.recipe import RECIPES, Recipe, load_recipe
from pubmedbert.shards.read import open_shards
from pubmedbert.shards.samples import Pack
from tests.model.reference import load_theirs
from tests.pretrain.conftest import metrics

TINY = Recipe(
    precision="fp32",
    objective="electra",
    size="tiny",
    length=32,
    max_positions=64,
    rows=16,
    pack_tokens=512,
    as_mask=1.0,
    as_random=0.0,
    dropout=0.0,
    attention_dropout=0.0,
    steps=50,
    lr=2e-3,
    evaluate_every=25,
    evaluate_rows=64,
    checkpoint_every=20,
)
GOLDEN = Path(__file__).parents[1] / "golden" / "pretrain-electra.json"


@pytest.fixture(scope="module")
def heldout(shards: Path) -> Feed:
    return feed(open_shards(shards), "heldout", TINY)


@pytest.fixture(scope="module")
def packs(heldout: Feed) -> list[Pack]:
    return heldout.frozen()


@pytest.fixture(scope="module")
def finished(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "electra"
    pretrain(TINY, shards, folder)
    return folder


def model(shards: Path, *, std: float = 0.1) -> electra.Electra:
    """Random weights, large enough to have something to say."""
    config = replace(TINY.model(open_shards(shards).meta.vocab_size, 0), initializer_range=std)
    objective = Electra(TINY)
    built = objective.build(config)
    objective.initialise(built, 3)
    return built.eval()


def test_the_losses_are_those_of_transformers(shards: Path, packs: list[Pack], tmp_path: Path) -> None:
    built, pack = model(shards), packs[0]
    terms = Electra(TINY).terms(built, pack, 5)
    found = run(built, pack)
    electra_hf.save(built, tmp_path)
    generator = load_theirs(tmp_path / "generator", ElectraForMaskedLM)
    discriminator = load_theirs(tmp_path, ElectraForPreTraining)
    mlm, rtd, start = 0.0, 0.0, 0
    filled = torch.from_numpy(pack.tokens).clone()
    filled[torch.from_numpy(pack.where)] = drawn(built, pack)
    for tokens, where, labels in pack.rows():
        wanted = torch.full((1, len(tokens)), -100)
        wanted[0, torch.from_numpy(where)] = torch.from_numpy(labels)
        row, end = torch.from_numpy(tokens)[None], start + len(tokens)
        with torch.inference_mode():
            if len(where):
                mlm += generator(input_ids=row, labels=wanted).loss.item() * len(where)
            truth = found.replaced[start:end].long()[None]
            said = discriminator(input_ids=filled[None, start:end], labels=truth)
        rtd += said.loss.item() * len(tokens)
        start = end
    assert terms["mlm"].total.item() == pytest.approx(mlm, rel=1e-4)
    assert terms["rtd"].total.item() == pytest.approx(rtd, rel=1e-4)
    assert (terms["mlm"].weight, terms["rtd"].weight) == (1.0, 50.0)
    assert Electra(TINY).counts(pack) == {name: term.count for name, term in terms.items()}
    replaced = found.replaced.double().mean().item()
    constant = -replaced * math.log(replaced) - (1 - replaced) * math.log(1 - replaced)
    assert terms["constant"].total.item() == pytest.approx(constant * len(pack.tokens), rel=1e-4)
    assert terms["constant"].weight == 0


def drawn(built: electra.Electra, pack: Pack) -> torch.Tensor:
    """What the generator fills in, as `run` does with seed 5."""
    with torch.inference_mode():
        found = run(built, pack)
        return electra.sample(found.shares.exp(), torch.from_numpy(draws(pack)))


def test_a_piece_drawn_right_is_an_original(shards: Path, packs: list[Pack], monkeypatch: pytest.MonkeyPatch) -> None:
    pack = packs[0]
    labels = torch.from_numpy(pack.labels)
    monkeypatch.setattr(electra, "sample", lambda shares, draws: labels)
    assert not run(model(shards), pack).replaced.any()
    monkeypatch.setattr(electra, "sample", lambda shares, draws: (labels + 1) % shares.shape[1])
    assert run(model(shards), pack).replaced.nonzero()[:, 0].tolist() == pack.where.tolist()


def test_no_gradient_goes_through_the_drawing(shards: Path, packs: list[Pack]) -> None:
    built = model(shards)
    Electra(TINY).terms(built, packs[0], 5)["rtd"].total.backward()  # type: ignore[no-untyped-call]
    reached = {name for name, parameter in built.named_parameters() if parameter.grad is not None}
    assert not [name for name in reached if name.startswith("generator.")]
    assert "discriminator.encoder.embeddings.words.weight" in reached
    assert "discriminator.detection.output.bias" in reached


def test_a_pack_without_masked_words(shards: Path, packs: list[Pack]) -> None:
    """Such as one of a single short row: nothing is replaced, and the discriminator learns that."""
    built, none = model(shards).train(), np.zeros(0, np.int64)
    terms = Electra(TINY).terms(built, replace(packs[0], where=none, labels=none), 5)
    sum(term.total for term in terms.values()).backward()  # type: ignore[union-attr]
    assert terms["mlm"].total.item() == terms["constant"].total.item() == 0
    assert terms["rtd"].total.item() > 0
    assert all(bool(parameter.grad.isfinite().all()) for parameter in built.parameters() if parameter.grad is not None)


def test_draws_are_of_the_masked_row_however_it_is_packed(shards: Path) -> None:
    seen = []
    for size in (32, 100, 10_000):
        found: dict[tuple[int, int], float] = {}
        for pack in feed(open_shards(shards), "heldout", replace(TINY, pack_tokens=size)).frozen():
            rows = np.searchsorted(np.cumsum(pack.lengths), pack.where, side="right")
            places = zip(pack.samples[rows].tolist(), pack.positions[pack.where].tolist(), strict=True)
            found |= dict(zip(places, draws(pack).tolist(), strict=True))
        seen.append(found)
    assert seen[0] == seen[1] == seen[2]
    values = np.array(list(seen[0].values()))
    assert len(set(values)) == len(values)
    assert (values * 2**40 % 1 == 0).all()
    assert abs(values.mean() - 0.5) < 4 * (12 * len(values)) ** -0.5


def test_another_epoch_has_other_masks_and_other_draws(shards: Path) -> None:
    train = feed(open_shards(shards), "train", TINY)
    steps = -(-len(train.table) // TINY.rows)
    first, second = (
        np.concatenate([draws(pack) for step in epoch for pack in train.step(step)])
        for epoch in (range(steps), range(steps, 2 * steps))
    )
    assert len(set(first) & set(second)) < 0.2 * len(first)  # a row of one word is masked in one way only


def test_the_same_judgement_however_rows_are_packed(shards: Path) -> None:
    built = model(shards)
    first, second = (
        detect(built, feed(open_shards(shards), "heldout", replace(TINY, pack_tokens=size)).frozen())
        for size in (64, 10_000)
    )
    assert first.loss == pytest.approx(second.loss, abs=1e-5)
    assert first.auc == pytest.approx(second.auc, abs=1e-4)
    assert first.replaced == second.replaced


def test_evaluation_masks_of_an_electra_are_all_masks(heldout: Feed, packs: list[Pack]) -> None:
    assert all((pack.tokens[pack.where] == heldout.special.mask).all() for pack in packs)


def test_a_constant_answer_gains_nothing() -> None:
    replaced = torch.arange(100) % 10 == 0
    constant = judge(torch.full((100,), math.log(0.1 / 0.9), dtype=torch.float64), replaced)
    assert constant.loss == pytest.approx(constant.constant_loss)
    assert constant.accuracy == constant.constant_accuracy == pytest.approx(0.9)
    assert (constant.balanced_accuracy, constant.auc) == (0.5, 0.5)
    assert constant.replaced == pytest.approx(0.1)
    perfect = judge(torch.where(replaced, 9.0, -9.0).double(), replaced)
    assert (perfect.accuracy, perfect.balanced_accuracy, perfect.auc) == (1.0, 1.0, 1.0)
    assert perfect.loss < 0.001
    with pytest.raises(InputError, match="replaced no word piece"):
        judge(torch.zeros(100), torch.zeros(100, dtype=torch.bool))


def test_answers_that_are_no_numbers_are_not_judged() -> None:
    with pytest.raises(InputError, match="diverged"):
        judge(torch.tensor([math.nan, 0.0]), torch.tensor([True, False]))


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_that_of_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    replaced = draw.random(200) < 0.2
    scores = draw.integers(-5, 6, 200) + replaced  # many ties
    found = judge(torch.from_numpy(scores).double(), torch.from_numpy(replaced))
    assert found.auc == pytest.approx(roc_auc_score(replaced, scores), abs=1e-12)


def test_flops_counted_by_hand() -> None:
    built = electra.Electra(replace(SIZES["tiny"], layers=1, vocab_size=10), 0.5)  # 128 and 64 wide
    forward = 2 * 8 * (4 * 128**2 + 8 * 128**2 + 128**2 + 128)  # the discriminator on 8 tokens, with its head
    forward += 2 * 8 * (128 * 64 + 2 * 64**2) + 2 * 2 * 10 * 64**2  # the projection, and the generator for 2 places
    forward += 2 * 2 * 128 * (3 * 3 + 5 * 5) + 2 * 2 * 64 * 2 * 5  # attention of both; the places are in the row of 5
    forward += 2 * 2 * (64 * 128 + 128 * 10)  # the vocabulary
    assert flops(built, [3, 5], [0, 2]) == 3 * forward


@pytest.mark.parametrize("name", ["pubmedelectra-base", "pubmedelectra-large", "electra-mini"])
def test_recipes_scaled_down_make_their_steps(shards: Path, tmp_path: Path, name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.objective == "electra"
    assert sorted(path.stem for path in RECIPES.glob("*electra*")) == [
        "electra-mini",
        "pubmedelectra-base",
        "pubmedelectra-large",
    ]
    shape = electra.generator_config(SIZES[recipe.size], recipe.generator)
    assert shape.width == (64 if recipe.size == "mini" else 256)
    small = replace(recipe, size="tiny", length=32, rows=8, steps=2, evaluate_rows=16)
    pretrain(small, shards, tmp_path / "run")
    assert [line["step"] for line in metrics(tmp_path / "run") if "loss" in line] == [1, 2]


def test_golden_losses(finished: Path) -> None:
    steps = [line for line in metrics(finished) if "loss" in line]
    found = {name: [step[name] for step in steps] for name in ("loss", "rtd_loss")}
    assert len(steps) == TINY.steps
    if os.environ.get("PUBMEDBERT_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(found, indent=0) + "\n")
    golden = json.loads(GOLDEN.read_text())
    for name, values in found.items():
        assert values[:20] == pytest.approx(golden[name][:20], abs=1e-4)
    # Sooner or later the last bits of another processor let the generator draw another word, and then runs part.
    assert found["loss"] == pytest.approx(golden["loss"], abs=5e-3)
    assert found["rtd_loss"] == pytest.approx(golden["rtd_loss"], abs=5e-2)


def test_a_run_that_lost_its_last_checkpoint_repeats_itself_bit_by_bit(
    finished: Path, shards: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    shutil.rmtree(again / "checkpoints" / "step-50")
    pretrain(TINY, shards, again)
    assert metrics(again) == metrics(finished)


def test_any_packing_gives_the_same_losses(shards: Path, tmp_path: Path) -> None:
    pretrain(replace(TINY, pack_tokens=64, steps=5), shards, tmp_path / "run")
    pretrain(replace(TINY, steps=5), shards, tmp_path / "other")
    for name in ("loss", "rtd_loss"):
        found, expected = ([line[name] for line in metrics(tmp_path / run) if name in line] for run in ("run", "other"))
        assert found == pytest.approx(expected, rel=1e-5)


def test_the_discriminator_learns_to_tell(finished: Path, packs: list[Pack]) -> None:
    built = electra_hf.load_both(finished / "checkpoints" / "step-50")
    found = detect(built, packs)
    assert found.auc > 0.6
    assert found.loss < found.constant_loss


def test_the_evaluate_command(
    finished: Path, shards: Path, packs: list[Pack], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", "--model", str(finished), "--shards", str(shards), "--rows", "64", "--length", "32"]
    capsys.readouterr()
    main([*asked, "--json"])
    found = json.loads(capsys.readouterr().out)
    last = [line for line in metrics(finished) if "eval_loss" in line][-1]
    assert found["masks"] == last["masks"]
    assert found["loss"] == pytest.approx(last["eval_rtd_loss"], abs=1e-5)
    assert found["accuracy"] == pytest.approx(last["eval_rtd_accuracy"])
    assert found["constant_accuracy"] == pytest.approx(last["eval_constant_accuracy"])
    assert found["pieces"] == sum(len(pack.tokens) for pack in packs)
    main(asked)
    assert "held-out detection loss" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([*asked, "--pseudo", "2"])
    assert "--pseudo is of masked language models" in capsys.readouterr().err


def test_an_export_is_loaded_by_everybody(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    for _ in range(2):  # an older export gives way
        main(["export", str(finished), "--out", str(folder)])
    assert "finetune" in capsys.readouterr().err
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "README.md", "generator"}
    with pytest.raises(SystemExit, match="2"):
        main(["fill-mask", "a [MASK]", "--model", str(folder)])
    assert "an ELECTRA's discriminator predicts no words" in capsys.readouterr().err
    discriminator = load_theirs(folder, ElectraForPreTraining)
    load_theirs(folder / "generator", ElectraForMaskedLM)
    assert (folder / "generator" / "tokenizer.json").exists()
    card = (folder / "README.md").read_text()
    assert "# model\n" in card
    assert "replaced-token detection" in card
    assert "fill-mask" not in card
    tokens = torch.tensor([2, 9, 11, 3])
    with torch.inference_mode():
        states = hf.load(folder).encoder(tokens, torch.arange(4), torch.zeros_like(tokens), [4])
        expected = discriminator.electra(input_ids=tokens[None]).last_hidden_state[0]
    assert F.l1_loss(states, expected).item() < 1e-5
    main(["export", str(folder), "--out", str(tmp_path / "half"), "--dtype", "float16"])
    again = electra_hf.load_both(tmp_path / "half").state_dict()
    expected_state = electra_hf.load_both(folder).state_dict()
    assert all(torch.allclose(again[name], value, atol=1e-3) for name, value in expected_state.items())
    assert "# half\n" in (tmp_path / "half" / "README.md").read_text()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["export", str(finished), "--out", str(tmp_path / "int8"), "--int8"])
    assert "an ELECTRA discriminator, does not do" in capsys.readouterr().err
