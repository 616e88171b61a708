"""PubTator: documents, their mentions, and the words they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.finetune.formats.pubtator import Annotation, Document, altered, read_pubtator, tagged, tokenise
from pubmedbert.infer.labels.spans import entities

TEXT = """
1|t|Aspirin and headache.
1|a|No headache, no pain-free day.
1\t0\t7\tAspirin\tChemical\tD001241
1\t12\t20\theadache \tDisease\tD006261
1\tCID\tD001241\tD006261

2|t|Nothing.
2|a|
"""


def read(folder: Path, text: str) -> list[Document]:
    path = folder / "mine.txt"
    path.write_text(text)
    return read_pubtator(path)


def test_documents(tmp_path: Path) -> None:
    first, second = read(tmp_path, TEXT)
    assert first.text == "Aspirin and headache. No headache, no pain-free day."
    assert first.annotations[0] == Annotation(0, 7, "Aspirin", "Chemical", "D001241")
    assert [first.text[mention.start : mention.end] for mention in first.annotations] == ["Aspirin", "headache"]
    assert (second.pmid, second.text, second.annotations) == ("2", "Nothing. ", ())


def test_blanks_around_a_mention_are_not_of_it(tmp_path: Path) -> None:
    (document,) = read(tmp_path, "1|t|A  tumour , no\n1|a|\n1\t1\t10\t tumour \tDisease\n")
    assert document.annotations == (Annotation(3, 9, "tumour", "Disease"),)
    assert altered([document]) == ""
    (only,) = tagged([document])
    assert only.tags == ("O", "B-Disease", "O", "O")


def test_tagged(tmp_path: Path) -> None:
    one, two, again = tagged(read(tmp_path, TEXT + TEXT.partition("\n2|")[0]))
    assert (one.id, two.id, again.id, again.document) == ("1", "2", "1-2", "1")
    assert one.words[:4] == ("Aspirin", "and", "headache", ".")
    assert one.tags is not None
    assert one.tags[:4] == ("B-Chemical", "O", "B-Disease", "O")
    assert again.tags == one.tags


@pytest.mark.parametrize(
    ("spans", "wanted"),
    [
        ([(0, 3), (4, 7)], [(0, 1), (1, 2)]),
        ([(0, 7), (4, 7)], [(0, 2)]),  # one inside the other
        ([(0, 7), (4, 11)], [(0, 2)]),  # they overlap
        ([(0, 3), (0, 7)], [(0, 2)]),  # the longer one
        ([(1, 5)], [(0, 2)]),  # inside words
        ([(8, 10), (10, 11)], [(2, 3)]),  # two in one word
    ],
)
def test_overlaps(spans: list[tuple[int, int]], wanted: list[tuple[int, int]]) -> None:
    mentions = tuple(Annotation(start, end, "", "X") for start, end in reversed(spans))
    (example,) = tagged([Document("1", "aaa bbb ccc", "", mentions)])
    assert [(start, end) for _, start, end in entities(example.tags or ())] == wanted


def test_what_words_cannot_spell_is_told() -> None:
    mentions = [(0, 7), (4, 7), (8, 10), (10, 11)]
    documents = [Document("1", "aaa bbb ccc", "", tuple(Annotation(*span, "", "X") for span in mentions))]
    assert altered(documents) == (
        "of 4 mentions 2 overlap one before, or have no word, and are left out; 2 begin or end inside a word, and take "
        "the whole of it"
    )
    assert altered([Document("1", "aaa bbb", "", (Annotation(0, 3, "", "X"), Annotation(4, 7, "", "X")))]) == ""


def test_relations_of_any_columns_and_ids_of_any_letters(tmp_path: Path) -> None:
    relations = "Association\tD001241\tD006261\tNovel\n1\tBind\t4160\tD009765\tNovel\n1\tBind\tD009765\t4160\tNo"
    text = TEXT.replace("CID\tD001241\tD006261", relations).replace("1|", "PMC1|")
    first, _ = read(tmp_path, text.replace("\n1\t", "\nPMC1\t"))
    assert (first.pmid, len(first.annotations)) == ("PMC1", 2)


def test_combining_marks_stay_in_their_words() -> None:
    text = "cafe\u0301s \u0301 na\u0131\u0308ve-x, नमस्ते"
    words, spans = tokenise(text)
    assert words == ("cafe\u0301s", "\u0301", "na\u0131\u0308ve", "-", "x", ",", "नमस्ते")
    assert [text[start:end] for start, end in spans] == list(words)


def test_tokens_keep_offsets() -> None:
    text = "IL-2 (α_1), 5.0 µM"
    words, spans = tokenise(text)
    assert words == ("IL", "-", "2", "(", "α", "_", "1", ")", ",", "5", ".", "0", "µM")
    assert [text[start:end] for start, end in spans] == list(words)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n\n", "no document"),
        ("1|t|A\n2|a|B\n", "line 2: PMID|t|title, then PMID|a|"),
        ("1|t|A\n\n2|t|B\n2|a|\n", "the document 1 before has no line 1|a|"),
        ("1|t|A\n1\t0\t1\tA\tX\n", "line 2: PMID|t|title, then"),
        ("1|t|A\n1|a|B\n2\t0\t1\tA\tX\n", "line 3: PMID|t|title, then"),
        ("1|t|A\n1|a|B\n1\t0\tone\tA\tX\n", "line 3: PMID, start, end, text and type are wanted"),
        ("1|t|A\n1|a|B\n1\t0.0\t1.0\tA\tX\n", "line 3: PMID, start, end, text and type are wanted"),
        (f"1|t|A\n1|a|B\n1\t{'1' * 5000}\t{'2' * 5000}\tA\tX\n", "line 3: PMID, start, end, text and type are wanted"),
        ("1|t|A\n1|a|B\n1\t0\t1\tA\t \n", "line 3: the mention 'A' has no type"),
        ("1|t|A\n1|a|B\n1\t0\t1\tZ\tX\n", "line 3: characters 0 to 1 of the document are 'A', not 'Z'"),
        ("1|t|A  B\n1|a|\n1\t1\t3\t  \tX\n", "line 3: the mention at characters 1 to 3 is blank"),
        ("1|t|A\n1|a|B\n1\t7\t9\tZ\tX\n", "line 3: characters 7 to 9 of the document are '', not 'Z'"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=r"mine\.txt") as caught:
        read(tmp_path, text)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("path", "documents", "mentions", "exact"),
    [
        ("NCBI-disease/original/NCBItrainset_corpus.txt", 593, 5_145, 5_143),  # PMID 8528200 twice, with 11 mentions
        ("NCBI-disease/original/NCBIdevelopset_corpus.txt", 100, 787, 787),
        ("NCBI-disease/original/NCBItestset_corpus.txt", 100, 960, 960),
        ("BC5CDR-pubtator/CDR_TrainingSet.PubTator.txt", 500, 9_385, 9_385),
        ("BC5CDR-pubtator/CDR_DevelopmentSet.PubTator.txt", 500, 9_591, 9_581),
    ],
)
def test_real(real_data: Path, path: str, documents: int, mentions: int, exact: int) -> None:
    found = read_pubtator(real_data / "blurb" / path)
    examples = tagged(found)
    assert (len(found), sum(len(document.annotations) for document in found)) == (documents, mentions)
    assert len({example.id for example in examples}) == documents
    assert sum(len(entities(example.tags or ())) for example in examples) == mentions
    same = 0
    for document, example in zip(found, examples, strict=True):
        _, spans = tokenise(document.text)
        read_back = {(spans[start][0], spans[end - 1][1], kind) for kind, start, end in entities(example.tags or ())}
        same += len(read_back & {(mention.start, mention.end, mention.kind) for mention in document.annotations})
    assert same == exact
