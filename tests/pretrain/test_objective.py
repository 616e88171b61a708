"""The objectives against transformers, and the savings against the plain computation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

from pubmedbert.infer.export.export import export
from pubmedbert.model.config import config_to_hf
from pubmedbert.model.heads import Bert
from pubmedbert.pretrain.feed import feed
from pubmedbert.pretrain.loop import pretrain
from pubmedbert.pretrain.objective import MaskedWords, objective
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.pretrain.term import evaluate_terms
from pubmedbert.shards.read import open_shards
from pubmedbert.shards.samples import Pack

TINY = Recipe(size="tiny", length=40, max_positions=64, rows=24, pack_tokens=4096, dropout=0.0, attention_dropout=0.0)
PAIRS = replace(TINY, objective="mlm+nsp", two_segments=True)


def model_and_pack(shards: Path, recipe: Recipe) -> tuple[MaskedWords, Bert, Pack]:
    opened = open_shards(shards)
    target = objective(recipe)
    assert isinstance(target, MaskedWords)
    model = target.build(recipe.model(opened.meta.vocab_size, 0))
    target.initialise(model, 3)
    (pack,) = feed(opened, "train", recipe).step(0)
    return target, model, pack


def padded(pack: Pack) -> dict[str, Tensor]:
    """The pack as rows that are padded, as transformers reads them."""
    shape = (len(pack.lengths), max(pack.lengths))
    ids, types, mask = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    labels = torch.full(shape, -100)
    flat = torch.full((len(pack.tokens),), -100)
    flat[torch.from_numpy(pack.where)] = torch.from_numpy(pack.labels)
    for row, (first, length) in enumerate(zip(pack.first.tolist(), pack.lengths, strict=True)):
        ids[row, :length] = torch.from_numpy(pack.tokens[first : first + length])
        types[row, :length] = torch.from_numpy(pack.types[first : first + length])
        labels[row, :length] = flat[first : first + length]
        mask[row, :length] = 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask, "labels": labels}


def test_next_sentence_loss_and_gradients_equal_those_of_transformers(shards: Path, tmp_path: Path) -> None:
    target, model, pack = model_and_pack(shards, PAIRS)
    asked = pack.random_next >= 0
    assert set(pack.random_next.tolist()) >= {0, 1}
    counts = target.counts(pack)
    assert counts == {"mlm": len(pack.where), "nsp": int(asked.sum())}
    terms = target.terms(model, pack, seed=0)
    sum(term.total / counts[name] for name, term in terms.items()).backward()  # type: ignore[union-attr]
    target.save(model, tmp_path)
    theirs = BertForPreTraining.from_pretrained(tmp_path, attn_implementation="eager")
    labels = torch.from_numpy(np.where(asked, pack.random_next, -100))
    answer = theirs(**padded(pack), next_sentence_label=labels)
    answer.loss.backward()
    ours = sum(term.total.item() / counts[name] for name, term in terms.items())
    assert ours == pytest.approx(answer.loss.item(), rel=1e-5)
    scores = answer.seq_relationship_logits[torch.from_numpy(asked)]
    assert terms["nsp"].right.item() == (scores.argmax(1) == labels[labels >= 0]).sum().item()
    for name, other in (
        ("pooler.dense.weight", "bert.pooler.dense.weight"),
        ("next_sentence.weight", "cls.seq_relationship.weight"),
        ("encoder.embeddings.types.weight", "bert.embeddings.token_type_embeddings.weight"),
        ("encoder.layers.1.down.weight", "bert.encoder.layer.1.output.dense.weight"),
    ):
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        assert torch.allclose(gradient, theirs.get_parameter(other).grad, atol=1e-5), name


def test_a_next_sentence_model_survives_the_round_trip(shards: Path, tmp_path: Path) -> None:
    target, model, _ = model_and_pack(shards, PAIRS)
    target.save(model, tmp_path)
    again = target.build(model.config)
    target.load(again, tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("recipe", [TINY, PAIRS], ids=["one segment", "two segments"])
def test_all_savings_together_give_the_plain_loss_and_gradients(shards: Path, recipe: Recipe) -> None:
    target, model, pack = model_and_pack(shards, recipe)
    terms = target.terms(model, pack, seed=0)
    torch.stack([term.total for term in terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    inputs = padded(pack)
    values = {key: value for key, value in config_to_hf(model.config).items() if key != "architectures"}
    plain = BertForPreTraining(BertConfig(**values, attn_implementation="eager"))
    plain.load_state_dict(_their_names(model), strict=False)
    answer = plain(**{key: value for key, value in inputs.items() if key != "labels"})
    loss = F.cross_entropy(answer.prediction_logits.flatten(0, 1), inputs["labels"].flatten(), reduction="sum")
    if "nsp" in terms:
        label = torch.from_numpy(np.where(pack.random_next >= 0, pack.random_next, -100))
        loss = loss + F.cross_entropy(answer.seq_relationship_logits, label, reduction="sum")
    loss.backward()  # type: ignore[no-untyped-call]
    assert sum(term.total.item() for term in terms.values()) == pytest.approx(loss.item(), rel=1e-5)
    gradient = plain.get_parameter("bert.embeddings.word_embeddings.weight").grad
    scale = gradient.abs().max().item()
    assert torch.allclose(found["encoder.embeddings.words.weight"], gradient, atol=1e-5 * scale)


def _their_names(model: Bert) -> dict[str, Tensor]:
    from pubmedbert.model import hf

    return hf.state_to_hf(model)


def test_evaluation_does_not_depend_on_the_packing_and_leaves_the_model_alone(shards: Path) -> None:
    target, model, _ = model_and_pack(shards, PAIRS)
    found = []
    for size in (64, 4096):
        packs = feed(open_shards(shards), "heldout", replace(PAIRS, pack_tokens=size)).frozen()
        found.append(evaluate_terms(target, model.train(), packs))
        assert model.training
    assert found[0].keys() == {"mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy"}
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_nothing_to_predict_is_nothing(shards: Path) -> None:
    target, model, pack = model_and_pack(shards, TINY)
    empty = replace(pack, where=pack.where[:0], labels=pack.labels[:0])
    assert target.counts(empty) == {"mlm": 0}
    term = target.terms(model, empty, 0)["mlm"]
    assert (term.total.item(), term.right.item(), term.count) == (0.0, 0, 0)
    assert evaluate_terms(target, model, [empty]) == {}


def test_a_next_sentence_run_exports_as_pretraining_and_as_masked_model(shards: Path, tmp_path: Path) -> None:
    recipe = replace(PAIRS, steps=2, rows=8, warmup=0.0)
    pretrain(recipe, shards, tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model")
    theirs, report = BertForPreTraining.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    masked = BertForMaskedLM.from_pretrained(tmp_path / "model")
    ids = torch.tensor([[2, 7, 4, 9, 3]])
    assert torch.allclose(theirs.eval()(ids).prediction_logits, masked.eval()(ids).logits, atol=1e-5)
