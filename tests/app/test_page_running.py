"""The page in Chromium before and during a run: what is refused in a sentence, what is seen, and Stop."""

import pytest

from zcache.app import engine
from zcache.models.mini import world

from . import looking
from .asking import KINDS
from .visiting import PATIENCE, at_one_width, open_tab, prompt, run, seen, set_steps, slowed, told

pytestmark = pytest.mark.browser


@at_one_width
def test_an_empty_prompt_is_refused_in_one_sentence_and_the_page_goes_on(page):
    set_steps(page, 10)
    prompt(page).fill("   ")
    page.get_by_role("button", name="Run", exact=True).click()
    said = "Prompt is empty; it needs 1 to 500 characters"
    told(page, said)

    prompt(page).fill("a red circle")
    run(page)


@at_one_width
@pytest.mark.parametrize("kind", KINDS)
def test_stop_ends_the_run(page, kind):
    open_tab(page, kind)
    set_steps(page, 50, kind)
    # Longer than a click takes to arrive from a browser that has little of the processor.
    with slowed(kind, 0.5):
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("button", name="Stop").click()
        told(page, "Stopped: “")
    assert page.get_by_test_id("toast-body").count() == 0  # nothing went wrong

    run(page)


@at_one_width
@pytest.mark.parametrize(("tab", "name"), [("image", "Image"), ("sweep", "Compare")])
def test_the_focus_goes_from_run_to_stop_and_back(page, tab, name):
    page.get_by_role("tab", name=name, exact=True).click()
    focused = "id => document.activeElement.id === id"
    page.locator(f"#{tab}-run").focus()
    with slowed("image", 0.3):
        page.keyboard.press("Enter")
        page.wait_for_function(focused, arg=f"{tab}-stop")
        page.keyboard.press("Enter")
        told(page, "Stopped: ")

    page.wait_for_function(focused, arg=f"{tab}-run")


@at_one_width
def test_shift_and_enter_during_a_run_leave_it_and_its_stop_alone(page):
    set_steps(page, 50)
    with slowed("image", 0.5):
        prompt(page).press("Shift+Enter")
        page.locator(".zc-preview img").first.wait_for(timeout=PATIENCE)
        prompt(page).press("Shift+Enter")
        page.wait_for_timeout(1000)
        page.get_by_role("button", name="Stop").click()
        told(page, "Stopped: “", PATIENCE / 4)


@at_one_width
@pytest.mark.parametrize("kind", KINDS)
def test_all_sides_are_seen_while_they_are_made(page, kind):
    open_tab(page, kind)
    set_steps(page, 30, kind)
    # Longer than previews are apart: where the output is cached, full steps alone take time.
    with slowed(kind, 0.3):
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_alt_text("Preview: Base alone").wait_for(timeout=PATIENCE)
        for side in ("Plain", "Z-Cache"):
            assert page.get_by_alt_text(f"Preview: {side}").is_visible()

    page.locator(".zc-speedup:visible").wait_for(timeout=PATIENCE)
    page.locator(".zc-preview").wait_for(state="detached", timeout=PATIENCE)


@at_one_width
def test_a_new_run_clears_what_is_seen_and_is_named(page):
    set_steps(page, 10)
    run(page)
    prompt(page).fill("a purple star")
    with slowed("image", 0.2):
        page.get_by_role("button", name="Run", exact=True).click()
        told(page, "Running “a purple star”, N = 5, seed 0")
        assert page.locator(".zc-name, .zc-trio b, .zc-speedup").count() == 0

    page.locator(".zc-name").filter(has_text="a purple star").wait_for(timeout=PATIENCE)


@at_one_width
def test_what_is_typed_beyond_a_slider_is_refused_in_the_plan_and_breaks_nothing(
    page, caplog, capfd
):
    said = "Interval is 999; it must be a whole number from 1 to 25"
    box = page.get_by_label("number input for Interval N")
    box.fill("999")
    page.locator(".zc-plan-line").filter(has_text=said).wait_for(timeout=PATIENCE)
    page.get_by_role("tab", name="How it works", exact=True).click()
    box = page.get_by_label("number input for Interval N").locator("visible=true")
    box.fill("999")
    seen(page, "Pass 25 of 25")

    captured = capfd.readouterr()
    assert "Traceback" not in captured.err + captured.out + caplog.text


@at_one_width
@pytest.mark.parametrize("seed", ["-5", "99999999999", "", "1.5"])
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
def test_a_prompt_outside_the_models_world_is_told_before_the_run(page, monkeypatch):
    name = engine.of("image").model.name
    monkeypatch.setitem(world.TAUGHT, name, {"a", "and", "red", "circle"})
    monkeypatch.setitem(world.SUBJECTS, name, {"circle"})
    prompt(page).fill("a red fox and a circle")
    seen(page, "it was not taught “fox”")
    assert "FLUX.1-dev" in page.locator(".zc-outside").inner_text()

    prompt(page).fill("a red circle")
    page.locator(".zc-outside").wait_for(state="detached", timeout=PATIENCE)


@at_one_width
def test_the_box_does_not_flicker_while_a_word_is_typed_and_run_stays_where_it_is(
    page, monkeypatch
):
    name = engine.of("image").model.name
    monkeypatch.setitem(world.TAUGHT, name, {"a", "red", "circle"})
    monkeypatch.setitem(world.SUBJECTS, name, {"circle"})
    box, go = page.locator(".zc-outside"), page.locator("#image-run")
    prompt(page).fill("a red circle ")
    box.wait_for(state="detached", timeout=PATIENCE)
    place = go.bounding_box()
    page.evaluate("""() => {
      window.boxes = 0;
      new MutationObserver((all) => all.forEach((one) => one.addedNodes.forEach((node) => {
        if (node.querySelector?.(".zc-outside") || node.matches?.(".zc-outside")) window.boxes++;
      }))).observe(document.body, { childList: true, subtree: true });
    }""")
    prompt(page).press_sequentially("zebrafish", delay=60)
    page.wait_for_timeout(500)  # for what must not come
    assert page.evaluate("window.boxes") == 0
    go.focus()
    box.filter(has_text="“zebrafish”").wait_for(timeout=PATIENCE)
    assert go.bounding_box() == place


@pytest.mark.parametrize("words", ["x" * 300, "一只红色的狐狸在雪地里" * 20])
def test_words_without_an_end_stay_in_their_box(page, monkeypatch, words):
    name = engine.of("image").model.name
    monkeypatch.setitem(world.TAUGHT, name, {"a", "circle"})
    monkeypatch.setitem(world.SUBJECTS, name, {"circle"})
    prompt(page).fill(f"{words} ")
    page.locator(".zc-outside").wait_for(timeout=PATIENCE)

    assert page.evaluate(looking.CUT_OFF) == []
    assert page.evaluate("""() => {
      const box = document.querySelector(".zc-outside");
      return box.scrollWidth <= box.clientWidth;
    }""")


def test_the_back_button_ends_the_run_and_the_next_one_works(browser, served):
    page = browser.new_page()
    page.goto(served)
    page.get_by_role("button", name="Run", exact=True).wait_for(timeout=PATIENCE)
    page.goto(f"{served}?tab=image&steps=50&prompt=a+run+that+is+left")
    page.locator(".zc-plan-line").filter(has_text="of 50").wait_for(timeout=PATIENCE)
    with slowed("image", 0.3) as passes:
        page.get_by_role("button", name="Run", exact=True).click()
        told(page, "Running “a run that is left”")
        page.go_back()
        page.get_by_role("button", name="Run", exact=True).wait_for(timeout=PATIENCE)
        set_steps(page, 10)
        prompt(page).fill("the next run")
        run(page)
    page.close()

    # Of the run that was left, 50 + 50 + 89 passes, less than half; the next has some 40.
    assert len(passes) < 50 + 60
