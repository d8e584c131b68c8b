"""The page in Chromium, at desktop and phone width: what a visitor sees, and that nothing leaves
the host."""

import re
import time

import pytest

from zcache.app import engine

pytestmark = pytest.mark.browser

WIDTHS = {"desktop": 1280, "phone": 390}
PATIENCE = 60_000  # milliseconds


@pytest.fixture(params=WIDTHS)
def page(request, browser, served):
    """A loaded page; afterwards it must have been silent and have asked no other host."""
    page = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900})
    complaints, strangers = [], []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((served, "data:", "blob:")) else strangers.append(r.url),
    )
    page.goto(served)
    page.get_by_role("button", name="Run", exact=True).wait_for(timeout=PATIENCE)
    yield page
    page.close()
    assert complaints == []
    assert strangers == []


def set_steps(page, number: int) -> None:
    page.get_by_role("button", name="Advanced").click()
    box = page.get_by_label("number input for Steps")
    for _ in range(20):  # the accordion's content may still be on its way
        box.fill(str(number))
        box.press("Tab")
        page.wait_for_timeout(100)
        if page.locator("#steps input[type=range]").input_value() == str(number):
            return
    raise AssertionError("the number of steps was not taken over")


def run(page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".zc-speedup").wait_for(timeout=PATIENCE)


def test_a_prompt_becomes_two_pictures_and_a_speedup(page):
    set_steps(page, 10)
    page.get_by_label("Prompt").fill("two red circles left of a blue square")
    run(page)

    for name in ("Picture of the plain pipeline", "Picture made with Z-Cache"):
        picture = page.get_by_alt_text(name).last
        picture.wait_for(timeout=PATIENCE)
        page.wait_for_function("image => image.naturalWidth === 64", arg=picture.element_handle())
    assert re.match(r"\d+\.\d\d×", page.locator(".zc-speedup").inner_text())
    assert "dB" in page.locator(".zc-likeness").inner_text()
    assert page.locator("#slider img").count() == 2
    assert page.locator("#strip .zc-step").count() == 10


def test_the_page_is_not_wider_than_the_screen(page):
    set_steps(page, 10)
    run(page)

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_an_empty_prompt_is_refused_in_one_sentence_and_the_page_goes_on(page):
    set_steps(page, 10)
    page.get_by_label("Prompt").fill("   ")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Prompt is empty; it needs 1 to 500 characters").wait_for(timeout=PATIENCE)

    page.get_by_label("Prompt").fill("a red circle")
    run(page)


def test_a_preset_sets_the_interval_and_one_computes_everything(page):
    interval = page.get_by_label("number input for Interval N")
    page.get_by_label("Fast").check()
    page.wait_for_function("e => e.value === '8'", arg=interval.element_handle())

    set_steps(page, 10)
    interval.fill("1")
    interval.press("Tab")
    run(page)

    assert "identical" in page.locator(".zc-likeness").inner_text()


def test_a_drawn_seed_is_written_back(page):
    set_steps(page, 10)
    page.get_by_label("New seed for each run").check()
    run(page)

    assert page.get_by_label("Seed", exact=True).input_value() != "0"


def test_stop_ends_the_run(page):
    slowed = (
        engine.current()
        .pipeline()
        .transformer.register_forward_pre_hook(lambda *_: time.sleep(0.1))
    )
    set_steps(page, 50)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("The run was stopped").wait_for(timeout=PATIENCE)
    slowed.remove()

    run(page)
