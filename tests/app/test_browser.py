"""The page in Chromium, at desktop and phone width: what a visitor sees, and that nothing leaves
the host."""

import re
import time

import pytest

from zcache.app import engine

pytestmark = pytest.mark.browser

WIDTHS = {"desktop": 1280, "phone": 390}
# What does not depend on the width is tried at one.
at_one_width = pytest.mark.parametrize("page", ["desktop"], indirect=True)
PATIENCE = 60_000  # milliseconds
KINDS = ("image", "video", "class")
CLIPS = "[...document.querySelectorAll('.zc-clips video')]"


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


def open_tab(page, kind: str) -> None:
    page.get_by_role("tab", name=kind.capitalize(), exact=True).click()
    page.locator(f"#{kind}-run").wait_for(timeout=PATIENCE)


def set_steps(page, number: int, kind: str = "image") -> None:
    page.get_by_role("button", name="Advanced").click()
    box = page.get_by_label("number input for Steps")
    for _ in range(20):  # the accordion's content may still be on its way
        box.fill(str(number))
        box.press("Tab")
        page.wait_for_timeout(100)
        if page.locator(f"#{kind}-steps input[type=range]").input_value() == str(number):
            return
    raise AssertionError("the number of steps was not taken over")


def run(page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".zc-speedup").wait_for(timeout=PATIENCE)


def test_a_prompt_becomes_two_pictures_and_a_speedup(page):
    set_steps(page, 10)
    page.get_by_label("Prompt").fill("two red circles left of a blue square")
    run(page)

    expect_two_pictures(page)
    speedup = page.locator(".zc-speedup").inner_text()
    assert re.match(r"(≈ )?\d+\.\d\d( ± \d+\.\d\d)?×", speedup)
    assert speedup.startswith("≈") == ("estimated" in speedup)
    assert "dB" in page.locator(".zc-likeness").inner_text()
    assert page.locator(".zc-strip .zc-step").count() == 10


@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_on_a_phone_the_figures_come_into_view_and_the_buttons_stay(page):
    set_steps(page, 10)
    run(page)

    page.wait_for_function(
        "document.querySelector('.zc-speedup').getBoundingClientRect().top < 450"
    )
    assert 0 <= page.locator("#image-run").bounding_box()["y"] < 20
    assert page.locator("#image-stop").bounding_box()["y"] >= 0


def test_a_class_becomes_two_pictures(page):
    open_tab(page, "class")
    set_steps(page, 10, "class")
    page.get_by_label("Class", exact=True).click()
    page.get_by_role("option", name="red square").click()
    run(page)

    expect_two_pictures(page)


def expect_two_pictures(page) -> None:
    for name in ("Picture of the plain pipeline", "Picture made with Z-Cache"):
        picture = page.get_by_alt_text(name).last
        picture.wait_for(state="attached", timeout=PATIENCE)
        picture.evaluate("image => image.scrollIntoView()")  # it loads when it is near
        page.wait_for_function("image => image.naturalWidth === 64", arg=picture.element_handle())
    assert page.locator(".zc-slider img").count() == 2


def test_a_prompt_becomes_two_clips_that_play_in_step(page):
    open_tab(page, "video")
    set_steps(page, 10, "video")
    run(page)

    playing = f"{CLIPS}.length === 2 && {CLIPS}.every(v => v.videoWidth === 64 && !v.paused)"
    page.wait_for_function(playing, timeout=PATIENCE)
    page.evaluate(f"{CLIPS}[0].currentTime = 0.3")
    page.wait_for_function(f"{CLIPS}[0].currentTime < 0.2")  # it began again: the clips loop
    page.evaluate(f"{CLIPS}[1].pause()")
    page.wait_for_function(f"{CLIPS}.every(v => v.paused)")
    page.evaluate(f"{CLIPS}[0].currentTime = 0.25")
    page.wait_for_function(f"{CLIPS}.every(v => Math.abs(v.currentTime - 0.25) < 0.07)")
    page.evaluate(f"{CLIPS}[0].play()")
    page.wait_for_function(f"{CLIPS}.every(v => !v.paused)")
    assert "worst frame" in page.locator(".zc-likeness").inner_text()


@at_one_width
def test_the_files_of_a_clip_hold_both_sides_beside_each_other(page):
    open_tab(page, "video")
    set_steps(page, 10, "video")
    run(page)
    page.get_by_role("button", name="Report and files").click()

    page.get_by_text("side_by_side").first.wait_for(timeout=PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_not_wider_than_the_screen(page, kind):
    open_tab(page, kind)
    set_steps(page, 10, kind)
    run(page)

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("input[type=file]").count() == 0  # nothing can be uploaded


@at_one_width
def test_an_empty_prompt_is_refused_in_one_sentence_and_the_page_goes_on(page):
    set_steps(page, 10)
    page.get_by_label("Prompt").fill("   ")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Prompt is empty; it needs 1 to 500 characters").wait_for(timeout=PATIENCE)

    page.get_by_label("Prompt").fill("a red circle")
    run(page)


@at_one_width
def test_a_preset_sets_the_interval_and_one_computes_everything(page):
    interval = page.get_by_label("number input for Interval N")
    page.get_by_label("Fast").check()
    page.wait_for_function("e => e.value === '8'", arg=interval.element_handle())

    set_steps(page, 10)
    interval.fill("1")
    interval.press("Tab")
    run(page)

    assert "identical" in page.locator(".zc-likeness").inner_text()


@at_one_width
def test_a_drawn_seed_is_written_back(page):
    set_steps(page, 10)
    page.get_by_label("New seed for each run").check()
    run(page)

    assert page.get_by_label("Seed", exact=True).input_value() != "0"


@at_one_width
@pytest.mark.parametrize("kind", KINDS)
def test_stop_ends_the_run(page, kind):
    open_tab(page, kind)
    transformer = engine.of(kind).pipeline().transformer
    slowed = transformer.register_forward_pre_hook(lambda *_: time.sleep(0.1))
    set_steps(page, 50, kind)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("The run was stopped").wait_for(timeout=PATIENCE)
    slowed.remove()

    run(page)


@at_one_width
@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_are_seen_while_they_are_made(page, kind):
    open_tab(page, kind)
    set_steps(page, 30, kind)
    slowed = (
        engine.of(kind).pipeline().transformer.register_forward_pre_hook(lambda *_: time.sleep(0.1))
    )
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_alt_text("Preview: Plain pipeline").wait_for(timeout=PATIENCE)
    assert page.get_by_alt_text("Preview: Z-Cache").is_visible()
    slowed.remove()

    page.locator(".zc-speedup").wait_for(timeout=PATIENCE)
    page.locator(".zc-preview").wait_for(state="detached", timeout=PATIENCE)


@at_one_width
def test_another_interval_reuses_the_plain_run_and_says_so(page):
    set_steps(page, 10)
    page.get_by_label("Prompt", exact=True).fill(f"a circle at width {page.viewport_size['width']}")
    run(page)
    assert "timed now" in page.locator(".zc-origin").first.inner_text()

    interval = page.get_by_label("number input for Interval N").first
    interval.fill("3")
    interval.press("Tab")
    page.locator(".zc-plan-line").filter(has_text="4 full steps of 10").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("The plain run is from the store").wait_for(timeout=PATIENCE)
    page.locator(".zc-chart .zc-alone").first.wait_for(state="attached", timeout=PATIENCE)
    page.get_by_role("button", name="Where they differ").click()
    page.get_by_alt_text("Heat map of the difference").wait_for(timeout=PATIENCE)


def test_a_link_restores_the_controls(page, served):
    page.goto(f"{served}?tab=class&label=red+square&interval=7&steps=12&reflect=false&base=%3Cb%3E")
    page.locator("#class-run").wait_for(timeout=PATIENCE)
    page.locator(".zc-plan-line").filter(has_text="full steps of 12").wait_for(timeout=PATIENCE)
    run(page)

    assert page.locator(".zc-strip .zc-step").count() == 12
    link = page.get_by_role("link", name="Link to these settings").get_attribute("href")
    assert "label=red+square" in link and "interval=7" in link and "reflect=false" in link


def test_several_intervals_are_compared_on_one_sheet(page):
    page.get_by_role("tab", name="Compare", exact=True).click()
    box = page.get_by_label("number input for Steps of each")
    box.fill("10")
    box.press("Tab")
    page.get_by_role("button", name="Compare all").click()

    page.get_by_alt_text("The plain picture and each variant").wait_for(timeout=PATIENCE)
    assert page.locator(".zc-table tbody tr").count() == 7
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_walk_can_be_followed_pass_by_pass(page):
    page.get_by_role("tab", name="How it works").click()
    page.get_by_text("Pass 1 of 25. Step 0 is computed in full").wait_for(timeout=PATIENCE)
    box = page.get_by_label("number input for Pass")
    box.fill("6")
    box.press("Tab")

    page.get_by_text("Pass 6 of 25. Step 1 is redone").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Play").click()
    page.get_by_text("Pass 8 of 25. Step 3 is redone").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play").wait_for(timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
