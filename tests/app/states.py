"""Every state of the page at every width and colour scheme, checked and photographed:

    python -m tests.app.states [URL] --out FOLDER

Without URL it serves the embedded models itself, with an empty store. `--width`, `--scheme`, `--kind` and
`--state` choose; by default all are visited. It prints what is wrong, one line each, and exits with 1 if
anything is.

In every state: no error in the console, no request to another host, axe-core finds nothing, the document is
no wider than the screen, no text is cut off, no two texts or controls lie on each other, and wherever it is
scrolled to, nothing is painted over the buttons that stay at its top.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from .looking import COVERED, CUT_OFF, NO_RING, PAINTED_OVER, axe_violations

WIDTHS, SCHEMES, KINDS = (1440, 1280, 390), ("light", "dark"), ("image", "video", "class")
PATIENCE = 60_000  # milliseconds, for whatever answers at once
WORK_PATIENCE = 300_000  # for a run or a sweep to end on a machine that does other things besides
HEIGHT, DEFAULT_STEPS, STEPS_COMPARED = 900, 50, 20
TABS_TO_RUN = 60  # presses of Tab that must lead from the top of the page to Run
LEAVING = (  # .github/gradio.md: what gradio logs when a page goes during a run
    "AbortError: signal is aborted without reason",
    "Unexpected error Connection errored out.",
)


@dataclass
class Visit:
    """One page at one width and scheme; `wrong` has what was found in its states."""

    page: Any
    url: str
    width: int
    scheme: str
    kind: str = "image"
    out: Path | None = None
    steps: int = DEFAULT_STEPS
    wrong: list[str] = field(default_factory=list)
    state: str = ""
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on(
            "console", lambda said: self._said(said.text) if said.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self._said(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))

    def _said(self, text: str) -> None:
        if not any(allowed in text for allowed in self.allowed):
            self.complain(f"console: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.complain(f"a request to {url}")

    def complain(self, what: str) -> None:
        told = f"{self.state} {self.kind} {self.width} {self.scheme}: {what}"
        if told not in self.wrong:
            self.wrong.append(told)
            print(told, flush=True)

    def open(self, **settings: Any) -> int:
        """Open the tab of the kind with these settings, each time another run; return its seed."""
        given = {"tab": self.kind, "seed": random.randrange(10**9), **settings}
        if self.steps != DEFAULT_STEPS:
            given["steps"] = self.steps
        self.goto("?" + urlencode({**given, "__theme": self.scheme}))
        self.page.locator(f"#{self.kind}-run").wait_for(timeout=PATIENCE)
        planned = self.page.locator(".zc-plan-line:visible").filter(has_text="full steps of")
        planned.first.wait_for(timeout=PATIENCE)
        self.page.locator(".zc-chip:visible").filter(has_text="· ready").wait_for(timeout=PATIENCE)
        return int(given["seed"])

    def goto(self, address: str) -> None:
        self.page.goto(self.url + address)
        self.page.get_by_role("tab", name="Image", exact=True).wait_for(timeout=PATIENCE)

    def run(self) -> None:
        self.page.locator(f"#{self.kind}-run").click()

    def ran(self) -> None:
        """Wait until a run has ended well and what it shows is there."""
        self.page.locator(".zc-speedup:visible").wait_for(timeout=WORK_PATIENCE)
        self.page.locator(f"#{self.kind}-run:enabled").wait_for(timeout=WORK_PATIENCE)
        self.page.wait_for_timeout(500)  # pictures come, and the page scrolls to them

    def text(self, text: str) -> None:
        self.page.get_by_text(text).locator("visible=true").first.wait_for(timeout=PATIENCE)

    def look(self, name: str = "") -> None:
        """Photograph the page and check what is to be seen."""
        if name:
            self.state = name
        self.to_top()
        if self.out is not None:
            file = f"{self.state}-{self.kind}-{self.width}-{self.scheme}.png"
            self.page.screenshot(path=self.out / file, full_page=True)
            self.to_top()
        for check in (CUT_OFF, COVERED, PAINTED_OVER):
            for found in self.page.evaluate(check):
                self.complain(found)
        for found in axe_violations(self.page):
            self.complain(found)

    def to_top(self) -> None:
        """Scroll to the top and stay there: what Run reveals may still be scrolling into view."""
        for _ in range(20):
            moved = self.page.evaluate("() => { const y = scrollY; scrollTo(0, 0); return y; }")
            self.page.wait_for_timeout(300)  # colours fade in, too
            if not moved and not self.page.evaluate("scrollY"):
                return
        self.complain("the page does not stay at its top")


def first(visit: Visit) -> None:
    """The page as it is met; of the tabs that one starts with, only the first is."""
    visit.goto(f"?__theme={visit.scheme}")
    visit.page.get_by_text("· ready").first.wait_for(timeout=PATIENCE)
    visit.page.get_by_role("tab", name=visit.kind.capitalize(), exact=True).click()
    visit.page.locator(".zc-chip:visible").filter(has_text="· ready").wait_for(timeout=PATIENCE)
    visit.look()


def running(visit: Visit) -> None:
    visit.open(interval=3)
    visit.run()
    visit.page.locator(".zc-preview img:visible").first.wait_for(timeout=PATIENCE)
    visit.look()
    visit.ran()


def stopped(visit: Visit) -> None:
    visit.open(interval=2)
    visit.run()
    visit.page.get_by_role("button", name="Stop").locator("visible=true").click()
    visit.text("Stopped: “")
    if visit.page.get_by_test_id("toast-body").count():
        visit.complain("a stopped run looks like an error")
    visit.look()


def result(visit: Visit) -> None:
    """Three pictures and their verdict, everything that folds unfolded; then its link."""
    visit.open()
    visit.run()
    visit.ran()
    if visit.page.locator(".zc-trio .zc-said:visible").count() != 3:
        visit.complain("not three captions")
    if not visit.page.locator(".zc-verdict:visible").inner_text().strip():
        visit.complain("no verdict")
    visit.look()
    for name in ("Advanced", "Where Z-Cache differs from", "Report and files"):
        visit.page.get_by_role("button", name=name).locator("visible=true").click()
    visit.page.get_by_alt_text("Heat map of the difference").locator("visible=true").wait_for()
    visit.look("unfolded")
    link = visit.page.get_by_role("link", name="Link to these settings").locator("visible=true")
    visit.state = "shared"
    visit.goto(link.get_attribute("href") + f"&__theme={visit.scheme}")
    visit.text("All from the store: run ")
    visit.ran()
    visit.look()


def broken(visit: Visit) -> None:
    """An interval at which the picture breaks, or at least suffers."""
    visit.open(interval=min(25, visit.steps))
    visit.run()
    visit.ran()
    visit.look()


def outside(visit: Visit) -> None:
    if visit.kind == "class":
        return
    visit.open(prompt="a portrait of an astronaut riding a horse, oil painting")
    visit.page.locator(".zc-outside:visible").wait_for(timeout=PATIENCE)
    visit.look()


def bad_seed(visit: Visit) -> None:
    from playwright.sync_api import expect

    seed = visit.open()
    visit.page.get_by_role("button", name="Advanced").locator("visible=true").click()
    box = visit.page.get_by_label("Seed", exact=True).locator("visible=true")
    expect(box).to_have_value(str(seed), timeout=PATIENCE)  # the link's comes when it comes
    box.fill("-5")
    visit.run()
    visit.page.get_by_role("alert").filter(has_text="Seed is -5").wait_for(timeout=PATIENCE)
    visit.look()


def keyboard(visit: Visit) -> None:
    """From the top to Run by Tab alone, every stop with a ring; Enter runs, arrows move the edge."""
    visit.open()
    visit.page.evaluate("document.activeElement.blur()")
    for _ in range(TABS_TO_RUN):
        visit.page.keyboard.press("Tab")
        if found := visit.page.evaluate(NO_RING):
            visit.complain(found)
        if visit.page.evaluate("document.activeElement.id") == f"{visit.kind}-run":
            break
    else:
        visit.complain(f"{TABS_TO_RUN} times Tab do not lead to Run")
    visit.page.keyboard.press("Enter")
    visit.ran()
    slider = visit.page.locator(":is(.zc-overlay, .zc-player) input").locator("visible=true")
    slider.focus()
    before = slider.input_value()
    visit.page.keyboard.press("ArrowRight")
    if visit.kind != "video" and slider.input_value() == before:  # there the clips move it, too
        visit.complain("an arrow key does not move the slider")
    visit.look()


def back(visit: Visit) -> None:
    """The back button during a run; the next run works."""
    visit.open()
    visit.open(interval=2)
    visit.run()
    visit.text("Running “")
    visit.allowed = LEAVING
    visit.page.go_back()
    visit.page.locator(f"#{visit.kind}-run:enabled").wait_for(timeout=PATIENCE)
    visit.page.wait_for_timeout(500)
    visit.allowed = ()
    visit.look()
    visit.page.locator(".zc-plan-line:visible").first.wait_for(timeout=PATIENCE)
    visit.run()
    visit.ran()


def compare(visit: Visit) -> None:
    """The tab Compare: running, finished and stopped."""
    page = visit.page
    visit.goto(f"?__theme={visit.scheme}")
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_role("radio", name=visit.kind.capitalize(), exact=True).locator(
        "visible=true"
    ).check()
    box = page.get_by_label("number input for Steps of each")
    box.fill(str(min(visit.steps, STEPS_COMPARED)))
    box.press("Tab")
    page.get_by_role("button", name="Compare all").click()
    visit.text("Running intervals of “")
    visit.look("compare-running")
    page.get_by_alt_text("The plain picture and each variant").wait_for(timeout=WORK_PATIENCE)
    page.wait_for_timeout(500)
    visit.look("compare")
    page.get_by_role("button", name="Compare all").click()
    page.get_by_role("button", name="Stop").locator("visible=true").click()
    visit.text("Stopped: intervals of “")
    visit.look("compare-stopped")


def how(visit: Visit) -> None:
    if visit.kind != "image":
        return
    visit.goto(f"?__theme={visit.scheme}")
    visit.page.get_by_role("tab", name="How it works", exact=True).click()
    visit.text("Pass 1 of ")
    visit.look()


STATES: dict[str, Callable[[Visit], None]] = {
    state.__name__: state
    for state in (
        first, running, stopped, result, broken, outside, bad_seed, keyboard, back, compare, how,
    )
}  # fmt: skip


def visit_all(visit: Visit, names: tuple[str, ...] = tuple(STATES)) -> list[str]:
    """Go through the states; one that is not reached is told, and the next one tried."""
    from playwright.sync_api import Error

    for name in names:
        visit.state, visit.allowed = name, ()
        try:
            STATES[name](visit)
        except Error as error:
            visit.complain(f"not reached: {str(error).splitlines()[0]}")
    return visit.wrong


def main() -> int:
    from playwright.sync_api import sync_playwright

    from examples.screenshots import served

    from ..serving import CHROMIUM, CHROMIUM_FLAGS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--out", type=Path, default=Path("out/states"))
    parser.add_argument("--width", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--scheme", nargs="+", default=SCHEMES, choices=SCHEMES)
    parser.add_argument("--kind", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--state", nargs="+", default=tuple(STATES), choices=STATES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wrong = []
    with served(options.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        for width in options.width:
            for scheme in options.scheme:
                for kind in options.kind:
                    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
                    visit = Visit(page, url, width, scheme, kind, options.out)
                    found = visit_all(visit, tuple(options.state))
                    print(f"{kind} {width} {scheme}: {len(found)} wrong", flush=True)
                    wrong += found
                    page.close()
        browser.close()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
