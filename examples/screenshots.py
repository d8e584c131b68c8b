"""Screenshots of every tab of the page, at desktop and phone width:

    python examples/screenshots.py

Serves the embedded models itself, with an empty store, unless it is given the address of a running app.
Needs playwright and Chromium. Writes WebP files to examples/screenshots."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTHS = {"desktop": 1280, "phone": 390}
PATIENCE = 300_000  # milliseconds
TOP = 900  # pixels: what is seen at first sight


def first(page: Page) -> None:
    """Leave the page as it is met."""
    page.get_by_text("· ready").first.wait_for(timeout=PATIENCE)


def run(page: Page, kind: str) -> None:
    """Open a tab, run what it offers and wait for the figures."""
    page.get_by_role("tab", name=kind, exact=True).click()
    page.get_by_role("button", name="Run", exact=True).locator("visible=true").click()
    page.locator(".zc-speedup:visible").wait_for(timeout=PATIENCE)
    page.wait_for_timeout(1500)


def sweep(page: Page) -> None:
    """Run the comparison of intervals."""
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_role("button", name="Compare all", exact=True).click()
    page.get_by_alt_text("The plain picture and each variant").wait_for(timeout=PATIENCE)
    page.wait_for_timeout(1500)


def explain(page: Page) -> None:
    """Open the tab with the walk, in the middle of it."""
    page.get_by_role("tab", name="How it works", exact=True).click()
    box = page.get_by_label("number input for Pass")
    box.fill("16")
    box.press("Tab")
    page.get_by_text("Pass 16").wait_for(timeout=PATIENCE)


TABS: dict[str, Any] = {
    "first": first,
    "image": lambda page: run(page, "Image"),
    "video": lambda page: run(page, "Video"),
    "class": lambda page: run(page, "Class"),
    "compare": sweep,
    "how": explain,
}


@contextmanager
def served(url: str) -> Iterator[str]:
    """Give the address of a running app; without one, run one as long as it is needed."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory() as store:
        os.environ["ZCACHE_STORE"] = store
        from zcache.app import build_demo, launch_options

        demo = build_demo()
        _, own, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
        yield own
        demo.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--out", type=Path, default=Path("examples/screenshots"))
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))))
    with served(options.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, pixels in WIDTHS.items():
            page = browser.new_page(viewport={"width": pixels, "height": TOP})
            page.goto(url + ("?__theme=dark" if options.dark else "?__theme=light"))
            page.get_by_role("button", name="Run", exact=True).wait_for(timeout=PATIENCE)
            for name, act in TABS.items():
                act(page)
                page.evaluate("window.scrollTo(0, 0)")
                shot = Image.open(io.BytesIO(page.screenshot(full_page=name != "first")))
                shot.save(options.out / f"{name}-{width}.webp", quality=85, method=6)
                print(name, width, shot.size, flush=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
