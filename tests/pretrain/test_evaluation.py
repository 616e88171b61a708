"""Accuracy by kind of word, pseudo-perplexity, and the command that shows them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.model import hf
from pubmedbert.model.encoder import initialise
from pubmedbert.model.heads import Bert
from pubmedbert.pretrain import evaluate
from pubmedbert.pretrain.breakdown import Places, break_down, look
from pubmedbert.pretrain.feed import feed
from pubmedbert.pretrain.objective import MaskedWords
from pubmedbert.pretrain.pseudo import frozen_sentences, pseudo_perplexity
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.pretrain.term import evaluate_terms
from pubmedbert.shards.read import open_shards

TINY = Recipe(size="tiny", length=32, max_positions=64, rows=8, pack_tokens=128)


def places(words: list[list[tuple[int, bool]]]) -> Places:
    """Words of (label, right) pieces; the loss of a right piece is 1, of a wrong one 3."""
    flat = [(number, *piece) for number, word in enumerate(words) for piece in word]
    return Places(
        np.array([label for _, label, _ in flat]),
        np.array([number for number, _, _ in flat]),
        np.array([1.0 if right else 3.0 for _, _, right in flat]),
        np.array([right for _, _, right in flat]),
    )


def test_words_fall_into_bins_by_decade_and_by_pieces() -> None:
    counts = np.array([0, 5, 99, 100, 5_000_000])
    found = break_down(
        places(
            [
                *([(0, True)], [(1, False)], [(2, True)], [(2, False)], [(3, True)], [(4, True)]),
                *([(1, True), (2, False)], [(3, True), (4, True)], [(1, True)] * 6),
            ]
        ),
        counts,
    )
    by_name = {part.name: part for part in found.by_frequency}
    assert list(by_name) == ["0", "1-9", "10-99", "100-999", "1,000,000+"]
    assert (by_name["10-99"].words, by_name["10-99"].accuracy, by_name["10-99"].loss) == (2, 0.5, 2.0)
    sizes = {part.name: (part.words, part.pieces, part.accuracy, part.piece_accuracy) for part in found.by_pieces}
    assert sizes == {
        "1 piece": (6, 6, pytest.approx(4 / 6), pytest.approx(4 / 6)),
        "2 pieces": (2, 4, 0.5, 0.75),
        "4 pieces or more": (1, 6, 1.0, 1.0),
    }


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=6), max_size=30))
def test_every_word_is_in_one_bin_of_each_kind(words: list[list[tuple[int, bool]]]) -> None:
    found = break_down(places(words), 10 ** np.arange(10) // 10)
    assert sum(part.words for part in found.by_pieces) == len(words)
    assert sum(part.pieces for part in found.by_pieces) == sum(map(len, words))
    assert sum(part.words for part in found.by_frequency) == sum(len(word) == 1 for word in words)


@pytest.fixture(scope="module")
def model(shards: Path) -> Bert:
    config = TINY.model(open_shards(shards).meta.vocab_size, 0)
    found = Bert(config)
    initialise(found, config, seed=1)
    return found


def test_a_look_sums_to_the_evaluation_and_finds_whole_words(shards: Path, model: Bert) -> None:
    heldout = feed(open_shards(shards), "heldout", TINY)
    packs = heldout.frozen()
    model.train()
    found = look(model, packs, heldout.special.continuation)
    assert model.training, "the mode is put back"
    means = evaluate_terms(MaskedWords(), model, packs)
    assert found.losses.mean() == pytest.approx(means["mlm_loss"], rel=1e-5)
    assert found.right.mean() == pytest.approx(means["mlm_accuracy"])
    starts = np.flatnonzero(np.diff(found.words, prepend=-1))
    inside = heldout.special.continuation[found.labels]
    assert inside.any(), "there are words of several pieces"
    assert np.array_equal(np.flatnonzero(~inside), starts), "masks are of whole words, so each begins with its start"


def test_pseudo_perplexity_is_that_of_one_row_at_a_time(shards: Path, model: Bert) -> None:
    heldout = feed(open_shards(shards), "heldout", TINY)
    special = heldout.special
    sentences = frozen_sentences(heldout.split, 4, 62, special)
    found = pseudo_perplexity(model, sentences, special)
    model.eval()
    total = 0.0
    for sentence in sentences:
        row = [special.cls, *sentence.tolist(), special.sep]
        for place in range(1, len(row) - 1):
            masked = list(row)
            masked[place] = special.mask
            later = place + 1
            while special.continuation[row[later]]:
                masked[later] = special.mask
                later += 1
            tokens = torch.tensor(masked)
            with torch.inference_mode():
                states = model(tokens, torch.arange(len(row)), torch.zeros_like(tokens), [len(row)])
                total += model.logits(states[place : place + 1]).log_softmax(1)[0, row[place]].item()
    pieces = sum(map(len, sentences))
    assert found.pieces == pieces
    assert found.words < pieces, "there are words of several pieces"
    assert np.log(found.perplexity) == pytest.approx(-total / pieces, rel=1e-4)
    assert found.log_likelihood == pytest.approx(total / len(sentences), rel=1e-4)


def test_sentences_are_the_same_every_time(shards: Path) -> None:
    heldout = feed(open_shards(shards), "heldout", TINY)
    few = frozen_sentences(heldout.split, 3, 62, heldout.special)
    more = frozen_sentences(heldout.split, 5, 62, heldout.special)
    assert [s.tolist() for s in more[:3]] == [s.tolist() for s in few]
    assert all(5 <= len(sentence) <= 8 for sentence in frozen_sentences(heldout.split, 50, 8, heldout.special))
    with pytest.raises(InputError, match="no sentence of 5 to 4 known word pieces"):
        frozen_sentences(heldout.split, 5, 4, heldout.special)


def test_nothing_to_predict_is_a_sentence(
    shards: Path, model: Bert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf.save(model, tmp_path)
    shutil.copytree(shards / "tokenizer", tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(evaluate, "look", lambda *_: places([]))
    with pytest.raises(InputError, match="no word piece of the held-out rows is masked"):
        evaluate.evaluate_model(str(tmp_path), shards, 8, 32)


def test_the_command_evaluates_a_run_and_its_report_shows_it(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    settings = [part for setting in ("size=tiny", "steps=3", "length=32", "rows=8") for part in ("--set", setting)]
    main(["pretrain", "--recipe", "mini", "--shards", str(shards), "--out", str(run), *settings])
    assert "Masked accuracy" not in (run / "report.html").read_text()
    capsys.readouterr()
    tokens = ["evaluate", "--model", str(run), "--shards", str(shards), "--length", "32", "--pseudo", "3"]
    main([*tokens, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["pseudo"]["sentences"] == 3
    assert sum(part["pieces"] for part in found["breakdown"]["by_pieces"]) == found["masked"]
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["checkpoint"] == "step-3"
    assert kept["eval_loss"] == found["eval_loss"]
    main(["report", str(run), "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "Masked accuracy" in page
    assert "By <code>pubmedbert evaluate</code>, of step-3." in page
    again = shutil.copytree(run, tmp_path / "again")
    for folder in (run, again):  # the same run twice, the second under other masks
        rows = ["--rows", "2048" if folder == run else "16"]
        main(["evaluate", "--model", str(folder), "--shards", str(shards), "--length", "32", *rows])
    main(["report", str(run), str(again), "--out", str(tmp_path / "page.html")])
    assert "run: step-3, again: step-3" in (tmp_path / "page.html").read_text()
    assert "these bars do not compare" in (tmp_path / "page.html").read_text()
    capsys.readouterr()
    main(tokens)
    out = capsys.readouterr().out
    assert "words by number of pieces" in out
    assert "pseudo-perplexity" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("rows", "length", "pseudo", "sentence"),
    [
        (0, None, 0, "--rows must be a whole number from 1, not 0"),
        (8, 3, 0, "--length must be from 4 to 64, the longest row that the model reads, not 3"),
        (8, 65, 0, "--length must be from 4 to 64, the longest row that the model reads, not 65"),
        (8, None, -2, "--pseudo must be a whole number from 0, not -2"),
    ],
)
def test_numbers_out_of_range_are_named_as_they_were_given(
    rows: int, length: int | None, pseudo: int, sentence: str, shards: Path, model: Bert, tmp_path: Path
) -> None:
    hf.save(model, tmp_path)
    shutil.copytree(shards / "tokenizer", tmp_path, dirs_exist_ok=True)
    with pytest.raises(InputError, match=f"^{sentence}$"):
        evaluate.evaluate_model(str(tmp_path), shards, rows, length, pseudo)


def test_short_models_are_evaluated_at_their_own_length_and_few_rows_are_told(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = open_shards(shards)
    for positions, most in ((16, 16), (512, 128)):
        _, packs = evaluate.frozen_packs(found, 8, None, positions)
        assert max(length for pack in packs for length in pack.lengths) <= most
        assert sum(len(pack.lengths) for pack in packs) == 8
    assert capsys.readouterr().err == ""
    _, packs = evaluate.frozen_packs(found, 10**6, None, 512)
    rows = sum(len(pack.lengths) for pack in packs)
    assert capsys.readouterr().err == f"the held-out documents fill {rows:,} rows, not 1,000,000\n"
