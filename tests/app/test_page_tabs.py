"""The page in Chromium besides its runs: first sight, links that restore it, Compare and How it works."""

import re

import pytest

from zcache.app import first_sight, result, sweeps
from zcache.method import weights

from .looking import CUT_OFF
from .visiting import (
    PATIENCE,
    at_one_width,
    expect_three_pictures,
    prompt,
    run,
    seen,
    set_steps,
    slowed,
    told,
)

pytestmark = pytest.mark.browser


def test_a_finished_example_is_seen_before_anything_was_run(page):
    example = page.get_by_role("region", name="A finished example")
    for name in result.ALT.values():
        picture = example.get_by_alt_text(name).element_handle()
        assert picture.evaluate("image => image.complete && image.naturalWidth >= 64")
    captions = example.locator("figcaption").all_inner_texts()
    assert all(re.search(r"\d\.\d\d s", caption) for caption in captions)
    assert all("dB" in caption or "identical" in caption for caption in captions[1:])
    assert captions[1].startswith("Forecasts alone")
    assert "times fewer FLOPs" in example.inner_text()
    assert page.get_by_text(first_sight.PAPER).is_visible()
    assert page.locator(".empty:visible").count() == 0  # no empty boxes
    example.get_by_role("link", name="Open its settings").click()
    page.locator("#class-run").wait_for(timeout=PATIENCE)


def test_a_link_restores_the_controls(page, served):
    page.goto(f"{served}?tab=class&label=red+square&interval=7&steps=12&reflect=false&base=%3Cb%3E")
    page.locator("#class-run").wait_for(timeout=PATIENCE)
    page.locator(".zc-plan-line").filter(has_text="full steps of 12").wait_for(timeout=PATIENCE)
    run(page)

    page.locator(".zc-strip .zc-step").nth(11).wait_for(timeout=PATIENCE)
    assert page.locator(".zc-strip .zc-step").count() == 12
    link = page.get_by_role("link", name="Link to these settings").get_attribute("href")
    assert "label=red+square" in link and "interval=7" in link and "reflect=false" in link


@at_one_width
def test_a_shared_link_opens_with_its_result_where_the_store_has_it(page, served):
    set_steps(page, 10)
    prompt(page).fill("a shared green star")
    run(page)
    link = page.get_by_role("link", name="Link to these settings").get_attribute("href")
    page.goto(served + link)

    seen(page, "All from the store: run ")
    assert "a shared green star" in page.locator(".zc-name").inner_text()
    expect_three_pictures(page)
    page.goto(served + link.replace("seed=0", "seed=12345"))
    page.locator(".zc-plan-line").first.wait_for(timeout=PATIENCE)
    assert page.locator(".zc-name").count() == 0


@at_one_width
def test_a_link_by_the_number_of_a_class_chooses_it_by_name(page, served):
    page.goto(f"{served}?tab=class&label=1")
    page.locator("#class-run").wait_for(timeout=PATIENCE)

    page.wait_for_function("box => box.value === 'red square'", arg=class_box(page))


@at_one_width
def test_what_a_link_asks_for_in_vain_is_said_and_other_tabs_open(page, served):
    page.goto(f"{served}?tab=image&interval=9999&seed=%3Cb%3E")
    seen(page, "Ignored from the link: interval=9999, seed=<b>.")
    page.goto(f"{served}?tab=compare")

    page.get_by_role("button", name="Compare all").wait_for(timeout=PATIENCE)
    assert page.get_by_text("Ignored from the link").count() == 0


def class_box(page):
    return page.get_by_label("Class", exact=True).element_handle()


def test_several_intervals_are_compared_on_one_sheet(page):
    page.get_by_role("tab", name="Compare", exact=True).click()
    box = page.get_by_label("number input for Steps of each")
    box.fill("10")
    box.press("Tab")
    page.get_by_role("button", name="Compare all").click()

    page.get_by_alt_text("The plain picture and each variant").wait_for(timeout=PATIENCE)
    title = page.locator(".zc-name:visible").inner_text()
    assert title.startswith("Intervals of “") and title.endswith(", 10 steps, seed 0")
    assert (
        page.locator(".zc-table tbody tr").count() == 4
    )  # plain, and what ten steps leave of six intervals
    cells = page.locator(".zc-table tbody tr").nth(1).locator("td").all_inner_texts()
    assert cells[:2] == ["N = 3, 4", "stack"]
    phone = page.viewport_size["width"] < 560
    sheet = page.get_by_alt_text("The plain picture and each variant")
    wide, high = sheet.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert (wide < high) == phone  # two beside each other, or four
    if phone:
        assert page.evaluate(CUT_OFF) == []
        figures = page.locator(".zc-table").evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert figures[0] <= figures[1] <= 390
        page.wait_for_function(
            "() => document.querySelector('.zc-table').getBoundingClientRect().top < 450"
        )
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_walk_can_be_followed_pass_by_pass(page):
    page.get_by_role("tab", name="How it works").click()
    seen(page, "Pass 1 of 25. Step 0 is computed in full")
    box = page.get_by_label("number input for Pass")
    box.fill("6")
    box.press("Tab")

    seen(page, "Pass 6 of 25. Step 1 is redone")
    page.get_by_role("button", name="Play").click()
    seen(page, "Pass 8 of 25. Step 3 is redone")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play").wait_for(timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@at_one_width
def test_the_weight_functions_are_compared_and_stop_is_calm(page):
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_label("Weight functions").check()
    box = page.get_by_label("number input for Steps of each")
    box.fill("10")
    box.press("Tab")
    with slowed("image", 0.1):
        page.get_by_role("button", name="Compare all").click()
        told(page, "Running Weight functions of “")
        seen(page, f": 1 of {len(weights.choices())}")
        page.get_by_role("button", name="Stop").locator("visible=true").click()
        told(page, "Stopped: Weight functions of “")
    assert page.get_by_test_id("toast-body").count() == 0

    page.get_by_role("button", name="Compare all").click()
    page.get_by_alt_text("The plain picture and each variant").wait_for(timeout=PATIENCE)
    names = ", ".join(page.locator(".zc-table tbody td:first-child").all_inner_texts()).split(", ")
    assert sorted(names) == sorted(["plain", *weights.choices()])
    assert len(names) <= 1 + sweeps.MOST
    title = page.locator(".zc-name:visible").inner_text()
    assert title.startswith("Weight functions of “") and title.endswith("10 steps, seed 0, N = 5")
