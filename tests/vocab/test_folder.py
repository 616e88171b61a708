"""The tokenizer folder: read by transformers and by us alike; damage is told in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from pubmedbert.errors import InputError
from pubmedbert.vocab.folder import SPECIALS, load, pieces, save
from pubmedbert.vocab.train import train
from tests.vocab.fakes import HOSTILE, contents, general_tokenizer, made_up, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocab") / "tokenizer"
    save(train([*texts(made_up(300)), *HOSTILE, *HOSTILE], 1000), path)
    return path


def test_the_files(folder: Path) -> None:
    assert set(contents(folder)) == {"tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"}
    assert (folder / "vocab.txt").read_text().splitlines()[:5] == list(SPECIALS)
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 512


def test_transformers_reads_the_same_ids(folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folder), load(folder)
    assert theirs.model_max_length == 512
    assert (theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id) == (0, 1, 2)
    assert (theirs.sep_token_id, theirs.mask_token_id) == (3, 4)
    for text in HOSTILE:
        assert theirs(text)["input_ids"] == ours.encode(text).ids
    pair, encoding = theirs("insulin", "kinase dose"), ours.encode("insulin", "kinase dose")
    assert (pair["input_ids"], pair["token_type_ids"]) == (encoding.ids, encoding.type_ids)


def test_transformers_reads_the_vocabulary_alone_alike(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / name)
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), load(tmp_path)
    for text in HOSTILE:
        assert theirs(text)["input_ids"] == ours.encode(text).ids == load(folder).encode(text).ids


def test_saving_what_was_loaded_changes_nothing(folder: Path, tmp_path: Path) -> None:
    save(load(folder), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(folder)


@pytest.mark.parametrize(("settings", "tokens"), [({}, ["gene"]), ({"do_lower_case": False}, ["[UNK]"])])
def test_a_vocabulary_alone_follows_its_settings(
    tmp_path: Path, settings: dict[str, object], tokens: list[str]
) -> None:
    (tmp_path / "vocab.txt").write_text("\r\n".join([*SPECIALS, "gene", ""]), newline="")
    if settings:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load(tmp_path).encode("GENE", add_special_tokens=False).tokens == tokens


@pytest.mark.parametrize(
    ("normal", "settings"),
    [
        ({}, {"do_lower_case": False}),
        ({"lowercase": False}, {"do_lower_case": True}),
        ({}, {"strip_accents": False}),
        ({"strip_accents": True}, {"strip_accents": None, "do_lower_case": False}),
        ({}, {"tokenize_chinese_chars": False}),
        ({"lowercase": False}, {"do_lower_case": True, "tokenizer_class": "PreTrainedTokenizerFast"}),
    ],
)
def test_settings_go_before_what_the_tokenizer_says_as_in_transformers(
    folder: Path, tmp_path: Path, normal: dict[str, object], settings: dict[str, object]
) -> None:
    from transformers import AutoTokenizer

    value = json.loads((folder / "tokenizer.json").read_text())
    value["normalizer"] |= normal
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"} | settings))
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), load(tmp_path)
    for text in [*HOSTILE, "Insulin INSULIN insülin"]:
        assert theirs(text)["input_ids"] == ours.encode(text).ids
    save(ours, tmp_path / "saved")
    assert load(tmp_path / "saved").to_str() == ours.to_str()


@pytest.mark.parametrize("lost", ["post_processor", "added_tokens"])
def test_texts_are_framed_whatever_the_file_says(folder: Path, tmp_path: Path, lost: str) -> None:
    value = json.loads((folder / "tokenizer.json").read_text())
    value[lost] = {"post_processor": None, "added_tokens": []}[lost]
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    ours, whole = load(tmp_path), load(folder)
    for text in [*HOSTILE, "[MASK] is insulin"]:
        assert ours.encode(text).ids == whole.encode(text).ids
        assert ours.encode(text, text).type_ids == whole.encode(text, text).type_ids


def test_words_that_were_added_to_a_vocabulary(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / name)
    size = len((folder / "vocab.txt").read_text().splitlines())
    path = tmp_path / "added_tokens.json"
    path.write_text(json.dumps({"[MASK]": 4, "Zorglub": size, "blorp7": size + 1}))
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), load(tmp_path)
    assert ours.get_vocab_size() == size + 2
    for text in ("The Zorglub zorglub xZORGLUBy blorp7s", "Zorglub [MASK]"):
        assert theirs(text)["input_ids"] == ours.encode(text).ids
    for wrong in ({"Zorglub": size + 1}, {"Zorglub": size, "blorp7": size}, {"Zorglub": "x"}, {"Zorglub": None}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=f"added_tokens.json: the ids must go on from the {size} of vocab.txt"):
            load(tmp_path)


def test_a_tokenizer_made_by_others(tmp_path: Path) -> None:
    path = general_tokenizer()
    tokenizer = load(path)
    assert tokenizer.truncation is None
    assert tokenizer.padding is None
    assert len(tokenizer.encode("word " * 700).ids) == 702
    assert pieces(tokenizer) == (path / "vocab.txt").read_text(encoding="utf-8").splitlines()
    shutil.copy(path / "vocab.txt", tmp_path / "vocab.txt")
    alone = load(tmp_path)
    for text in HOSTILE:
        assert alone.encode(text).ids == tokenizer.encode(text).ids


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def nothing(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def cut_short(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:1000])


def other_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def byte_pairs(folder: Path) -> None:
    Tokenizer(models.BPE()).save(str(folder / "tokenizer.json"))


def no_normaliser(folder: Path) -> None:
    Tokenizer(models.WordPiece({name: n for n, name in enumerate(SPECIALS)}, unk_token="[UNK]")).save(
        str(folder / "tokenizer.json")
    )


def other_unknown(folder: Path) -> None:
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text())
    value["model"]["unk_token"] = "<unk>"
    path.write_text(json.dumps(value))


def gaps(folder: Path) -> None:
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text())
    del value["model"]["vocab"]["insulin"]
    path.write_text(json.dumps(value))


def vocabulary(text: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.txt").write_bytes(text)

    return write


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (no_folder, "is not a folder"),
        (nothing, "holds neither tokenizer.json nor vocab.txt"),
        (cut_short, "is not JSON"),
        (other_json, "is not a tokenizer of the tokenizers library"),
        (byte_pairs, "holds a BPE model; only BERT's WordPiece"),
        (no_normaliser, "has no BertNormalizer"),
        (other_unknown, "has '<unk>' for unknown words"),
        (gaps, "without gaps"),
        (vocabulary(b""), r"lacks \[PAD\]"),
        (vocabulary(b"[PAD]\n[UNK]\n[CLS]\n[SEP]\ngene\n"), r"lacks \[MASK\]"),
        (vocabulary(b"\xff\xfe"), "is not UTF-8"),
        (vocabulary("\n".join([*SPECIALS, "gene", "gene"]).encode()), "'gene' twice"),
    ],
)
def test_damage_is_told_in_a_sentence(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damage(copy)
    with pytest.raises(InputError, match=sentence) as caught:
        load(copy)
    assert str(copy) in str(caught.value)
