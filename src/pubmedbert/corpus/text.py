"""The text of an element with markup inside: what a reader sees, with the blanks of the source.

* Inline markup (`i`, `b`, `u`, `sup`, `sub` and any other element) adds no blank and removes none: "The <i>BRCA1</i>
  gene" is "The BRCA1 gene", "H<sub>2</sub>O" is "H2O" and "10<sup>-6</sup>" is "10-6".
* Comments and processing instructions vanish; the text behind them stays.
* In a formula (MathML) the blanks between elements are layout and vanish, so that a pretty-printed x<sup>2</sup> is
  "x2"; scripts and single letters are glued, words in a row are parted ("log x"), cells of a table too; a fraction is
  "a/b", a root "√a", an isotope's number comes before it ("129Xe"), and annotations (a second reading) are left out.
  Text where MathML allows none stays; a token, such as `mtext`, has the blanks of the source.
* Where a letter or digit of a formula would touch one of the text around it, a blank parts them; a displayed formula
  always has blanks around it.
"""

from __future__ import annotations

import re

from lxml import etree

from pubmedbert.corpus.citation import plain

Element = etree._Element

_SEAM = "\0"  # where a formula meets text; XML cannot hold this character
_SEAM_IN_WORD = re.compile(f"(?<=[^\\W_]){_SEAM}+(?=[^\\W_])")
_WORDS_MEET = re.compile(r"[^\W\d_]{2}\|[^\W\d_]|[^\W\d_]\|[^\W\d_]{2}")  # a word of two letters, at least on one side
_BLANKS = " \t\r\n"
_OPERATORS = str.maketrans({"\u2061": " ", "\u2062": None, "\u2063": None, "\u2064": None})  # invisible ones
_ANNOTATIONS = {"annotation", "annotation-xml"}
_TOKENS = {"mi", "mn", "mo", "ms", "mtext", "ci", "cn", "csymbol"}
_ROWS = {"math", "mrow", "mstyle", "mpadded", "merror", "semantics", "msqrt"}


def text_of(element: Element | None) -> str:
    """The plain text of an element; "" if there is no element. References to undefined entities count as comments."""
    if element is None:
        return ""
    if len(element) == 0:
        return plain(element.text or "")
    pieces: list[str] = []
    _collect(element, pieces)
    text = "".join(pieces)
    if _SEAM in text:
        text = _SEAM_IN_WORD.sub(" ", text).replace(_SEAM, "")
    return plain(text)


def local_name(node: Element) -> str:
    """The name without its namespace; "" for comments and processing instructions."""
    tag: object = node.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _collect(element: Element, pieces: list[str]) -> None:
    pieces.append(element.text or "")
    for child in element:
        name = local_name(child)
        if name == "math":
            pieces += (_SEAM, _formula(child), _SEAM)
        elif name == "DispFormula":
            pieces.append(" ")
            _collect(child, pieces)
            pieces.append(" ")
        elif name:
            _collect(child, pieces)
        pieces.append(child.tail or "")


def _formula(node: Element) -> str:
    """The text of a MathML element."""
    name = local_name(node)
    if not name or name in _ANNOTATIONS:
        return ""
    if name == "mspace":
        return " "
    parts = [_formula(child) for child in node]
    if name in _TOKENS or (not parts and name != "mfenced"):
        inside = (f"{part}{child.tail or ''}" for part, child in zip(parts, node, strict=True))
        return _bare("".join([node.text or "", *inside]))
    text, tails = _bare(node.text), [_bare(child.tail) for child in node]
    if name in _ROWS:
        row = _row([text, *(part for pair in zip(parts, tails, strict=True) for part in pair)])
        return f"√{row}" if name == "msqrt" else row
    parts = [part + tail for part, tail in zip(parts, tails, strict=True)]
    if text:
        parts[:1] = [text + "".join(parts[:1])]
    if name == "mmultiscripts":
        parts = _prescripts_first(node, parts)
    elif name == "mfenced":
        return _fenced(node, parts)
    elif name == "mfrac":
        return "/".join(parts)
    if name in {"mtable", "mtr", "mtd", "matrix", "matrixrow"}:
        return f" {' '.join(parts)} "
    return ("√" if name == "mroot" else "") + "".join(parts)


def _bare(text: str | None) -> str:
    """A text without the blanks around it, and without operators that nobody sees."""
    return (text or "").strip(_BLANKS).translate(_OPERATORS)


def _row(parts: list[str]) -> str:
    """Join the parts of a row: letters are glued, words are parted."""
    row, last = "", ""
    for part in filter(None, parts):
        row += f" {part}" if _WORDS_MEET.search(f"{last[-2:]}|{part[:2]}") else part
        last = part
    return row


def _prescripts_first(node: Element, parts: list[str]) -> list[str]:
    """The parts of a tensor in the order of reading: what stands before the base comes first."""
    names = [local_name(child) for child in node]
    if "mprescripts" not in names:
        return parts
    cut = names.index("mprescripts")
    return parts[cut + 1 :] + parts[:cut]


def _fenced(node: Element, parts: list[str]) -> str:
    """The parts in the brackets and with the separators that the attributes name."""
    separators = "".join(node.get("separators", ",").split())
    text = ""
    for index, part in enumerate(parts):
        mark = separators[min(index, len(separators)) - 1] if index and separators else ""
        text += mark + part
    return node.get("open", "(") + text + node.get("close", ")")
