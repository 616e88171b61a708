"""The corpus view: what is found is what the service finds, and without an index the page says how to make one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from playwright.sync_api import Page, Route, expect

from tests.explore.browser.conftest import SERVED, card_link, token
from tests.serve.conftest import Service

NAME = SERVED.split("/")[1]
SENTENCE = "Imatinib inhibits the tyrosine kinase."


def test_the_nearest_occurrences(opened: Callable[..., Page], service: Service) -> None:
    page = opened(card_link(sentence=SENTENCE.replace(" ", "%20"), tokenInd=5, layer=2, heads="..0,3"))
    page.get_by_role("button", name="Find in the corpus").click()
    card = page.locator(".corpus")
    expect(card.get_by_role("status")).to_contain_text("The 50 nearest of")
    request = {"model": NAME, "text": SENTENCE, "place": 5, "count": 50, "layer": 2, "heads": [0, 3]}
    found = httpx.post(f"{service.url}/explore/neighbours", json=request, timeout=60).json()
    items = card.locator(".found > li")
    expect(items.locator("visible=true")).to_have_count(10)
    rows: dict[tuple[object, ...], tuple[dict[str, Any], Any]] = {}
    for one, attended in zip(found["neighbours"], found["attended_words"], strict=True):
        rows.setdefault((one["doc_id"], one["sentence"], one["start"], one["end"]), (one, attended))
    card.get_by_role("button", name=f"Show all {len(rows)}").press("Enter")
    expect(items.locator("visible=true")).to_have_count(len(rows))
    expect(items.nth(10)).to_be_focused()
    for item, (one, attended) in zip(items.all(), rows.values(), strict=True):
        assert item.locator(".score").inner_text() == f"{one['score']:.3f}"
        assert item.locator("mark").inner_text() == one["word"]
        assert item.locator(".context").text_content() == one["sentence"]
        if attended:
            assert item.locator("u").inner_text() == one["sentence"][slice(*attended)]
        if one["link"]:
            assert item.get_by_role("link").get_attribute("href") == one["link"]
        else:
            assert item.get_by_title(one["doc_id"], exact=True).inner_text().startswith("document ")
    types = card.locator(".summaries li b").all_inner_texts()
    assert set(types) == set(found["summary"]["matched"] | found["summary"]["attended"])
    token(page, "left", 1).click()
    expect(card).to_be_hidden()


def test_the_same_sentence_of_a_document_is_listed_once(opened: Callable[..., Page]) -> None:
    page = opened(card_link())

    def twice(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        for part in ("neighbours", "attended_words"):
            answer[part] = [answer[part][0], *answer[part][:3]]
        answer["neighbours"][1] = answer["neighbours"][0] | {"sentence": answer["neighbours"][0]["sentence"] + " "}
        route.fulfill(response=response, json=answer)

    page.route("**/explore/neighbours", twice)
    page.get_by_role("button", name="Find in the corpus").click()
    items = page.locator(".found > li")
    expect(items.first).to_contain_text("2 times")
    assert "times" not in items.last.inner_text()


def test_what_is_underlined_is_of_what_is_chosen(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    find = page.get_by_role("button", name="Find in the corpus")
    find.click()
    card = page.locator(".corpus")
    underlined = card.locator("u").first
    expect(underlined).to_have_css("text-decoration-line", "underline")
    expect(card.get_by_role("heading", level=2)).to_be_in_viewport()
    expect(card.locator("li").first).to_be_in_viewport()
    page.get_by_text("1", exact=True).first.click()
    expect(underlined).to_have_css("text-decoration-line", "none")
    expect(card.get_by_text("Another layer or other heads are chosen now")).to_be_visible()
    page.get_by_text("4", exact=True).first.click()
    expect(underlined).to_have_css("text-decoration-line", "underline")
    page.get_by_text("1", exact=True).first.click()
    find.click()
    expect(underlined).to_have_css("text-decoration-line", "underline")


def test_without_an_index(opened: Callable[..., Page]) -> None:
    page = opened(card_link(model="other"))
    page.get_by_role("button", name="Find in the corpus").click()
    commands = page.get_by_label("Commands that make an index")
    expect(commands).to_contain_text("pubmedbert explore index --store store --model other --out index")
    expect(commands).to_contain_text("pubmedbert serve --model other --index index")
