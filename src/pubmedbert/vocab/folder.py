"""A tokenizer as a Hugging Face folder: written so that transformers and this project read the same ids."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, read_json, write_json, write_text

UNKNOWN = "[UNK]"
SPECIALS = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
PREFIX = "##"
"""What a piece that continues a word starts with."""
_AS_WRITTEN = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of transformers that take `tokenizer.json` as it is."""
MAX_LENGTH = 512
"""`model_max_length`: the positions of BERT, and of PubMedBERT."""


def build(
    pieces: list[str], *, lowercase: bool = True, strip_accents: bool | None = None, part_chinese: bool = True
) -> Tokenizer:
    """The BERT tokenizer of a list of word pieces.

    Args:
        pieces: [V] word pieces; the place in the list is the id.
        lowercase: whether text is lower-cased (and then its accents stripped, unless `strip_accents` says otherwise).
        strip_accents: whether accents are stripped; None follows `lowercase`, as BERT does.
        part_chinese: whether each Chinese character is a word.

    Returns:
        A tokenizer that wraps one text as `[CLS] A [SEP]` and two as `[CLS] A [SEP] B [SEP]` with types 0 and 1.

    Raises:
        InputError: a special token is missing or a piece occurs twice.
    """
    ids = {piece: index for index, piece in enumerate(pieces)}
    if len(ids) < len(pieces):
        twice = next(piece for index, piece in enumerate(pieces) if ids[piece] != index)
        raise InputError(f"the vocabulary holds {twice!r} twice; every word piece must occur once")
    _require_specials(ids, "the vocabulary")
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN, continuing_subword_prefix=PREFIX))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=part_chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=PREFIX)
    _frame(tokenizer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json`, `vocab.txt`, `tokenizer_config.json` and `special_tokens_map.json`, all or nothing.

    Raises:
        InputError: the folder can't be written.
    """
    with atomic_folder(folder) as temporary:
        write_files(tokenizer, temporary)


def write_files(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files of a tokenizer into a folder that exists, such as one that is being made.

    Raises:
        InputError: a file can't be written.
    """
    names = {f"{name[1:-1].lower()}_token": name for name in SPECIALS}
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": bool(tokenizer.normalizer.lowercase),
        "strip_accents": tokenizer.normalizer.strip_accents,
        "tokenize_chinese_chars": bool(tokenizer.normalizer.handle_chinese_chars),
        "model_max_length": MAX_LENGTH,
    }
    write_text(folder / "tokenizer.json", dump(tokenizer))
    write_text(folder / "vocab.txt", "".join(f"{piece}\n" for piece in pieces(tokenizer)))
    write_json(folder / "tokenizer_config.json", settings | names)
    write_json(folder / "special_tokens_map.json", names)


def dump(tokenizer: Tokenizer) -> str:
    """The text of `tokenizer.json`; two tokenizers are the same when this text is."""
    text: str = tokenizer.to_str(pretty=True)
    return text


def load(folder: Path) -> Tokenizer:
    """Read a BERT tokenizer from `tokenizer.json`, or from `vocab.txt` alone, as PubMedBERT is published.

    As in transformers, what `tokenizer_config.json` says of case, accents and Chinese characters goes before what
    `tokenizer.json` says (where it says nothing, transformers takes BERT's defaults, and this the file's word),
    `added_tokens.json` adds to `vocab.txt`, and texts have [CLS] and [SEP] in any case.
    Truncation and padding that a file asks for are switched off: length is the caller's affair.

    Raises:
        InputError: the folder holds neither file, a file is damaged, or the tokenizer is not a WordPiece one with
            the five special tokens of BERT.
    """
    if (folder / "tokenizer.json").is_file():
        tokenizer = _from_json(folder / "tokenizer.json")
        _configure(tokenizer, tokenizer_config(folder))
    elif (folder / "vocab.txt").is_file():
        tokenizer = _from_vocab(folder)
    else:
        what = "holds neither tokenizer.json nor vocab.txt" if folder.is_dir() else "is not a folder"
        raise InputError(f"{folder} {what}; a tokenizer is a folder made by 'pubmedbert vocab train' or from the hub")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if tokenizer.encode("[MASK]").tokens != ["[CLS]", "[MASK]", "[SEP]"]:
        _frame(tokenizer)  # the file lacks its post-processor or its added tokens
    return tokenizer


def pieces(tokenizer: Tokenizer) -> list[str]:
    """The [V] word pieces, special tokens included, in the order of their ids."""
    ids = tokenizer.get_vocab(with_added_tokens=True)
    return sorted(ids, key=ids.__getitem__)


def _from_json(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        read_json(path)  # a plain sentence where the file can't be read or is cut short
        raise InputError(f"{path} is not a tokenizer of the tokenizers library: {error}") from error
    model = tokenizer.model
    if not isinstance(model, models.WordPiece) or model.continuing_subword_prefix != PREFIX:
        raise InputError(f"{path} holds a {type(model).__name__} model; only BERT's WordPiece with '##' pieces will do")
    if model.unk_token != UNKNOWN:
        raise InputError(f"{path} has {model.unk_token!r} for unknown words; only {UNKNOWN}, as in BERT, will do")
    if not isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
        raise InputError(f"{path} has no BertNormalizer; only BERT's WordPiece tokenizers will do")
    ids = tokenizer.get_vocab(with_added_tokens=True)
    _require_specials(ids, str(path))
    if len(set(ids.values())) < len(ids) or max(ids.values()) >= len(ids):
        raise InputError(f"{path}: the ids must run from 0 to {len(ids) - 1} without gaps")
    return tokenizer


def _from_vocab(folder: Path) -> Tokenizer:
    path = folder / "vocab.txt"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error
    found = [line.removesuffix("\r") for line in lines[: len(lines) - (lines[-1] == "")]]
    settings = tokenizer_config(folder)
    accents = settings.get("strip_accents")
    try:
        tokenizer = build(
            found,
            lowercase=bool(settings.get("do_lower_case", True)),
            strip_accents=accents if isinstance(accents, bool) else None,
            part_chinese=bool(settings.get("tokenize_chinese_chars", True)),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _add(tokenizer, folder / "added_tokens.json")
    return tokenizer


def _add(tokenizer: Tokenizer, path: Path) -> None:
    """Add what somebody added to a vocabulary: a file of words and their ids, behind those of `vocab.txt`."""
    added = read_json(path) if path.is_file() else {}
    size = tokenizer.get_vocab_size()
    new = {word: number for word, number in added.items() if number is None or number != tokenizer.token_to_id(word)}
    words = {number: word for word, number in new.items() if isinstance(number, int)}
    if sorted(words) != [*range(size, size + len(new))]:
        raise InputError(f"{path}: the ids must go on from the {size} of vocab.txt without gaps, one for each word")
    tokenizer.add_tokens([words[number] for number in sorted(words)])


def _configure(tokenizer: Tokenizer, settings: dict[str, object]) -> None:
    """Have a tokenizer normalise as `tokenizer_config.json` says, where that is of a BERT tokenizer and says so."""
    if settings.get("tokenizer_class") in _AS_WRITTEN:
        return
    written = tokenizer.normalizer
    accents = settings.get("strip_accents", written.strip_accents)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=written.clean_text,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", written.handle_chinese_chars)),
        strip_accents=accents if isinstance(accents, bool) else None,
        lowercase=bool(settings.get("do_lower_case", written.lowercase)),
    )


def _frame(tokenizer: Tokenizer) -> None:
    """Have texts framed as BERT reads them, and special tokens read where a text spells them."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(SPECIALS))


def tokenizer_config(folder: Path) -> dict[str, object]:
    """What `tokenizer_config.json` says; nothing where there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def _require_specials(ids: dict[str, int], where: str) -> None:
    missing = [name for name in SPECIALS if name not in ids]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}; a BERT vocabulary needs {' '.join(SPECIALS)}")
