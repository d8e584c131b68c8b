"""A finished run in words: its name, what it saved, where each side is from, what stands under it."""

import json

import pytest

from zcache.app import first_sight, outputs, result, runs, views
from zcache.measure import verdict
from zcache.models.mini import world

from .asking import KINDS, asked


@pytest.fixture(params=KINDS)
def report(request, engines):
    return runs.last(request.param, **asked(request.param, seed=3)).report


def test_the_headline_has_name_verdict_savings_and_sources(report):
    said = result.headline(report)

    for part in ("N = 5", "seed 3", "10 steps", report["verdict"]["sentence"], "same seed"):
        assert part in said
    assert f"“<bdi>{report['subject']}</bdi>”" in said and report["subject"] in (
        "a red circle",
        "red square",
    )
    assert "drawn now" in said
    assert "All from the store: run 20" in result.headline(report, earlier=True)


def test_a_report_names_the_words_that_were_not_taught(engines, monkeypatch):
    name = engines["image"].model.name
    monkeypatch.setitem(world.TAUGHT, name, {"a", "red", "circle"})
    monkeypatch.setitem(world.SUBJECTS, name, {"circle"})

    told = runs.last("image", **asked(prompt="a red fox")).report
    assert told["not_taught"] == ["fox"] and told["verdict"]["sentence"]
    assert runs.last("class", **asked("class")).report["not_taught"] == []


def test_each_side_has_seconds_and_the_cached_ones_decibels(report):
    plain, alone, ours = (result.facts(side, report) for side in result.SIDES)

    assert all(one["seconds"].endswith(" s") for one in (plain, alone, ours))
    base = report["base"]
    title = "Z-Cache" if base == "taylorseer" else f"Z-Cache on {base}"
    assert (plain["title"], alone["title"], ours["title"]) == ("Plain", "taylorseer alone", title)
    assert "dB" in ours["said"] and "dB" in alone["said"]
    if "psnr_worst_frame" in report:
        assert f"{report['psnr_worst_frame']:.1f} dB, worst frame" == ours["said"]


def test_where_the_base_alone_came_nearer_the_verdict_says_so(report):
    figure = "psnr_worst_frame" if "psnr_worst_frame" in report else "psnr"

    def with_alone(psnr):
        alone = report["base_alone"] | {figure: psnr, "base": "fora"}
        return report | {figure: 23.4, "base_alone": alone}

    near, far = with_alone(27.2), with_alone(23.4)
    assert "Here fora alone is nearer: 27.2 dB" in result.headline(near)
    for told in (far, {name: value for name, value in near.items() if name != "base_alone"}):
        assert result.nearer(told) == "" and "alone is nearer" not in result.headline(told)


def test_the_base_is_the_one_that_a_run_chose_and_both_are_named_where_they_differ(report):
    assert report["config"]["base"] == "automatic"
    assert f"base {report['base']}" in result.name(report) and report["base"] != "automatic"
    other = report | {"base": "damped"}

    assert result.facts("accelerated", other)["title"] == "Z-Cache on damped"
    assert result.facts("base_alone", other)["title"] == "taylorseer alone"


@pytest.mark.parametrize(
    ("speedup", "is_", "said"),
    [
        (3.77, "measured", ", 3.8 times faster"),
        (3.77, "estimated", ", about 3.8 times faster"),
        (0.97, "measured", ", no faster here"),
    ],
)
def test_what_was_saved_is_told_in_flops_and_on_the_clock(report, speedup, is_, said):
    told = report | {"flops_speedup": 5.0, "speedup": speedup, "speedup_is": is_}

    assert result.saved(told).endswith(f"5.0 times fewer FLOPs{said}.")


def test_an_estimate_is_marked_where_the_plain_seconds_stand(report):
    told = result.facts("baseline", report | {"speedup_is": "estimated"})

    assert told["seconds"].startswith("≈ ")
    assert not result.facts("baseline", report | {"speedup_is": "measured"})["seconds"].startswith(
        "≈"
    )


def test_without_a_base_alone_its_place_says_why(report):
    bare = {name: value for name, value in report.items() if name != "base_alone"}
    config = report["config"] | {"reflect": False}

    assert result.facts("base_alone", bare)["said"] == "would take long"
    assert result.facts("base_alone", bare | {"config": config})["said"].startswith("as Z-Cache")


def test_a_broken_picture_is_under_no_big_number(report):
    other = {"level": verdict.OTHER, "sentence": "Another."}

    assert "zc-another" in views.cards(report | {"verdict": other})
    assert "but another picture" in views.cards(report | {"verdict": other})
    kept = {"level": verdict.SAME, "sentence": "Same."}
    assert "zc-another" not in views.cards(report | {"verdict": kept})


def test_a_run_is_named_before_it_is_checked_and_escaped():
    named = result.asked_for({"prompt": "<b>" + "x " * 300, "interval": 5, "seed": None})

    assert len(named) < 200
    assert "&lt;b&gt;" in views.running(named)


def test_the_example_shipped_with_the_app_is_what_the_report_says():
    head = first_sight.head()
    told = json.loads(
        (first_sight.resources.files("zcache.app") / "first_sight/report.json").read_text()
    )

    assert head.count("<img") == 3 and head.count("alt=") == 3
    assert told["subject"] in head and told["verdict"]["level"] in (verdict.SAME, verdict.IDENTICAL)
    assert verdict.level(told["base_alone"]) == verdict.OTHER  # what the eye is to see
    for side in result.SIDES:
        assert result.facts(side, told)["seconds"] in head


@pytest.mark.parametrize(
    ("environment", "address"),
    [({"SPACE_ID": "someone/zcache"}, "https://huggingface.co/spaces/someone/zcache/tree/main")],
)
def test_on_a_space_the_code_is_linked(monkeypatch, environment, address):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert address in first_sight.head()


def test_cleared_outputs_leave_nothing_of_the_run_before(engines):
    import gradio as gr

    with gr.Blocks():
        shown = outputs.build("image")
    cleared = outputs.cleared(shown, "running")

    assert set(cleared) == set(shown.values())
    assert [value for value in cleared.values() if value] == ["running"]
