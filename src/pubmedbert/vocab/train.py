"""An uncased WordPiece vocabulary from a corpus, the same for the same corpus on any machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, read_json, write_json
from pubmedbert.progress import progress, say
from pubmedbert.vocab.folder import PREFIX, SPECIALS, UNKNOWN, build, load, pieces, save, write_files

__all__ = ["Corpus", "count_words", "learn", "load", "save", "train", "train_folder"]

LARGEST = 1_000_000
"""The largest vocabulary that is learned: more would not fit into memory, nor into a model."""
RECORD = "training.json"
"""Beside the tokenizer: what it was trained on."""
ALPHABET = 1000
"""At most so many single characters become pieces, as in the tokenizers library's BERT trainer."""
LONGEST = 100
"""A longer word is [UNK] to any BERT tokenizer, so nothing is learned from it."""
CHUNKS = 1_000_000
"""Different space-separated strings gathered before they are cut into words."""
WORDS = 2_000_000
"""Different words kept in memory; beyond it the rarest are forgotten."""
FED = 250_000_000
"""Word occurrences handed to the trainer; the counts of a larger corpus are scaled down to it, in proportion."""


class Corpus(Protocol):
    """What is needed of a corpus store."""

    def texts(self) -> Iterable[tuple[str, str, str]]:
        """`doc_id, title, abstract` of each kept document, always in the same order."""

    def kept(self) -> int:
        """How many documents `texts` yields."""

    def fingerprint(self) -> str:
        """A name for exactly this corpus."""


def train_folder(corpus: Corpus, out: Path, size: int) -> Tokenizer:
    """Train a vocabulary on titles and abstracts and save it; nothing to do where it exists.

    Args:
        corpus: the documents.
        out: the tokenizer folder to make.
        size: how many pieces to learn, special tokens included.

    Raises:
        InputError: `out` holds something else, the corpus is empty, or `size` is too small for its alphabet.
    """
    if not len(SPECIALS) < size <= LARGEST:
        raise InputError(f"--size must be from {len(SPECIALS) + 1} to {LARGEST:,}, not {size}")
    record = {"corpus": corpus.fingerprint(), "size": size}
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _reuse(out, record)
    with progress("counting words", corpus.kept(), "documents") as advance:

        def texts() -> Iterator[str]:
            for _, title, abstract in corpus.texts():
                yield title
                yield abstract
                advance()

        words = count_words(texts())
    say(f"choosing {size} pieces from {len(words)} different words")
    tokenizer = learn(words, size)
    found = tokenizer.get_vocab_size()
    if found < size:
        say(f"the corpus yields only {found} of the {size} pieces asked for")
    with atomic_folder(out) as folder:
        write_files(tokenizer, folder)
        write_json(folder / RECORD, record)
    return tokenizer


def train(texts: Iterable[str], size: int, min_frequency: int = 2) -> Tokenizer:
    """Learn an uncased WordPiece vocabulary.

    Pieces are merged by frequency, as every public WordPiece trainer does; the paper speaks of likelihood and names no
    tool. The ids: [PAD] [UNK] [CLS] [SEP] [MASK] are 0 to 4, then single characters, the same inside words, then
    merged pieces in the order they were found. Where the corpus is too small the vocabulary is, too.

    Args:
        texts: the corpus; read once.
        size: how many pieces to learn at most, special tokens included.
        min_frequency: a piece or character must occur so often.

    Returns:
        The tokenizer, with a vocabulary of [V] pieces, V <= size.

    Raises:
        InputError: there is no word in `texts`, or `size` has no room for the alphabet.
    """
    return learn(count_words(texts), size, min_frequency)


def learn(words: Mapping[str, int], size: int, min_frequency: int = 2) -> Tokenizer:
    """Learn a vocabulary from a table of word counts; see `train`.

    Raises:
        InputError: there is no word, or `size` has no room for the alphabet.
    """
    if not words:
        raise InputError("the corpus is empty: no text to learn a vocabulary from")
    alphabet = _alphabet(words, min_frequency)
    if size < len(SPECIALS) + len(alphabet):
        least = len(SPECIALS) + len(alphabet)
        raise InputError(f"--size {size} is too small: special tokens and single characters alone take {least}")
    return build(pieces(_merge(words, alphabet, size, min_frequency)))


def count_words(texts: Iterable[str], limit: int = WORDS) -> dict[str, int]:
    """Count words as BERT's normaliser and pre-tokeniser cut them, in bounded memory.

    When more than `limit` words are known, those seen once are forgotten, then those seen twice, and so on until half
    the room is free. A count is therefore exact up to `limit` different words, and beyond never too high.

    Args:
        texts: any texts; the same order gives the same counts.
        limit: how many different words to remember.

    Returns:
        How often each word occurs; words of more than 100 characters are left out, as BERT cannot read them.
    """
    chunks: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for text in texts:
        chunks.update(text.split(" "))  # a space always separates words; the rest is left to the slow, exact way below
        if len(chunks) > CHUNKS:
            _cut(chunks, words)
            _forget(words, limit)
    _cut(chunks, words)
    _forget(words, limit)
    return dict(words)


def _cut(chunks: Counter[str], words: Counter[str]) -> None:
    """Move what is in `chunks` to `words`, normalised and cut at punctuation."""
    normalizer, cutter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    for chunk, count in chunks.items():
        for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(chunk)):
            if len(word) <= LONGEST:
                words[word] += count
    chunks.clear()


def _forget(words: Counter[str], limit: int) -> None:
    if len(words) <= limit:
        return
    rarest = 0
    while len(words) > limit // 2:
        rarest += 1
        for word in [word for word, count in words.items() if count <= rarest]:
            del words[word]


def _alphabet(words: Mapping[str, int], min_frequency: int) -> list[str]:
    """The characters that become pieces, by code point; then those seen inside words, with their prefix."""
    seen: Counter[str] = Counter()
    inside: set[str] = set()
    for word, count in words.items():
        for character in word:
            seen[character] += count
        inside.update(word[1:])
    frequent = sorted((c for c, count in seen.items() if count >= min_frequency), key=lambda c: (-seen[c], c))
    kept = sorted(frequent[:ALPHABET])
    return kept + [PREFIX + character for character in kept if character in inside]


def _merge(words: Mapping[str, int], alphabet: list[str], size: int, min_frequency: int) -> Tokenizer:
    """Let the tokenizers library find the merges.

    Its trainer breaks ties by id, and gives ids to characters inside words in the order of a randomly seeded hash map.
    Handing it the alphabet as special tokens fixes those ids, and with them the vocabulary.
    """
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIALS, *alphabet],
        continuing_subword_prefix=PREFIX,
        show_progress=False,
    )
    learner = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(_repeat(words, set(alphabet)), trainer)
    return learner


def _repeat(words: Mapping[str, int], alphabet: set[str]) -> Iterator[str]:
    """Each word as often as it was counted: the library takes texts only, no counts.

    Words with a character outside the alphabet are [UNK] as a whole, so nothing is learned from them.
    """
    scale = -(-sum(words.values()) // FED)
    for word, count in words.items():
        if alphabet.issuperset(word):
            left = count // scale
            while left:
                part = min(left, 10_000)
                yield f"{word} " * part
                left -= part


def _reuse(out: Path, record: dict[str, object]) -> Tokenizer:
    """The tokenizer in `out`, when it was trained on the same corpus for the same size."""
    if not (out / RECORD).is_file():
        raise InputError(f"{out} exists and was not made by 'pubmedbert vocab train'; choose another --out")
    found = read_json(out / RECORD)
    other = [name for name in record if found.get(name) != record[name]]
    if other:
        raise InputError(f"{out} holds a vocabulary trained with another {' and '.join(other)}; choose another --out")
    say(f"{out} is up to date: nothing to do")
    return load(out)
