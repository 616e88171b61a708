"""NLM's XML: every root, every field, and every way in which a file can be bad."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pubmedbert.corpus.citation import ANY_VERSION, Citation, OtherAbstract, Section, identify
from pubmedbert.corpus.medline import read_xml
from pubmedbert.corpus.source import sequence_of
from pubmedbert.errors import InputError
from tests.corpus.samples import DOCTYPE, article_set, citation, words, write

BOOK = (
    '<PubmedBookArticle><BookDocument><PMID Version="1">20301295</PMID><ArticleIdList/><Book><Publisher/>'
    '<BookTitle book="gene">Gene <i>Reviews</i></BookTitle><PubDate><Year>1993</Year></PubDate></Book>{title}'
    "<Language>eng</Language><PublicationType>Review</PublicationType>"
    "<Abstract><AbstractText>About genes.</AbstractText></Abstract></BookDocument><PubmedBookData/></PubmedBookArticle>"
)


def read(folder: Path, xml: str | bytes, name: str = "pubmed26n0007.xml.gz") -> list[Citation]:
    return list(read_xml(write(folder / name, xml)))


def one(folder: Path, xml: str) -> Citation:
    (row,) = read(folder, xml)
    return row


def test_every_field(tmp_path: Path) -> None:
    other = (
        '<OtherAbstract Type="Publisher" Language="fre"><AbstractText Label="BUT">En <i>vue</i>.</AbstractText>'
        '</OtherAbstract><OtherAbstract Type="PIP"><AbstractText>PIP.</AbstractText></OtherAbstract>'
    )
    xml = article_set(citation(42, "On <i>E. coli</i>.", version=3, extra=other, types=("Review", " Letter\n")))
    row = one(tmp_path, xml)
    assert row == Citation(
        doc_id="42",
        pmid=42,
        version=3,
        title="On E. coli.",
        abstract="An abstract.",
        sections=[],
        other_abstracts=[OtherAbstract("Publisher", "fre", "BUT: En vue."), OtherAbstract("PIP", "eng", "PIP.")],
        languages=["eng"],
        publication_types=["Review", "Letter"],
        journal="The Journal",
        year=2020,
        status="MEDLINE",
        deleted=False,
        source="pubmed26n0007",
        sequence=260007,
    )


@pytest.mark.parametrize(
    "xml",
    [
        article_set(citation()),
        f"<MedlineCitationSet>{citation()}</MedlineCitationSet>",
        f"<PubmedArticle>{citation()}<PubmedData/></PubmedArticle>",
        citation(),
        f"\n\n<?xml-stylesheet href='x'?>{citation()}<!-- end -->",
        BOOK.format(title=""),
        f"<PubmedBookArticleSet>{BOOK.format(title='')}</PubmedBookArticleSet>",
        f"<PubmedArticleSet>{BOOK.format(title='')}</PubmedArticleSet>",
    ],
)
@pytest.mark.parametrize("name", ["x.xml", "x.xml.gz", "X.XML"])
def test_roots(tmp_path: Path, xml: str, name: str) -> None:
    (row,) = read(tmp_path, xml, name)
    assert row.abstract
    assert row.source.lower() == "x"
    assert row.sequence == 0


def test_plain_bytes_behind_a_gzip_name_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.xml.gz"
    path.write_text(citation())
    assert len(list(read_xml(path))) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    xml = f'<?xml version="1.0" encoding="{encoding}"?>{citation(title="Ménière")}'
    (row,) = read(tmp_path, xml.encode(encoding))
    assert row.title == "Ménière"


def test_books(tmp_path: Path) -> None:
    row = one(tmp_path, BOOK.format(title=""))
    assert (row.title, row.journal, row.year) == ("Gene Reviews", "Gene Reviews", 1993)
    assert (row.languages, row.publication_types, row.abstract) == (["eng"], ["Review"], "About genes.")
    assert one(tmp_path, BOOK.format(title="<ArticleTitle>Chapter</ArticleTitle>")).title == "Chapter"


def test_deletions(tmp_path: Path) -> None:
    rows = read(tmp_path, article_set(citation(1), deleted=((2, 1), (3, 4), (5, None))))
    gone = [(row.doc_id, row.pmid, row.version) for row in rows if row.deleted]
    assert gone == [("2", 2, 1), ("3", 3, 4), ("5", 5, ANY_VERSION)]
    assert all(not (row.title or row.abstract or row.languages) for row in rows if row.deleted)
    only = "<DeleteDocument><PMID Version='1'>9</PMID></DeleteDocument>"
    assert [row.pmid for row in read(tmp_path, f"<BookDocumentSet>{only}</BookDocumentSet>")] == [9]
    assert [row.pmid for row in read(tmp_path, only)] == [9]


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("[Osteoid osteoma].", "Osteoid osteoma."),
        ("[Is it so?].", "Is it so?"),
        ("[<i>Helicobacter</i>]", "Helicobacter"),
        ("[A title.]", "A title."),
        ("[A [nested] one].", "A [nested] one."),
        ("[3H]dopamine and [14C]GABA.", "[3H]dopamine and [14C]GABA."),
        ("[3H]dopamine [a tracer].", "[3H]dopamine [a tracer]."),
        ("[Not Available].", "Autre titre."),
        ("", "Autre titre."),
        ("[]", "Autre titre."),
        ("[].", "Autre titre."),
    ],
)
def test_titles(tmp_path: Path, title: str, wanted: str) -> None:
    xml = citation(title=title).replace("</Article>", "<VernacularTitle>Autre titre.</VernacularTitle></Article>")
    assert one(tmp_path, xml).title == wanted


def test_no_title_and_no_abstract(tmp_path: Path) -> None:
    row = one(tmp_path, citation(title="", abstract=""))
    assert (row.title, row.abstract, row.sections) == ("", "", [])


def test_structured_abstract(tmp_path: Path) -> None:
    abstract = (
        '<AbstractText Label="BACKGROUND:" NlmCategory="BACKGROUND">We <b>ask</b>.</AbstractText>'
        '<AbstractText Label="UNLABELLED" NlmCategory="UNASSIGNED">We wait.</AbstractText>'
        '<AbstractText Label="METHODS" NlmCategory="METHODS"> </AbstractText>'
        "<AbstractText>We end.</AbstractText><CopyrightInformation>Copyright 1999</CopyrightInformation>"
    )
    row = one(tmp_path, citation(abstract=abstract))
    assert row.abstract == "BACKGROUND: We ask. We wait. We end."
    assert row.sections == [
        Section("BACKGROUND", "BACKGROUND", "We ask."),
        Section("UNLABELLED", "UNASSIGNED", "We wait."),
        Section("", "", "We end."),
    ]


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("<Year>1987</Year>", 1987),
        ("<MedlineDate>1998 Dec-1999 Jan</MedlineDate>", 1998),
        ("<MedlineDate>Spring 2003</MedlineDate>", 2003),
        ("<MedlineDate>19981999</MedlineDate>", None),
        ("", None),
    ],
)
def test_year(tmp_path: Path, date: str, year: int | None) -> None:
    assert one(tmp_path, citation(date=date)).year == year


def test_year_of_the_electronic_article(tmp_path: Path) -> None:
    xml = citation(date="").replace("</Article>", "<ArticleDate><Year>2011</Year></ArticleDate></Article>")
    assert one(tmp_path, xml).year == 2011


def test_records_without_pmid_are_named_by_their_text(tmp_path: Path) -> None:
    row = one(tmp_path, citation(pmid=None))
    assert row.pmid is None
    assert row.doc_id == identify(None, row.title, row.abstract)
    assert row.doc_id.startswith("x")
    assert len(row.doc_id) == 17


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("pubmed26n1334", 261334),
        ("pubmedsample18n0001", 180001),
        ("medline14n0746", 140746),
        ("medsamp2014", 140000),
        ("pubmed21n1016_excerpt", 211016),
        ("pubmed21n10167", 0),
        ("mypubmed21n1016", 0),
        ("abstracts-00", 0),
    ],
)
def test_sequence(name: str, sequence: int) -> None:
    assert sequence_of(name) == sequence


LAUGHS = '<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {x} "{f"&{y};" * 10}">' for x, y in zip("bcdefghij", "abcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        (
            f"<!DOCTYPE PubmedArticleSet [{LAUGHS}]><PubmedArticleSet>{citation(title='&j;')}</PubmedArticleSet>",
            "entities",
        ),
        (f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>{citation(title="&e;")}', "entities"),
        (f'<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:9/x">%e;]>{citation()}', "entities"),
        (f'<!DOCTYPE x [<!ENTITY % e "x">]>{citation()}', "entities"),
        (f"{DOCTYPE}{citation(title='a&eacute;b')}", "eacute"),
        (f"{DOCTYPE}{citation(extra='<CoiStatement>&eacute;</CoiStatement>')}", "eacute"),
        (citation(title="a&eacute;b"), "eacute"),
        (DOCTYPE + citation(abstract='<AbstractText Label="&eacute;">x</AbstractText>'), "eacute"),
        ("<html><body>Not found</body></html>", "HTML"),
        ("<eFetchResult><ERROR>no</ERROR></eFetchResult>", "eFetchResult"),
        ("Error 404", "line 1"),
        ("<?xml version='1.0'?><!-- nothing -->", "download it again"),
        ("   \n", "download it again"),
        ("", "empty"),
        (article_set(citation())[:-5], "truncated"),
        (article_set(citation())[:-60], "truncated"),
        (article_set(citation())[:200], "download it again"),
        (article_set(citation()) + "<more/>", "line 3: something stands behind the end of the XML"),
        (article_set(citation()) + "garbage", "something stands behind the end of the XML"),
        (article_set(citation(title="a <i>b</u>")), "line 3"),
        (article_set(citation(pmid="12a")), "12a"),
        (article_set(citation(pmid="")), "PMID"),
        (article_set(citation(pmid="9" * 30)), "PMID"),
        (article_set(citation()).replace('Version="1"', 'Version="one"'), "Version"),
        (article_set(citation(title="a" * 20_000_000)), "line 3"),
        (b"<PubmedArticleSet>\xff\xfe</PubmedArticleSet>", "line 1"),
    ],
)
def test_bad_files(tmp_path: Path, xml: str | bytes, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, xml, "bad.xml")
    assert str(tmp_path / "bad.xml") in str(caught.value)
    assert sentence in str(caught.value)


def test_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress("".join(article_set(*(citation(n) for n in range(1, 500)))).encode())
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    bad_checksum = bytearray(whole)
    bad_checksum[-6] ^= 0xFF
    cases = {
        "truncated": whole[:-100],
        "cut": whole[:-3],
        "flipped": flipped,
        "checksum": bad_checksum,
        "head": whole[:7],
    }
    for name, data in cases.items():
        path = tmp_path / f"{name}.xml.gz"
        path.write_bytes(bytes(data))
        with pytest.raises(InputError, match="download it again"):
            list(read_xml(path))
    empty = write(tmp_path / "empty.xml.gz", b"")
    with pytest.raises(InputError, match="empty"):
        list(read_xml(empty))


def test_several_gzip_members(tmp_path: Path) -> None:
    text = article_set(citation(1), citation(2)).encode()
    path = tmp_path / "x.xml.gz"
    path.write_bytes(gzip.compress(text[:300]) + gzip.compress(text[300:]))
    assert [row.pmid for row in read_xml(path)] == [1, 2]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    record = f"<PubmedArticle>{citation(7, abstract=f'<AbstractText>{words(15)}</AbstractText>')}</PubmedArticle>"
    path = tmp_path / "large.xml.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("<PubmedArticleSet>")
        for _ in range(60):
            file.write(record * 1000)
        file.write("</PubmedArticleSet>")
    rows = read_xml(path)
    assert sum(1 for _, row in zip(range(5000), rows, strict=False) if row.abstract) == 5000
    early = resident()
    assert sum(1 for _ in rows) == 55_000
    assert resident() - early < 20_000_000  # the whole tree would take more than 100 MB


@pytest.mark.parametrize("wrapper", ["X", "PubmedArticle"])
def test_memory_does_not_grow_with_wrappers_around_records(tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "wrapped.xml.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("<PubmedArticleSet>")
        for _ in range(60):
            file.write(f"<{wrapper}>{citation(7)}</{wrapper}>" * 1000)
        file.write("</PubmedArticleSet>")
    rows = read_xml(path)
    assert sum(1 for _ in zip(range(5000), rows, strict=False)) == 5000
    early = resident()
    assert sum(1 for _ in rows) == 55_000
    assert resident() - early < 10_000_000


def resident() -> int:
    """The resident memory of this process in bytes."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


@pytest.mark.parametrize("filler", ["<X/>", "<!-- much ado -->", "text "])
def test_a_file_without_records_ends_in_bounded_memory(tmp_path: Path, filler: str) -> None:
    path = tmp_path / "endless.xml.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("<PubmedArticleSet>" + filler * (20_000_000 // len(filler)) + "</PubmedArticleSet>")
    with pytest.raises(InputError, match=r"no end of a record in 16 MB|cannot|not well-formed|Resource limit"):
        list(read_xml(path))


def test_a_file_that_never_begins_is_refused_early(tmp_path: Path) -> None:
    path = tmp_path / "endless.xml.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("<!--x-->" * 2_500_000 + "<PubmedArticleSet/>")
    with pytest.raises(InputError, match="has no element in its first 16 MB"):
        list(read_xml(path))


def test_a_set_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither a citation nor a deletion"):
        read(tmp_path, "<PubmedArticleSet></PubmedArticleSet>")
    with pytest.raises(InputError, match="holds neither a citation nor a deletion"):
        read(tmp_path, article_set(""))  # a wrapper around nothing
    assert len(read(tmp_path, article_set("", citation()))) == 1
