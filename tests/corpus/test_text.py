"""Text extraction: nothing glued, nothing torn apart."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pubmedbert.corpus.text import text_of

MATHML = "http://www.w3.org/1998/Math/MathML"


def read(xml: str) -> str:
    return text_of(etree.fromstring(f'<AbstractText xmlns:mml="{MATHML}">{xml}</AbstractText>'))


def math(xml: str) -> str:
    """The text of a formula, written without prefixes."""
    return read(f'<math xmlns="{MATHML}">{xml}</math>')


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("The <i>BRCA1</i> gene", "The BRCA1 gene"),
        ("at <b>high</b> dose", "at high dose"),
        ("H<sub>2</sub>O", "H2O"),
        ("10<sup>-6</sup> M", "10-6 M"),
        ("<i>a</i><b>b</b>", "ab"),
        ("<b><i>in vivo</i></b>, <u>not</u>", "in vivo, not"),
        ("  many \n\t blanks  ", "many blanks"),
        ("no\u00a0break\u2009thin\u3000wide", "no break thin wide"),
        ("a<!-- never seen -->b", "ab"),
        ("a <!-- never seen --> b", "a b"),
        ("a<?nihms never?>b <?x?>c", "ab c"),
        ("p &lt; 0.05 &amp; n &gt; 3", "p < 0.05 & n > 3"),
        ("<![CDATA[a < b]]>", "a < b"),
        ("", ""),
        ("<i></i>", ""),
    ],
)
def test_inline_markup(xml: str, text: str) -> None:
    assert read(xml) == text


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<msup>\n  <mi>x</mi>\n  <mn>2</mn>\n</msup>", "x2"),
        ("<mrow>\n<mi> a </mi>\n<mo>=</mo>\n<mn>5</mn></mrow>", "a=5"),
        ("<mi>log</mi><mi>x</mi>", "log x"),
        ("<mi>sin</mi><mo>\u2061</mo><mi>x</mi>", "sin x"),
        ("<mn>2</mn><mo>\u2062</mo><mi>x</mi>", "2x"),
        ("<mrow><mn>2</mn><mi>m</mi><mi>a</mi><mi>x</mi></mrow>", "2max"),
        ("<msub><mi>V</mi><mi>max</mi></msub>", "Vmax"),
        ("<mfrac><mi>a</mi><mi>b</mi></mfrac>", "a/b"),
        ("<msqrt><mi>a</mi></msqrt>", "√a"),
        ("<mmultiscripts><mi>Xe</mi><mprescripts/><none/><mn>129</mn></mmultiscripts>", "129Xe"),
        ("<mmultiscripts><mi>X</mi><mn>1</mn></mmultiscripts>", "X1"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "(a,b)"),
        ("<mfenced open='[' close=']' separators=';|'><mi>a</mi><mi>b</mi><mi>c</mi><mi>d</mi></mfenced>", "[a;b|c|d]"),
        ("<mfenced separators=''><mi>a</mi><mi>b</mi></mfenced>", "(ab)"),
        ("<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr></mtable>", "1 0"),
        ("<mi>a</mi><mspace/><mi>b</mi>", "a b"),
        ("<mi>a</mi><mtext>\u00a0</mtext><mi>b</mi>", "a b"),
        ("<semantics><mi>a</mi><annotation>\\alpha</annotation></semantics>", "a"),
        ("<mi>a<!-- no -->b</mi>", "ab"),
        ("<mi><!-- no -->ABC</mi>", "ABC"),
        ("<mtext><?no x?>foo</mtext>", "foo"),
        ("<mtext><i>p</i> value</mtext>", "p value"),
        ("<mtext> <sup>13</sup>C-labelled </mtext>", "13C-labelled"),
        ("<mtext>for <b>all</b> x</mtext>", "for all x"),
        ("<mrow> <mi>a</mi> plus <mi>b</mi> </mrow>", "a plus b"),
        ("of <mi>a</mi> plus <mi>b</mi>", "of a plus b"),
        ("<msup>of <mi>a</mi> to <mn>2</mn> </msup>", "ofato2"),
        ("<mfrac><mi>a</mi> over <mi>b</mi></mfrac>", "aover/b"),
        ("<mfenced>x</mfenced>", "(x)"),
        ("<mroot><mn>8</mn><mn>3</mn></mroot>", "√83"),
        ("", ""),
    ],
)
def test_formulas(xml: str, text: str) -> None:
    assert math(xml) == text


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("of <mml:math><mml:mi>β</mml:mi></mml:math> cells", "of β cells"),
        ("of<mml:math><mml:mi>β</mml:mi></mml:math>cells", "of β cells"),
        ("(<mml:math><mml:mi>β</mml:mi></mml:math>-carotene)", "(β-carotene)"),
        ("p<mml:math><mml:mo>&lt;</mml:mo></mml:math>5", "p<5"),
        ("a<mml:math/>b", "a b"),
        ("so<DispFormula><mml:math><mml:mo>=</mml:mo></mml:math></DispFormula>it", "so = it"),
    ],
)
def test_formulas_in_text(xml: str, text: str) -> None:
    assert read(xml) == text


def test_no_element_has_no_text() -> None:
    assert text_of(None) == ""


TEXT = st.text(st.sampled_from("abcXYZ019 .,()\n\t\u00a0\u2009é中"), max_size=8)


@st.composite
def mixed(draw: st.DrawFn, depth: int = 0) -> str:
    """Mixed content as XML: text, inline elements, comments and processing instructions."""
    xml = draw(TEXT)
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["i", "b", "u", "sup", "sub", "comment", "instruction"]))
        if kind == "comment":
            xml += f"<!-- {draw(st.sampled_from(['x', ' y ', '<i>']))} -->"
        elif kind == "instruction":
            xml += "<?hidden text?>"
        else:
            inner = draw(mixed(depth + 1)) if depth < 3 else draw(TEXT)
            xml += f"<{kind}>{inner}</{kind}>"
        xml += draw(TEXT)
    return xml


@given(mixed())
def test_markup_adds_and_removes_no_blank(xml: str) -> None:
    """An independent reading: cut comments, instructions and tags out of the source, then collapse the blanks."""
    visible = re.sub(r"<!--.*?-->|<\?.*?\?>|</?[a-z]+>", "", xml, flags=re.DOTALL)
    assert read(xml) == re.sub(r"[\s\u00a0\u2009]+", " ", visible).strip()


@given(mixed(), st.sampled_from(["", " ", "\n   "]))
def test_layout_inside_formulas_never_shows(xml: str, layout: str) -> None:
    power = layout.join(["<mml:msup>", "<mml:mi>x</mml:mi>", "<mml:mn>2</mml:mn>", "</mml:msup>"])
    formula = f"<mml:math>{layout}{power}{layout}</mml:math>"
    text = read(f"({xml}) ({formula}) {xml}")
    assert "(x2)" in text
    assert text == f"{read(f'({xml})')} (x2) {read(xml)}".strip()
