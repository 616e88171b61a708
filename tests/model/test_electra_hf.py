"""ELECTRA in Hugging Face's layout: what transformers computes, both ways, and encoders taken from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    ElectraModel,
)

from pubmedbert.model import electra_hf, hf
from pubmedbert.model.config import ModelError, config_from_hf, electra_to_hf
from pubmedbert.model.electra import Discriminator, Electra, Generator
from pubmedbert.model.head import Head
from pubmedbert.model.tuned import Tuned
from pubmedbert.model.tuned_hf import load_tuned, save_tuned
from tests.model.reference import SMALL, furthest, load_theirs, our_hidden, randomise, some_rows

ROWS = some_rows(SMALL, [3, 9, 9, 30])
TAGS = ("O", "B", "I")
State = dict[str, Tensor]


def ours(share: float = 0.25) -> Electra:
    model = Electra(SMALL, share).eval()
    randomise(model)
    return model


def theirs(kind: Any, embedding: int = 32, **values: object) -> Any:
    model = kind(ElectraConfig(**(electra_to_hf(SMALL, embedding) | values))).eval()
    randomise(model)
    return model


def packed(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Rows as a pack, their second halves of the second type."""
    tokens = torch.tensor([token for row in rows for token in row])
    positions = torch.cat([torch.arange(len(row)) for row in rows])
    return tokens, positions, torch.cat([types(row) for row in rows]), [len(row) for row in rows]


def types(row: Sequence[int]) -> Tensor:
    return (torch.arange(len(row)) >= len(row) // 2).long()


def our_scores(model: Discriminator | Generator) -> Tensor:
    tokens, positions, kinds, lengths = packed(ROWS)
    with torch.inference_mode():
        if isinstance(model, Discriminator):
            return model(tokens, positions, kinds, lengths)  # type: ignore[no-any-return]
        return model(tokens, positions, kinds, lengths, torch.arange(len(tokens)))  # type: ignore[no-any-return]


def their_scores(model: Any) -> Tensor:
    with torch.inference_mode():
        return torch.cat(
            [model(input_ids=torch.tensor([row]), token_type_ids=types(row)[None]).logits[0] for row in ROWS]
        )


def rewrite(folder: Path, change: Callable[[State], State]) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")


def configure(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    merged = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_transformers_reads_ours(tmp_path: Path, share: float) -> None:
    model = ours(share)
    electra_hf.save(model, tmp_path)
    discriminator = load_theirs(tmp_path, ElectraForPreTraining)
    generator = load_theirs(tmp_path / "generator", ElectraForMaskedLM)
    assert furthest([our_scores(model.discriminator)], [their_scores(discriminator)]) < 1e-4
    assert furthest([our_scores(model.generator)], [their_scores(generator)]) < 1e-4
    assert float(our_scores(model.generator).std()) > 0.01  # the weights do have something to say
    assert float(our_scores(model.discriminator).std()) > 0.01


def test_ours_reads_a_discriminator_of_transformers(tmp_path: Path) -> None:
    reference = theirs(ElectraForPreTraining)
    reference.save_pretrained(tmp_path)
    model = electra_hf.load_discriminator(tmp_path)
    assert furthest([our_scores(model)], [their_scores(reference)]) < 1e-4
    assert not model.training


@pytest.mark.parametrize("embedding", [32, 48])
@pytest.mark.parametrize("tied", [True, False])
def test_ours_reads_a_generator_of_transformers(tmp_path: Path, embedding: int, tied: bool) -> None:
    reference = theirs(ElectraForMaskedLM, embedding, tie_word_embeddings=tied)
    reference.save_pretrained(tmp_path)
    model = electra_hf.load_generator(tmp_path)
    assert furthest([our_scores(model)], [their_scores(reference)]) < 1e-4


def test_a_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    model, again = ours(), Electra(SMALL, 0.25)
    electra_hf.save(model, tmp_path)
    electra_hf.load(again, tmp_path)
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert again.generator.encoder.embeddings.words is again.discriminator.encoder.embeddings.words


def test_models_that_do_not_belong_together(tmp_path: Path) -> None:
    electra_hf.save(ours(), tmp_path)
    with pytest.raises(
        ModelError, match=r"model\.safetensors: electra\.embeddings_project\.weight has shape \(8, 32\)"
    ):
        electra_hf.load(Electra(SMALL, 0.5), tmp_path)
    configure(tmp_path / "generator", model_type="bert")
    with pytest.raises(ModelError, match="model_type is 'bert', that of an ELECTRA is 'electra'"):
        electra_hf.load_both(tmp_path)


def test_the_encoder_is_a_bert(tmp_path: Path) -> None:
    """What fine-tuning, the engines and the explorer read of a discriminator, of ours and of a bare encoder."""
    reference = theirs(ElectraModel)
    reference.save_pretrained(tmp_path / "bare")
    electra_hf.save(ours(), tmp_path)
    for folder in (tmp_path / "bare", tmp_path):
        encoder = load_theirs(folder, ElectraModel)
        with torch.inference_mode():
            expected = [encoder(input_ids=torch.tensor([row])).last_hidden_state[0] for row in ROWS]
        bert = hf.load(folder)
        assert furthest(our_hidden(bert, ROWS), expected) < 1e-4
        assert bert.vocabulary is None


def test_it_fills_no_masks(tmp_path: Path) -> None:
    electra_hf.save(ours(), tmp_path)
    with pytest.raises(ModelError, match="has no masked-language-model head"):
        hf.load(tmp_path, need_vocabulary=True)


def test_word_classifiers_of_transformers(tmp_path: Path) -> None:
    reference = theirs(ElectraForTokenClassification, id2label=dict(enumerate(TAGS)))
    reference.save_pretrained(tmp_path)
    model, _ = load_tuned(tmp_path)
    tokens, positions, kinds, lengths = packed(ROWS)
    with torch.inference_mode():
        found = model(tokens, positions, kinds, lengths)
    assert furthest([found], [their_scores(reference)]) < 1e-4
    assert model.head == Head(level="tokens", labels=TAGS)


def test_text_classifiers_of_transformers_are_refused(tmp_path: Path) -> None:
    theirs(ElectraForSequenceClassification).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"architectures is \['ElectraForSequenceClassification'\]"):
        load_tuned(tmp_path)


def test_what_is_tuned_from_it_is_the_same_to_transformers_as_bert_and_as_electra(tmp_path: Path) -> None:
    electra_hf.save(ours(), tmp_path)
    model = Tuned(SMALL, Head(level="tokens", labels=TAGS)).eval()
    model.encoder.load_state_dict(hf.load(tmp_path).encoder.state_dict())
    (tmp_path / "tuned").mkdir()
    save_tuned(model, tmp_path / "tuned", {})
    tokens, positions, kinds, lengths = packed(ROWS)
    with torch.inference_mode():
        expected = model(tokens, positions, kinds, lengths)
    reference = theirs(ElectraForTokenClassification, id2label=dict(enumerate(TAGS)))
    state = load_file(tmp_path / "tuned" / "model.safetensors")
    reference.load_state_dict({name.replace("bert.", "electra."): value for name, value in state.items()})
    assert furthest([expected], [their_scores(reference)]) < 1e-4
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["model_type"] == "bert"


def test_an_encoder_behind_a_projection_is_refused(tmp_path: Path) -> None:
    electra_hf.save(ours(), tmp_path)
    with pytest.raises(ModelError, match="embedding_size is 32 and hidden_size 8; of an ELECTRA only an encoder"):
        hf.load(tmp_path / "generator")
    with pytest.raises(ModelError, match="embedding_size must be a whole number from 1, not 'x'"):
        config_from_hf({"model_type": "electra", "embedding_size": "x"})


def test_what_config_json_leaves_out_is_as_in_transformers(tmp_path: Path) -> None:
    wanted, found = ElectraConfig(), config_from_hf({"model_type": "electra"}, projected=True)
    assert (found.width, found.heads, found.ffn) == (
        wanted.hidden_size,
        wanted.num_attention_heads,
        wanted.intermediate_size,
    )
    assert (found.layers, found.vocab_size) == (wanted.num_hidden_layers, wanted.vocab_size)
    with pytest.raises(ModelError, match="embedding_size is 128 and hidden_size 256"):
        config_from_hf({"model_type": "electra"})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"discriminator_predictions.dense.bias": None}, r"lacks discriminator_predictions\.dense\.bias"),
        ({"electra.embeddings.LayerNorm.weight": torch.zeros(3)}, r"LayerNorm\.weight has shape \(3,\)"),
        ({"generator_lm_head.bias": torch.zeros(120)}, r"holds generator_lm_head\.bias, which a model of the shape"),
        ({"electra.embeddings.position_ids": torch.arange(40)[None]}, ""),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, change: dict[str, Tensor | None], match: str) -> None:
    electra_hf.save(ours(), tmp_path)
    rewrite(tmp_path, lambda state: {name: value for name, value in (state | change).items() if value is not None})
    if not match:  # a buffer, which older versions of transformers wrote
        electra_hf.load_discriminator(tmp_path)
        return
    with pytest.raises(ModelError, match=match):
        electra_hf.load_discriminator(tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    electra_hf.save(ours(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read as weights"):
        electra_hf.load_discriminator(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        electra_hf.load_discriminator(tmp_path)
    configure(tmp_path, model_type="roberta")
    with pytest.raises(ModelError, match="model_type is 'roberta'"):
        electra_hf.load_discriminator(tmp_path)
