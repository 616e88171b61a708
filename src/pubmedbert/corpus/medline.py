"""NLM's XML to citations: any root, any DTD year, one citation in memory at a time, nothing fetched or expanded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from lxml import etree

from pubmedbert.corpus.citation import (
    ANY_VERSION,
    Citation,
    OtherAbstract,
    Section,
    identify,
    join_sections,
    parse_pmid,
    plain,
)
from pubmedbert.corpus.source import open_bytes, sequence_of, stem_of
from pubmedbert.corpus.text import Element, text_of
from pubmedbert.errors import InputError

ROOTS = (
    "PubmedArticleSet",
    "MedlineCitationSet",
    "PubmedBookArticleSet",
    "BookDocumentSet",
    "PubmedArticle",
    "MedlineCitation",
    "PubmedBookArticle",
    "BookDocument",
    "DeleteCitation",
    "DeleteDocument",
    "DeletedDocument",
)
_RECORDS = {"MedlineCitation", "BookDocument"}
_DELETIONS = {"DeleteCitation", "DeleteDocument", "DeletedDocument"}
_WRAPPERS = {"PubmedArticle", "PubmedBookArticle"}
# What NLM writes where there is no title in English.
_NO_TITLES = {"Not Available.", "Not Available", "In Process Citation", "In Process Citation."}
_TRUNCATED = {
    etree.ErrorTypes.ERR_DOCUMENT_END,
    etree.ErrorTypes.ERR_TAG_NOT_FINISHED,
    etree.ErrorTypes.ERR_COMMENT_NOT_FINISHED,
    etree.ErrorTypes.ERR_ATTRIBUTE_NOT_FINISHED,
    etree.ErrorTypes.ERR_GT_REQUIRED,
}
_UNDEFINED = {etree.ErrorTypes.ERR_UNDECLARED_ENTITY, etree.ErrorTypes.WAR_UNDECLARED_ENTITY}
LONGEST_RECORD = 16 << 20
"""Most bytes of XML between the ends of two records: memory stays bounded whatever the file holds."""

_BLOCK = 1 << 16


def read_xml(path: Path, advance: Callable[[int], object] | None = None) -> Iterator[Citation]:
    """Yield the citations and deletions of an NLM file, in its order; memory does not grow with the file.

    Args:
        path: .xml or .xml.gz.
        advance: told how many bytes of the file were read, each time.

    Raises:
        InputError: the file is damaged, truncated or not NLM's XML, or declares or uses entities of its own.
    """
    with open_bytes(path) as stream:
        _check_head(path, stream)
    with open_bytes(path, advance) as stream:
        source = stem_of(path)
        yield from _read_records(path, stream, source, sequence_of(source))


class _Bounded:
    """A stream that refuses to give more than `LONGEST_RECORD` bytes without a record's end."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream, self.since = path, stream, 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.since += len(data)
        if self.since > LONGEST_RECORD:
            raise InputError(f"{self._path} has no end of a record in {LONGEST_RECORD >> 20} MB: it is not NLM's XML")
        return data


def _read_records(path: Path, stream: IO[bytes], source: str, sequence: int) -> Iterator[Citation]:
    bounded, empty = _Bounded(path, stream), True
    events = etree.iterparse(
        bounded,
        events=("end",),
        tag=[*_RECORDS, *_DELETIONS, *_WRAPPERS],
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
    )
    try:
        for _, element in events:
            try:
                _refuse_entities(element)
                if element.tag in _RECORDS:
                    yield _citation(element, source, sequence)
                elif element.tag in _DELETIONS:
                    yield from (_deletion(pmid, source, sequence) for pmid in element.iter("PMID"))
            except InputError as error:
                raise InputError(f"{path}, record that begins at line {element.sourceline}: {error}") from error
            _forget(element)
            bounded.since, empty = 0, empty and element.tag in _WRAPPERS
        if empty:
            raise InputError(f"{path} holds neither a citation nor a deletion")
        _refuse_lost_entities(path, events.error_log)
    except etree.XMLSyntaxError as error:
        raise _syntax_error(path, error, events.error_log) from error


def _citation(record: Element, source: str, sequence: int) -> Citation:
    book = record.tag == "BookDocument"
    article = record if book else record.find("Article")
    if article is None:
        article = etree.Element("Article")
    pmid, version = _identifier(record.find("PMID"), default_version=1)
    sections = _sections(article.iterfind("Abstract/AbstractText"))
    title, abstract = _title(article, record.find("Book/BookTitle")), join_sections(sections)
    types = article.iterfind("PublicationType" if book else "PublicationTypeList/PublicationType")
    return Citation(
        doc_id=identify(pmid, title, abstract),
        pmid=pmid,
        version=version,
        title=title,
        abstract=abstract,
        sections=[] if len(sections) == 1 and not (sections[0].label or sections[0].category) else sections,
        other_abstracts=_other_abstracts(record),
        languages=[code for node in article.iterfind("Language") if (code := text_of(node).lower())],
        publication_types=[kind for node in types if (kind := text_of(node))],
        journal=_first_text(
            record,
            "Book/BookTitle",
            "Article/Journal/Title",
            "MedlineJournalInfo/MedlineTA",
            "Article/Journal/ISOAbbreviation",
        ),
        year=_year(record),
        status=record.get("Status", ""),
        source=source,
        sequence=sequence,
    )


def _deletion(node: Element, source: str, sequence: int) -> Citation:
    pmid, version = _identifier(node, default_version=ANY_VERSION)
    doc_id = identify(pmid, "", "")
    return Citation(
        doc_id=doc_id, pmid=pmid, version=version, title="", abstract="", source=source, sequence=sequence, deleted=True
    )


def _identifier(node: Element | None, default_version: int) -> tuple[int | None, int]:
    """The PMID and its version."""
    if node is None:
        return None, default_version
    version = node.get("Version", "").strip() or str(default_version)
    if not re.fullmatch(r"\d{1,9}", version, re.ASCII):
        raise InputError(f"the Version {version[:40]!r} of a PMID is not a whole number")
    return parse_pmid(text_of(node)), int(version)


def _title(article: Element, book_title: Element | None) -> str:
    """The title without the brackets that mark a translation.

    The title in the article's own language stands in only where there is no English one, and for a whole book, which
    has no ArticleTitle, the book's title.
    """
    title = _unbracket(text_of(article.find("ArticleTitle")))
    if title in _NO_TITLES:
        title = ""
    return title or text_of(article.find("VernacularTitle")) or text_of(book_title)


def _unbracket(title: str) -> str:
    """Take the brackets of "[Osteoid osteoma]." away; a bracket that closes earlier, as in "[3H]dopamine.", stays."""
    match = re.fullmatch(r"\[(.*)\]([.?!]?)", title)
    if not match:
        return title
    depth = 1
    for character in match[1]:
        depth += (character == "[") - (character == "]")
        if depth == 0:
            return title
    inner = match[1].strip()
    return inner if not inner or inner.endswith((".", "?", "!")) else inner + match[2]


def _sections(nodes: Iterator[Element]) -> list[Section]:
    sections = []
    for node in nodes:
        label = plain(node.get("Label", "")).rstrip(": ")
        category = node.get("NlmCategory", "").strip()
        if text := text_of(node):
            sections.append(Section(label, category, text))
    return sections


def _other_abstracts(record: Element) -> list[OtherAbstract]:
    found = []
    for node in record.iterfind("OtherAbstract"):
        if text := join_sections(_sections(node.iterfind("AbstractText"))):
            language = node.get("Language", "").strip().lower() or "eng"  # the DTD's default
            found.append(OtherAbstract(node.get("Type", "").strip(), language, text))
    return found


def _year(record: Element) -> int | None:
    """The first date that names a year: of the issue, of the electronic article, then of the record."""
    for path in (
        "Article/Journal/JournalIssue/PubDate/Year",
        "Article/Journal/JournalIssue/PubDate/MedlineDate",
        "Article/ArticleDate/Year",
        "Book/PubDate/Year",
        "Book/PubDate/MedlineDate",
        "ContributionDate/Year",
        "DateCreated/Year",
        "DateCompleted/Year",
    ):
        if match := re.search(r"(?<!\d)[12]\d{3}(?!\d)", record.findtext(path) or ""):
            return int(match[0])
    return None


def _first_text(record: Element, *paths: str) -> str:
    return next((text for path in paths if (text := text_of(record.find(path)))), "")


def _forget(element: Element) -> None:
    """Free an element that was read, and whatever stands before it and what it is in."""
    element.clear()
    while (parent := element.getparent()) is not None:
        while element.getprevious() is not None:
            del parent[0]
        element = parent


def _check_head(path: Path, stream: IO[bytes]) -> None:
    """Refuse what is not ours before a tree grows: other roots, and documents with entities of their own."""
    parser = etree.XMLPullParser(events=("start",), resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root, size = None, 0
        while root is None and (block := stream.read(_BLOCK)):
            size += len(block)
            if size > LONGEST_RECORD:
                raise InputError(f"{path} has no element in its first {LONGEST_RECORD >> 20} MB: it is no PubMed XML")
            parser.feed(block)
            root = next((cast(Element, element) for _, element in parser.read_events()), None)
        if not size:
            raise InputError(f"{path} is empty: download it again")
        if root is None:
            parser.close()
            raise InputError(f"{path} holds no XML element: download it again")
    except etree.XMLSyntaxError as error:
        raise _syntax_error(path, error, parser.feed_error_log) from error
    subset = root.getroottree().docinfo.internalDTD
    if subset is not None and next(iter(cast(Any, subset).iterentities()), None) is not None:
        raise InputError(f"{path} declares entities of its own, which NLM's files never do: it is refused for safety")
    if root.tag not in ROOTS:
        hint = "an HTML page" if str(root.tag).lower().endswith("html") else f"XML with the root {root.tag}"
        raise InputError(f"{path} is {hint}, not PubMed's: the root must be one of {', '.join(ROOTS[:7])}")


def _refuse_entities(element: Element) -> None:
    """Refuse what text extraction would drop without a word."""
    if (entity := next(element.iter(etree.Entity), None)) is not None:
        raise InputError(f"the entity {entity.text} is not defined: write the character itself")


def _refuse_lost_entities(path: Path, log: Any) -> None:
    """Refuse undefined entities in attributes: the parser drops those with no more than a warning."""
    for entry in log:
        if entry.type in _UNDEFINED:
            raise InputError(f"{path}, line {entry.line}: {entry.message}: write the character itself")


def _syntax_error(path: Path, error: etree.XMLSyntaxError, log: Any) -> InputError:
    """The parser's complaint as our sentence."""
    line = error.lineno or 1
    said = [entry.message for entry in log] or [error.msg or ""]
    message = said[-1].strip().partition(", try ")[0]
    if "ntity" in message:
        return InputError(f"{path}, line {line} uses entities of its own, which NLM's files never do ({message})")
    if "Extra content" in message:
        return InputError(f"{path}, line {line}: something stands behind the end of the XML: download it again")
    if cast(Any, error).code in _TRUNCATED or "Premature end" in message:
        return InputError(f"{path} is truncated, it ends at line {line} inside an element: download it again")
    return InputError(f"{path}, line {line} is not XML ({message}): download it again or repair it")
