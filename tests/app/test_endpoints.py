"""The served app, as programs see it."""

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image

from zcache.models.examples import EXAMPLES

from .asking import KINDS, REPORT_KEYS, asked, decoded


@pytest.fixture(scope="module")
def client(served):
    return Client(served, verbose=False)


def test_only_the_named_endpoints_are_public(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]

    compared = [f"/compare_{kind}" for kind in KINDS]
    assert list(endpoints) == [*compared, "/three_pictures", "/sweep", "/plan", "/info"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_endpoint_takes_the_documented_arguments(client, kind):
    endpoint = client.view_api(return_format="dict")["named_endpoints"][f"/compare_{kind}"]

    names = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
    subject = "label" if kind == "class" else "prompt"
    assert names[:7] == [subject, "interval", "base", "weight", "reflect", "steps", "seed"]
    assert all(parameter["parameter_has_default"] for parameter in endpoint["parameters"])


@pytest.mark.parametrize("kind", ["image", "class"])
def test_an_endpoint_returns_pictures_that_open_and_a_report(client, kind):
    baseline, accelerated, report = client.predict(
        **asked(kind, interval=4, seed=7), api_name=f"/compare_{kind}"
    )

    assert Image.open(baseline).size == Image.open(accelerated).size == (64, 64)
    assert set(report) >= REPORT_KEYS
    assert report["seed"] == 7
    last = 8 if kind == "class" else 9  # half a window before, of a diffusion sampler
    assert len(report["full_steps"]) == 4 and report["full_steps"][::3] == [0, last]
    plan = client.predict(kind=kind, interval=4, steps=10, api_name="/plan")
    assert (plan["full_steps"], plan["walk"]) == (report["full_steps"], report["walk"])


@pytest.mark.parametrize("kind", KINDS)
def test_three_pictures_are_plain_base_alone_and_accelerated(client, engines, kind):
    subject = asked(kind).get("prompt") or "1"
    *files, report = client.predict(
        kind=kind, subject=subject, interval=4, steps=10, api_name="/three_pictures"
    )

    plain, alone, accelerated = map(decoded, files)
    assert plain.shape == alone.shape == accelerated.shape
    assert not np.array_equal(alone, accelerated)
    assert set(report["verdict"]) == {"level", "sentence"}
    assert report["base_alone"]["reflect_passes"] == 0 < report["reflect_passes"]


def test_without_reflection_there_is_no_base_alone_to_show(client):
    plain, alone, accelerated, report = client.predict(
        kind="image", subject="a circle", reflect=False, steps=10, api_name="/three_pictures"
    )

    assert alone is None and "base_alone" not in report
    assert decoded(plain).shape == decoded(accelerated).shape


def test_the_video_endpoint_returns_clips_that_play_and_a_report(client):
    *clips, report = client.predict(
        **asked("video", interval=4, seed=7, frames=9), api_name="/compare_video"
    )

    assert [decoded(clip).shape for clip in clips] == [(9, 64, width, 3) for width in (64, 64, 136)]
    assert set(report) >= REPORT_KEYS | {"psnr_worst_frame", "ssim_worst_frame"}
    assert report["seed"] == 7 and report["full_steps"][::3] == [0, 9]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("video", {"frames": 6}, r"Frames is 6; it must be 4k \+ 1, such as 17: choose 5 or 9"),
        ("video", {"fps": 0}, "Fps is 0; it must be a whole number from 1 to 60"),
        ("video", {"prompt": ""}, "Prompt is empty"),
        ("video", {"steps": 9}, "Steps is 9"),
        ("class", {"label": "dog"}, "Class is 'dog'; it must be one of red circle, red square"),
        ("class", {"label": "7"}, "Class is '7'"),
        ("class", {"interval": 26}, "Interval is 26"),
    ],
)
def test_callers_of_the_other_endpoints_are_told_too(client, kind, change, message):
    with pytest.raises(Exception, match=message) as caught:
        client.predict(**asked(kind, **change), api_name=f"/compare_{kind}")

    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": 0}, "Interval is 0; it must be a whole number from 1 to 10"),
        ({"interval": 2.5}, "Interval is 2.5"),
        ({"interval": "5"}, "Interval is '5'"),
        ({"interval": None}, "Interval is empty"),
        ({"steps": 1000}, "Steps is 1000; it must be a whole number from 10 to 50"),
        ({"base": "x"}, "Base is 'x'; it must be one of automatic, taylorseer"),
        ({"weight": "x"}, "Weight is 'x'"),
        ({"prompt": ""}, "Prompt is empty; it needs 1 to 500 characters"),
        ({"prompt": 5}, "Prompt is 5; it must be text"),
        ({"prompt": ["a"]}, r"Prompt is \['a'\]; it must be text"),
        ({"tuned": 10, "interval": 4}, "Interval is 4, which tuned 10 settles: leave it out, or"),
        ({"tuned": 10, "reflect": False}, "Reflect is False, which tuned 10 settles"),
        ({"prompt": "x" * 501}, "Prompt has 501 characters"),
        ({"reflect": "yes"}, "Reflect is 'yes'"),
        ({"seed": -1}, "Seed is -1"),
        ({"seed": None}, "Seed is empty; it must be a whole number from 0 to 2147483647"),
        ({"seed": 99999999999}, "Seed is 99999999999"),
    ],
)
def test_an_api_caller_is_told_the_same_sentence(client, change, message):
    with pytest.raises(Exception, match=message) as caught:
        client.predict(**asked(**change), api_name="/compare_image")

    assert "Traceback" not in str(caught.value)


def test_frames_are_planned_for_clips_alone(client):
    longer = client.predict(kind="video", frames=9, steps=10, api_name="/plan")
    own = client.predict(kind="video", steps=10, api_name="/plan")

    assert longer["flops"]["plain_tflops"] != own["flops"]["plain_tflops"]
    with pytest.raises(Exception, match="Frames is 5, but a model of the kind 'class' has none"):
        client.predict(kind="class", frames=5, steps=10, api_name="/plan")
    with pytest.raises(Exception, match="Base is 'fora', which tuned 10 settles"):
        client.predict(kind="class", tuned=10, base="fora", api_name="/plan")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("endpoint", ["/three_pictures", "/sweep"])
def test_without_a_subject_an_example_of_the_kind_is_drawn(client, kind, endpoint):
    given = {"kind": kind, "steps": 10, "api_name": endpoint}
    if endpoint == "/sweep":
        _, rows = client.predict(over="interval", **given)
        assert rows[0]["name"] == "plain" and len(rows) > 2
        return
    *_, report = client.predict(reflect=False, **given)
    example = "red circle" if kind == "class" else EXAMPLES[kind][0]
    assert report["subject"] == example


def test_the_order_that_runs_when_none_is_given_is_the_one_that_is_told(client):
    told = client.view_api(return_format="dict")["named_endpoints"]["/compare_image"]
    label = next(p["label"] for p in told["parameters"] if p["parameter_name"] == "order")
    *_, report = client.predict(**asked(), api_name="/compare_image")

    assert label.endswith(f"or none for {report['config']['order']}")
