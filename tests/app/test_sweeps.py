"""One prompt over several settings."""

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from zcache.app import device, engine, forecast, runs, sweeps, views
from zcache.app.plain_runs import Store
from zcache.method import bases
from zcache.models import loading
from zcache.models.request import APP


@pytest.fixture(autouse=True)
def app(tinies, tmp_path, monkeypatch):
    """The app's runs on the tiny models with an empty store."""
    before = engine.all_hosts()
    engine.use({kind: engine.Engine(name) for kind, name in tinies.items()})
    monkeypatch.setattr(runs, "store", lambda: Store(tmp_path / "store", 10**8))
    yield
    engine.use(before)


@pytest.mark.parametrize(
    ("kind", "subject", "over", "names"),
    [
        ("image", "a red circle", "interval", ["N = 3", "4", "N = 5", "6", "8", "N = 10"]),
        ("video", "a red circle", "base", list(bases.choices())),
        ("class", "red square", "weight",
         ["automatic", "logarithmic", "linear", "cosine", "sqrt", "quadratic", "half", "future"]),
    ],
)  # fmt: skip
def test_a_sweep_tells_each_variant_and_ends_with_a_sheet(kind, subject, over, names):
    *before, (rows, sheet, done, of) = sweeps.sweep(kind, subject, over, steps=10)

    told = ", ".join(row["name"] for row in rows).split(", ")
    assert sorted(told) == sorted(["plain", *names]) and told[:2] == ["plain", names[0]]
    assert all(stage.sheet == "" for stage in before)
    assert [stage.done for stage in before] == list(range(of + 1)) and done == of
    assert rows[0]["full_steps"] == 10 and rows[0]["granularity"] is None
    alike = {row["granularity"] for row in rows[2 - (over == "interval") :]}
    assert len(alike) == 1 and alike <= {"stack", "output"}
    assert all(row["flops_speedup"] >= 1 and row["seconds"] > 0 for row in rows)
    assert Image.open(sheet).width > 4 * 64


@pytest.mark.parametrize("over", ["base", "weight"])
def test_rows_differ_in_what_is_compared_alone(over):
    """mini-dit caches its output when nothing is chosen, and not every base can."""
    host = engine.Engine("mini-dit")
    found = sweeps.variants(host, "face", over, {"steps": 10})

    default = loading.asked(host.model, APP, label="face", steps=10)
    assert found.pop("automatic") == default and default.granularity == "automatic"
    assert {request.granularity for request in found.values()} == {"stack"}
    assert [replace(r, granularity="automatic", **{over: "automatic"}) for r in found.values()] == [
        default
    ] * len(found)


@pytest.mark.parametrize("kind", engine.EMBEDDED)
@pytest.mark.parametrize("steps", [10, 20])
def test_intervals_of_one_row_have_one_plan_and_rows_have_different_ones(kind, steps):
    subject = "red square" if kind == "class" else "a red circle"
    found = sweeps.variants(engine.of(kind), subject, "interval", {"steps": steps})

    plans = [request.plan() for request in found.values()]
    assert len(set(map(str, plans))) == len(plans)
    for name, request in found.items():
        for interval in map(int, name.removeprefix("N = ").split(", ")):
            assert replace(request, interval=interval).plan() == request.plan()
    named = ", ".join(name.removeprefix("N = ") for name in found)
    assert named == "3, 4, 5, 6, 8, 10"


def test_an_interval_of_a_run_that_decides_as_it_goes_is_its_own():
    requests = [forecast.asked("image", base="teacache", steps=10, interval=n) for n in (5, 6)]

    assert requests[0].plan() == requests[1].plan()
    assert sweeps._settles(requests[0]) != sweeps._settles(requests[1])


def test_what_automatic_became_is_one_row_with_it(monkeypatch):
    made = []
    of_request = runs.of_request

    def twice(host, request, run):
        """The automatic base as `fora`, which it is where windows are long and the model is guided."""
        made.append(request.base)
        as_run = replace(request, base="fora") if request.base == "automatic" else request
        return of_request(host, replace(as_run, granularity="stack"), run)

    monkeypatch.setattr(runs, "of_request", twice)
    *_, (rows, *_) = sweeps.sweep("image", "a red circle", "base", steps=10)

    assert made == list(bases.choices())
    names = [row["name"] for row in rows]
    assert any(name.startswith("automatic") and "fora" in name for name in names)
    assert ", ".join(sorted(", ".join(names).split(", "))) == ", ".join(sorted(["plain", *made]))


def test_a_sheet_in_the_dark_has_the_same_pictures_on_dark_paper():
    rows = [sweeps.PLAIN | {"seconds": 1.0, "full_steps": 10}] * 2
    cells = [np.full((200, 200, 3), level, np.uint8) for level in (90, 200)]
    light, dark = (sweeps._sheet(rows, cells, sweeps.Look(2, dark))[0] for dark in (False, True))

    assert (light[0] == 255).all() and (dark[0] == 0).all()
    assert {90, 200} <= set(light[50, :, 0]) and (light[50, 20:] == dark[50, 20:]).any()
    inside = (light[50] != 255).all(axis=1)
    assert (light[50][inside] == dark[50][inside]).all()


@pytest.mark.parametrize(
    ("over", "why"), [(2.9, "by less than its spread"), (3.9, "smaller share")]
)
def test_a_row_that_reads_faster_than_its_flops_says_why(over, why):
    row = sweeps.PLAIN | {"name": "N = 3", "seconds": 1.0, "full_steps": 4, "flops_speedup": 2.74}
    row |= {"speedup": over, "speedup_spread": 0.2}

    assert (
        f"N = 3: above the 2.74 times fewer FLOPs {'' if why[0] == 'b' else 'cached'}"
        in views.table([row])
    )
    assert why in views.table([row])
    assert "above" not in views.table([row | {"speedup": 2.74}])


def test_the_plain_run_of_a_sweep_is_made_once(monkeypatch):
    kept = []
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda *given: kept.append(1) or put(*given))

    list(sweeps.sweep("image", "a red circle", "base", steps=10))

    assert kept == [1]


def test_stop_ends_a_sweep_between_or_within_variants():
    device.announce("mine")
    stages = sweeps.sweep("image", "a red circle", "interval", run="mine", steps=10)
    assert not next(stages).rows and next(stages).rows
    device.stop("mine")

    with pytest.raises(gr.Error, match="stopped"):
        next(stages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"over": "seed"}, "Over is 'seed'; it must be one of interval, base, weight"),
        ({"kind": "sound"}, "Kind is 'sound'"),
        ({"subject": " "}, "Prompt is empty"),
        ({"subject": None}, "Prompt is None"),
        ({"steps": 51}, "Steps is 51"),
    ],
)
def test_a_bad_sweep_is_refused_before_anything_runs(change, message):
    asked = {"kind": "image", "subject": "a", "over": "base", "steps": 10} | change

    with pytest.raises(gr.Error, match=message):
        list(sweeps.sweep(**asked))
    assert not engine.of("image").ready
