"""The page in Chromium, at desktop and phone width: what a visitor sees, and that nothing leaves
the host."""

import re
import time

import pytest

from zcache.app import engine, first_sight, result, sweeps
from zcache.method import weights
from zcache.models.mini import world

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


def test_a_prompt_becomes_three_pictures_and_a_verdict(page):
    set_steps(page, 10)
    prompt(page).fill("two red circles left of a blue square")
    run(page)

    expect_three_pictures(page)
    name = page.locator(".zc-name").inner_text()
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


def test_a_class_becomes_three_pictures(page):
    open_tab(page, "class")
    set_steps(page, 10, "class")
    page.get_by_label("Class", exact=True).click()
    page.get_by_role("option", name="red square").click()
    run(page)

    expect_three_pictures(page)


def expect_three_pictures(page) -> None:
    for name in result.ALT.values():
        picture = page.locator(".zc-trio").get_by_alt_text(name).locator("visible=true")
        picture.wait_for(state="attached", timeout=PATIENCE)
        picture.evaluate("image => image.scrollIntoView()")  # it loads when it is near
        page.wait_for_function("image => image.naturalWidth === 64", arg=picture.element_handle())
    captions = page.locator(".zc-trio .zc-said").all_inner_texts()
    assert [caption.split("\n")[0] for caption in captions] == [
        "Plain",
        "taylorseer alone",
        "Z-Cache",
    ]
    assert all(re.search(r"\d\.\d\d s", caption) for caption in captions)
    assert all(re.search(r"\d dB|identical", caption) for caption in captions[1:])


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

    page.get_by_text("side_by_side").first.wait_for(timeout=PATIENCE)
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
def test_an_empty_prompt_is_refused_in_one_sentence_and_the_page_goes_on(page):
    set_steps(page, 10)
    prompt(page).fill("   ")
    page.get_by_role("button", name="Run", exact=True).click()
    said = "Prompt is empty; it needs 1 to 500 characters"
    page.locator(".zc-waiting").filter(has_text=said).wait_for(timeout=PATIENCE)

    prompt(page).fill("a red circle")
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
    page.get_by_text("Stopped: “").wait_for(timeout=PATIENCE)
    slowed.remove()
    assert page.get_by_test_id("toast-body").count() == 0  # nothing went wrong

    run(page)


@at_one_width
@pytest.mark.parametrize("kind", KINDS)
def test_all_sides_are_seen_while_they_are_made(page, kind):
    open_tab(page, kind)
    set_steps(page, 30, kind)
    transformer = engine.of(kind).pipeline().transformer
    # Longer than previews are apart: where the output is cached, full steps alone take time.
    slowed = transformer.register_forward_pre_hook(lambda *_: time.sleep(0.3))
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_alt_text("Preview: Base alone").wait_for(timeout=PATIENCE)
    for side in ("Plain", "Z-Cache"):
        assert page.get_by_alt_text(f"Preview: {side}").is_visible()
    slowed.remove()

    page.locator(".zc-speedup:visible").wait_for(timeout=PATIENCE)
    page.locator(".zc-preview").wait_for(state="detached", timeout=PATIENCE)


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
    page.get_by_text("Plain from the store, timed ").wait_for(timeout=PATIENCE)
    page.locator(".zc-chart .zc-alone").first.wait_for(state="attached", timeout=PATIENCE)
    page.get_by_role("button", name="Where Z-Cache differs").click()
    page.get_by_alt_text("Heat map of the difference").wait_for(timeout=PATIENCE)


def test_a_link_restores_the_controls(page, served):
    page.goto(f"{served}?tab=class&label=red+square&interval=7&steps=12&reflect=false&base=%3Cb%3E")
    page.locator("#class-run").wait_for(timeout=PATIENCE)
    page.locator(".zc-plan-line").filter(has_text="full steps of 12").wait_for(timeout=PATIENCE)
    run(page)

    page.locator(".zc-strip .zc-step").nth(11).wait_for(timeout=PATIENCE)
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


# First sight, and what is said before, during and after a run.


def test_a_finished_example_is_seen_before_anything_was_run(page):
    example = page.get_by_role("region", name="A finished example")
    for name in result.ALT.values():
        picture = example.get_by_alt_text(name).element_handle()
        assert picture.evaluate("image => image.complete && image.naturalWidth >= 64")
    captions = example.locator("figcaption").all_inner_texts()
    assert all(re.search(r"\d\.\d\d s", caption) for caption in captions)
    assert all("dB" in caption or "identical" in caption for caption in captions[1:])
    assert "times fewer FLOPs" in example.inner_text()
    assert page.get_by_text(first_sight.PAPER).is_visible()
    assert page.locator(".empty:visible").count() == 0  # no empty boxes
    example.get_by_role("link", name="Open its settings").click()
    page.locator("#class-run").wait_for(timeout=PATIENCE)


@at_one_width
def test_a_new_run_clears_what_is_seen_and_is_named(page):
    set_steps(page, 10)
    run(page)
    transformer = engine.of("image").pipeline().transformer
    slowed = transformer.register_forward_pre_hook(lambda *_: time.sleep(0.2))
    prompt(page).fill("a purple star")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Running “a purple star”, N = 5, seed 0").wait_for(timeout=PATIENCE)
    assert page.locator(".zc-name, .zc-trio b, .zc-speedup").count() == 0
    slowed.remove()

    page.locator(".zc-name").filter(has_text="a purple star").wait_for(timeout=PATIENCE)


@at_one_width
@pytest.mark.parametrize("seed", ["-5", "99999999999", ""])
def test_a_bad_seed_is_told_in_a_sentence_that_stays(page, seed):
    set_steps(page, 10)
    page.get_by_label("Seed", exact=True).fill(seed)
    page.get_by_role("button", name="Run", exact=True).click()

    said = f"Seed is {seed or 'empty'}; it must be a whole number from 0 to 2147483647"
    page.get_by_role("alert").filter(has_text=said).wait_for(timeout=PATIENCE)
    assert page.get_by_test_id("toast-body").count() == 0  # it is said once, where it stays
    page.get_by_label("Seed", exact=True).fill("7")
    run(page)


@at_one_width
def test_equal_pictures_are_said_to_differ_nowhere(page):
    set_steps(page, 10)
    interval = page.get_by_label("number input for Interval N")
    interval.fill("1")
    interval.press("Tab")
    run(page)
    assert "Identical: every pixel" in page.locator(".zc-verdict").inner_text()
    page.get_by_role("button", name="Where Z-Cache differs").click()

    page.get_by_text("No pixel differs.").wait_for(timeout=PATIENCE)


@at_one_width
def test_a_prompt_outside_the_models_world_is_told_before_the_run(page, monkeypatch):
    name = engine.of("image").model.name
    monkeypatch.setitem(world.TAUGHT, name, {"a", "and", "red", "circle"})
    monkeypatch.setitem(world.SUBJECTS, name, {"circle"})
    prompt(page).fill("a red fox and a circle")
    page.get_by_text("it was not taught “fox”").wait_for(timeout=PATIENCE)
    assert "FLUX.1-dev" in page.locator(".zc-outside").inner_text()

    prompt(page).fill("a red circle")
    page.locator(".zc-outside").wait_for(state="detached", timeout=PATIENCE)


@at_one_width
def test_shift_and_enter_run_the_prompt(page):
    set_steps(page, 10)
    assert page.get_by_text("Shift+Enter runs it").first.is_visible()
    prompt(page).press("Shift+Enter")

    page.locator(".zc-speedup:visible").wait_for(timeout=PATIENCE)


@at_one_width
def test_a_shared_link_opens_with_its_result_where_the_store_has_it(page, served):
    set_steps(page, 10)
    prompt(page).fill("a shared green star")
    run(page)
    link = page.get_by_role("link", name="Link to these settings").get_attribute("href")
    page.goto(served + link)

    page.get_by_text("All from the store: run ").wait_for(timeout=PATIENCE)
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


def class_box(page):
    return page.get_by_label("Class", exact=True).element_handle()


def test_the_back_button_ends_the_run_and_the_next_one_works(browser, served):
    page = browser.new_page()
    page.goto(served)
    page.get_by_role("button", name="Run", exact=True).wait_for(timeout=PATIENCE)
    page.goto(f"{served}?tab=image&steps=50&prompt=a+run+that+is+left")
    page.locator(".zc-plan-line").filter(has_text="of 50").wait_for(timeout=PATIENCE)
    passes = []
    transformer = engine.of("image").pipeline().transformer
    slowed = transformer.register_forward_pre_hook(
        lambda *_: (passes.append(1), time.sleep(0.1))[0]
    )
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Running “a run that is left”").wait_for(timeout=PATIENCE)
    page.go_back()
    page.get_by_role("button", name="Run", exact=True).wait_for(timeout=PATIENCE)
    set_steps(page, 10)
    prompt(page).fill("the next run")
    run(page)
    slowed.remove()
    page.close()

    assert len(passes) < 50 + 60  # neither the whole of the run that was left, 50 + 2 x 11 and more


@at_one_width
def test_the_weight_functions_are_compared_and_stop_is_calm(page):
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_label("Weight functions").check()
    box = page.get_by_label("number input for Steps of each")
    box.fill("10")
    box.press("Tab")
    transformer = engine.of("image").pipeline().transformer
    slowed = transformer.register_forward_pre_hook(lambda *_: time.sleep(0.1))
    page.get_by_role("button", name="Compare all").click()
    page.get_by_text("Running Weight functions of “").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Stop").locator("visible=true").click()
    page.get_by_text("Stopped: Weight functions of “").wait_for(timeout=PATIENCE)
    slowed.remove()
    assert page.get_by_test_id("toast-body").count() == 0

    page.get_by_role("button", name="Compare all").click()
    page.get_by_alt_text("The plain picture and each variant").wait_for(timeout=PATIENCE)
    assert page.locator(".zc-table tbody tr").count() == 1 + min(len(weights.names()), sweeps.MOST)
