"""Answers that come late, or not: what is shown is always of what is asked for now."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Error, Page, Route, expect

from pubmedbert.explore.link import read
from tests.explore.browser.conftest import NSCLC, card_link, drawn, picture, state, token
from tests.serve.conftest import Service

NEW = "Erlotinib is given for NSCLC."


class Held:
    """Questions to the service that are kept back until they are let go."""

    def __init__(self, page: Page, task: str) -> None:
        self._page = page
        self._routes: list[Route] = []
        page.route(f"**/explore/{task}**", self._keep)

    def _keep(self, route: Route) -> None:
        self._routes.append(route)

    def asked(self, count: int) -> list[Any]:
        """What was asked, once there are so many questions."""
        for _ in range(200):
            if len(self._routes) >= count:
                break
            self._page.wait_for_timeout(25)
        assert len(self._routes) == count
        return [route.request.post_data_json for route in self._routes]

    def let_go(self) -> None:
        """Let the service answer, and wait until the page did with it what it does."""
        for route in self._routes:
            with contextlib.suppress(Error):  # the page may have given it up
                route.continue_()
        self._page.wait_for_timeout(600)


def head_columns(page: Page, panel: str = "main") -> int:
    found: int = picture(page, panel).locator(".heat.left").evaluate("canvas => canvas.width")
    return found


def ask(page: Page, sentence: str = NEW) -> None:
    page.get_by_label("Sentence", exact=True).fill(sentence)
    page.get_by_label("Sentence", exact=True).press("Enter")


@pytest.mark.parametrize("method", ["Raw", "Occlusion"])
def test_a_rollout_that_is_not_wanted_any_more(opened: Callable[..., Page], method: str) -> None:
    page = opened(card_link())
    before = drawn(page)["links"]
    rollouts = Held(page, "rollout")
    page.get_by_text("Rollout", exact=True).click()
    rollouts.asked(1)
    page.get_by_text(method, exact=True).click()
    rollouts.let_go()
    assert head_columns(page) == 12
    assert drawn(page)["links"] == before


def test_rollout_while_a_new_sentence_is_computed(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    views = Held(page, "view")
    ask(page)
    views.asked(1)
    page.get_by_text("Rollout", exact=True).click()
    views.let_go()
    expect(token(page, "left", 1)).not_to_have_text("gefitinib")
    expect(page.get_by_role("status").first).to_contain_text("word pieces")
    assert head_columns(page) == 1
    page.get_by_text("Raw", exact=True).click()
    drawn(page)
    assert head_columns(page) == 12


def test_a_rollout_that_fails(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    page.route("**/explore/rollout", lambda route: route.fulfill(status=503, json={"error": "the service ends"}))
    page.get_by_text("Rollout", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("the service ends")
    expect(page.get_by_role("radio", name="Raw")).to_be_checked()
    expect(page.get_by_role("button", name="Head 1", exact=True)).to_be_enabled()
    assert head_columns(page) == 12


def test_back_and_forward_before_the_answer(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    ask(page)
    expect(token(page, "left", 1)).not_to_have_text("gefitinib")
    page.wait_for_timeout(300)
    states = Held(page, "state")
    page.go_back()
    states.asked(1)
    page.go_forward()
    states.let_go()
    expect(page.get_by_label("Sentence", exact=True)).to_have_value(NEW)
    expect(token(page, "left", 1)).not_to_have_text("gefitinib")
    assert read(page.url.partition("?")[2])[0].sentence == NEW


def test_a_view_that_comes_after_a_link_to_a_model_that_is_not_served(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    views = Held(page, "view")
    ask(page)
    views.asked(1)
    page.evaluate(
        "() => { history.pushState(null, '', 'explore?model=acme/bert&sentence=a');"
        " dispatchEvent(new PopStateEvent('popstate')); }"
    )
    missing = page.get_by_role("heading", name="This model is not served here")
    expect(missing).to_be_visible()
    views.let_go()
    expect(missing).to_be_visible()
    expect(picture(page)).to_be_hidden()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert read(page.url.partition("?")[2])[0].model == "acme/bert"


@pytest.mark.parametrize("panel", ["main", "other"])
def test_masks_asked_for_one_after_another_add_up(opened: Callable[..., Page], panel: str) -> None:
    page = opened(card_link(tokenInd=""))
    if panel == "other":
        page.get_by_role("button", name="Compare").click()
        drawn(page, panel)
    views = Held(page, "view")
    token(page, "left", 3, panel).focus()
    for key in ("m", "ArrowDown", "m"):
        page.keyboard.press(key)
    assert [asked["masks"] for asked in views.asked(2)] == [[3], [3, 4]]
    views.let_go()
    expect(picture(page, panel).locator(".tokens.left .masked")).to_have_count(2)


def test_what_failed_is_not_shown_as_something_else(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    page.route("**/explore/view", lambda route: route.fulfill(status=503, json={"error": "the service ends"}))
    ask(page)
    expect(page.get_by_role("alert")).to_have_text("the service ends")
    expect(picture(page)).to_be_hidden()
    page.unroute("**/explore/view")
    page.get_by_role("button", name="Update").click()
    expect(picture(page)).to_be_visible()
    expect(token(page, "left", 1)).not_to_have_text("gefitinib")
    page.get_by_role("button", name="Compare").click()
    drawn(page, "other")
    page.route("**/explore/view", lambda route: route.fulfill(status=503, json={"error": "the service ends"}))
    page.get_by_label("with", exact=True).select_option("tags")
    expect(page.get_by_role("alert")).to_have_text("the service ends")
    expect(picture(page, "other")).to_be_hidden()
    expect(picture(page)).to_be_visible()


def test_what_is_done_to_the_picture_before_does_nothing_to_the_next(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    views = Held(page, "view")
    ask(page)
    views.asked(1)
    token(page, "left", 12).focus()
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    page.get_by_role("slider").press("End")
    views.asked(1)
    views.let_go()
    assert (state(page)["masks"], state(page)["token"], state(page)["threshold"]) == ([], None, 1)


def test_an_occlusion_of_another_place_is_hidden(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    page.get_by_text("Occlusion", exact=True).click()
    rows = page.locator(".occlusion tbody tr")
    expect(rows.first).to_be_visible()
    held = Held(page, "occlusion")
    token(page, "left", 4).click()
    held.asked(1)
    expect(rows).to_have_count(0)
    held.let_go()
    expect(rows.first).to_be_visible()
    page.unroute("**/explore/occlusion**")
    page.route("**/explore/occlusion", lambda route: route.fulfill(status=503, json={"error": "the service ends"}))
    page.get_by_label("Follow").select_option(index=2)
    expect(page.locator(".occlusion").get_by_role("status")).to_have_text("the service ends")
    expect(rows).to_have_count(0)
    expect(page.get_by_label("Follow")).to_be_visible()


def test_the_corpus_is_searched_for_what_is_shown(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    find = page.get_by_role("button", name="Find in the corpus")
    page.get_by_role("button", name="None heads").click()
    expect(find).to_be_disabled()
    page.get_by_role("button", name="All heads").click()
    find.click()
    expect(page.locator(".found li").first).to_be_visible()
    views = Held(page, "view")
    page.get_by_role("button", name="Mask", exact=True).click()
    views.asked(1)
    expect(page.locator(".corpus")).to_be_hidden()
    expect(find).to_be_disabled()
    views.let_go()
    expect(page.locator(".corpus")).to_be_hidden()
    expect(find).to_be_enabled()


def test_calls_that_are_refused_together_share_one_key(opened: Callable[..., Page], service: Service) -> None:
    page = opened(card_link())
    page.get_by_role("button", name="Compare").click()
    drawn(page, "other")

    def guarded(route: Route) -> None:
        known = route.request.headers.get("authorization") == "Bearer secret"
        route.continue_() if known else route.fulfill(status=401, json={"error": "a key is needed"})

    page.route("**/explore/rollout", guarded)
    page.get_by_text("Rollout", exact=True).click()
    field = page.locator("#key input")
    expect(field).to_be_visible()
    page.wait_for_timeout(200)
    field.fill("secret")
    field.press("Enter")
    for panel in ("main", "other"):
        expect(picture(page, panel)).to_have_attribute("data-heads", "1")
    assert state(page)["token"] == NSCLC
