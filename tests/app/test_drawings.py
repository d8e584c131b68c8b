"""The small pictures: the chart of errors, the curve of a weight, the walk."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from zcache.app import drawings, engine, explained, forecast
from zcache.measure import flop_table
from zcache.method.weights import Fitted


def drawing(html):
    """The SVG in some HTML, parsed."""
    return ElementTree.fromstring(re.search(r"<svg.*?</svg>", html, re.DOTALL)[0])


def test_the_error_chart_has_a_line_for_each_side_and_a_dot_for_each_full_step():
    report = {
        "errors": [0.0, 0.1, 0.05],
        "full_steps": [0, 2],
        "config": {"base": "<fora>"},
        "base_alone": {"errors": [0.0, 0.1, 0.2]},
    }

    html = drawings.error_chart(report)
    svg = drawing(html)
    assert [len(line.get("points").split()) for line in svg.iter("polyline")] == [3, 3]
    assert len(list(svg.iter("circle"))) == 2
    assert "Z-Cache ends at 5.0%, &lt;fora&gt; alone ends at 20.0%" in html


def test_without_errors_there_is_no_chart():
    assert drawings.error_chart({"errors": [0.0, 0.0], "full_steps": [0, 1]}) == ""


def test_the_weight_curve_ends_at_the_newer_full_step(hosts):
    heights = [
        float(dot.get("cy"))
        for dot in drawing(forecast.curve("image", {"weight": "linear", "interval": 4})).iter(
            "circle"
        )
    ]

    assert len(heights) == 4
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] == drawings.TOP
    assert forecast.curve("image", {"weight": "<b>"}) == ""


@pytest.mark.parametrize(
    ("kind", "weight"), [("image", "linear"), ("video", "future"), ("class", "logarithmic")]
)
def test_the_weight_curve_of_a_choice_is_what_runs_on_the_model(kind, weight, hosts):
    """mini-flux is a guided flow, mini-hunyuan an unguided one; of mini-dit the output is cached."""
    engine.use({kind: engine.Engine(name) for kind, name in engine.EMBEDDED.items()})

    curve = forecast.curve(kind, {})

    assert f"automatic, which is {weight} on this model" in curve
    dots = [
        [dot.get("cy") for dot in drawing(c).iter("circle")]
        for c in (curve, forecast.curve(kind, {"weight": weight}))
    ]
    assert dots[0] == dots[1]


def test_weights_that_differ_from_window_to_window_have_no_curve(hosts, monkeypatch):
    assert forecast.curve("class", {}) != ""
    monkeypatch.setattr(flop_table, "weight", lambda *_: Fitted((1.0, 0.3, 0.8)))
    assert forecast.curve("class", {}) == ""


@pytest.mark.parametrize("shown", [1, 9, 25, 99])
def test_the_walk_is_followed_pass_by_pass_in_words(shown):
    html = explained.picture(4, True, shown)

    assert len(list(drawing(html).iter("circle"))) == 25
    assert html.count("zc-to-come") == 25 - min(shown, 25)
    assert html.count("zc-now") == 1
    assert f"Pass {min(shown, 25)} of 25." in html
    assert explained.picture(999, True, 1) == explained.picture(6, True, 1)
    assert explained.picture(None, True, None) == explained.picture(2, True, 1)
    words = {1: "Step 0 is computed in full", 9: "Step 4 is redone", 25: "Step 12 is redone"}
    assert words[min(shown, 25)] in html
