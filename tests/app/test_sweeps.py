"""One prompt over several settings."""

from dataclasses import replace

import gradio as gr
import pytest
from PIL import Image

from zcache.app import device, engine, runs, sweeps
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
        ("image", "a red circle", "interval", ["N = 3", "N = 4", "N = 5", "N = 6", "N = 8", "N = 10"]),
        ("video", "a red circle", "base", list(bases.choices())),
        ("class", "red square", "weight",
         ["automatic", "logarithmic", "linear", "cosine", "sqrt", "quadratic", "half", "future"]),
    ],
)  # fmt: skip
def test_a_sweep_tells_each_variant_and_ends_with_a_sheet(kind, subject, over, names):
    *before, (rows, sheet) = sweeps.sweep(kind, subject, over, steps=10)

    assert [row["name"] for row in rows] == ["plain", *names]
    assert all(path == "" for _, path in before)
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


def test_the_plain_run_of_a_sweep_is_made_once(monkeypatch):
    kept = []
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda *given: kept.append(1) or put(*given))

    list(sweeps.sweep("image", "a red circle", "base", steps=10))

    assert kept == [1]


def test_stop_ends_a_sweep_between_or_within_variants():
    device.announce("mine")
    rows = sweeps.sweep("image", "a red circle", "interval", run="mine", steps=10)
    next(rows)
    device.stop("mine")

    with pytest.raises(gr.Error, match="stopped"):
        next(rows)


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
