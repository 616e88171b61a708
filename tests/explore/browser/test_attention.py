"""The attention view: the card's link opens its state, and each thing the reader does changes what it should."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from pubmedbert.explore.link import read
from tests.explore.browser.conftest import (
    NSCLC,
    SERVED,
    Reference,
    above,
    card_link,
    drawn,
    links,
    picture,
    sent_maps,
    state,
    token,
    without_special,
)
from tests.explore.conftest import SENTENCE
from tests.serve.conftest import Service

NAME = SERVED.split("/")[1]
HALF_STEP = 1 / 510**2


def tolerance(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a mean over heads `[H, T, T]` may be off on the wire, and 1e-4 by which engines may differ."""
    bound: NDArray[np.float64] = (np.sqrt(maps) / 255 + HALF_STEP + 1e-4).mean(axis=0)
    return bound


def settled(page: Page) -> dict[str, str]:
    """The address, once it has followed."""
    page.wait_for_timeout(350)
    return dict(part.split("=", 1) for part in urlsplit(page.url).query.split("&"))


def test_the_cards_link_opens_its_state(
    opened: Callable[..., Page], service: Service, reference: Reference, world: object
) -> None:
    page = opened(card_link())
    assert urlsplit(page.url).path == "/explore"
    expect(page.get_by_label("Sentence", exact=True)).to_have_value(SENTENCE)
    expect(page.locator("#explore-model")).to_have_value(NAME)
    expect(page.get_by_role("radio", name="4", exact=True)).to_be_checked()
    expect(page.locator(".chips [aria-pressed=true]")).to_have_count(12)
    expect(page.get_by_role("slider")).to_have_value("70")
    expect(page.get_by_label("Hide [CLS] and [SEP]")).to_be_checked()
    pinned = token(page, "right", NSCLC)
    expect(pinned).to_have_text("nsclc")
    expect(pinned).to_have_attribute("aria-pressed", "true")
    assert page.locator("[aria-pressed=true][data-place]").count() == 1
    expect(page.get_by_role("list", name="Notices")).to_be_hidden()

    maps = reference.attentions()[3]
    expected, bound = without_special(maps.mean(axis=0)), tolerance(maps)
    found = links(page)
    assert found
    assert all(end == NSCLC for _, end in found)
    assert all(abs(weight - expected[ends]) <= bound[ends] for ends, weight in found.items())
    sent = without_special(sent_maps(service, NAME)[3].mean(axis=0))
    rule = {ends: weight for ends, weight in above(sent, 0.7).items() if ends[1] == NSCLC}
    assert found == pytest.approx(rule, abs=1e-5)


@pytest.mark.parametrize("share", [0, 0.3, 0.7, 1])
def test_the_threshold_is_exberts(opened: Callable[..., Page], service: Service, share: float) -> None:
    page = opened(card_link(tokenInd="", threshold=share, hideClsSep="false"))
    slider = page.get_by_role("slider")
    expect(slider).to_have_value(str(round(100 * share)))
    rule = above(sent_maps(service, NAME)[3].mean(axis=0), share)
    assert int(drawn(page)["curves"]) == len(rule)
    slider.focus()
    page.keyboard.press("Home")
    assert drawn(page)["curves"] == "0"
    page.keyboard.press("End")
    assert int(drawn(page)["curves"]) == len(above(sent_maps(service, NAME)[3].mean(axis=0), 1))
    assert settled(page)["threshold"] == "1"


def test_layers_and_heads(opened: Callable[..., Page], service: Service) -> None:
    page = opened(card_link())
    maps = sent_maps(service, NAME)
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url) if "/explore/" in sent.url else None)

    def expected(layer: int, heads: list[int]) -> dict[tuple[int, int], float]:
        total = without_special(maps[layer][heads].mean(axis=0))
        return {ends: weight for ends, weight in above(total, 0.7).items() if ends[1] == NSCLC}

    page.get_by_text("7", exact=True).first.click()
    assert links(page) == pytest.approx(expected(6, [*range(12)]), abs=1e-5)
    page.get_by_role("radio", name="7", exact=True).press("ArrowRight")
    assert links(page) == pytest.approx(expected(7, [*range(12)]), abs=1e-5)
    page.get_by_role("button", name="None heads").click()
    assert links(page) == {}
    page.get_by_role("button", name="Head 3", exact=True).click()
    page.get_by_role("button", name="Head 12", exact=True).click()
    page.mouse.move(0, 0)
    assert links(page) == pytest.approx(expected(7, [2, 11]), abs=1e-5)
    assert settled(page)["heads"] == "..2,11"
    assert read(urlsplit(page.url).query)[0].heads == (2, 11)
    page.get_by_role("button", name="Head 3", exact=True).hover()  # shown alone while it is pointed at
    assert links(page) == pytest.approx(expected(7, [2]), abs=1e-5)
    page.mouse.move(0, 0)
    assert drawn(page)["heads"] == "3 12"
    page.get_by_role("button", name="All heads").click()
    assert "heads" not in settled(page)
    assert asked == [], "sliders and choices need no service"


def test_heat_maps(opened: Callable[..., Page], service: Service) -> None:
    page = opened(card_link(tokenInd=""))
    maps = sent_maps(service, NAME)[3]
    shown = maps.copy()
    shown[:, [0, -1]] = shown[:, :, [0, -1]] = 0
    bubble = picture(page).locator(".bubble")

    def point(side: str, head: int, place: int) -> None:
        heat = picture(page).locator(f".heat.{side}")
        box = heat.bounding_box()
        assert box
        heat.hover(position={"x": box["width"] * (head + 0.5) / 12, "y": 24 * place + 12})

    point("left", 4, 6)
    expect(bubble).to_have_text(f"Head 5: {shown[4, 6].mean():.4f}")
    assert drawn(page)["heads"] == "5"
    assert int(drawn(page)["curves"]) == len(above(without_special(maps[4]), 0.7))
    point("right", 9, 12)
    expect(bubble).to_have_text(f"Head 10: {shown[9, :, 12].mean():.4f}")
    token(page, "left", 5).click()
    point("right", 9, 12)  # opposite a pinned place: from it alone
    expect(bubble).to_have_text(f"Head 10: {shown[9, 5, 12]:.4f}")
    point("left", 4, 6)
    expect(bubble).to_have_text(f"Head 5: {shown[4, 6].mean():.4f}")
    picture(page).locator(".heat.left").click(position={"x": 2, "y": 40})
    expect(page.get_by_role("button", name="Head 1", exact=True)).to_have_attribute("aria-pressed", "false")
    page.mouse.move(0, 0)
    expect(bubble).to_be_hidden()
    assert state(page)["heads"] == [*range(1, 12)]


def test_pointing_pinning_and_what_would_be_predicted(
    opened: Callable[..., Page], service: Service, reference: Reference
) -> None:
    page = opened(card_link(tokenInd=""))
    everything = int(drawn(page)["curves"])
    token(page, "left", 4).hover()
    popup = picture(page).locator(".popup")
    guesses = reference.guesses(4)
    expect(popup).to_contain_text("would predict here")
    assert popup.locator("li").all_inner_texts() == [f"{piece}\n{share:.2f}" for piece, share in guesses]
    assert {start for start, _ in links(page)} == {4}
    page.mouse.move(0, 0)
    expect(popup).to_be_hidden()
    assert int(drawn(page)["curves"]) == everything
    token(page, "left", 4).click()
    card = page.locator(".place")
    expect(card.get_by_role("heading").first).to_contain_text("egfr")
    expect(card).to_contain_text("Attends most to, mean of the chosen heads")
    total = without_special(sent_maps(service, NAME)[3].mean(axis=0))[4]
    shown = [float(text) for text in card.locator("[data-part=links] li span").all_inner_texts()]
    assert shown == pytest.approx(sorted(total, reverse=True)[:5], abs=6e-3)
    page.get_by_role("button", name="Head 3", exact=True).hover()
    expect(card).to_contain_text("Attends most to, of head 3")
    token(page, "right", 9).hover()  # what is pinned stays
    assert {start for start, _ in links(page)} == {4}
    assert settled(page)["tokenInd"] == "4"
    token(page, "left", 4).click()
    page.mouse.move(0, 0)
    assert int(drawn(page)["curves"]) == everything
    assert "tokenInd" not in settled(page)


def test_masking_asks_the_service_anew(opened: Callable[..., Page], service: Service, reference: Reference) -> None:
    page = opened(card_link())
    token(page, "left", NSCLC).dblclick()
    expect(token(page, "right", NSCLC)).to_have_text("[MASK]")
    maps = reference.attentions(masks=[NSCLC])[3]
    expected, bound = without_special(maps.mean(axis=0)), tolerance(maps)
    found = links(page)
    assert found
    assert all(abs(weight - expected[ends]) <= bound[ends] for ends, weight in found.items())
    expect(token(page, "right", NSCLC)).to_have_attribute("aria-pressed", "true")  # pinned, as it was
    guesses = page.locator(".place [data-part=guesses] li")
    best = reference.guesses(NSCLC, masks=[NSCLC])
    assert guesses.locator("b").all_inner_texts() == [piece for piece, _ in best]
    assert guesses.locator("span").all_inner_texts() == [f"{share:.2f}" for _, share in best]
    assert settled(page)["maskInds"] == f"..{NSCLC}"
    page.get_by_role("button", name="Unmask").click()
    expect(token(page, "right", NSCLC)).to_have_text("nsclc")
    assert settled(page)["maskInds"] == ".."
    token(page, "left", 0).dblclick()
    expect(page.get_by_role("status").first).to_have_text("[CLS] cannot be masked.")


def test_the_keyboard_is_enough(opened: Callable[..., Page]) -> None:
    page = opened(card_link(tokenInd=""))
    token(page, "left", 1).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(token(page, "left", 3)).to_be_focused()
    expect(picture(page).locator(".popup")).to_be_visible()
    assert {start for start, _ in links(page)} == {3}
    page.keyboard.press("Enter")
    expect(token(page, "left", 3)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    expect(token(page, "right", 3)).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    last = picture(page).locator(".tokens.right [data-place]").count() - 2
    assert (state(page)["token"], state(page)["side"]) == (last, "right")
    page.keyboard.press("m")
    expect(page.locator(".tokens.right .masked")).to_be_focused()
    page.keyboard.press("Escape")  # first what popped up, then the pin
    expect(picture(page).locator(".popup")).to_be_hidden()
    assert state(page)["token"] == last
    page.keyboard.press("Escape")
    assert state(page)["token"] is None
    assert token(page, "right", 3).evaluate("one => one.tabIndex") == -1


def test_escape_needs_no_focus(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    page.keyboard.press("Escape")
    assert state(page)["token"] is None
    expect(page.get_by_role("heading", name="No place is pinned")).to_be_visible()


def test_letters_mask_where_none_are_written(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    piece = token(page, "right", NSCLC)
    page.get_by_label("Sentence", exact=True).focus()
    page.keyboard.press("m")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Sentence", exact=True)).to_have_value(SENTENCE + "m")
    assert (state(page)["masks"], state(page)["token"]) == ([], NSCLC)
    page.get_by_role("slider").focus()
    page.keyboard.press("m")
    expect(piece).to_have_text("[MASK]")
    piece.blur()
    page.keyboard.press("Control+m")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("m")
    expect(piece).to_have_text("nsclc")
    page.keyboard.press("Escape")
    token(page, "left", 4).hover()
    page.keyboard.press("m")
    expect(token(page, "left", 4)).to_have_text("[MASK]")


def test_without_heads_the_page_says_so(opened: Callable[..., Page]) -> None:
    page = opened(card_link(heads=".."))
    hint = page.get_by_text("No head is chosen, so nothing is drawn.")
    expect(hint).to_be_visible()
    page.get_by_role("button", name="All heads").click()
    expect(hint).to_be_hidden()
    page.get_by_role("slider").fill("0")
    expect(page.get_by_text("Of the top 0% nothing is drawn.")).to_be_visible()


def test_a_sentence_without_words(opened: Callable[..., Page]) -> None:
    page = opened("/explore?sentence=%20", ready=False)
    expect(page.get_by_role("status").first).to_have_text("The sentence has no words: write some.")
    expect(picture(page)).to_be_hidden()
    page.get_by_label("Sentence", exact=True).fill(SENTENCE)
    page.get_by_role("button", name="Update").click()
    expect(picture(page)).to_be_visible()


def test_notices_spell_parameters_as_the_link_does(opened: Callable[..., Page]) -> None:
    page = opened("/explore?heads=..a,b&modelKind=x&layer=30")
    assert page.get_by_role("list", name="Notices").locator("li").all_inner_texts() == [
        "modelKind is always bidirectional here.",
        "heads=..a,b cannot be used here and is left out.",
        "The model has 12 layers; layer 31 is shown as its last, 12.",
    ]


def test_the_pop_up_can_be_pointed_at_and_closed(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    popup = picture(page).locator(".popup")
    for side in ("left", "right"):
        token(page, side, 4).hover()
        expect(popup).to_be_visible()
        row, box = token(page, side, 4).bounding_box(), popup.bounding_box()
        assert row
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, row["y"] + row["height"] / 2, steps=20)
        expect(popup).to_be_visible()
        page.mouse.move(0, 0)
        expect(popup).to_be_hidden()
    token(page, "left", 4).hover()
    page.keyboard.press("Escape")
    expect(popup).to_be_hidden()
    assert state(page)["token"] == NSCLC


def test_the_focus_is_not_lost(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    page.get_by_role("button", name="Unpin").press("Enter")
    expect(token(page, "right", NSCLC)).to_be_focused()
    page = opened(card_link(model="acme/bert"), ready=False)
    page.get_by_role("button", name=f"Show it with {NAME}").press("Enter")
    expect(token(page, "right", NSCLC)).to_be_focused()
    page.keyboard.press("m")
    expect(token(page, "right", NSCLC)).to_have_text("[MASK]")
    expect(page.get_by_label("Sentence", exact=True)).to_have_value(SENTENCE)


def test_the_pinned_piece_of_a_link_is_seen(opened: Callable[..., Page]) -> None:
    page = opened(card_link(), viewport={"width": 1366, "height": 500})
    expect(token(page, "right", NSCLC)).to_be_in_viewport()


def test_nobody_answers(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    before = links(page)
    page.route("**/explore/**", lambda route: route.abort())
    said = page.get_by_role("alert").filter(visible=True)
    for pressed, key in ((token(page, "right", NSCLC), "m"), (page.get_by_role("button", name="Update"), "Enter")):
        pressed.press(key)
        expect(said).to_have_text("The service does not answer: is it still running?")
    assert links(page) == before
    assert state(page)["masks"] == []
    page.unroute("**/explore/**")
    page.keyboard.press("m")
    expect(token(page, "right", NSCLC)).to_have_text("[MASK]")
    expect(said).to_have_count(0)


def test_a_new_sentence_is_a_step_back(opened: Callable[..., Page]) -> None:
    page = opened(card_link(maskInds="..4"))
    field = page.get_by_label("Sentence", exact=True)
    field.fill("Erlotinib is given for NSCLC.")
    field.press("Enter")
    expect(token(page, "left", 1)).not_to_have_text("gefitinib")
    assert (state(page)["token"], state(page)["masks"]) == (None, [])
    assert read(urlsplit(page.url).query)[0].sentence == "Erlotinib is given for NSCLC."
    page.go_back()
    expect(token(page, "left", 1)).to_have_text("gefitinib")
    expect(token(page, "left", 4)).to_have_text("[MASK]")
    expect(token(page, "right", NSCLC)).to_have_attribute("aria-pressed", "true")
    page.go_forward()
    expect(field).to_have_value("Erlotinib is given for NSCLC.")
    page.get_by_role("tab", name="Fill-mask").click()
    assert urlsplit(page.url).path == "/"
    page.get_by_role("tab", name="Explore").click()
    assert read(urlsplit(page.url).query)[0].sentence == "Erlotinib is given for NSCLC."


def test_every_piece_stays_text(opened: Callable[..., Page]) -> None:
    page = opened(
        "/explore?sentence=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%20%26amp%3B%20%22#x".replace("#x", "")
    )
    assert page.locator("#explore .panel img").count() == 0
    assert "<" in picture(page).locator(".tokens.left").inner_text()


def test_a_model_that_is_not_served(opened: Callable[..., Page], service: Service) -> None:
    page = opened(card_link(model="acme/its%20bert"), ready=False)
    expect(page.get_by_role("heading", name="This model is not served here")).to_be_visible()
    expect(page.get_by_label("Command that serves it")).to_have_text("pubmedbert serve --model 'acme/its bert'")
    expect(page.locator("#explore-model option:checked")).to_have_text("acme/its bert (not served)")
    page.get_by_role("button", name="Update").click()
    expect(page.get_by_role("status").first).to_have_text("acme/its bert is not served here: choose a model.")
    expect(picture(page)).to_be_hidden()
    page.get_by_role("button", name=f"Show it with {NAME}").click()
    expect(token(page, "right", NSCLC)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name="This model is not served here")).to_be_hidden()
    assert settled(page)["model"] == NAME
    page.go_back()
    expect(page.get_by_role("heading", name="This model is not served here")).to_be_visible()
    page.locator("#explore-model").select_option("other")
    drawn(page)
    assert settled(page)["model"] == "other"
    page.go_back()
    expect(page.get_by_role("heading", name="This model is not served here")).to_be_visible()


def test_a_link_to_another_model_is_fitted_to_the_one_that_is_offered(opened: Callable[..., Page]) -> None:
    page = opened(card_link(model="acme/bert", layer=30, heads="..1,40", maskInds="..3,91"), ready=False)
    page.get_by_role("button", name=f"Show it with {NAME}").click()
    drawn(page)
    notices = page.get_by_role("list", name="Notices")
    for said in ("12 layers", "12 heads", "place 91"):
        expect(notices).to_contain_text(said)
    found = state(page)
    assert (found["layer"], found["heads"], found["token"], found["masks"]) == (11, [1], NSCLC, [3])


def test_what_the_model_does_not_have_is_clamped(opened: Callable[..., Page]) -> None:
    page = opened(card_link(layer=30, heads="..1,40", tokenInd=90, maskInds="..3,91"))
    notices = page.get_by_role("list", name="Notices")
    for said in ("12 layers", "12 heads", "pinned place, 90", "place 91"):
        expect(notices).to_contain_text(said)
    found = state(page)
    assert (found["layer"], found["heads"], found["token"], found["masks"]) == (11, [1], None, [3])


def test_an_error_is_said(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    page.route("**/explore/view", lambda route: route.fulfill(status=503, json={"error": "the service ends"}))
    page.get_by_role("button", name="Update").click()
    expect(page.get_by_role("alert")).to_have_text("the service ends")
    page.unroute("**/explore/view")
    page.route("**/explore/view", lambda route: route.fulfill(body=route.fetch().body()[:-100]))
    page.get_by_role("button", name="Update").click()
    expect(page.get_by_role("alert")).to_have_text("The answer was cut short; ask again.")
    page.unroute("**/explore/view")
    page.get_by_role("button", name="Update").click()
    expect(page.get_by_role("alert")).to_have_count(0)
