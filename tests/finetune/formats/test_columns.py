"""Words with tags, and rows of columns: what is read, and how a bad line is named."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Tagged
from pubmedbert.finetune.formats.columns import RowFormat, check_unique, number, read_conll, read_rows

WORDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1).filter(lambda word: word[0] != "-")
TAGS = st.sampled_from(["O", "B-Gene", "I-Gene", "I", "B", "U-Cell line-x", "L", "E-Gene", "S-Gene"])
SENTENCES = st.lists(st.lists(st.tuples(WORDS, TAGS), min_size=1), min_size=1)


def write(path: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@given(sentences=SENTENCES, end=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_conll_round_trip(sentences: list[list[tuple[str, str]]], end: str, last: bool) -> None:
    text = (end * 2).join(end.join(f"{word}\t{tag}" for word, tag in sentence) for sentence in sentences)
    read = conll(text + end * last)
    assert [list(zip(found.words, found.tags or (), strict=True)) for found in read] == sentences
    assert [found.id for found in read] == [str(place) for place in range(1, len(sentences) + 1)]


def conll(text: str) -> list[Tagged]:
    with tempfile.TemporaryDirectory() as folder:
        return read_conll(write(Path(folder) / "mine.conll", text))


def test_documents(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.tsv.gz",
        "-DOCSTART- (77)\n\na\tO\n\nb\tI-PAR\n-DOCSTART- 78\nc\tO\n\n"
        "-DOCSTART- (77)\nd\tO\n-DOCSTART- -X- -X- O\n\ne O",
    )
    found = read_conll(path)
    assert [(one.id, one.document) for one in found] == [
        ("77.1", "77"),
        ("77.2", "77"),
        ("78.1", "78"),
        ("77.3", "77"),
        ("after-4.1", "after-4"),
    ]
    assert (found[1].words, found[1].tags) == (("b",), ("I-PAR",))


def test_comments(tmp_path: Path) -> None:
    text = (
        "# newdoc id = d\n\n# id = 1\n# text = the cell # 2\nthe DET\ncell NOUN\n# PUNCT\n2 NUM\n"
        "\n#\tPUNCT\n2\tNUM\n\n# the end\n"
    )
    found = read_conll(write(tmp_path / "mine.conll", text), spans=False)
    assert [one.words for one in found] == [("the", "cell", "#", "2"), ("#", "2")]
    assert found[1].tags == ("PUNCT", "NUM")
    tabs = "# 26458\npatients\tI-PAR\nwith\tO\n\n# 11111\nplacebo\tI-INT\n\n#\tO\n"
    found = read_conll(write(tmp_path / "tabs.conll", tabs), spans=False)
    assert [one.words for one in found] == [("patients", "with"), ("placebo",), ("#",)]
    only = read_conll(write(tmp_path / "only.conll", "# O\n"))
    assert [one.words for one in only] == [("#",)]


def test_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.conll", "\ufeff1 p53 NN B-Gene x\n2 binds VB O x\n")
    (found,) = read_conll(path, token=1, tag=3)
    assert (found.words, found.tags) == (("p53", "binds"), ("B-Gene", "O"))
    (found,) = read_conll(path, token=1, tag=2, spans=False)
    assert found.tags == ("NN", "VB")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("alone", "a word and its tag are wanted"),
        ("word\t", "the tag is empty"),
        ("\tO", "the word is empty"),
        ("p53\tB-Gene\rbinds\tO\r\rit\tO", "a carriage return stands inside the line"),
        ("word\tX-Gene", "'X-Gene' is no tag"),
        ("word\tB-", "'B-' is no tag"),
        (b"\xff\tO", "byte 1 is not UTF-8"),
    ],
)
def test_bad_lines(tmp_path: Path, line: str | bytes, sentence: str) -> None:
    data = line.encode() if isinstance(line, str) else line
    with pytest.raises(InputError, match=r"mine\.tsv, line 2: ") as caught:
        read_conll(write(tmp_path / "mine.tsv", b"a\tO\n" + data + b"\n"))
    assert sentence in str(caught.value)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_conll(tmp_path / "none")
    with pytest.raises(InputError, match="empty"):
        read_conll(write(tmp_path / "empty", ""))
    with pytest.raises(InputError, match="no sentence"):
        read_conll(write(tmp_path / "blank", "\n\n"))
    whole = gzip.compress(b"a\tO\n" * 10_000)
    with pytest.raises(InputError, match="truncated"):
        read_conll(write(tmp_path / "cut.tsv", whole[:-10]))
    with pytest.raises(InputError, match="damaged"):
        read_conll(write(tmp_path / "bad.tsv", b"\x1f\x8b garbage that is no gzip"))


def test_rows(tmp_path: Path) -> None:
    texts: dict[RowFormat, str] = {
        "csv": 'text,label\n"one, ""two""\nthree",x\n\nfour,y\n',
        "tsv": 'text\tlabel\none, "two"\tx\nfour\ty\n',
        "jsonl": '{"text": "one, \\"two\\"", "label": "x"}\n\n{"text": "four", "label": "y"}\n',
    }
    for form, text in texts.items():
        first, second = read_rows(write(tmp_path / "mine.gz", text), form)
        assert first.text("text").replace("\nthree", "") == 'one, "two"'
        assert (second.cells, second.cell("label")) == ({"text": "four", "label": "y"}, "y")
        with pytest.raises(InputError, match=r"line \d: it has no column \"id\", only text, label"):
            second.text("id")
    (row,) = read_rows(write(tmp_path / "bare.tsv", "7\ta\n"), "tsv", ("id", "text"))
    assert row.cells == {"id": "7", "text": "a"}


@pytest.mark.parametrize(
    ("form", "text", "sentence"),
    [
        ("csv", "a,b\n1,2,3\n", "line 2: 2 columns are wanted (a, b), not 3"),
        ("csv", 'a,b\n"1,2\n', "line 2: not CSV"),
        ("csv", "a,a\n1,2\n", "line 1: the header must name every column"),
        ("tsv", "a\t\n1\t2\n", "line 1: the header must name every column"),
        ("tsv", "a\tb\n1\n", "line 2: 2 columns are wanted"),
        ("jsonl", "{\n", "line 1: not JSON"),
        ("jsonl", "[" * 100_000, "line 1: not JSON"),
        ("jsonl", "[1]\n", "line 1: a JSON object is wanted, not list"),
    ],
)
def test_bad_rows(tmp_path: Path, form: RowFormat, text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read_rows(write(tmp_path / "mine", text), form))
    assert sentence in str(caught.value)


def test_cells(tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path / "m", '{"t": " ", "n": 3, "f": "1.5", "b": true, "s": "\\ud800"}'), "jsonl")
    assert (number(row, "n"), number(row, "f")) == (3.0, 1.5)
    for column, sentence in [("t", "is empty"), ("n", "must be a string"), ("s", "surrogate")]:
        with pytest.raises(InputError, match=sentence):
            row.text(column)
    for column in ("t", "b"):
        with pytest.raises(InputError, match="must be a number"):
            number(row, column)


def test_unique() -> None:
    check_unique(["a", "b"], Path("mine"))
    with pytest.raises(InputError, match="mine: the id 'a' occurs more than once"):
        check_unique(["a", "b", "a"], Path("mine"))


def test_spaces_that_are_no_separators_belong_to_the_word(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("10\u00a0mg B-Dose\n\u00a0 O\n")
    assert read_conll(path)[0].words == ("10\u00a0mg", "\u00a0")


def test_long_csv_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\n{'long ' * 40_000},x\n")
    assert len(next(iter(read_rows(path, "csv"))).text("text")) > 150_000
