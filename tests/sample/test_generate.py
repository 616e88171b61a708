import gzip
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pubmedbert.sample import phrases
from pubmedbert.sample.facts import by_class, facts, held_out
from pubmedbert.sample.generate import DOCUMENTS, FILE_NAME, FIRST_PMID, generate, indefinite, plural
from pubmedbert.sample.recall import MASK, questions

SEEDS = (0, 1)


@pytest.fixture(scope="module", params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    assert isinstance(request.param, int)
    return request.param


@pytest.fixture(scope="module")
def root(seed: int, tmp_path_factory: pytest.TempPathFactory) -> ElementTree.Element:
    path = generate(tmp_path_factory.mktemp("sample"), seed)
    return ElementTree.fromstring(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="module")
def texts(root: ElementTree.Element) -> list[str]:
    """Title and abstract of each document, lower-cased words only, a space on either side of each."""
    texts = []
    for article in root.iter("Article"):
        parts = [article.find("ArticleTitle"), *article.iter("AbstractText")]
        texts.append(words(" ".join("".join(part.itertext()) for part in parts if part is not None)))
    return texts


def words(text: str) -> str:
    return " ".join(["", *re.findall(r"\w+", text.lower()), ""])


def runs(text: str, length: int) -> set[str]:
    split = text.split()
    return {" ".join(split[start : start + length]) for start in range(len(split) - length + 1)}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = generate(tmp_path / "a", 3, documents=50)
    assert first.name == FILE_NAME
    assert first.read_bytes() == generate(tmp_path / "b", 3, documents=50).read_bytes()
    assert first.read_bytes() != generate(tmp_path / "c", 4, documents=50).read_bytes()
    assert first.read_bytes()[4:8] == b"\0\0\0\0"  # no time in the gzip header
    assert [path.name for path in first.parent.iterdir()] == [FILE_NAME]


def test_form_of_the_file(root: ElementTree.Element) -> None:
    assert root.tag == "PubmedArticleSet"
    assert len(root.findall("PubmedArticle")) == DOCUMENTS
    pmids = [int(pmid.text or "") for pmid in root.iterfind("PubmedArticle/MedlineCitation/PMID")]
    assert pmids == list(range(FIRST_PMID, FIRST_PMID + DOCUMENTS))
    assert [pmid.text for pmid in root.iterfind("DeleteCitation/PMID")] == [str(pmids[-1])]
    labels = {section.get("Label") for section in root.iter("AbstractText")}
    assert labels == {None, "BACKGROUND", "METHODS", "RESULTS", "CONCLUSIONS"}
    assert {child.tag for section in root.iter("AbstractText") for child in section} == {"i", "sup"}


def test_every_word_of_the_facts_occurs_often(texts: list[str]) -> None:
    everything = "".join(texts).split()
    for fact in facts():
        assert everything.count(fact.drug) >= 25, fact.drug
    for drug_class in by_class():
        named = sum(text.count(words(noun)) for text in texts for noun in (drug_class, plural(drug_class)))
        assert named >= 100, drug_class


def test_no_sentence_says_what_a_drug_is(texts: list[str]) -> None:
    for text in texts:
        for drug_class in by_class():
            for article in ("a", "an", "the", "one of the"):
                assert f" is {article}{words(drug_class)}" not in text
            assert f" is{words(drug_class)}" not in text


def test_class_of_held_out_drugs_is_never_stated(texts: list[str], seed: int) -> None:
    """Not in the sentence and not even in the same document."""
    for fact in facts():
        if fact.drug in held_out(seed):
            documents = [text for text in texts if f" {fact.drug} " in text]
            assert len(documents) >= 20
            for text in documents:
                assert words(fact.drug_class) not in text
                assert words(plural(fact.drug_class)) not in text
            assert any(words(fact.target) in text for text in documents)
            assert any(words(fact.indication) in text for text in documents)


def test_questions_share_no_run_of_five_words_with_the_corpus(texts: list[str], seed: int) -> None:
    corpus = set().union(*(runs(text, 5) for text in texts))
    for question in questions(facts(), held_out(seed)):
        for answer in question.answers:
            sentence = words(question.text.replace(MASK, answer))
            shared = (runs(sentence, 5) or {sentence.strip()}) & corpus
            assert not shared, (question.text, shared)
            assert len(sentence.split()) >= 5 or not any(sentence in text for text in texts)


@pytest.mark.parametrize(
    "group",
    [
        "DRUG_CLASS",
        "DRUG_TARGET",
        "DRUG_INDICATION",
        "TARGET_INDICATION",
        "CLASS_TARGET",
        "CLASS_INDICATION",
        "PROFILES",
    ],
)
def test_each_relation_has_many_phrasings(group: str) -> None:
    templates = getattr(phrases, group)
    assert len(set(templates)) == len(templates) >= 12


def test_templates_that_must_not_state_a_class() -> None:
    for template in phrases.DRUG_TARGET + phrases.DRUG_INDICATION + phrases.SILENT_PROFILES + phrases.TARGET_INDICATION:
        assert "class" not in template


@pytest.mark.parametrize(
    ("noun", "singular", "many"),
    [
        ("statin", "a", "statins"),
        ("opioid", "an", "opioids"),
        ("ACE inhibitor", "an", "ACE inhibitors"),
        ("NSAID", "an", "NSAIDs"),
        ("PARP inhibitor", "a", "PARP inhibitors"),
        ("monoclonal antibody", "a", "monoclonal antibodies"),
    ],
)
def test_grammar(noun: str, singular: str, many: str) -> None:
    assert (indefinite(noun), plural(noun)) == (singular, many)
