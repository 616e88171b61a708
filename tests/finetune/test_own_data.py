"""A user's own data: every task and format, and one sentence for what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.finetune import metrics
from pubmedbert.finetune.dataset import Dataset, Labelled, Tagged
from pubmedbert.finetune.formats.columns import RowFormat
from pubmedbert.finetune.own_data import METRICS, TASKS, open_own

CONLL = "p53\tB-Gene\nbinds\tO\n\nit\tO\n"
PUBTATOR = "1|t|Aspirin.\n1|a|\n1\t0\t7\tAspirin\tChemical\n"


def make(folder: Path, toml: str, **files: str | bytes) -> Path:
    """A data set `mine.toml` and its files; "_" in a name stands for "."."""
    for name, text in files.items():
        data = text.encode() if isinstance(text, str) else text
        path = folder / name.replace("_", ".")
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    path = folder / "mine.toml"
    path.write_text(toml)
    return path


def table(form: RowFormat, rows: list[dict[str, str]]) -> str:
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows)
    mark = "," if form == "csv" else "\t"
    return "".join(mark.join(cells) + "\n" for cells in [list(rows[0]), *(list(row.values()) for row in rows)])


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_own(path)
    return str(caught.value)


def test_ner(tmp_path: Path) -> None:
    toml = 'task = "ner"\nformat = "conll"\ntrain = "a.gz"\ndev = "b.tsv"\ntest = "c.tsv"'
    data = open_own(make(tmp_path, toml, a_gz=CONLL, b_tsv="x\tU-Gene\n", c_tsv="y\tI-Gene\nz\tL-Gene\n"))
    assert (data.name, data.task, data.metric, data.labels, data.notes) == ("mine", "ner", "entity_f1", ("Gene",), ())
    assert data.read("train")[0] == Tagged("1", ("p53", "binds"), ("B-Gene", "O"))
    assert data.read("test") == [Tagged("1", ("y", "z"), ("I-Gene", "L-Gene"))]


def test_columns_of_conll(tmp_path: Path) -> None:
    toml = 'task = "words"\nformat = "conll"\ntrain = "a.txt"\ndev = "a.txt"\ntext = 1\nlabel = 2'
    data = open_own(make(tmp_path, toml, a_txt="1 a NOUN x\n2 b VERB x\n3 c O x\n"))
    assert (data.labels, data.metric) == (("NOUN", "VERB"), "word_macro_f1")
    assert data.read("dev") == [Tagged("1", ("a", "b", "c"), ("NOUN", "VERB", "O"))]


def test_pubtator(tmp_path: Path) -> None:
    data = open_own(make(tmp_path, 'task = "ner"\nformat = "pubtator"\ntrain = "a.txt"\ndev = "a.txt"', a_txt=PUBTATOR))
    assert data.labels == ("Chemical",)
    assert data.read("dev") == [Tagged("1", ("Aspirin", "."), ("B-Chemical", "O"), "1")]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_relation(tmp_path: Path, form: RowFormat) -> None:
    rows = [{"key": "r1", "sentence": "@GENE$ a", "kind": "yes"}, {"key": "r2", "sentence": "@GENE$ b", "kind": "none"}]
    toml = f"""
        task = "relation"
        format = "{form}"
        train = "a.x"
        dev = "a.x"
        id = "key"
        text = "sentence"
        label = "kind"
        negative = "none"
    """
    data = open_own(make(tmp_path, toml, a_x=table(form, rows)))
    assert (data.labels, data.negative, data.metric) == (("none", "yes"), "none", "micro_f1")
    assert data.read("dev") == [Labelled("r1", "@GENE$ a", "yes"), Labelled("r2", "@GENE$ b", "none")]


def test_similarity_reads_nothing_early(tmp_path: Path) -> None:
    toml = 'task = "similarity"\nformat = "tsv"\ntrain = "a.tsv"\ndev = "b.tsv"\nlabel = "score"\nmetric = "spearman"'
    path = make(tmp_path, toml, a_tsv="text\ttext_b\tscore\na\tb\t1.5\n", b_tsv="broken\n1\t2\n")
    data = open_own(path)
    assert (data.labels, data.metric) == ((), "spearman")
    assert data.read("train") == [Labelled("1", "a", 1.5, "b")]
    with pytest.raises(InputError, match=r"b\.tsv, line 2"):
        data.read("dev")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_multilabel(tmp_path: Path, form: RowFormat) -> None:
    text = "text,label\na,x; y\nb,\n" if form == "csv" else '{"text":"a","label":["y","x"]}\n{"text":"b","label":[]}\n'
    separator = 'separator = ";"' if form == "csv" else ""
    toml = f'task = "multilabel"\nformat = "{form}"\ntrain = "a.x"\ndev = "a.x"\n{separator}'
    data = open_own(make(tmp_path, toml, a_x=text))
    assert (data.labels, data.metric) == (("x", "y"), "multilabel_f1")
    assert [example.label for example in data.read("dev") if isinstance(example, Labelled)] == [("x", "y"), ()]


def test_pairs_and_whole_numbers(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"id": 10 + n, "text": "q", "text_b": "p", "label": n % 2}) + "\n" for n in range(2))
    data = open_own(make(tmp_path, 'task="pairs"\nformat="jsonl"\ntrain="a.x"\ndev="a.x"\nid="id"', a_x=rows))
    assert (data.labels, data.metric) == (("0", "1"), "accuracy")
    assert data.read("train")[1] == Labelled("11", "q", "1", "p")


def many(folder: Path, order: int = 1) -> Dataset:
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(300)][::order]
    return open_own(make(folder, 'task="classification"\nformat="csv"\ntrain="a.x"', a_x=table("csv", rows)))


def texts(examples: object) -> set[str]:
    assert isinstance(examples, list)
    return {example.text for example in examples}


def test_dev_from_train(tmp_path: Path) -> None:
    data = many(tmp_path)
    train, dev = texts(data.read("train")), texts(data.read("dev"))
    assert not train & dev
    assert len(train | dev) == 300
    assert len(dev) == 30
    assert "a tenth of a.x" in data.notes[0]
    assert texts(many(tmp_path, order=-1).read("dev")) == dev  # whatever the order
    assert not any("lack" in note for note in data.notes)
    with pytest.raises(InputError, match=r"mine\.toml names no test file"):
        data.read("test")


def test_labels_that_only_the_tenth_has_are_named(tmp_path: Path) -> None:
    toml = 'task="classification"\nformat="csv"\ntrain="a.x"'
    names = [f"text {number}" for number in range(60)]
    first = open_own(make(tmp_path, toml, a_x=table("csv", [{"text": n, "label": n[-1]} for n in names])))
    dev = texts(first.read("dev"))
    rows = [{"text": n, "label": "dev only" if n in dev else n[-1]} for n in names]
    data = open_own(make(tmp_path, toml, a_x=table("csv", rows)))
    assert data.notes[0] == "dev has labels that the training examples lack: dev only."
    assert data.labels[-1] == "dev only"


def test_too_small_for_dev(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "a", "label": "y"}]
    toml = make(tmp_path, 'task="classification"\nformat="csv"\ntrain="a.x"', a_x=table("csv", rows))
    with pytest.raises(InputError, match="too small to take a tenth as dev"):
        open_own(toml)


def test_labels_that_train_lacks_stay_in_the_gold(tmp_path: Path) -> None:
    toml = 'task="classification"\nformat="csv"\ntrain="a.x"\ndev="b.x"\ntest="c.x"'
    train, dev, test = "text,label\na,x\nb,y\n", "text,label\na,x\nb,z\n", "text,label\na,x\nb,w\n"
    data = open_own(make(tmp_path, toml, a_x=train, b_x=dev, c_x=test))
    assert data.labels == ("x", "y", "z")
    assert data.notes == ("b.x has labels that the training examples lack: z.",)
    assert [example.label for example in data.read("test") if isinstance(example, Labelled)] == ["x", "w"]
    toml = 'task="ner"\nformat="conll"\ntrain="a.x"\ndev="b.x"'
    data = open_own(make(tmp_path, toml, a_x=CONLL, b_x=f"{CONLL}\nx\tB-Cell\n"))
    assert data.labels[-1] == "Cell"


def test_columns_may_be_text_or_counted_from_the_end_and_labels_may_be_json_values(tmp_path: Path) -> None:
    toml = 'task="ner"\nformat="conll"\ntrain="a.x"\ndev="a.x"\ntext="0"\nlabel=-1'
    assert open_own(make(tmp_path, toml, a_x="Aspirin\tNN\tB-Drug\n")).labels == ("Drug",)
    toml = 'task="classification"\nformat="jsonl"\ntrain="a.x"\ndev="a.x"'
    rows = '{"text": "a", "label": true}\n{"text": "b", "label": 3}\n'
    assert open_own(make(tmp_path, toml, a_x=rows)).labels == ("3", "true")


def test_labels_in_lists_are_as_labels_in_cells(tmp_path: Path) -> None:
    toml = 'task="multilabel"\nformat="jsonl"\ntrain="a.x"\ndev="a.x"'
    data = open_own(make(tmp_path, toml, a_x='{"text": "a", "label": [" x", "x"]}\n{"text": "b", "label": ["y "]}\n'))
    assert data.labels == ("x", "y")
    mixed = '{"text": "a", "label": [1, true, "z"]}\n'
    assert open_own(make(tmp_path, toml, a_x=mixed)).labels == ("1", "true", "z")
    assert "whole numbers, true or false; None is none" in refused(
        make(tmp_path, toml, a_x='{"text": "a", "label": ["x", null]}\n')
    )
    assert "line 1: the text '\\ud800' is not valid Unicode" in refused(
        make(tmp_path, toml, a_x='{"text": "a", "label": ["\\ud800"]}\n')
    )


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("task = ", "is not TOML"),
        ('format = "csv"', "task must be one of ner, words, relation"),
        ('task = "tagging"', "not 'tagging'"),
        ('task = "ner"', "format must be one of conll, pubtator, bioasq, hoc, jsonl, csv, tsv; it is missing"),
        ('task = "ner"\nformat = "csv"', "it must be conll or pubtator"),
        ('task = "pairs"\nformat = "conll"', "it must be jsonl or csv or tsv"),
        ('task = "pairs"\nformat = "csv"', "train is missing"),
        ('task = "pairs"\nformat = "csv"\ntrain = 3', "train must be a text"),
        ('task = "pairs"\nformat = "csv"\ntrain = "none.csv"', "none.csv, which does not exist"),
        ('task = "pairs"\nformat = "csv"\ntrain = "a.x"\ntest = "none.csv"', "none.csv, which does not exist"),
        ('task = "pairs"\nformat = "csv"\ntrain = "."', "which is no file"),
        (
            'task = "pairs"\nformat = "csv"\ntrain = "a.x"\nlables = "x"',
            "'lables' is no key for csv; the keys are dev,",
        ),
        ('task = "ner"\nformat = "conll"\ntrain = "a.x"\ntext_b = "x"', "'text_b' is no key for conll"),
        ('task = "ner"\nformat = "pubtator"\ntrain = "a.x"\ntext = 1', "'text' is no key for pubtator"),
        ('task = "ner"\nformat = "conll"\ntrain = "a.x"\nlabel = "tag"', "label must be the number of a column"),
        ('task = "ner"\nformat = "conll"\ntrain = "a.x"\nmetric = "accuracy"', "metric must be one of entity_f1"),
        ('task = "similarity"\nformat = "csv"\ntrain = "a.x"\nnegative = "x"', "negative goes with the tasks relation"),
        ('task = "pairs"\nformat = "csv"\ntrain = "a.x"\nseparator = ";"', "separator goes with the task multilabel"),
        (
            'task = "relation"\nformat = "csv"\ntrain = "a.x"\ndev = "a.x"\nnegative = "z"',
            "the negative class 'z' is none of",
        ),
        ('task = "relation"\nformat = "csv"\ntrain = "a.x"\ntext = "t"', 'line 2: it has no column "t"'),
        ('task = "pairs"\nformat = "csv"\ntrain = "a.x"', 'line 2: it has no column "text_b"'),
        ('task = "relation"\nformat = "csv"\ntrain = "a.x"\nid = "same"', "line 3: the id '1' came before"),
        ('task = "ner"\nformat = "conll"\ntrain = "a.x"', "line 1: a word and its tag are wanted"),
    ],
)
def test_bad_descriptions(tmp_path: Path, toml: str, sentence: str) -> None:
    message = refused(make(tmp_path, toml, a_x="text,label,same\na,x,1\nb,y,1\n"))
    assert sentence in message
    assert str(tmp_path) in message


@pytest.mark.parametrize(
    ("task", "text", "sentence"),
    [
        ("classification", "text,label\n", "holds no example"),
        ("classification", "text,label\na,x\nb,x\n", "without the tenth that is dev has 1 label: 2 or more are wanted"),
        ("classification", "text,label\na,x\n ,y\n", 'line 3: "text" is empty'),
        ("classification", "text,label\na,x\nb,\n", 'line 3: "label" is empty'),
        ("classification", "text,label\na,x\nb\n", "line 3: 2 columns are wanted"),
        ("multilabel", "text,label\na,\nb,\n", "has no labels: 1 or more are wanted"),
        ("classification", b"text,label\na,\xff\n", "line 2: byte 3 is not UTF-8"),
    ],
)
def test_bad_examples(tmp_path: Path, task: str, text: str | bytes, sentence: str) -> None:
    message = refused(make(tmp_path, f'task = "{task}"\nformat = "csv"\ntrain = "a.x"', a_x=text))
    assert sentence in message


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    row = '{"text": "a", "label": 0.5}\n'
    message = refused(make(tmp_path, 'task = "classification"\nformat = "jsonl"\ntrain = "a.x"', a_x=row))
    assert message.endswith('line 1: "label" must be a text, a whole number, true or false, not 0.5')


@pytest.mark.parametrize("score", ["high", "nan", "inf", "", "3_5"])
def test_scores_are_numbers(tmp_path: Path, score: str) -> None:
    toml = 'task = "similarity"\nformat = "csv"\ntrain = "a.x"\ndev = "a.x"'
    data = open_own(make(tmp_path, toml, a_x=f"text,text_b,label\na,b,{score}\n"))
    with pytest.raises(InputError, match=r'a\.x, line 2: "label" must be a number'):
        data.read("train")


def test_lists_of_labels(tmp_path: Path) -> None:
    path = make(tmp_path, 'task = "multilabel"\nformat = "jsonl"\ntrain = "a.x"', a_x='{"text": "a", "label": "x"}\n')
    assert 'line 1: "label" must be a list of labels' in refused(path)


def test_metrics() -> None:
    assert set(METRICS) == set(TASKS)
    assert {metric for known in METRICS.values() for metric in known} <= set(metrics.METRICS)


def test_a_document_is_on_one_side(tmp_path: Path) -> None:
    documents = "".join(f"-DOCSTART- d{number}\n\n" + "a\tO\n\nb\tB-X\n\nc\tO\n\n" for number in range(60))
    data = open_own(make(tmp_path, 'task="ner"\nformat="conll"\ntrain="a.x"', a_x=documents))
    sides = [{example.document for example in data.read(split)} for split in ("train", "dev")]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize("count", [10, 14, 16, 30])
def test_a_tenth_of_few_documents(tmp_path: Path, count: int) -> None:
    documents = "".join("-DOCSTART- -X- -X- O\n\n" + "a x x B-X\n\n" * 6 for _ in range(count))
    data = open_own(make(tmp_path, 'task="ner"\nformat="conll"\ntrain="a.x"', a_x=documents))
    assert len({example.document for example in data.read("dev")}) == round(count / 10)
    assert len(data.read("train")) + len(data.read("dev")) == 6 * count


def test_a_tenth_of_the_documents_that_a_column_names(tmp_path: Path) -> None:
    rows = [{"text": f"pair {n}", "label": "ab"[n % 2], "pmid": str(n // 12)} for n in range(96)]
    toml = 'task="relation"\nformat="tsv"\ntrain="a.x"\n'
    named = open_own(make(tmp_path, toml + 'document="pmid"', a_x=table("tsv", rows)))
    sides = [{example.document for example in named.read(split)} for split in ("train", "dev")]
    assert [len(side) for side in sides] == [7, 1], "fewer than ten, too"
    assert not sides[0] & sides[1]
    assert len(named.notes) == 1
    unnamed = open_own(make(tmp_path, toml, a_x=table("tsv", rows)))
    assert unnamed.notes[1].startswith("Pairs of one sentence may be in train and in dev")


def test_two_texts_are_enough_for_dev(tmp_path: Path) -> None:
    toml = 'task="multilabel"\nformat="jsonl"\ntrain="a.x"'
    data = open_own(make(tmp_path, toml, a_x='{"text": "a", "label": ["x"]}\n{"text": "b", "label": ["x"]}\n'))
    assert len(data.read("train")) == len(data.read("dev")) == 1


def test_documents_too_few_to_be_dealt_out(tmp_path: Path) -> None:
    one = "-DOCSTART- -X- -X- O\n\n" + "".join(f"word{number} x x B-X\n\n" for number in range(300))
    data = open_own(make(tmp_path, 'task="ner"\nformat="conll"\ntrain="a.x"', a_x=one))
    assert len(data.read("dev")) == 30
    assert len(data.read("train")) + len(data.read("dev")) == 300


def test_labels_of_a_tsv_are_not_quoted(tmp_path: Path) -> None:
    toml = 'task="multilabel"\nformat="tsv"\ntrain="a.x"'
    path = make(tmp_path, toml, a_x='text\tlabel\n"Why", he asked\tdrug\nother\t"drug, gene"\n')
    assert "line 3: a label begins with a quotation mark" in refused(path)


def test_no_space_before_a_quoted_label(tmp_path: Path) -> None:
    toml = 'task="classification"\nformat="csv"\ntrain="a.x"'
    path = make(tmp_path, toml, a_x='text, label\n"good, yes", "pos"\n"bad", "neg"\n')
    assert "line 2: a space stands before the quotation mark" in refused(path)


def test_a_negative_class_may_be_a_number_and_the_description_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    toml = '\ufefftask="relation"\nformat="jsonl"\ntrain="a.x"\ndev="a.x"\nnegative=0'
    rows = "".join(f'{{"text": "{n}", "label": {n}}}\n' for n in range(3))
    assert open_own(make(tmp_path, toml, a_x=rows)).negative == "0"


def test_a_negative_class_asks_for_f1(tmp_path: Path) -> None:
    toml = 'task="classification"\nformat="csv"\ntrain="a.x"\ndev="a.x"\nnegative="none"'
    assert open_own(make(tmp_path, toml, a_x="text,label\na,none\nb,some\n")).metric == "micro_f1"
