"""The page for everybody: axe-core on every tab in both colour schemes, and clips for those who
asked for less motion."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from .asking import KINDS
from .visiting import PATIENCE, open_tab, run, set_steps

pytestmark = pytest.mark.browser
SERIOUS = ("serious", "critical")
VIEWS = [(1280, "light"), (1280, "dark"), (390, "light")]


def violations(page) -> list[str]:
    """What axe finds serious, with the element it finds it on."""
    page.wait_for_timeout(400)  # colours fade in
    return [
        f"{found['id']}: {node['target']}"
        for found in Axe().run(page).response["violations"]
        if found["impact"] in SERIOUS
        for node in found["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_axe_finds_nothing_serious_on_any_tab(browser, served, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(f"{served}?__theme={scheme}")
    page.get_by_role("button", name="Run", exact=True).wait_for(timeout=PATIENCE)
    found = violations(page)
    for kind in KINDS:
        open_tab(page, kind)
        set_steps(page, 10, kind)
        run(page)
        for name in ("Where Z-Cache differs", "Report and files"):
            page.get_by_role("button", name=name).locator("visible=true").click()
        found += violations(page)
    for name in ("Compare", "How it works"):
        page.get_by_role("tab", name=name, exact=True).click()
        found += violations(page)
    page.close()

    assert found == []


def test_who_wants_less_motion_gets_still_clips_and_a_button(browser, served):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(served)
    open_tab(page, "video")
    set_steps(page, 10, "video")
    run(page)
    clips = "[...document.querySelectorAll('.zc-clips video')]"
    page.wait_for_function(f"{clips}.length === 3 && {clips}.every(v => v.paused)")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function(f"{clips}.every(v => v.currentTime > 0.1 && !v.loop)")
    page.get_by_label("Moment of the clips").focus()
    page.keyboard.press("Home")

    page.wait_for_function(f"{clips}.every(v => v.currentTime < 0.1 || !v.paused)")
    context.close()


def test_tab_leaves_a_list_closed(browser, served):
    page = browser.new_page()
    page.goto(served)
    open_tab(page, "class")
    page.get_by_label("Class", exact=True).locator("visible=true").focus()
    options = page.get_by_role("listbox")
    options.wait_for()
    page.keyboard.press("Tab")
    page.wait_for_timeout(500)
    left = options.count()
    page.close()

    assert left == 0


def test_a_screen_reader_is_told_the_verdict(browser, served):
    page = browser.new_page()
    page.goto(served)
    open_tab(page, "class")
    set_steps(page, 10, "class")
    page.evaluate(
        """() => {
          window.told = [];
          const read = () => document.querySelectorAll(".sr-only[role=status]").forEach(
            (region) => told.push(region.textContent));
          new MutationObserver(read).observe(
            document, { characterData: true, childList: true, subtree: true });
        }"""
    )
    run(page)
    page.wait_for_function("told.some((said) => said.includes('the plain'))", timeout=PATIENCE)
    told = page.evaluate("told")
    verdict = page.locator(".zc-verdict:visible b").inner_text()
    page.close()

    assert not [said for said in told if said.startswith("common.")]
    assert any(verdict in said for said in told)
