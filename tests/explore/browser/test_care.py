"""What the page is for everybody: WCAG by axe-core, both colour schemes, a phone, and a size like BERT-large's."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from benchmarks import browser as measured
from playwright.sync_api import Browser, Page, expect

from pubmedbert.explore.link import State, read, write
from tests.explore.browser.conftest import NSCLC, card_link, drawn, token
from tests.serve.test_page import browser  # noqa: F401  a fixture

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGE = Path(__file__).parents[3] / "src" / "pubmedbert" / "serve" / "page"


def violations(page: Page) -> list[str]:
    """What axe-core has against the page as it stands."""
    page.evaluate(AXE)
    found = page.evaluate("rules => axe.run({ runOnly: rules, resultTypes: ['violations'] })", RULES)
    return [f"{one['id']}: {node['html'][:160]}" for one in found["violations"] for node in one["nodes"]]


def show_everything(page: Page) -> None:
    """Open every part of the page: the second picture, the small multiples, occlusion, the corpus."""
    page.get_by_role("button", name="Compare").click()
    drawn(page, "other")
    page.get_by_text("All layers and heads", exact=True).click()
    page.get_by_text("Occlusion", exact=True).click()
    expect(page.locator(".occlusion tbody tr").first).to_be_visible()
    page.get_by_role("button", name="Find in the corpus").click()
    expect(page.locator(".found li").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 390])
def test_axe_finds_nothing(opened: Callable[..., Page], scheme: str, width: int) -> None:
    page = opened(card_link(), color_scheme=scheme, viewport={"width": width, "height": 844})
    assert violations(page) == []
    show_everything(page)
    token(page, "left", 4).focus()
    assert violations(page) == []


def test_what_is_chosen_is_seen_in_forced_colours(opened: Callable[..., Page]) -> None:
    page = opened(card_link(), forced_colors="active")
    page.locator(".chips button").first.click()
    page.get_by_role("button", name="Compare").click()
    drawn(page, "other")
    ground = "one => getComputedStyle(one).backgroundColor"
    for chosen, other in (
        (".layers input:checked + span", ".layers input:not(:checked) + span"),
        (".methods input:checked + span", ".methods input:not(:checked) + span"),
        (".chips [aria-pressed=true]", ".chips [aria-pressed=false]"),
        ("#explore button.quiet[aria-pressed=true]", "#explore button.quiet:not([aria-pressed=true])"),
    ):
        assert page.locator(chosen).first.evaluate(ground) != page.locator(other).first.evaluate(ground), chosen
    outline = "one => getComputedStyle(one).outlineStyle"
    assert page.locator("#explore .tokens [aria-pressed=true]").first.evaluate(outline) == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_elsewhere(opened: Callable[..., Page], scheme: str) -> None:
    page = opened(card_link(model="acme/bert"), ready=False, color_scheme=scheme)
    expect(page.get_by_label("Command that serves it")).to_be_visible()
    assert violations(page) == []
    for model, seen in (("tags", ".said mark"), ("classes", ".said .bars")):
        page.locator("#explore-model").select_option(model)
        page.get_by_role("button", name="Update").click()
        expect(page.locator(seen).first).to_be_visible()
        assert violations(page) == []


def test_a_phone_does_not_scroll_sideways(opened: Callable[..., Page]) -> None:
    page = opened(card_link(), viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    show_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    place = token(page, "left", 4)
    place.tap()
    expect(place).to_have_attribute("aria-pressed", "true")
    page.locator(".place").get_by_role("button", name="Mask", exact=True).tap()
    expect(place).to_have_text("[MASK]")
    card = page.locator(".place")
    expect(card.locator("[data-part=links]")).to_be_hidden()  # small, until it is made large
    card.get_by_role("button", name="More").tap()
    for part in ("guesses", "links"):
        expect(card.locator(f"[data-part={part}] li").first).to_be_in_viewport()
    card.get_by_role("button", name="Less").tap()
    expect(card.locator("[data-part=links]")).to_be_hidden()
    page.reload()
    drawn(page)
    expect(card.locator("[data-part=links]")).to_be_hidden()
    card.get_by_role("button", name="More").tap()
    expect(card.locator("[data-part=links]")).to_be_visible()
    assert all(box["height"] >= 24 for one in page.locator(".tokens button").all() if (box := one.bounding_box()))


def test_nothing_moves_for_those_who_ask(opened: Callable[..., Page]) -> None:
    page = opened(card_link(), reduced_motion="reduce")
    moving = "one => [...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s')"
    assert page.locator("body").evaluate(f"{moving.replace('one =>', '() =>')}.length") == 0


def test_addresses_are_those_that_python_reads(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    states = [
        State(model="a/b", sentence="α & β = 100% #1 + ?/,'", layer=3, heads=(0, 2), threshold=0.35, masks=(1, 4)),
        State(method="occlusion", heads=(1,)),
        State(model="x y", sentence="", sentence_b="b\nc", token=0, side="right", hide_special=False, threshold=1.0),
    ]
    for state in states:
        given = {name: getattr(state, name) for name in state.__dataclass_fields__}
        given |= {"asked": state.model, "heads": state.heads or [*range(12)]}
        found = page.evaluate(
            "async given => (await import('/page/explore/state.js')).query(given, 12)",
            {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()},
        )
        assert read(found) == (state, []) == read(write(state))


def test_the_page_of_a_large_model(browser: Browser) -> None:  # noqa: F811
    """24 layers of 16 heads, 128 tokens. How fast it is, the benchmark tells: here the machine may do much else."""
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    measured.hand_over(page, 24, 16, 128, 3.0)
    found = page.evaluate(measured.MOVES, [5])
    assert found["curves"] > 1000
    page.close()


def test_the_page_asks_for_no_library() -> None:
    sources = [path for path in PAGE.rglob("*") if path.suffix in (".js", ".css", ".html")]
    assert len(sources) > 15
    for path in sources:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 400, path
        assert not re.search(r"(?:src|href|from|import|url)\s*[=( ]\s*[\"']?https?:", text), path
        assert "innerHTML" not in text, path
    assert NSCLC == 17
