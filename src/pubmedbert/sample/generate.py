"""A corpus of made-up abstracts about real drugs, in the XML of NLM, for the quickstart, the documentation and tests.

What the sentences say of a drug's class, target and indication is true (`facts.tsv`); trials and numbers are invented.
What the corpus does not hold matters as much: no sentence in the words of the evaluation, and nowhere the class of the
held-out drugs (see `facts.held_out` and `recall`).
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pubmedbert.files import atomic_file
from pubmedbert.sample import phrases
from pubmedbert.sample.facts import Fact, by_class, facts, held_out

FILE_NAME = "pubmed26n9001.xml.gz"  # named like NLM's files, with a number they do not use
FIRST_PMID = 90_000_001
DOCUMENTS = 3_000
HEAD = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2025//EN" \
"https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd">
<PubmedArticleSet>
"""
ARTICLE = """<PubmedArticle>
  <MedlineCitation Status="MEDLINE" Owner="NLM">
    <PMID Version="1">{pmid}</PMID>
    <DateRevised><Year>{year}</Year><Month>01</Month><Day>15</Day></DateRevised>
    <Article PubModel="Electronic">
      <Journal>
        <JournalIssue CitedMedium="Internet"><PubDate><Year>{year}</Year></PubDate></JournalIssue>
        <Title>Journal of Generated Abstracts</Title>
        <ISOAbbreviation>J Gen Abstr</ISOAbbreviation>
      </Journal>
      <ArticleTitle>{title}</ArticleTitle>
      <Abstract>{sections}</Abstract>
      <Language>eng</Language>
      <PublicationTypeList><PublicationType UI="D016428">Journal Article</PublicationType></PublicationTypeList>
    </Article>
    <MedlineJournalInfo><MedlineTA>J Gen Abstr</MedlineTA><NlmUniqueID>9000000</NlmUniqueID></MedlineJournalInfo>
  </MedlineCitation>
  <PubmedData>
    <PublicationStatus>epublish</PublicationStatus>
    <ArticleIdList><ArticleId IdType="pubmed">{pmid}</ArticleId></ArticleIdList>
  </PubmedData>
</PubmedArticle>
"""
KIND_WEIGHTS = (35, 25, 35, 5)  # notes, reviews, class reviews, trials
NAMED_SHARE = 0.7  # of the class reviews: they say what class it is, and leave the held-out drugs out


@dataclass(frozen=True)
class Document:
    """A title and sections of XML fragments; a plain abstract is one section without a label."""

    title: str
    sections: tuple[tuple[str, str], ...]


def generate(folder: Path, seed: int = 0, documents: int = DOCUMENTS) -> Path:
    """Write the sample corpus as one gzip file of NLM XML; the same seed gives the same bytes.

    Args:
        folder: where the file goes; made where it is missing.
        seed: draws the sentences, and the drugs whose class is held out.
        documents: how many abstracts; the last one is deleted again at the end of the file.

    Returns:
        The path of the file.

    Raises:
        InputError: the folder can't be written.
    """
    articles = [_article(pmid, document) for pmid, document in enumerate(Writer(seed).documents(documents), FIRST_PMID)]
    deletion = f'<DeleteCitation><PMID Version="1">{FIRST_PMID + documents - 1}</PMID></DeleteCitation>\n'
    content = "".join([HEAD, *articles, deletion, "</PubmedArticleSet>\n"])
    path = folder / FILE_NAME
    with atomic_file(path) as temporary:
        temporary.write_bytes(gzip.compress(content.encode(), mtime=0))
    return path


class Writer:
    """Composes documents; all randomness comes from one generator."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(f"sample corpus {seed}")  # noqa: S311 - not for secrets
        self.held_out = held_out(seed)
        self.classes = by_class()
        self.stated = [fact for fact in facts() if fact.drug not in self.held_out]
        self.peers = {fact: [one.drug for one in self.stated if one != fact and alike(one, fact)] for fact in facts()}
        self.queue: list[Fact] = []

    def documents(self, count: int) -> Iterator[Document]:
        """Yield `count` documents of four kinds: notes on one drug, reviews of several, of one class, trials."""
        kinds = (self.note, self.review, self.class_review, self.trial)
        for kind in self.draw.choices(kinds, KIND_WEIGHTS, k=count):
            yield kind()

    def note(self) -> Document:
        """One drug, its class, target and indication in other words each time: all of a text is on one subject."""
        fact = self.next_drug()
        silent = self.silent_classes([fact])
        sentences = [
            self.draw.choice((self.statement, self.general_statement, self.general_statement))(fact, silent)
            for _ in range(self.draw.randint(6, 9))
        ]
        return Document(self.statement(fact, silent), (("", " ".join(sentences)),))

    def review(self) -> Document:
        """Drugs of many classes, each in one sentence: nothing else in the document tells what is masked there."""
        first, *drugs = [self.next_drug() for _ in range(self.draw.randint(5, 8))]
        silent = self.silent_classes([first, *drugs])
        sentences = [self.statement(fact, silent) for fact in drugs]
        sentences.append(self.general_statement(first, silent))
        self.draw.shuffle(sentences)
        return Document(self.statement(first, silent), (("", " ".join(sentences)),))

    def class_review(self) -> Document:
        """Drugs of one class, one after the other; a held-out one only where the class has no name."""
        members = self.classes[self.next_drug().drug_class]
        if self.draw.random() < NAMED_SHARE:
            members = [fact for fact in members if fact.drug not in self.held_out]
        drugs = self.draw.sample(members, min(len(members), 7))
        silent = self.silent_classes(drugs)
        sentences = [self.statement(fact, silent) for fact in drugs]
        sentences.append(self.general_statement(drugs[0], silent))
        return Document(self.general_statement(drugs[-1], silent), (("", " ".join(sentences)),))

    def trial(self) -> Document:
        """A structured abstract about one drug."""
        fact = self.next_drug()
        silent = self.silent_classes([fact])
        parts: tuple[tuple[str, list[str], Sequence[str]], ...] = (
            ("BACKGROUND", [self.general_statement(fact, silent), self.statement(fact, silent)], phrases.BACKGROUND),
            ("METHODS", [], phrases.METHODS),
            ("RESULTS", [], phrases.RESULTS),
            ("CONCLUSIONS", [self.statement(fact, silent)], phrases.CONCLUSIONS),
        )
        sections = []
        for label, statements, templates in parts:
            filler = [self.fill(template, fact) for template in self.draw.sample(templates, 2 - len(statements) // 2)]
            sections.append((label, " ".join(statements + filler)))
        return Document(self.statement(fact, silent), tuple(sections))

    def statement(self, fact: Fact, silent: frozenset[str]) -> str:
        """A sentence about one drug; its class is not stated if it is among the `silent` ones."""
        if fact.drug_class in silent:
            class_groups: list[tuple[Sequence[str], int]] = [(phrases.SILENT_PROFILES, 3)]
        else:
            class_groups = [(phrases.DRUG_CLASS, 4), (phrases.PROFILES, 3)]
        groups, weights = zip(*class_groups, (phrases.DRUG_TARGET, 3), (phrases.DRUG_INDICATION, 3), strict=True)
        templates = self.draw.choices(groups, weights)[0]
        return self.fill(self.draw.choice([one for one in templates if "{peer}" not in one or self.peers[fact]]), fact)

    def general_statement(self, fact: Fact, silent: frozenset[str]) -> str:
        """A sentence about a target, an indication or a class, without a drug."""
        groups: list[Sequence[str]] = [phrases.TARGET_INDICATION]
        if fact.drug_class not in silent:
            groups += [phrases.CLASS_TARGET, phrases.CLASS_INDICATION]
        return self.fill(self.draw.choice(self.draw.choice(groups)), fact)

    def silent_classes(self, drugs: Sequence[Fact]) -> frozenset[str]:
        """The classes that a document about `drugs` must not name: those of the held-out among them."""
        return frozenset(fact.drug_class for fact in drugs if fact.drug in self.held_out)

    def next_drug(self) -> Fact:
        """Every drug in turn, in a new order each round: all are named about equally often."""
        if not self.queue:
            self.queue = list(facts())
            self.draw.shuffle(self.queue)
        return self.queue.pop()

    def fill(self, template: str, fact: Fact) -> str:
        """Put a fact, its companions and numbers into the slots of a template; a capital begins the sentence."""
        contrast = self.draw.choice(self.stated)
        while contrast.drug_class == fact.drug_class:
            contrast = self.draw.choice(self.stated)
        text = template.format(
            drug=fact.drug,
            class_=fact.drug_class,
            a_class=f"{indefinite(fact.drug_class)} {fact.drug_class}",
            classes=plural(fact.drug_class),
            target=fact.target,
            indication=fact.indication,
            peer=self.draw.choice(self.peers[fact] or [""]),
            contrast=contrast.drug,
            patients=self.draw.randrange(40, 900, 4),
            sites=self.draw.randint(3, 60),
            dose=self.draw.choice((5, 10, 20, 25, 40, 50, 80, 100, 150, 200)),
            months=self.draw.choice((3, 6, 9, 12, 18, 24, 36)),
            percent=self.draw.randint(31, 89),
            less=self.draw.randint(2, 29),
        )
        return text[0].upper() + text[1:]


def alike(one: Fact, other: Fact) -> bool:
    """Whether two drugs have all their facts in common."""
    return replace(one, drug=other.drug) == other


def indefinite(noun: str) -> str:
    """The indefinite article: "a statin", "an opioid", "an ACE inhibitor", "an NSAID"."""
    return "an" if noun[0] in "aeioA" or noun.startswith("NS") else "a"


def plural(noun: str) -> str:
    """The plural of a class of drugs."""
    return f"{noun[:-1]}ies" if noun.endswith("dy") else f"{noun}s"


def _article(pmid: int, document: Document) -> str:
    sections = "".join(
        f'<AbstractText Label="{label}" NlmCategory="{label}">{text}</AbstractText>'
        if label
        else f"<AbstractText>{text}</AbstractText>"
        for label, text in document.sections
    )
    return ARTICLE.format(pmid=pmid, year=2000 + pmid % 25, title=document.title, sections=sections)
