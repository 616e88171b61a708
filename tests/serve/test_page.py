"""The page in a browser: its answers, the keyboard, both colour schemes, and that it asks nobody else for anything."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.serve.conftest import Service

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, service: Service) -> Iterator[Callable[..., Page]]:
    """Open the page; at the end nothing was said on the console and no other host was asked."""
    noise: list[str] = []
    contexts = []

    def open_page(path: str = "/", url: str = service.url, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        host = urlsplit(url).netloc
        page.on("request", lambda sent: None if urlsplit(sent.url).netloc == host else noise.append(sent.url))
        page.goto(url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [line for line in noise if "status of 400" not in line] == []  # what the browser says of any refusal


def shown(page: Page) -> list[tuple[str, str]]:
    rows = page.locator("tbody tr").all()
    return [(row.locator("th").inner_text(), row.locator(".score span").inner_text()) for row in rows]


def test_compute_shows_what_the_api_answers(opened: Callable[..., Page], service: Service) -> None:
    page = opened()
    page.get_by_role("button", name="Compute").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    answer = service.post("/fill-mask", {"inputs": page.get_by_label("Text", exact=True).input_value()}).json()
    assert shown(page) == [(one["token_str"], f"{one['score']:.3f}") for one in answer]
    expect(page.get_by_role("status")).to_contain_text(answer[0]["token_str"])
    widths = page.locator(".track i").evaluate_all("bars => bars.map((bar) => bar.offsetWidth)")
    assert widths == sorted(widths, reverse=True)
    page.get_by_text("JSON and curl").click()
    assert json.loads(page.get_by_label("JSON answer").inner_text()) == answer
    command = page.get_by_label("curl command").inner_text()
    words = shlex.split(command.replace("\\\n", " "))
    run = subprocess.run([*words, "--silent"], capture_output=True, check=True)
    assert json.loads(run.stdout) == answer


def test_targets_count_and_several_masks(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_role("button", name="The patient was given").click()
    page.get_by_label("Answers").fill("2")
    page.get_by_label("Only these words").fill("drug, pain , fever")
    page.get_by_role("button", name="Compute").click()
    expect(page.locator("table")).to_have_count(2)
    expect(page.locator("caption")).to_have_text(["Mask 1", "Mask 2"])
    assert {word for word, _ in shown(page)} <= {"drug", "pain", "fever"}
    asked = page.get_by_label("Only these words")
    for written, sentence in (("1,2-dichloroethane", "“1,2” may be part of a word"), ('a "b', "quote is not closed")):
        asked.fill(written)
        page.get_by_role("button", name="Compute").click()
        expect(page.get_by_role("alert")).to_contain_text(sentence)
    asked.fill('"1,2-dichloroethane", "2,3", 4')
    with page.expect_request("**/fill-mask") as sent:
        page.get_by_role("button", name="Compute").click()
    asked_for: Any = sent.value.post_data_json
    assert asked_for["parameters"]["targets"] == ["1,2-dichloroethane", "2,3", "4"]


def test_the_keyboard_is_enough(opened: Callable[..., Page]) -> None:
    page = opened()
    page.locator("body[data-ready]").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.get_by_role("tab", name="Fill-mask").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Explore")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Fill-mask")).to_be_focused()
    text = page.get_by_label("Text", exact=True)
    text.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("Aspirin eases ")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(text).to_have_value("Aspirin eases [MASK]")
    expect(text).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator("tbody tr")).to_have_count(5)
    compute = page.get_by_role("button", name="Compute")
    compute.focus()
    assert compute.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_contain_text("Best:")
    expect(compute).to_be_focused()


def test_errors_are_said(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_label("Text", exact=True).fill("[MASK] " + "a " * 100)
    page.get_by_role("button", name="Compute").click()
    expect(page.get_by_role("alert")).to_contain_text("too long")


def test_the_command_survives_a_shell(opened: Callable[..., Page], service: Service) -> None:
    page = opened()
    text = "It's \"5'-[MASK]\" \\ $HOME `id` !\nβ-blocker 日本"
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Compute").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    command = page.get_by_label("curl command").text_content()
    assert command
    run = subprocess.run(["bash", "-c", f"{command} --silent"], capture_output=True, check=True)
    assert json.loads(run.stdout) == service.post("/fill-mask", {"inputs": text}).json()


def test_one_answer_after_another(opened: Callable[..., Page], service: Service) -> None:
    page = opened()
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url) if sent.method == "POST" else None)

    def slowly(route: Route) -> None:
        page.wait_for_timeout(300)
        route.continue_()

    page.route("**/pipeline/fill-mask", slowly)
    page.get_by_role("button", name="Compute").dblclick()
    expect(page.locator("tbody tr")).to_have_count(5)
    assert len(asked) == 1, "a second request while one is computed"
    first = shown(page)
    page.get_by_role("button", name="Metformin").click()
    page.get_by_role("button", name="Compute").click()
    answer = service.post("/fill-mask", {"inputs": page.get_by_label("Text", exact=True).input_value()}).json()
    expect(page.get_by_role("status")).to_contain_text(f"Best: {answer[0]['token_str']}")
    assert shown(page) == [(one["token_str"], f"{one['score']:.3f}") for one in answer] != first


def test_another_example_takes_the_answers_away(opened: Callable[..., Page]) -> None:
    page = opened()
    compute, answers = page.get_by_role("button", name="Compute"), page.locator("#fill-mask table")
    compute.click()
    expect(answers).to_be_visible()
    page.get_by_role("button", name="Metformin").click()
    expect(answers).not_to_be_visible()
    expect(page.get_by_role("status")).to_be_empty()

    def slowly(route: Route) -> None:
        page.wait_for_timeout(300)
        route.continue_()

    page.route("**/pipeline/fill-mask", slowly)
    compute.click()
    page.get_by_role("button", name="Mutations").click()
    expect(compute).to_have_attribute("aria-disabled", "false")  # the answer to the example before has come
    expect(answers).not_to_be_visible()


@pytest.mark.parametrize("control", ["Text", "Model", "Answers", "Only these words"])
def test_control_and_enter_compute_anywhere(opened: Callable[..., Page], control: str) -> None:
    page = opened()
    panel = page.locator("#fill-mask")
    expect(panel).to_be_visible()
    panel.get_by_label(control, exact=control == "Text").press("Control+Enter")
    expect(page.locator("#fill-mask tbody tr")).to_have_count(5)


def test_control_and_enter_on_an_example_leave_the_text(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_role("button", name="Metformin").press("Control+Enter")
    expect(page.locator("#fill-mask tbody tr")).to_have_count(5)
    expect(page.get_by_label("Text", exact=True)).to_have_value("[MASK] is a tyrosine kinase inhibitor.")


def test_small_scores_can_be_told_apart(opened: Callable[..., Page]) -> None:
    page = opened()
    scores = {1.0: "1.000", 0.0012: "0.001", 0.00087: "8.7×10⁻⁴", 3.21e-12: "3.2×10⁻¹²", 0.0: "0.000"}
    answer = [{"score": score, "token": 1, "token_str": "a", "sequence": "a"} for score in scores]
    page.route("**/pipeline/fill-mask", lambda route: route.fulfill(json=answer))
    page.get_by_role("button", name="Compute").click()
    expect(page.locator("#fill-mask tbody tr")).to_have_count(5)
    assert [score for _, score in shown(page)] == list(scores.values())


def test_html_in_a_text_is_text(opened: Callable[..., Page]) -> None:
    page = opened()
    text = "<img src=x onerror=alert(1)> <b>bold</b> [MASK]"
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Compute").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    assert page.locator("#fill-mask img, #fill-mask b").count() == 0
    assert text.removesuffix("[MASK]") in page.locator("tbody .sequence").first.inner_text()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 500, "json": {"error": "a fault of the service; its log says more"}}, "its log says more"),
        ({"status": 502, "body": "<html>"}, "The service answered 502."),
        ({"status": 200, "json": [{"name": "ner", "tasks": ["token-classification"]}]}, "No model of this service"),
        (None, "Reload the page"),
    ],
)
def test_a_page_that_cannot_begin_says_why(
    browser: Browser, service: Service, answer: dict[str, Any] | None, said: str
) -> None:
    def answered(route: Route) -> None:
        if answer is None:
            route.abort()
        else:
            route.fulfill(**answer)

    page = browser.new_page()
    page.route("**/models", answered)
    page.goto(service.url)
    expect(page.get_by_role("alert")).to_contain_text(said)
    if answer and answer["status"] == 200:
        expect(page.get_by_role("button", name="Compute")).to_be_disabled()
    else:
        expect(page.get_by_label("Text", exact=True), "what is typed now would be lost").to_be_hidden()
    page.close()


def test_an_answer_that_was_cut_is_said_to_be(opened: Callable[..., Page]) -> None:
    page = opened()
    cut = {"content_type": "application/json", "body": '[{"score": 0.1, "tok'}
    page.route("**/pipeline/fill-mask", lambda route: route.fulfill(**cut))
    page.get_by_role("button", name="Compute").click()
    expect(page.locator("#fill-mask [role=alert]")).to_have_text("The answer was cut short; ask again.")


def test_the_chosen_tab_and_the_scores_are_seen_in_forced_colours(opened: Callable[..., Page]) -> None:
    page = opened(forced_colors="active")
    page.get_by_role("button", name="Compute").click()
    bar = page.locator(".track i").first
    expect(bar).to_be_visible()
    ground = "one => getComputedStyle(one).backgroundColor"
    chosen, other = page.locator("[aria-selected=true]"), page.locator("[aria-selected=false]").first
    assert chosen.evaluate(ground) != other.evaluate(ground)
    assert bar.evaluate(ground) != page.locator(".track").first.evaluate(ground)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(opened: Callable[..., Page], scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for text, 3 to 1 for what bounds a control."""
    page = opened(color_scheme=scheme)
    page.get_by_role("button", name="Compute").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    colours = page.evaluate(
        """names => Object.fromEntries(names.map(name =>
             [name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()]))""",
        ["ground", "surface", "text", "quiet", "edge", "accent", "on-accent", "accent-strong", "error"],
    )
    assert (luminance(colours["ground"]) < 0.1) == (scheme == "dark")
    for front, back, least in (
        *((front, back, 4.5) for front in ("text", "quiet", "accent", "error") for back in ("ground", "surface")),
        ("on-accent", "accent", 4.5),
        ("on-accent", "accent-strong", 4.5),
        ("edge", "surface", 3),
    ):
        assert contrast(colours[front], colours[back]) >= least, (front, back)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_phone_does_not_scroll_sideways(opened: Callable[..., Page]) -> None:
    page = opened(viewport={"width": 360, "height": 740})
    page.get_by_role("button", name="Compute").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert all(box["height"] < 80 for row in page.locator("tbody tr").all() if (box := row.bounding_box()))


def test_every_control_has_a_name(opened: Callable[..., Page]) -> None:
    page = opened()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button, pre")]
             .filter((one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel)).length"""
    )
    assert unnamed == 0


def test_the_key_is_asked_for(browser: Browser, one: Callable[..., Any]) -> None:
    with one(key="abc") as service:
        page = browser.new_page()
        page.goto(service.url)
        field = page.get_by_label("This service asks for its API key")
        for wrong in ("wrong", "schlüssel", "abc def"):
            field.fill(wrong)
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_have_text("The service did not take this key.")
            expect(field).to_have_value("")
        field.fill("abc")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_count(0)
        page.get_by_role("button", name="Compute").click()
        expect(page.locator("tbody tr")).to_have_count(5)
        expect(page.get_by_label("curl command")).to_contain_text("$PUBMEDBERT_API_KEY", use_inner_text=False)
        page.close()


def test_the_documentation_lists_all_operations(opened: Callable[..., Page]) -> None:
    page = opened("/docs")
    operations = page.locator(".operation")
    expect(operations.first).to_be_visible()
    assert operations.count() >= 10
    operations.first.locator("summary").click()
    expect(operations.first).to_contain_text("parameters.top_k")
