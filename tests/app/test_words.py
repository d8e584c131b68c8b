"""A visitor's text, cut to the room there is."""

import pytest

from zcache.app import links, result, views, words
from zcache.models import loading
from zcache.models.mini import world
from zcache.models.request import TURNING

LONG = {
    "one word": "x" * 300,
    "an address": "https://example.org/" + "a/b-" * 80,
    "Chinese": "一只红色的狐狸在雪地里" * 20,
    "sentence": "a red circle left of a blue square and " * 9,
    "a short word first": "a " + "y" * 300,
    "lines": "one\ntwo\r\n" * 60,
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("most", [24, 40, 120])
def test_what_is_cut_is_a_beginning_that_fills_half_the_room_at_least(name, most):
    text = " ".join(LONG[name].split())
    cut = words.cut(LONG[name], most)

    assert most / 2 < len(cut) <= most and cut.endswith(words.DOTS)
    assert text.startswith(cut.removesuffix(words.DOTS))
    if name == "sentence":
        assert text[len(cut) - 1] == " "  # no word is cut


def test_what_has_room_stays_as_it_is():
    for text in ("", "a red circle", "x" * 40, "é" * 39):
        assert words.cut(text, 40) == text


def test_a_text_of_one_word_has_a_name_while_it_runs_and_in_a_link():
    told = result.asked_for({"prompt": "x" * 300, "interval": 5, "seed": 0})

    assert told == f"“{'x' * 119}…”, N = 5, seed 0"
    assert links.ignored({"tab": "x" * 300}) == f"Ignored from the link: tab={'x' * 39}…."


@pytest.mark.parametrize("sign", TURNING)
def test_nothing_turns_a_line_of_the_page_round(sign):
    assert sign not in result.asked_for({"prompt": f"a{sign}b", "interval": 5, "seed": 0})
    assert sign not in links.ignored({"tab": f"a{sign}b"})


def test_the_subject_of_a_title_has_a_direction_of_its_own(monkeypatch):
    monkeypatch.setattr(result, "name", lambda report: "“دائرة ”حمراء” <b>”, N = 5, seed 0")
    monkeypatch.setattr(result, "saved", lambda report: "")
    monkeypatch.setattr(result, "sources", lambda *_: "")
    shown = result.headline({"verdict": {"level": "", "sentence": ""}})

    assert "“<bdi>دائرة ”حمراء” &lt;b&gt;</bdi>”, N = 5, seed 0</h2>" in shown


# What is outside of a model's world.


@pytest.fixture
def model(monkeypatch):
    found = loading.find("mini-flux")
    monkeypatch.setitem(world.TAUGHT, found.name, {"a", "red", "circle"})
    monkeypatch.setitem(world.SUBJECTS, found.name, {"circle"})
    return found


def test_a_word_is_told_once_it_is_whole(model):
    prompt = "a red fox circle"
    told = [views.outside(model, prompt[:end], typing=True) for end in range(len(prompt) + 1)]

    first = prompt.index("fox") + 4
    assert not any(told[:first]) and all("“<bdi>fox</bdi>”" in box for box in told[first:])
    assert len(set(told)) == 2
    assert "“<bdi>fox</bdi>”" in views.outside(model, "a red fox") and not views.outside(
        model, "a circle"
    )


def test_a_long_word_is_told_short_and_only_the_first_sentence_is_announced(model):
    shown = views.outside(model, "x" * 300)

    assert f"“<bdi>{'x' * 23}…</bdi>”" in shown and "x" * 24 not in shown
    announced = shown.split('role="status">')[1].split("</span>")[0]
    assert announced.endswith("…</bdi>”.") and len(announced) < 120
