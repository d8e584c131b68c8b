"""The page in Chromium, at desktop and phone width: what a run makes, and how it is shown."""

import re

import pytest

from .asking import KINDS
from .visiting import (
    PATIENCE,
    at_one_width,
    expect_three_pictures,
    open_tab,
    prompt,
    run,
    seen,
    set_steps,
)

pytestmark = pytest.mark.browser

CLIPS = "[...document.querySelectorAll('.zc-clips video')]"


def test_a_prompt_becomes_three_pictures_and_a_verdict(page):
    set_steps(page, 10)
    prompt(page).fill("two red circles left of a blue square")
    run(page)

    expect_three_pictures(page)
    name = page.get_by_role("heading", level=2).inner_text()
    assert "two red circles left of a blue square" in name and "N = 5, seed 0" in name
    verdict = page.locator(".zc-verdict").inner_text()
    assert "the plain" in verdict and "Same prompt, same seed" in verdict
    speedup = page.locator(".zc-speedup").inner_text()
    assert re.match(r"(≈ )?\d+\.\d\d( ± \d+\.\d\d)?×", speedup)
    assert speedup.startswith("≈") == ("estimated" in speedup)
    assert "dB" in page.locator(".zc-likeness").inner_text()
    assert page.locator(".zc-strip .zc-step").count() == 10


@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_on_a_phone_the_verdict_comes_into_view_and_the_buttons_stay(page):
    set_steps(page, 10)
    run(page)

    page.wait_for_function(
        "document.querySelector('.zc-verdict').getBoundingClientRect().top < 450"
    )
    assert 0 <= page.locator("#image-run").bounding_box()["y"] < 20
    assert page.locator("#image-stop").bounding_box()["y"] >= 0


@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_on_a_phone_the_result_of_a_link_comes_into_view(page, served):
    set_steps(page, 10)
    prompt(page).fill("a circle that is sent to a phone")
    run(page)
    link = page.get_by_role("link", name="Link to these settings").get_attribute("href")
    page.goto(served)
    page.locator("#image-run").wait_for(timeout=PATIENCE)
    page.wait_for_timeout(1500)
    assert page.evaluate("scrollY") == 0  # without a result there is nothing to show
    page.goto(served + link)
    page.locator(".zc-name").wait_for(timeout=PATIENCE)

    page.wait_for_function("document.querySelector('.zc-name').getBoundingClientRect().top < 200")
    assert page.locator(".zc-name").bounding_box()["y"] >= 0


def test_a_class_becomes_three_pictures(page):
    open_tab(page, "class")
    set_steps(page, 10, "class")
    page.get_by_label("Class", exact=True).click()
    page.get_by_role("option", name="red square").click()
    run(page)

    expect_three_pictures(page)


@at_one_width
def test_the_edge_between_the_pictures_is_moved_by_the_keyboard(page):
    set_steps(page, 10)
    run(page)
    slider = page.get_by_label("How much of the plain picture covers")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")

    cut = page.locator(".zc-overlay").evaluate("box => box.style.getPropertyValue('--cut')")
    assert cut == "55%"
    assert page.locator(".zc-overlay img:not([alt])").count() == 0


def test_a_prompt_becomes_three_clips_that_play_in_step(page):
    open_tab(page, "video")
    set_steps(page, 10, "video")
    run(page)

    playing = f"{CLIPS}.length === 3 && {CLIPS}.every(v => v.videoWidth === 64 && !v.paused)"
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

    seen(page, "side_by_side")
    page.get_by_role("link", name="Download side_by_side").wait_for(timeout=PATIENCE)
    assert page.get_by_label("Remove this file").locator("visible=true").count() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_not_wider_than_the_screen(page, kind):
    open_tab(page, kind)
    set_steps(page, 10, kind)
    run(page)

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("input[type=file]").count() == 0  # nothing can be uploaded


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
def test_another_interval_reuses_the_plain_run_and_says_so(page):
    set_steps(page, 10)
    prompt(page).fill(f"a circle at width {page.viewport_size['width']}")
    run(page)
    assert (
        "Plain, base alone and Z-Cache drawn now" in page.locator(".zc-origin").first.inner_text()
    )

    interval = page.get_by_label("number input for Interval N").first
    interval.fill("3")
    interval.press("Tab")
    page.locator(".zc-plan-line").filter(has_text="4 full steps of 10").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Run", exact=True).click()
    seen(page, "Plain from the store, timed ")
    page.locator(".zc-chart .zc-alone").first.wait_for(state="attached", timeout=PATIENCE)
    page.get_by_role("button", name="Where Z-Cache differs").click()
    page.get_by_alt_text("Heat map of the difference").wait_for(timeout=PATIENCE)


@at_one_width
def test_equal_pictures_are_said_to_differ_nowhere(page):
    set_steps(page, 10)
    interval = page.get_by_label("number input for Interval N")
    interval.fill("1")
    interval.press("Tab")
    run(page)
    assert "Identical: every pixel" in page.locator(".zc-verdict").inner_text()
    page.get_by_role("button", name="Where Z-Cache differs").click()

    seen(page, "No pixel differs.")


@at_one_width
def test_shift_and_enter_run_the_prompt(page):
    set_steps(page, 10)
    assert page.get_by_text("Shift+Enter runs it").first.is_visible()
    prompt(page).press("Shift+Enter")

    page.locator(".zc-speedup:visible").wait_for(timeout=PATIENCE)
