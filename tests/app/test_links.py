"""Links that restore settings."""

from urllib.parse import parse_qsl

import pytest

from zcache.app import links


def test_a_link_restores_what_it_was_made_of(hosts):
    settings = {
        "prompt": "a <red> & blue circle?",
        "interval": 7,
        "base": "fora",
        "weight": "linear",
        "reflect": False,
        "steps": 20,
        "seed": 5,
    }

    address = links.address("image", settings)
    query = dict(parse_qsl(address[1:]))
    assert links.restored(query) == ("image", settings)


@pytest.mark.parametrize(
    "query",
    [
        {"interval": "99"},
        {"interval": "1e3"},
        {"steps": "٣٠٠"},
        {"seed": "-1"},
        {"reflect": "maybe"},
        {"prompt": ""},
        {"prompt": "x" * 501},
        {"base": "<script>"},
        {"frames": "17"},
        {"label": "red square"},
        {"nonsense": "1"},
        {"kind": "video"},
        {"limits": "none"},
        {"model": "flux-dev"},
    ],
)
def test_what_a_link_may_not_set_is_left_out(hosts, query):
    assert links.restored({"tab": "image", **query}) == ("image", {})


def test_a_link_to_no_tab_restores_nothing(hosts):
    assert links.restored({"tab": "how"}) is None
    assert links.restored({}) is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, ""),
        ({"tab": "compare"}, ""),
        ({"tab": "image", "interval": "7", "__theme": "dark"}, ""),
        ({"tab": "image", "interval": "9999", "seed": "abc", "steps": "12"}, "interval=9999, seed=abc"),
        ({"tab": "class", "label": "banana"}, "label=banana"),
        ({"tab": "sound", "seed": "1"}, "tab=sound, seed=1"),
        ({"tab": "how", "seed": "1"}, "seed=1"),
        ({"tab": "image", "prompt": "x " * 300}, "prompt=x x x"),
    ],
)  # fmt: skip
def test_what_of_a_link_is_left_out_is_said(hosts, query, said):
    told = links.ignored(query)

    assert told.startswith(f"Ignored from the link: {said}") if said else told == ""
    assert len(told) < 100
