"""What a run will do and cost, told before it."""

import dataclasses
import itertools
import re

import gradio as gr
import pytest

from zcache import ZCacheConfig
from zcache.app import device, engine, forecast, pace
from zcache.measure import flop_table
from zcache.measure.flop_estimate import count, pass_cost
from zcache.models import loading
from zcache.models.architectures import ARCHITECTURES
from zcache.models.request import APP, RequestError
from zcache.models.shift import flow_times

REPORT = {
    "full_passes": 3,
    "forecast_passes": 7,
    "reflect_passes": 8,
    "seconds": {"full": 3.0, "forecast": 0.7, "reflect": 0.8},
    "accelerated_seconds": 4.5,
    "accelerated_seconds_end_to_end": 5.0,
}


@pytest.mark.parametrize("kind", engine.EMBEDDED)
def test_a_plan_is_the_schedule_and_the_cost_without_loading_anything(hosts, kind):
    plan = forecast.plan(kind, interval=4, steps=10)

    times = flow_times(hosts[kind].model, forecast.asked(kind, steps=10))
    schedule = ZCacheConfig(interval=4).plan(10, times, diffusion=kind == "class")
    assert plan["full_steps"] == list(schedule.full_steps)  # as its run has them: test_endpoints
    assert plan["walk"] == str(schedule)
    assert plan["full_passes"] + plan["forecast_passes"] + plan["reflect_passes"] == len(
        schedule.walk
    )
    assert 1 < plan["flops_speedup"] <= 10 / len(schedule.full_steps)
    assert plan["seconds"] is None
    assert not hosts[kind].ready


@pytest.mark.parametrize("settings", [{"steps": 9}, {"interval": "5"}, {"base": "<b>"}])
def test_a_plan_of_the_impossible_is_refused_in_one_sentence(hosts, settings):
    with pytest.raises(gr.Error, match="it must be"):
        forecast.plan("image", **settings)


def test_a_kind_that_is_none_is_refused(hosts):
    with pytest.raises(gr.Error, match="Kind is 'sound'; it must be one of image, video, class"):
        forecast.plan("sound")


def test_the_shipped_costs_are_those_that_are_counted():
    shape = ARCHITECTURES["dit-xl-2"].shape

    shipped = flop_table.table()[flop_table.key("dit-xl-2", "stack", shape)]
    assert shipped == pass_cost("dit-xl-2", "stack", shape)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("granularity", ["stack", "module", "output"])
def test_every_shape_the_app_offers_of_a_full_size_model_is_in_the_table(name, granularity):
    model = loading.KNOWN[name]
    frames = range(5, 66, 4) if model.kind == "video" else [None]
    known = flop_table.table()

    for number in frames:
        settings = {"frames": number} if number else {}
        request = forecast.asked(model.kind, granularity=granularity, **settings)
        assert flop_table.passes(model, request) in known.values()


@pytest.mark.parametrize("kind", engine.EMBEDDED)
@pytest.mark.parametrize("granularity", ["stack", "module", "output"])
def test_the_shipped_costs_of_an_embedded_model_are_those_that_are_counted(kind, granularity):
    model = loading.find(engine.EMBEDDED[kind])
    frames = model.call.get("num_frames") or 1
    sizes = model.call.get("height"), model.call.get("width")
    text = model.call.get("max_sequence_length", 0)
    architecture = flop_table.stored(model.local, *sizes, frames, text)
    shipped = flop_table.table()[flop_table.key(model.name, granularity, architecture.shape)]
    assert shipped == count(architecture, granularity, architecture.shape)
    assert shipped == flop_table.passes(model, forecast.asked(kind), granularity)


def test_an_embedded_model_is_not_counted_anew_and_a_folder_of_its_name_is(monkeypatch, tmp_path):
    model, request = loading.find("mini-dit"), forecast.asked("class")
    (tmp_path / "mini-dit").symlink_to(model.local)
    counted = []
    monkeypatch.setattr(flop_table, "count", lambda *what: counted.append(what))
    flop_table._counted.cache_clear()
    assert flop_table.passes(model, request) is not None and not counted
    flop_table.passes(dataclasses.replace(model, source=str(tmp_path / "mini-dit")), request)
    flop_table._counted.cache_clear()
    assert len(counted) == 1


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("image", (64, 64, 1, 32)), ("video", (64, 64, 5, 16)), ("class", (None, None, 1, 0))],
)
def test_a_folder_is_counted_with_the_shapes_its_pipeline_uses(tinies, tiny_pipes, kind, sizes):
    pipe, model = tiny_pipes[kind], loading.find(tinies[kind])
    used = {}
    hook = pipe.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: used.update(kwargs, **({"hidden_states": args[0]} if args else {})),
        with_kwargs=True,
    )
    pipe(**loading.call_arguments(model, forecast.asked(kind)) | {"num_inference_steps": 1})
    hook.remove()

    architecture = flop_table.stored(model.local, *sizes)
    counted = architecture.arguments(architecture.shape, architecture.config)
    shared = {"hidden_states", "encoder_hidden_states", "img_ids", "txt_ids"} & set(counted)
    assert "hidden_states" in shared
    for name in shared:
        assert counted[name].shape == used[name].shape, name


def test_a_timed_run_gives_the_seconds_of_others(hosts):
    model = hosts["image"].model
    request = forecast.asked("image", steps=10, interval=5)
    pace.learn(model, request, REPORT)

    times = pace.seconds(model, request, None)
    walk = request.plan().walk
    full = len(request.plan().full_steps)
    assert times["plain"] == pytest.approx(10 * 1.0 + 0.5)
    assert times["accelerated"] == pytest.approx(full * 1.0 + (len(walk) - full) * 0.1 + 0.5)
    assert re.search(r"3 full steps of 10, .* times fewer FLOPs, about 5\.\d s instead of 10 s",
                     forecast.line("image", {"steps": 10, "interval": 5}))  # fmt: skip


def test_a_run_without_cached_passes_tells_nothing_of_them(hosts):
    model = hosts["image"].model
    request = forecast.asked("image", steps=10, interval=5)
    cost = pace.cost_of(model, request)
    uncached = REPORT | {"forecast_passes": 0, "reflect_passes": 0, "full_passes": 10}
    uncached["seconds"] = {"full": 10.0, "forecast": 0.0, "reflect": 0.0}

    def cached_pass(**changes):
        asked = forecast.asked("image", steps=10, interval=5, **changes)
        walk, full = asked.plan().walk, len(asked.plan().full_steps)
        whole = pace.seconds(model, asked, cost)["accelerated"]
        return (whole - full * 1.0 - 0.5) / (len(walk) - full)

    pace.learn(model, forecast.asked("image", steps=10, interval=1), uncached)
    guessed = cost.cached_tflops / cost.full_tflops
    assert cached_pass() == pytest.approx(guessed)
    pace.learn(model, request, REPORT)
    pace.learn(model, forecast.asked("image", steps=10, interval=1), uncached)
    assert cached_pass() == pytest.approx(0.1)
    assert cached_pass(granularity="module") == pytest.approx(guessed)


def test_the_line_says_why_the_settings_cannot_be_run(hosts):
    said = "Steps is 9; it must be a whole number from 10 to 50: choose one in that range."
    assert forecast.line("image", {"steps": 9}) == said
    said = "Interval is 25; it must be a whole number from 1 to 10, the number of steps: choose one"
    assert said in forecast.line("image", {"steps": 10, "interval": 25})
    assert "from 1 to 25: choose" in forecast.line("image", {"steps": 50, "interval": 26})
    assert forecast.line("image", {"steps": 10, "interval": 4}).startswith("This run: 4 full steps")


@pytest.mark.parametrize("kind", engine.EMBEDDED)
def test_a_run_that_caches_nothing_says_so_and_no_saving(hosts, kind):
    line = forecast.line(kind, {"steps": 20, "interval": 1})

    assert line == "This run: all 20 steps in full, nothing is cached."
    assert "at most 4 apart" in forecast.line(kind, {"steps": 20, "interval": 4})


@pytest.mark.parametrize("interval", range(1, 26))
@pytest.mark.parametrize("kind", engine.EMBEDDED)
def test_full_steps_are_at_most_as_far_apart_as_is_said(hosts, kind, interval):
    for steps in (25, 37, 50):
        full = forecast.asked(kind, steps=steps, interval=interval).plan().full_steps
        assert max((b - a for a, b in itertools.pairwise(full)), default=0) <= interval


def test_too_much_work_is_refused_before_it_begins(hosts):
    model = hosts["image"].model
    request = forecast.asked("image", steps=10, interval=5)
    pace.learn(model, request, REPORT | {"seconds": REPORT["seconds"] | {"full": 3000.0}})

    with pytest.raises(
        RequestError, match=r"about 1\d+ s here; at most 1800 s are allowed: choose"
    ):
        pace.check(model, [request], "cpu")


def test_the_gpu_is_asked_for_as_long_as_the_run_will_take(hosts):
    request = forecast.asked("image", steps=10, interval=5)
    pace.learn(
        hosts["image"].model, request, REPORT | {"seconds": REPORT["seconds"] | {"full": 40}}
    )

    both = device.seconds_of(request, "run", None, False)
    stored = device.seconds_of(request, "run", object(), False)
    alone = device.seconds_of(request, "run", object(), True)
    low, high = device.SECONDS_ASKED
    assert low < stored < alone < both < high


def test_where_the_gpu_is_lent_less_is_asked_for_and_a_long_base_alone_left_out(hosts, monkeypatch):
    request = forecast.asked("image", steps=50, interval=5)
    flux = loading.KNOWN["flux-dev"]
    monkeypatch.setattr(hosts["image"], "model", flux)
    owned = device.seconds_of(request, "run", None, False)
    monkeypatch.setattr(engine, "on_zero_gpu", lambda: True)
    lent = device.seconds_of(request, "run", None, False)

    # 50 steps of 0.744 s (74.4 TFLOPs at 100 a second) and four beside, twice 11 full ones; the margin, a cold start.
    assert lent == pytest.approx(15 + 1.4 * 0.744 * (50 + 4 + 2 * 11), abs=1) and lent < owned
    assert not device.shows_base_alone(request)
    pace.learn(
        flux, request, REPORT | {"seconds": {"full": 1.0, "forecast": 0.01, "reflect": 0.01}}
    )
    assert device.shows_base_alone(request)


def test_info_tells_models_versions_and_limits_and_no_path(hosts):
    info = forecast.info()

    assert [model["state"] for model in info["models"]] == ["not loaded yet"] * 3
    assert info["limits"]["steps"] == APP.steps
    assert "torch" in info["versions"]
    assert [model["device"] for model in info["models"]] == [None] * 3
    assert "/" not in "".join(model["note"] for model in info["models"])
