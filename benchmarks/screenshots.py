"""The pictures of docs/explorer.md, of the generated sample corpus and the bundled model.

Run as `python -m benchmarks.screenshots docs/images`.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
LINK = (
    "exbert/?model=bundled&modelKind=bidirectional&sentence=Gefitinib%20is%20an%20EGFR%20tyrosine%20kinase%20inhibitor,"
    "%20which%20is%20often%20used%20for%20breast%20cancer%20and%20NSCLC%20treatment.&layer=3&heads=..0,1,2,3&threshold=0.7"
    "&tokenInd=17&tokenSide=right&maskInds=..&hideClsSep=true"
)
"""That of the model cards, with the bundled model and its heads."""
PAGE = Path(__file__).parents[1] / "docs" / "explorer.md"


def main() -> None:
    """Make all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    with tempfile.TemporaryDirectory() as work, as_documented(Path(work)) as url:
        for path in taken(url, folder):
            print(path)


@contextmanager
def as_documented(work: Path, documents: int | None = None) -> Iterator[str]:
    """Give the commands of the page, in a folder, for the generated sample corpus.

    Args:
        work: the folder.
        documents: how many are indexed; None is as the page has it.

    Yields:
        The address of the service, which ends with the block.
    """
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    if documents is not None:
        block = re.sub(r"--limit \d+", f"--limit {documents}", block)
    python = [sys.executable, "-c", "from pubmedbert.cli import main; main()"]
    *before, last = ([*python, *shlex.split(line)[1:]] for line in block.splitlines())
    for command in before:
        subprocess.run(command, cwd=work, check=True)
    with serving([*last, "--port", "0"], work) as url:
        yield url


@contextmanager
def serving(command: list[str], work: Path) -> Iterator[str]:
    """A service until the end of the block; yields the address."""
    process = subprocess.Popen(command, cwd=work, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            said = json.loads(line)
            if said["message"] == "ready":
                yield said["url"]
                return
        raise SystemExit("error: the service did not start")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def taken(url: str, folder: Path) -> Iterator[Path]:
    """Walk through the page as docs/explorer.md does."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("error: there is no chromium on this machine; install it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = opened(browser, url)
        page.get_by_role("button", name="Unpin").click()
        yield shot(page, folder / "explorer.png")
        page.locator(".tokens.left [data-place='17']").first.click()
        yield shot(page, folder / "explorer-pinned.png")
        page.get_by_role("button", name="Mask", exact=True).click()
        page.locator(".tokens .masked").first.wait_for()
        yield shot(page, folder / "explorer-masked.png")
        page.get_by_role("button", name="Unmask").click()
        page.get_by_role("button", name="Find in the corpus").click()
        page.locator(".found li").first.wait_for()
        yield shot(page, folder / "explorer-corpus.png", of=".corpus")
        page.get_by_text("All layers and heads", exact=True).click()
        page.wait_for_function("() => document.querySelector('#explore .grid').dataset.drawn")
        yield shot(page, folder / "explorer-multiples.png", of="#explore details.card")
        page.get_by_text("Occlusion", exact=True).click()
        page.locator(".occlusion tbody tr").first.wait_for()
        yield shot(page, folder / "explorer-occlusion.png", of=".occlusion")
        page.close()
        page = opened(browser, url, dark=True)
        yield shot(page, folder / "explorer-dark.png")
        browser.close()


def opened(browser: Browser, url: str, *, dark: bool = False) -> Page:
    """The card's link on a laptop."""
    page = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme="dark" if dark else "light")
    page.goto(f"{url}/{LINK}")
    page.locator(".attention[data-active='right 17']").wait_for()
    return page


def shot(page: Page, path: Path, of: str | None = None) -> Path:
    """The page as it is seen, or a part of it, once nothing moves; a picture is kept small by few colours."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    if of is None:
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=path)
    else:
        page.locator(of).screenshot(path=path)
    few_colours(path)
    return path


def few_colours(path: Path) -> None:
    """Rewrite a PNG with a palette: a third of its bytes, and hardly a difference that can be seen."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
