"""What exBERT had not: pairs, comparisons, all heads at a glance, rollout, occlusion, tuned models, saved files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from lxml import etree
from playwright.sync_api import Browser, Page, expect

from pubmedbert.explore.link import read
from pubmedbert.explore.rollout import rollout
from pubmedbert.explore.wire import decode
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


def test_a_pair(opened: Callable[..., Page], reference: Reference) -> None:
    page = opened("/explore?sentence=Is%20aspirin%20effective%3F&threshold=1&hideClsSep=false")
    page.get_by_role("button", name="Add a second sentence").click()
    page.get_by_label("Second sentence").fill("It inhibits platelets.")
    page.get_by_role("button", name="Update").click()
    expect(picture(page).locator(".tokens.left [data-place]").last).to_have_text("[SEP]")
    expect(picture(page).locator(".tokens.left .second")).to_have_count(1)
    token(page, "left", 2).click()
    expected = reference.attentions("Is aspirin effective?", "It inhibits platelets.")[0].mean(axis=0)[2]
    found = links(page)
    assert all(abs(weight - expected[to]) < 1 / 255 + 1e-4 for (_, to), weight in found.items())
    assert len(found) > 6
    page.go_back()
    expect(page.get_by_label("Second sentence")).to_be_hidden()


def test_all_layers_and_heads(opened: Callable[..., Page], service: Service) -> None:
    page = opened(card_link(tokenInd=""))
    page.get_by_text("All layers and heads", exact=True).click()
    grid = page.get_by_role("group", name="All layers and heads")
    expect(grid.get_by_role("button")).to_have_count(144)
    page.wait_for_function("() => document.querySelector('#explore .grid').dataset.drawn")
    inked = grid.locator("canvas").evaluate(
        """canvas => {
             const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
             return pixels.filter((value, at) => at % 4 === 3 && value > 100).length;
           }"""
    )
    assert inked > 1000
    grid.evaluate("grid => { grid.dataset.drawn = ''; }")
    page.get_by_role("slider").press("End")  # which changes curves, not maps
    page.get_by_text("6", exact=True).first.click()
    drawn(page)
    page.wait_for_timeout(300)
    assert grid.get_attribute("data-drawn") == ""
    page.get_by_label("Hide [CLS] and [SEP]").uncheck()
    expect(grid).to_have_attribute("data-drawn", "144")
    page.get_by_label("Hide [CLS] and [SEP]").check()
    page.get_by_role("slider").fill("70")
    grid.get_by_role("button", name="Layer 3, head 5", exact=True).click()
    assert (state(page)["layer"], state(page)["heads"]) == (2, [4])
    maps = sent_maps(service, NAME)[2][4]
    assert int(drawn(page)["curves"]) == len(above(without_special(maps), 0.7))
    grid.get_by_role("button", name="Layer 3, head 5", exact=True).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert (state(page)["layer"], state(page)["heads"]) == (3, [5])


def test_rollout(opened: Callable[..., Page], reference: Reference) -> None:
    page = opened(card_link(hideClsSep="false", threshold=1, tokenSide="left"))
    page.get_by_text("Rollout", exact=True).click()
    expect(page.get_by_text("It does not say what the layers do with it")).to_be_visible()
    expect(page.get_by_role("button", name="Head 1", exact=True)).to_be_disabled()
    expected = rollout(reference.attentions().astype(np.float32))[3][NSCLC]
    found = links(page)
    assert found
    assert all(abs(weight - expected[to]) < 1 / 255 + 1e-4 for (_, to), weight in found.items())
    page.get_by_role("button", name="Head 5", exact=True).hover(force=True)
    assert drawn(page)["heads"] == "1"
    expect(picture(page).locator(".title.outer")).to_have_text(["rollout", "rollout"])
    expect(page.locator(".place")).to_contain_text("Takes most from, in the rollout")
    expect(page.locator(".threshold label")).to_have_text("Top 100% of each piece's rollout")
    page.wait_for_timeout(300)
    assert read(page.url.partition("?")[2])[0].method == "rollout"
    page.reload()
    expect(page.get_by_role("radio", name="Rollout")).to_be_checked()
    assert links(page) == found
    page.get_by_text("Raw", exact=True).click()
    assert links(page) != found
    page.wait_for_timeout(300)
    assert "method" not in page.url


def test_a_link_to_occlusion(opened: Callable[..., Page]) -> None:
    page = opened(card_link(method="occlusion"))
    expect(page.locator(".occlusion tbody tr")).to_have_count(19)
    expect(page.locator(".occlusion th").nth(1)).to_have_text("Attention from nsclc, mean of the chosen heads")
    page.get_by_role("button", name="Compare").click()
    drawn(page, "other")
    for card in (".occlusion", ".place"):
        expect(page.locator(card).get_by_role("heading").first).to_contain_text(f", in {NAME}, the first model")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("the first model")).to_have_count(0)


def test_occlusion(opened: Callable[..., Page], service: Service) -> None:
    page = opened(card_link(tokenInd=""))
    page.get_by_text("Occlusion", exact=True).click()
    card = page.locator(".occlusion")
    expect(card.get_by_role("status")).to_contain_text("Pin a word")
    token(page, "left", NSCLC).click()
    rows = card.locator("tbody tr")
    request = {"model": NAME, "text": SENTENCE, "masks": [], "place": NSCLC, "words": True}
    expect(rows).to_have_count(19)

    def compare(answer: str | None) -> None:
        found = httpx.post(f"{service.url}/explore/occlusion", json=request | {"answer": answer}, timeout=60).json()
        texts = [text.replace("−", "-") for text in rows.locator("td:last-child span").all_inner_texts()]
        assert [float(text) for text in texts] == pytest.approx(found["changes"], abs=6e-4)
        expect(card.get_by_role("status")).to_contain_text(found["answer"])

    compare(None)
    card.get_by_label("Follow").select_option("nsclc")
    expect(card.get_by_role("status")).to_contain_text("“nsclc” has the probability")
    compare("nsclc")

    def attention() -> list[str]:
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return rows.locator("td:nth-child(2) span").all_inner_texts()

    total = without_special(sent_maps(service, NAME)[5].mean(axis=0))
    page.get_by_text("6", exact=True).first.click()
    assert [float(text) for text in attention()] == pytest.approx(total[NSCLC, 1:-1], abs=6e-4)


def test_another_model_beside(opened: Callable[..., Page], service: Service) -> None:
    page = opened(card_link(layer=2))
    page.get_by_role("button", name="Compare").click()

    def expected(name: str, layer: int, masks: list[int]) -> dict[tuple[int, int], float]:
        total = without_special(sent_maps(service, name, masks=masks)[layer].mean(axis=0))
        return {ends: weight for ends, weight in above(total, 0.7).items() if ends[1] == NSCLC}

    expect(token(page, "right", NSCLC, "other")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("with", exact=True)).to_have_value("other")
    assert links(page, "other") == pytest.approx(expected("other", 2, []), abs=1e-5)
    page.get_by_text("6", exact=True).first.click()
    assert links(page, "other") == pytest.approx(expected("other", 5, []), abs=1e-5)
    assert links(page) == pytest.approx(expected(NAME, 5, []), abs=1e-5)
    page.get_by_label("with", exact=True).select_option(NAME)  # the same model, with masks of its own
    drawn(page, "other")
    expect(token(page, "left", 4, "other")).to_have_text("egfr")
    token(page, "left", 4, "other").dblclick()
    expect(token(page, "left", 4, "other")).to_have_text("[MASK]")
    expect(token(page, "left", 4)).to_have_text("egfr")
    assert links(page, "other") == pytest.approx(expected(NAME, 5, [4]), abs=1e-5)
    page.get_by_role("button", name="Compare").click()
    expect(picture(page, "other")).to_be_hidden()


def test_places_are_compared_by_their_characters(opened: Callable[..., Page], service: Service) -> None:
    text = "Gefitinib treats NSCLC in patients."
    page = opened(card_link(sentence=text.replace(" ", "%20"), tokenInd=""))
    page.get_by_role("button", name="Compare").click()
    page.get_by_label("with", exact=True).select_option("tags")  # of another vocabulary

    def spans(model: str) -> list[tuple[int, int]]:
        answer = httpx.post(f"{service.url}/explore/view", json={"model": model, "text": text}, timeout=60)
        return [(one["start"], one["end"]) for one in decode(answer.content)[0]["tokens"]]

    first, second = spans(NAME), spans("tags")
    expect(picture(page, "other").locator(".tokens.left [data-place]")).to_have_count(len(second))
    shared = [place for place, span in enumerate(second) if span in first and span != (0, 0)]
    lost = [place for place, span in enumerate(second) if span not in first]
    assert any([second[place]] != first[place : place + 1] for place in shared)
    assert lost
    for place in shared:
        token(page, "left", place, "other").click()
        assert state(page)["token"] == first.index(second[place])
        expect(token(page, "left", place, "other")).to_have_attribute("aria-pressed", "true")
    before = state(page)["token"]
    for place in lost:
        token(page, "right", place, "other").click()
        assert state(page)["token"] == before
    picture(page, "other").locator(".heat.left").click(position={"x": 2, "y": 40})


def test_tuned_models(opened: Callable[..., Page]) -> None:
    page = opened("/explore?model=tags&sentence=Imatinib%20treats%20leukaemia%20and%20%F0%9D%9B%BD-thalassaemia.")
    marks = page.locator(".panel .said mark")
    labels = [text.split()[0] for text in marks.locator("small").all_inner_texts()]
    assert labels
    assert set(labels) <= {"Disease", "Drug"}
    assert page.locator(".tokens.left .entity").count() >= len(labels)
    text = page.locator(".panel .said").evaluate(
        "one => [...one.childNodes].map(node => node.firstChild?.data ?? node.data).join('')"
    )
    assert text == "Imatinib treats leukaemia and 𝛽-thalassaemia."
    page.locator("#explore-model").select_option("classes")
    expect(page.locator(".panel .said .bars li")).to_have_count(3)
    page.get_by_text("Occlusion", exact=True).click()
    expect(page.locator(".occlusion tbody tr").first).to_be_visible()


def saved(page: Page, kind: str, tmp_path: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=kind, exact=True).click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_pictures(opened: Callable[..., Page], tmp_path: Path) -> None:
    page = opened(card_link())
    curves = int(drawn(page)["curves"])
    path = saved(page, "SVG", tmp_path)
    assert path.name == "gefitinib-is-an-egfr-tyrosine-kinase-layer-4.svg"
    expect(page.get_by_role("status").first).to_have_text(f"Saved as {path.name}.")
    svg = etree.parse(path, etree.XMLParser(resolve_entities=False)).getroot()
    space = {"s": "http://www.w3.org/2000/svg"}
    assert len(svg.findall("s:path", space)) == curves
    texts = [one.text for one in svg.findall("s:text", space)]
    assert texts.count("nsclc") == 2
    assert texts[:2] == [NAME, "layer 4, all heads, top 70%"]
    assert svg.findtext("s:title", namespaces=space) == SENTENCE
    assert texts[2:6] == ["heads", "from", "to", "heads"]
    assert len([one for one in svg.findall("s:rect", space) if one.get("stroke")]) == 1
    underlined = [one for one in svg.findall("s:text", space) if one.get("text-decoration")]
    assert len(underlined) == curves
    page.evaluate("HTMLCanvasElement.prototype.toBlob = () => {}")  # made in idle time, which may be long in coming
    png = saved(page, "PNG", tmp_path).read_bytes()
    assert png.startswith(b"\x89PNG")
    width, height = (int.from_bytes(png[place : place + 4], "big") for place in (16, 20))
    assert (width, height) == (2 * int(svg.get("width", "0")), 2 * int(svg.get("height", "0")))


def test_a_saved_rollout_has_its_curves(opened: Callable[..., Page], browser: Browser, tmp_path: Path) -> None:
    page = opened(card_link(heads="..3,4"))
    page.get_by_text("Rollout", exact=True).click()
    expect(picture(page)).to_have_attribute("data-heads", "1")
    before = drawn(page)["links"]
    context = browser.new_context(offline=True)
    alone = context.new_page()
    path = saved(page, "HTML", tmp_path)
    assert path.stem.endswith("-layer-4-rollout")
    alone.goto(path.as_uri())
    assert alone.title() == f"Attention rollout: {SENTENCE}"
    expect(alone.locator(".panel h2")).to_have_text(f"{NAME}, attention rollout")
    expect(alone.locator(".threshold label")).to_have_text("Top 70% of each piece's rollout")
    expect(alone.locator(".attention")).to_have_attribute("data-links", before)
    assert before
    alone.keyboard.press("Escape")
    expect(alone.locator(".attention")).to_have_attribute("data-active", "")
    context.close()


def test_occlusion_is_saved_as_a_page(opened: Callable[..., Page], browser: Browser, tmp_path: Path) -> None:
    page = opened(card_link(method="occlusion"))
    rows = page.locator(".occlusion tbody tr")
    expect(rows).to_have_count(19)
    name = saved(page, "SVG", tmp_path).name
    status = page.get_by_role("status").first
    expect(status).to_have_text(f"Saved as {name}, without the table of occlusion, which HTML has.")
    path = saved(page, "HTML", tmp_path)
    expect(status).to_have_text(f"Saved as {path.name}.")
    context = browser.new_context(offline=True)
    alone = context.new_page()
    alone.goto(path.as_uri())
    expect(alone.locator(".occlusion tbody tr")).to_have_count(19)
    assert alone.locator(".occlusion table").inner_text() == page.locator(".occlusion table").inner_text()
    context.close()


def test_the_second_sentence_goes_at_once(opened: Callable[..., Page]) -> None:
    page = opened(card_link(sentenceB="It%20blocks%20EGFR."))
    assert state(page)["sentence_b"] == "It blocks EGFR."
    page.get_by_role("button", name="Remove the second sentence").click()
    expect(page.locator("#explore form")).to_have_attribute("data-state", re.compile('"sentence_b":null'))
    page.get_by_role("button", name="Add a second sentence").click()
    expect(page.get_by_label("Second sentence")).to_be_focused()


def test_a_page_that_cannot_be_saved(opened: Callable[..., Page]) -> None:
    page = opened(card_link())
    page.route("**/page/explore/view.js", lambda route: route.fulfill(status=502, body="no"))
    page.get_by_role("button", name="HTML", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("the service answered 502 for its part explore/view.js")


@pytest.mark.parametrize("compared", [False, True])
def test_the_saved_page_needs_nobody(
    opened: Callable[..., Page], browser: Browser, tmp_path: Path, compared: bool
) -> None:
    evil = "Gefitinib%20%3C/script%3E%3Cscript%3Ealert(1)%3C/script%3E%20treats%20NSCLC."
    page = opened(card_link(sentence=evil, tokenInd=2, tokenSide="left"))
    if compared:
        page.get_by_role("button", name="Compare").click()
        drawn(page, "other")
    before = links(page)
    path = saved(page, "HTML", tmp_path)
    context = browser.new_context(offline=True)
    alone = context.new_page()
    noise: list[str] = []
    alone.on("console", lambda message: noise.append(message.text))
    alone.on("pageerror", lambda error: noise.append(str(error)))
    alone.on("request", lambda sent: noise.append(sent.url) if sent.url != path.as_uri() else None)
    alone.goto(path.as_uri())
    view = alone.locator(".attention").first
    expect(alone.locator(".attention")).to_have_count(1 + compared)
    expect(view).to_have_attribute("data-active", "left 2")

    def shown() -> dict[tuple[int, int], float]:
        alone.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        parts = re.findall(r"(\d+)>(\d+):([\d.]+)", view.get_attribute("data-links") or "")
        return {(int(start), int(end)): float(weight) for start, end, weight in parts}

    assert shown() == before
    alone.get_by_text("9", exact=True).first.click()
    assert shown() != before
    alone.get_by_role("button", name="None heads").click()
    assert shown() == {}
    alone.get_by_role("button", name="Head 2", exact=True).click()
    alone.get_by_role("slider").fill("100")
    assert len(shown()) > 5
    view.locator(".tokens.right [data-place='3']").click()
    expect(view).to_have_attribute("data-active", "right 3")
    view.locator(".tokens.left [data-place='4']").hover()
    expect(view.locator(".popup")).to_contain_text("would predict here")
    assert noise == []
    context.close()
