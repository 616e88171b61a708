"""The explorer's page in a browser, on a service with a model of the cards' shape and vocabulary, and an index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from playwright.sync_api import Browser, Locator, Page
from transformers import BertTokenizerFast

from pubmedbert import bundled
from pubmedbert.explore.index import make_index
from pubmedbert.explore.wire import decode
from pubmedbert.model import hf
from pubmedbert.model.config import ModelConfig
from tests.explore.conftest import SENTENCE, FakeCorpus
from tests.infer.tuned_folders import HEADS, tuned_folder
from tests.model.reference import load_theirs, our_model
from tests.serve.conftest import Service, serving
from tests.serve.test_page import CHROMIUM, browser  # noqa: F401  a fixture

CARD = "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"
"""The name in the card's link, from before the hub's renaming."""
SERVED = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext"
NSCLC = 17
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if CHROMIUM is None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="there is no chromium on this machine"))


def card_link(model: str = CARD, **changes: object) -> str:
    """The link of the model cards, without its host."""
    fields: dict[str, object] = {
        "model": model,
        "modelKind": "bidirectional",
        "sentence": SENTENCE.replace(" ", "%20"),
        "layer": 3,
        "heads": "..0,1,2,3,4,5,6,7,8,9,10,11",
        "threshold": 0.7,
        "tokenInd": NSCLC,
        "tokenSide": "right",
        "maskInds": "..",
        "hideClsSep": "true",
    }
    return "/exbert/?" + "&".join(f"{name}={value}" for name, value in (fields | changes).items())


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models under their hub names, a tuned one, and an index of a small corpus."""
    place = tmp_path_factory.mktemp("explored")
    # 12 layers of 12 heads, and the bundled vocabulary, where nsclc is one piece.
    config = ModelConfig(vocab_size=30522, layers=12, width=48, heads=12, ffn=48, max_positions=128)
    for number, name in enumerate([SERVED, "other"]):
        folder = place / name
        folder.mkdir(parents=True)
        model = our_model(config)
        with torch.no_grad():
            model.encoder.embeddings.words.weight *= 25 + number
            for part, weight in model.named_parameters():
                if part.endswith("qkv.weight"):
                    weight[: 2 * config.width] *= 6  # sharper attention than random weights have
        hf.save(model, folder)
        for file in TOKENIZER_FILES:
            shutil.copy(Path(bundled.__path__[0]) / file, folder)
    tuned_folder(place / "tags", HEADS["tags"])
    tuned_folder(place / "classes", HEADS["single"])
    make_index(FakeCorpus(), place / SERVED, place / "index", layer=12)
    return place


@pytest.fixture(scope="session")
def service(world: Path) -> Iterator[Service]:
    names = [SERVED, "other", "tags", "classes"]
    options = [part for name in names for part in ("--model", name)]
    with serving(*options, "--index", world / "index", "--tagger", "tags", cwd=world) as running:
        yield running


@pytest.fixture
def opened(browser: Browser, service: Service) -> Iterator[Callable[..., Page]]:  # noqa: F811
    """Open a link; at the end nothing was said on the console, and nobody else was asked for anything."""
    noise: list[str] = []
    contexts = []

    def open_page(link: str, *, ready: bool = True, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1366, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        host = urlsplit(service.url).netloc
        page.on("request", lambda sent: None if urlsplit(sent.url).netloc in (host, "") else noise.append(sent.url))
        page.goto(service.url + link)
        if ready:
            drawn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [line for line in noise if "Failed to load resource" not in line] == []  # said of any refusal


def picture(page: Page, panel: str = "main") -> Locator:
    return page.locator(f"#explore [data-part={panel}] .attention")


def drawn(page: Page, panel: str = "main") -> dict[str, str]:
    """What the picture says of itself once the last frame is drawn."""
    page.wait_for_function(
        """panel => {
             const view = document.querySelector(`#explore [data-part=${panel}] .attention`);
             return view?.dataset.curves && view.dataset.drawn === view.dataset.curves
               && view.closest(".panel").ariaBusy !== "true";
           }""",
        arg=panel,
    )
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found: dict[str, str] = picture(page, panel).evaluate("view => ({...view.dataset})")
    return found


def state(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.locator("#explore form").get_attribute("data-state") or "null")
    return found


def token(page: Page, side: str, place: int, panel: str = "main") -> Locator:
    return picture(page, panel).locator(f".tokens.{side} [data-place='{place}']")


def links(page: Page, panel: str = "main") -> dict[tuple[int, int], float]:
    """The curves of what is active: from and to, and the mean attention of the heads."""
    pairs = [part.split(":") for part in drawn(page, panel)["links"].split()]
    return {(int(ends.split(">")[0]), int(ends.split(">")[1])): float(weight) for ends, weight in pairs}


class Reference:
    """The model as transformers runs it, with eager attention."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = BertTokenizerFast.from_pretrained(folder)
        self.model = load_theirs(folder)
        self.model.set_attn_implementation("eager")

    def attentions(
        self, text: str = SENTENCE, text_b: str | None = None, masks: Sequence[int] = ()
    ) -> NDArray[np.float64]:
        """`[layers, H, T, T]`."""
        found: NDArray[np.float64] = torch.cat(self._run(text, text_b, masks).attentions).double().numpy()
        return found

    def guesses(self, place: int, text: str = SENTENCE, masks: Sequence[int] = ()) -> list[tuple[str, float]]:
        """The five best pieces at a place."""
        shares, ids = self._run(text, None, masks).logits[0, place].softmax(-1).topk(5)
        return list(zip(self.tokenizer.convert_ids_to_tokens(ids.tolist()), shares.tolist(), strict=True))

    def _run(self, text: str, text_b: str | None, masks: Sequence[int]) -> Any:
        given = self.tokenizer(text, text_b, return_tensors="pt")
        for place in masks:
            given["input_ids"][0, place] = self.tokenizer.mask_token_id
        with torch.inference_mode():
            return self.model(**given, output_attentions=True)


@pytest.fixture(scope="session")
def reference(world: Path) -> Reference:
    return Reference(world / SERVED)


def sent_maps(service: Service, model: str, text: str = SENTENCE, **more: Any) -> NDArray[np.float64]:
    """The maps `[layers, H, T, T]` as the page gets them."""
    answer = httpx.post(f"{service.url}/explore/view", json={"model": model, "text": text, **more}, timeout=60)
    return decode(answer.raise_for_status().content)[1].astype(np.float64)


def without_special(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """A sum `[T, T]` of one sentence, with [CLS] and [SEP] hidden."""
    found = total.copy()
    found[[0, -1]] = found[:, [0, -1]] = 0
    return found


def above(total: NDArray[np.float64], share: float) -> dict[tuple[int, int], float]:
    """exBERT's rule: of each row the largest, until they reach a share of its sum."""
    found = {}
    for row, weights in enumerate(total):
        reached = 0.0
        for column in np.argsort(-weights, kind="stable"):
            if reached >= share * weights.sum() - 1e-12 or not weights[column]:
                break
            reached += weights[column]
            found[row, int(column)] = float(weights[column])
    return found
