"""Presets of the tuned profiles: they claim what is counted, and they are what runs."""

import json
import re

import gradio as gr
import pytest
from gradio_client import Client

from zcache import Profile
from zcache.app import (
    build_demo,
    engine,
    forecast,
    inputs,
    launch_options,
    links,
    result,
    runs,
    views,
)
from zcache.models import loading, profiles

from .visiting import PATIENCE, open_tab, run, seen

KIND = "class"  # the quickest of the embedded models


@pytest.fixture
def embedded():
    before = engine.all_hosts()
    engine.use({kind: engine.Engine(name) for kind, name in engine.EMBEDDED.items()})
    yield
    engine.use(before)


@pytest.fixture(scope="module")
def page_of_presets(tinies):
    """The app with the embedded model in one tab, tiny ones without a profile in the others."""
    before = engine.all_hosts()
    hosts = {kind: engine.Engine(name) for kind, name in tinies.items()}
    demo = build_demo(hosts | {KIND: engine.Engine(engine.EMBEDDED[KIND])})
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url
    demo.close()
    engine.use(before)


@pytest.mark.parametrize("kind", engine.EMBEDDED)
def test_a_preset_claims_what_is_counted(embedded, kind):
    named = inputs.presets(kind)

    assert len(named) >= 2 and len({full for _, full in named}) == len(named)
    for name, full in named:
        counted = f"{forecast.plan(kind, tuned=full)['flops_speedup']:.1f}"
        assert name.split(" times")[0] == counted
        line = forecast.line(kind, {"tuned": full})
        assert f", {counted} times fewer FLOPs" in line
        near = re.search(r"On subjects kept out of the tuning: (\d+) dB in the mean, (.+)\.$", line)
        found = profiles.of(loading.find(engine.EMBEDDED[kind])).figures[full]
        assert int(near[1]) == round(found["psnr"])
        far = found["psnr"] < 25 or found["ssim"] < 0.93
        assert far == (near[2] == "another picture")


@pytest.mark.parametrize("kind", engine.EMBEDDED)
def test_every_setting_of_a_profile_becomes_a_request_as_it_is(kind):
    model = loading.find(engine.EMBEDDED[kind])
    profile = profiles.of(model)
    subject = {"label": 0} if kind == KIND else {"prompt": "a red circle"}

    for full, config in profile.budgets.items():
        request = loading.asked(model, tuned=full, interval=2, **subject)
        assert request.config() == config
        assert request.granularity == config.granularity and request.reflect == config.reflect
        assert request != loading.asked(model, interval=2, **subject)
        assert json.dumps(request.to_dict())


def test_a_card_rounds_as_the_verdict_does(embedded):
    report = {"flops_speedup": 4.746, "call": {"prompt": ""}, "psnr": 30.0, "ssim": 0.9}
    report |= {"speedup_is": "measured", "speedup_how": "", "speedup_spread": 0, "identical": False}
    report |= dict.fromkeys(("full_passes", "num_steps", "forecast_passes", "reflect_passes"), 1)
    report |= {
        f"{side}_seconds{which}": 1.0
        for side in ("baseline", "accelerated")
        for which in ("", "_end_to_end")
    }
    report |= {"speedup": 1.0, "speedup_end_to_end": 1.0, "fallbacks": [], "verdict": {"level": ""}}

    assert "4.7× fewer" in views.cards(report) and "4.7 times" in result.saved(report)


def test_a_profile_that_is_made_again_brings_its_own_claims(embedded, monkeypatch):
    old = engine.of(KIND).profile
    figures = {17: {"flops_speedup": 2.99, "psnr": 40.0}, 7: {"flops_speedup": 7.0, "psnr": 30.0}}
    new = Profile.from_dict(old.to_dict() | {"figures": figures})
    monkeypatch.setattr(loading.profiles, "of", lambda model: new)

    assert inputs.presets(KIND) == [("2.9 times fewer FLOPs", 17), ("7.1 times", 7)]
    monkeypatch.setattr(forecast, "cost_of", lambda *_: None)
    assert inputs.presets(KIND) == [("3.0 times fewer FLOPs", 17), ("7.0 times", 7)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tuned": 9}, "Tuned is 9; the profile of this model has 7, 8, 10"),
        ({"tuned": 10, "steps": 20}, "Steps is 20, but the profile was tuned for 50"),
        ({"tuned": 2.5}, "Tuned is 2.5; it must be a whole number"),
    ],
)
def test_what_no_profile_has_is_refused_with_the_cure(embedded, asked, said):
    with pytest.raises(gr.Error, match=said):
        runs.last(KIND, label=0, **asked)
    with pytest.raises(gr.Error, match="Tuned is 5, but this model has no profile"):
        engine.use({"image": engine.Engine("flux-dev")})
        runs.last("image", prompt="a cat", tuned=5)


def test_the_api_runs_a_preset(page_of_presets):
    client = Client(page_of_presets, verbose=False)
    full = engine.of(KIND).profile.default
    *_, report = client.predict(label="0", tuned=full, api_name="/compare_class")
    plan = client.predict(kind=KIND, tuned=full, api_name="/plan")
    told = {model["kind"]: model["tuned"] for model in client.predict(api_name="/info")["models"]}

    config = engine.of(KIND).profile.config()
    assert report["config"] == config.to_dict() and report["full_passes"] == full
    assert report["tuned"] == full
    assert report["flops_speedup"] == pytest.approx(plan["flops_speedup"])
    saved = {row["full_steps"]: row["flops_speedup"] for row in told[KIND]}
    assert saved[full] == pytest.approx(plan["flops_speedup"], rel=0.01)
    assert list(saved) == sorted(engine.of(KIND).profile.budgets)
    for number in saved:  # as they are told they are taken
        assert client.predict(kind=KIND, tuned=number, api_name="/plan")["full_passes"] == number
    assert told["image"] == []
    assert result.name(report).endswith(
        f"tuned to {full} full steps, seed 0, 50 steps, base {report['base']}"
    )


@pytest.mark.browser
def test_a_preset_on_the_page_hides_what_it_settles_and_its_link_restores_it(
    browser, page_of_presets
):
    page = browser.new_page()
    page.goto(page_of_presets)
    open_tab(page, KIND)
    name, most = inputs.presets(KIND)[-1]
    interval = page.get_by_label("number input for Interval N").locator("visible=true")
    page.get_by_label("By hand").check()
    interval.wait_for(timeout=PATIENCE)
    page.get_by_label(name, exact=True).check()
    interval.wait_for(state="detached", timeout=PATIENCE)
    page.locator(".zc-plan-line:visible").filter(has_text=f"{most} full steps of 50").wait_for()
    run(page)
    link = page.get_by_role("link", name="Link to these settings").get_attribute("href")
    page.goto(page_of_presets + link)
    seen(page, "All from the store: run ")

    assert f"tuned={most}" in link and "interval" not in link
    assert f"tuned to {most} full steps" in page.locator(".zc-name").inner_text()
    assert page.get_by_label(name, exact=True).is_checked()
    page.goto(f"{page_of_presets}?tab={KIND}&interval=3")
    interval.wait_for(timeout=PATIENCE)
    assert page.get_by_label("By hand").is_checked()
    page.close()


def test_a_link_by_hand_says_so_only_where_there_is_a_choice(embedded):
    assert links.restored({"tab": KIND, "interval": "3"})[1]["tuned"] == 0
    assert "tuned" not in links.restored({"tab": KIND})[1]
    assert "tuned" not in links.restored({"tab": KIND, "tuned": "9"})[1]


def test_a_link_to_a_preset_sets_nothing_that_the_preset_settles(embedded):
    query = {"tab": KIND, "tuned": "10", "steps": "20", "seed": "3", "order": "0"}

    assert links.restored(query) == (KIND, {"tuned": 10, "seed": 3})
    assert links.ignored(query) == "Ignored from the link: steps=20, order=0."
