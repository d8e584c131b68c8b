"""The left column of a tab: presets, and what the video model says of its clips."""

import dataclasses

from zcache.app import engine, inputs
from zcache.models.request import APP, Request


def test_presets_are_the_default_a_more_careful_one_a_bolder_one_and_one_that_breaks():
    assert inputs.PRESETS == {"Quality": 3, "Balanced": 5, "Fast": 8, "Too far": 20}
    assert inputs.PRESETS["Balanced"] == Request.interval
    assert all(APP.interval[0] <= n <= APP.interval[1] for n in inputs.PRESETS.values())


def test_the_preset_of_an_interval_is_the_one_that_sets_it():
    for name, interval in inputs.PRESETS.items():
        assert inputs.preset_of(interval) == name
    assert inputs.preset_of(4) is None


def test_a_clip_has_the_video_models_own_length_and_rate(tinies, monkeypatch):
    host = engine.Engine(tinies["video"])
    host.model = dataclasses.replace(host.model, fps=11, call={**host.model.call, "num_frames": 9})
    monkeypatch.setattr(engine, "of", {"video": host}.__getitem__)

    assert inputs.own_rate() == 11
    assert inputs.own_frames() == 9
    host.model = dataclasses.replace(host.model, call={})
    assert inputs.own_frames() == APP.frames[0]
