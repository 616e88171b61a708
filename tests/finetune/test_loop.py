"""The loop from outside: every task is learned, the same seed gives the same bits, a kill loses nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pubmedbert.errors import InputError
from pubmedbert.finetune import checkpoint, data, loop
from pubmedbert.finetune.dataset import Dataset, Labelled, Tagged
from pubmedbert.finetune.logits import example_logits
from pubmedbert.finetune.own_data import open_own
from pubmedbert.finetune.recipe import Recipe

FAST = Recipe(lr=1e-2, epochs=12, batch=16, dropout=0.0, max_length=32, restarts=0, precision="fp32")


def quiet(news: loop.News) -> None:
    pass


def ready(own: Path, tiny: Path, task: str, recipe: Recipe = FAST) -> loop.Setup:
    return loop.setup(open_own(own / f"{task}.toml"), recipe, tiny)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("task", ["ner", "classification", "relation", "multilabel", "pairs", "similarity"])
def test_every_task_is_learned(own: Path, tiny: Path, task: str, precision: str) -> None:
    told: list[loop.News] = []
    made = ready(own, tiny, task, replace(FAST, precision=precision))
    fitted = loop.fit(made, 0, told.append)
    epochs = [news.text for news in told if " done, " in news.text]
    assert fitted.dev > 0.85, epochs
    assert not fitted.collapsed
    assert fitted.restarts == 0
    assert len(epochs) == len(fitted.history) == 12
    assert sum(news.gained for news in told) == pytest.approx(12)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"] / 2


def test_bfloat16_changes_the_training_by_its_rounding(own: Path, tiny: Path) -> None:
    made = {name: ready(own, tiny, "ner", replace(FAST, precision=name)) for name in ("fp32", "bf16")}
    losses = {}
    for name, setup in made.items():
        model = loop.new_model(setup.base, setup.head, setup.recipe, 0)
        losses[name] = loop.update(setup, model, range(16))
        assert all(value.grad is not None and value.grad.dtype == torch.float32 for value in model.parameters())
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_every_pooling_learns(own: Path, tiny: Path, pooling: str) -> None:
    assert loop.fit(ready(own, tiny, "classification", replace(FAST, pooling=pooling)), 0, quiet).dev > 0.9


@pytest.mark.parametrize(("scheme", "least"), [("bioul", 0.9), ("io", 0.75)])
def test_every_scheme_learns(own: Path, tiny: Path, scheme: str, least: float) -> None:
    """`io` cannot tell "imatinib imatinib" from one entity of two words."""
    assert loop.fit(ready(own, tiny, "ner", replace(FAST, scheme=scheme)), 0, quiet).dev > least


def same(left: loop.Fitted, right: loop.Fitted) -> bool:
    pairs = zip(left.model.state_dict().values(), right.model.state_dict().values(), strict=True)
    return left.history == right.history and all(torch.equal(one, other) for one, other in pairs)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(own: Path, tiny: Path) -> None:
    made = ready(own, tiny, "classification", replace(FAST, epochs=2, dropout=0.1))
    first, again, other = (loop.fit(made, seed, quiet) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("select", ["best", "last"])
@pytest.mark.parametrize("where", [(1, 7, 20, 41), (8, 9, 24, 25)])
def test_an_attempt_killed_anywhere_goes_on_from_its_last_update_to_the_same_bits(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str, where: tuple[int, ...]
) -> None:
    """In an epoch, in the validation after it, and when it is over."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    made = ready(own, tiny, "ner", replace(FAST, epochs=5, dropout=0.1, freeze=1, select=select))
    whole = loop.fit(made, 3, quiet)
    told: list[loop.News] = []

    def kill(news: loop.News) -> None:
        told.append(news)
        if len(told) in where:
            raise KilledError

    for _ in where:
        with pytest.raises(KilledError):
            loop.fit(made, 3, kill, tmp_path)
    resumed = loop.fit(made, 3, kill, tmp_path)
    assert same(whole, resumed)
    assert resumed.answers == whole.answers
    assert resumed.best_epoch == whole.best_epoch
    trained = sum(news.gained for news in told if not news.event)
    updates = -(-len(made.train.rows) // made.recipe.batch)
    assert 5 < trained <= 5 + len(where) / updates + 1e-9, "at most the update at hand is lost by a kill"
    assert sum(news.text.endswith("goes on from there") for news in told) >= len(where) - 1


def test_a_checkpoint_waits_until_it_is_due(own: Path, tiny: Path, tmp_path: Path) -> None:
    loop.fit(ready(own, tiny, "ner", replace(FAST, epochs=1)), 0, quiet, tmp_path)
    assert not list(tmp_path.rglob(checkpoint.NAME)), "an attempt of seconds writes none"


def test_a_damaged_checkpoint_is_not_used(
    own: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    made = ready(own, tiny, "ner", replace(FAST, epochs=3))
    whole = loop.fit(made, 0, quiet, tmp_path)
    weights = tmp_path / "attempt-0" / checkpoint.NAME / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert same(whole, loop.fit(made, 0, quiet, tmp_path))
    assert "is damaged (model.safetensors does not have its checksum)" in capsys.readouterr().err


def test_a_collapse_begins_anew_and_is_counted(own: Path, tiny: Path, tmp_path: Path) -> None:
    made = ready(own, tiny, "classification", replace(FAST, lr=1e-9, epochs=1, restarts=2))
    with torch.no_grad():  # new classifiers are small: with no learning to speak of, all texts get the class of a bias
        for name, value in made.base.named_parameters():
            if "norm" not in name:
                value.mul_(1e-3)
    told: list[loop.News] = []
    fitted = loop.fit(made, 0, told.append, tmp_path)
    assert fitted.collapsed
    assert fitted.restarts == 2
    assert sum(news.gained for news in told) == pytest.approx(1), "what is given up does not count"
    assert [news.text.split(",")[0] for news in told if "collapsed" in news.text] == [
        f"seed 0: attempt {number} diverged or collapsed to one answer" for number in (1, 2, 3)
    ]


def test_an_epoch_of_one_answer_is_not_kept_before_one_that_learned(
    own: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ready(own, tiny, "classification", replace(FAST, epochs=3))
    gold = [example.label for example in made.dev if isinstance(example, Labelled)]
    usual = max(set(gold), key=gold.count)
    wrong = [next(name for name in made.dataset.labels if name != label) for label in gold]
    epochs = iter([[usual] * len(gold), wrong, [*wrong[:-1], gold[-1]]])
    monkeypatch.setattr(loop, "predict", lambda *_: next(epochs))
    fitted = loop.fit(made, 0, quiet)
    assert [entry["collapsed"] for entry in fitted.history] == [True, False, False]
    assert fitted.history[0]["dev"] > fitted.history[2]["dev"] > fitted.history[1]["dev"]
    assert (fitted.best_epoch, fitted.collapsed) == (3, False)


def test_a_diverged_attempt_keeps_finite_weights_and_is_counted(own: Path, tiny: Path) -> None:
    made = ready(own, tiny, "similarity", replace(FAST, lr=1e6, clip=1e6, epochs=2))
    for place, target in enumerate(made.targets):
        made.targets[place] = np.full_like(target, 1e30)
    fitted = loop.fit(made, 0, quiet)
    assert fitted.collapsed
    assert fitted.best_epoch == 0
    assert all(value.isfinite().all() for value in fitted.model.state_dict().values())


def test_packs_of_any_size_have_the_gradient_of_the_whole_batch(own: Path, tiny: Path) -> None:
    gradients = []
    for tokens in (32, 4096):
        made = ready(own, tiny, "ner", replace(FAST, pack_tokens=tokens))
        model = loop.new_model(made.base, made.head, made.recipe, 0).eval()
        loss = loop.update(made, model, range(16))
        gradients.append((loss, {name: value.grad for name, value in model.named_parameters()}))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-5)
    for name, gradient in gradients[0][1].items():
        other = gradients[1][1][name]
        assert gradient is not None
        assert other is not None
        assert torch.allclose(gradient, other, atol=1e-5), name


def test_long_sentences_keep_every_tag(own: Path, tiny: Path) -> None:
    made = ready(own, tiny, "ner", replace(FAST, max_length=8))
    words = tuple("imatinib" if number % 3 == 0 else "a" for number in range(30))
    encoded = data.encode([Tagged("x", words, None)], made.encoder, made.recipe)
    assert len(encoded.rows[0]) > 1
    scores = example_logits(loop.new_model(made.base, made.head, made.recipe, 0).eval(), encoded.rows)
    assert scores[0].shape == (30, 3)
    assert np.abs(scores[0]).min() > 0, "every word has logits of its own"


def test_windows_of_a_text_are_averaged(own: Path, tiny: Path) -> None:
    made = ready(own, tiny, "classification", replace(FAST, max_length=8))
    long, short = Labelled("long", "a b c imatinib the kinase is a", None), Labelled("short", "a b", None)
    encoded = data.encode([long, short], made.encoder, made.recipe)
    model = loop.new_model(made.base, made.head, made.recipe, 0).eval()
    scores = example_logits(model, encoded.rows)
    alone = [example_logits(model, [[replace(row, example=0)]])[0] for row in encoded.rows[0]]
    assert len(alone) > 1
    assert np.allclose(scores[0], np.mean(alone, axis=0), atol=1e-5)
    (packed,) = encoded.packs([0, 1], 4096, whole=True)
    with torch.inference_mode():
        together = data.score_pack(model, packed)  # as in training: states are averaged before the classifier
    assert np.allclose(together.numpy(), [scores[number] for number in packed.examples], atol=1e-5)


def test_a_label_the_training_data_lacks_is_refused() -> None:
    dataset = Dataset("x", "classification", "accuracy", ("a", "b"), lambda split: [])
    with pytest.raises(InputError, match="'c' is not among a, b"):
        data.targets([Labelled("0", "t", "c")], "classification", data.head_for(dataset, FAST), "bio")
