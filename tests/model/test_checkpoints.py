"""The checkpoints there are in the world: read right, or refused with a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pubmedbert.model import hf
from pubmedbert.model.config import ModelError
from tests.model.reference import (
    SMALL,
    furthest,
    load_theirs,
    our_logits,
    our_model,
    some_rows,
    their_logits,
    their_model,
)

State = dict[str, Tensor]
HEAD = "cls.predictions."
WORDS = "bert.embeddings.word_embeddings.weight"
ROWS = some_rows(SMALL, [9, 4])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hf.save(our_model(pooler=True), tmp_path)
    return tmp_path


def rewrite(folder: Path, change: Callable[[State], State | None]) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(change(state) or state, folder / "model.safetensors")


def configure(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def as_pickle(folder: Path, *, zipped: bool = True) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)


def agrees(folder: Path) -> bool:
    """Whether the checkpoint still is the model the fixture wrote."""
    return furthest(our_logits(hf.load(folder, need_vocabulary=True), ROWS), our_logits(our_model(), ROWS)) == 0


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles(folder: Path, zipped: bool) -> None:
    as_pickle(folder, zipped=zipped)
    assert agrees(folder)


@pytest.mark.parametrize("pickled", [True, False])
def test_names_of_tensorflow_days(folder: Path, pickled: bool) -> None:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(state: State) -> State:
        for new, name in old.items():
            state = {key.replace(new, name): value for key, value in state.items()}
        return state

    rewrite(folder, rename)
    assert "bert.embeddings.LayerNorm.gamma" in load_file(folder / "model.safetensors")
    if pickled:
        as_pickle(folder)
    assert agrees(folder)


def test_a_state_saved_from_data_parallel(folder: Path) -> None:
    rewrite(folder, lambda state: {f"module.{name}": value for name, value in state.items()})
    assert agrees(folder)


def test_a_bare_encoder(folder: Path) -> None:
    hidden = hf.load(folder).encoder.state_dict()
    rewrite(folder, lambda state: {k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")})
    model = hf.load(folder)
    assert model.vocabulary is None
    assert model.pooler is not None
    assert all(torch.equal(value, hidden[name]) for name, value in model.encoder.state_dict().items())


def test_saving_a_bare_encoder_gives_a_bert_model(tmp_path: Path) -> None:
    hf.save(our_model(vocabulary=False, pooler=True), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertModel"]
    assert set(load_file(tmp_path / "model.safetensors")) >= {"pooler.dense.weight", "embeddings.LayerNorm.bias"}
    assert hf.load(tmp_path).vocabulary is None


def test_a_missing_pooler(folder: Path) -> None:
    rewrite(folder, lambda state: {name: value for name, value in state.items() if "pooler" not in name})
    assert hf.load(folder).pooler is None
    assert agrees(folder)


def test_extras_of_pretraining_checkpoints(folder: Path) -> None:
    extras = {
        "cls.seq_relationship.weight": torch.zeros(2, 32),
        "cls.seq_relationship.bias": torch.zeros(2),
        "bert.embeddings.position_ids": torch.arange(40)[None],
        "classifier.weight": torch.zeros(3, 32),
    }
    rewrite(folder, lambda state: state | extras)
    assert agrees(folder)


def test_more_layers_than_config_json_says(folder: Path) -> None:
    configure(folder, num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"holds bert\.encoder\.layer\.1\..*has no place for"):
        hf.load(folder)


def test_tied_with_an_equal_decoder(folder: Path) -> None:
    rewrite(folder, lambda state: state | {HEAD + "decoder.weight": state[WORDS].clone()})
    assert hf.load(folder).config.tied
    assert agrees(folder)


@pytest.mark.parametrize("says_tied", [True, False])
def test_untied_as_transformers_has_it(tmp_path: Path, says_tied: bool) -> None:
    """A different decoder is never merged, and the bias beside it is the one that counts, whatever config.json says."""
    reference = their_model()
    reference.save_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(5)
    decoder = {
        HEAD + "decoder.weight": torch.rand(120, 32, generator=generator),
        HEAD + "decoder.bias": torch.rand(120, generator=generator),
    }
    rewrite(tmp_path, lambda state: state | decoder)
    configure(tmp_path, tie_word_embeddings=says_tied)
    expected = their_logits(load_theirs(tmp_path), ROWS)
    assert furthest(expected, their_logits(reference, ROWS)) > 0.1
    ours = hf.load(tmp_path, need_vocabulary=True)
    assert not ours.config.tied
    assert furthest(our_logits(ours, ROWS), expected) < 1e-5
    again = tmp_path / "again"
    again.mkdir()
    hf.save(ours, again)
    assert furthest(their_logits(load_theirs(again), ROWS), expected) < 1e-5
    assert furthest(our_logits(hf.load(again), ROWS), expected) < 1e-5


def test_a_bias_known_only_by_the_decoder(folder: Path) -> None:
    rewrite(folder, lambda state: state | {HEAD + "decoder.bias": state.pop(HEAD + "bias")})
    assert agrees(folder)


def test_half_precision(folder: Path) -> None:
    hf.save(hf.load(folder), folder, torch.float16)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    assert load_file(folder / "model.safetensors")[WORDS].dtype == torch.float16
    model = hf.load(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert furthest(our_logits(model, ROWS), our_logits(our_model(), ROWS)) < 5e-3


def test_a_weight_too_large_for_half_precision(tmp_path: Path) -> None:
    model = our_model()
    with torch.no_grad():
        model.encoder.embeddings.norm.weight[3] = 70000
    with pytest.raises(
        ModelError, match=r"bert\.embeddings\.LayerNorm\.weight holds values that are not finite in float16"
    ):
        hf.save(model, tmp_path, torch.float16)


def test_a_checkpoint_without_head_cannot_fill_masks(folder: Path) -> None:
    rewrite(folder, lambda state: {name: value for name, value in state.items() if not name.startswith("cls.")})
    assert hf.load(folder).vocabulary is None
    with pytest.raises(ModelError, match="no masked-language-model head"):
        hf.load(folder, need_vocabulary=True)


@pytest.mark.parametrize("missing", ["transform.dense.weight", "transform.LayerNorm.bias", "bias"])
def test_an_incomplete_head(folder: Path, missing: str) -> None:
    def drop(state: State) -> None:
        del state[HEAD + missing]

    rewrite(folder, drop)
    with pytest.raises(ModelError, match=rf"lacks {HEAD}{missing}.*head is incomplete"):
        hf.load(folder, need_vocabulary=True)


def test_a_head_said_to_be_untied_without_decoder(folder: Path) -> None:
    configure(folder, tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"lacks cls\.predictions\.decoder\.weight.*head is incomplete"):
        hf.load(folder)


@pytest.mark.parametrize("name", ["bias", "transform.dense.weight", "decoder.weight"])
def test_a_head_of_the_wrong_shape(folder: Path, name: str) -> None:
    rewrite(folder, lambda state: state | {HEAD + name: torch.zeros(7, 32)})
    with pytest.raises(ModelError, match=rf"{HEAD}{name} has shape \(7, 32\), config.json asks for"):
        hf.load(folder)


@pytest.mark.parametrize("name", [WORDS, "bert.encoder.layer.1.attention.self.key.bias", "bert.pooler.dense.bias"])
def test_an_encoder_that_lacks_a_weight(folder: Path, name: str) -> None:
    def drop(state: State) -> None:
        del state[name]

    rewrite(folder, drop)
    with pytest.raises(ModelError, match=f"lacks {name}"):
        hf.load(folder)


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_hostile_pickle_does_not_run(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({WORDS: Hostile(folder / "pwned")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="asks for code beside weights, which is never run"):
        hf.load(folder)
    assert not (folder / "pwned").exists()


def test_a_safe_file_is_preferred_to_a_pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert agrees(folder)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999])
@pytest.mark.parametrize("pickled", [True, False])
def test_truncated_weights(folder: Path, share: float, pickled: bool) -> None:
    if pickled:
        as_pickle(folder)
    path = folder / ("pytorch_model.bin" if pickled else "model.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=path.name):
        hf.load(folder)


@pytest.mark.parametrize("place", range(0, 4000, 250))
def test_pickles_with_flipped_bytes_are_refused_or_read(folder: Path, place: int) -> None:
    as_pickle(folder, zipped=False)
    path = folder / "pytorch_model.bin"
    data = bytearray(path.read_bytes())
    data[place : place + 8] = bytes(byte ^ 0xA5 for byte in data[place : place + 8])
    path.write_bytes(data)
    with contextlib.suppress(ModelError):  # and nothing else
        hf.load(folder)


def test_a_pickle_of_something_else(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": {}}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no table of tensors"):
        hf.load(folder)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "must hold a JSON object"),
        ('{"model_type": "roberta"}', "model_type is 'roberta'"),
        ('{"hidden_act": "relu"}', "hidden_act is 'relu'"),
        ('{"position_embedding_type": "relative_key"}', "position_embedding_type is 'relative_key'"),
        ('{"is_decoder": true}', "is_decoder is True"),
        ('{"hidden_size": "wide"}', "width must be a whole number"),
        ('{"hidden_size": 100, "num_attention_heads": 3}', "not a multiple"),
        ('{"layer_norm_eps": "small"}', "norm_eps must be a number above 0"),
        ('{"pad_token_id": 30522}', "pad_id 30522 is outside"),
        ('{"tie_word_embeddings": "yes"}', "tied must be true or false"),
    ],
)
def test_configurations_that_cannot_be_used(folder: Path, text: str, match: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=match) as caught:
        hf.load(folder)
    assert str(folder / "config.json") in str(caught.value)


def test_the_first_configuration_files_said_little(folder: Path) -> None:
    """PubMedBERT's own config.json had neither model_type nor architectures at first; defaults are BERT's."""
    path = folder / "config.json"
    left_out = {"model_type", "architectures", "layer_norm_eps", "tie_word_embeddings", "dtype", "pad_token_id"}
    values = {key: value for key, value in json.loads(path.read_text()).items() if key not in left_out}
    path.write_text(json.dumps(values))
    assert agrees(folder)


def test_folders_that_hold_no_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        hf.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"cannot read config\.json"):
        hf.load(folder)


def test_weights_are_as_readable_as_other_files(folder: Path) -> None:
    modes = {stat.S_IMODE((folder / name).stat().st_mode) for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1


def test_a_disk_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(OSError, match="I/O error"):
        hf.save(our_model(), tmp_path)
