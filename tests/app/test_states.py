"""A small part of `python -m tests.app.states`, which is run in full by hand; and that it notices."""

import pytest

from .looking import COVERED, CUT_OFF, NO_RING, PAINTED_OVER, axe_violations
from .states import HEIGHT, STATES, Visit, visit_all

pytestmark = pytest.mark.browser
CLEAN = "<html lang=en><title>t</title><main><h1>Head</h1>{}</main></html>"


@pytest.mark.parametrize(
    ("kind", "width", "scheme", "names"),
    [
        ("image", 390, "dark", ("result", "keyboard", "how")),
        ("video", 1440, "dark", ("result", "back")),
        ("class", 390, "light", ("first", "bad_seed")),
    ],
)
def test_states_of_the_page_are_in_order(browser, served, kind, width, scheme, names):
    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
    found = visit_all(Visit(page, served, width, scheme, kind, steps=10), names)
    page.close()

    assert found == []
    assert set(names) <= set(STATES)


@pytest.mark.parametrize(
    ("body", "check", "said"),
    [
        ("<p style='width: 2000px'>wide</p>", CUT_OFF, "the document is"),
        ("<p style='width: 40px; overflow: hidden; white-space: nowrap'>a long line</p>", CUT_OFF,
         "“a long line” (p.) is cut off"),
        ("<p>below</p><p style='margin-top: -2em'>above</p>", COVERED, "lie on each other"),
        ("<button style='position: absolute; top: 20px; left: 10px'>on it</button>", COVERED,
         "“Head” (h1.) and “on it”"),
        ("<div class=zc-buttons style='position: sticky; top: 0; z-index: 20'><button>Run</button></div>"
         "<p style='position: relative; z-index: 40; margin-bottom: 2000px'>above all</p>", PAINTED_OVER,
         "“above all” (p) is painted over the buttons that stay"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_noticed(browser, body, check, said):
    page = browser.new_page(viewport={"width": 390, "height": HEIGHT})
    page.set_content(CLEAN.format("<p>nothing</p>"))
    assert page.evaluate(check) == []
    page.set_content(CLEAN.format(body))
    found = page.evaluate(check)
    page.close()

    assert any(said in one for one in found)


def test_a_missing_ring_and_a_missing_name_are_noticed(browser):
    page = browser.new_page()
    page.set_content(CLEAN.format("<button style='outline: none'>x</button><img src='data:,'>"))
    page.keyboard.press("Tab")
    ring, axe = page.evaluate(NO_RING), axe_violations(page)
    page.close()

    assert "has no focus ring" in ring
    assert any("image-alt" in one for one in axe)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("console.error('broken')", "console: broken"),
        ("setTimeout(() => { throw new Error('thrown') })", "console: thrown"),
        (
            "fetch('http://localhost:1/elsewhere').catch(() => 0)",
            "a request to http://localhost:1/",
        ),
    ],
)
def test_errors_and_strangers_are_noticed(browser, what, said):
    page = browser.new_page()
    visit = Visit(page, "data:", 1280, "light")
    page.set_content(CLEAN.format(""))
    page.evaluate(f"() => {{ {what} }}")
    page.wait_for_timeout(200)
    page.close()

    assert any(said in one for one in visit.wrong)
