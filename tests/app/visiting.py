"""What a visitor does on the page, for the tests in Chromium."""

import re
import time
from contextlib import contextmanager

import pytest

from zcache.app import engine, result

# What does not depend on the width is tried at one.
at_one_width = pytest.mark.parametrize("page", ["desktop"], indirect=True)
PATIENCE = 60_000  # milliseconds


def open_tab(page, kind: str) -> None:
    page.get_by_role("tab", name=kind.capitalize(), exact=True).click()
    page.locator(f"#{kind}-run").wait_for(timeout=PATIENCE)


def set_steps(page, number: int, kind: str = "image") -> None:
    page.get_by_role("button", name="Advanced").locator("visible=true").click()
    box = page.locator(f"#{kind}-steps input[type=number]")
    for _ in range(20):  # the accordion's content may still be on its way
        box.fill(str(number))
        box.press("Tab")
        page.wait_for_timeout(100)
        if page.locator(f"#{kind}-steps input[type=range]").input_value() == str(number):
            return
    raise AssertionError("the number of steps was not taken over")


def prompt(page):
    return page.get_by_label("Prompt Shift+Enter runs it").locator("visible=true")


def run(page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".zc-speedup:visible").wait_for(timeout=PATIENCE)


@contextmanager
def slowed(kind: str, seconds: float):
    """Let every full pass of a model take so much longer, and afterwards no longer."""
    transformer = engine.of(kind).pipeline().transformer
    passes = []
    hook = transformer.register_forward_pre_hook(
        lambda *_: (passes.append(1), time.sleep(seconds))[0]
    )
    try:
        yield passes
    finally:
        hook.remove()


def seen(page, text: str) -> None:
    """Wait until a text is seen anywhere; listeners may hear the same beside it."""
    page.get_by_text(text).locator("visible=true").first.wait_for(timeout=PATIENCE)


def told(page, said: str, timeout: float = PATIENCE) -> None:
    """Wait for what is said where the figures will be."""
    page.locator(".zc-waiting").filter(has_text=said).wait_for(timeout=timeout)


def expect_three_pictures(page) -> None:
    for name in result.ALT.values():
        picture = page.locator(".zc-trio").get_by_alt_text(name).locator("visible=true")
        picture.wait_for(state="attached", timeout=PATIENCE)
        picture.evaluate("image => image.scrollIntoView()")  # it loads when it is near
        page.wait_for_function("image => image.naturalWidth === 64", arg=picture.element_handle())
    captions = page.locator(".zc-trio .zc-said").all_inner_texts()
    plain, alone, ours = (caption.split("\n")[0] for caption in captions)
    assert (plain, alone) == ("Plain", "taylorseer alone")
    assert re.fullmatch("Z-Cache( on (fora|damped))?", ours)  # a guided flow has a base of its own
    assert all(re.search(r"\d\.\d\d s", caption) for caption in captions)
    assert all(re.search(r"\d dB|identical", caption) for caption in captions[1:])
