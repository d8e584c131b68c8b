"""The store of plain runs, and what the app makes of it."""

import errno
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from zcache import ZCacheConfig
from zcache.app import engine, finished, plain_runs, runs
from zcache.app.plain_runs import Store
from zcache.measure import compare
from zcache.measure.generation import Generation
from zcache.models import hub, loading
from zcache.models.request import checked


def plain(seed=0, size=16):
    noise = np.random.default_rng(seed)
    return Generation(
        frames=noise.integers(0, 256, (1, size, size, 3), np.uint8),
        seconds=2.0,
        denoise_seconds=1.5,
        latents=noise.standard_normal((4, 1, size)).astype(np.float16),
        device="a card",
        taken="2026-01-02T03:04:05+00:00",
        passes=(("plain", 0.4), ("plain", 0.4), ("plain", 0.4), ("plain", 0.3)),
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", 10**7)


def test_what_is_put_comes_back_as_it_was(store):
    store.put("a", plain())

    found = store.get("a")
    assert found.stored and not plain().stored
    assert np.array_equal(found.frames, plain().frames)
    assert np.array_equal(found.latents, plain().latents)
    assert (found.seconds, found.denoise_seconds, found.passes) == (2.0, 1.5, plain().passes)
    assert (found.device, found.taken) == ("a card", "2026-01-02T03:04:05+00:00")
    assert store.get("b") is None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nonsense", b"not a zip at all"])
def test_a_damaged_entry_is_dropped(store, tmp_path, damage):
    store.put("a", plain())
    path = tmp_path / "store" / "a.npz"
    path.write_bytes(damage)

    assert store.get("a") is None
    assert not path.exists()


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_flipped_or_missing_byte_never_gives_a_picture(store, tmp_path, place):
    store.put("a", plain(size=64))
    path = tmp_path / "store" / "a.npz"
    whole = bytearray(path.read_bytes())
    at = int(len(whole) * place)

    whole[at] ^= 0xFF
    path.write_bytes(whole)
    found = store.get("a")
    assert found is None or np.array_equal(found.frames, plain(size=64).frames)

    path.write_bytes(whole[:at])
    assert store.get("a") is None


def test_the_entries_used_longest_ago_go_first(tmp_path):
    store = Store(tmp_path, 10**9)
    for number, name in enumerate("abc"):
        store.put(name, plain(number))
        os.utime(tmp_path / f"{name}.npz", (number, number))
    store.get("a")
    one = (tmp_path / "a.npz").stat().st_size

    Store(tmp_path, int(3.5 * one)).put("d", plain(3))

    assert {path.stem for path in tmp_path.iterdir()} == {"a", "c", "d"}


def test_an_entry_larger_than_the_store_is_not_kept_and_nothing_else_is_lost(tmp_path):
    Store(tmp_path, 10**9).put("a", plain())
    Store(tmp_path, (tmp_path / "a.npz").stat().st_size).put("b", plain(size=64))

    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_what_a_dead_process_left_is_removed_after_an_hour(tmp_path):
    for name, age in (("old.tmp", 2 * plain_runs.ABANDONED), ("new.tmp", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)

    Store(tmp_path, 10**9).put("a", plain())

    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "new.tmp"}


def test_a_full_disk_costs_only_the_entry(tmp_path, monkeypatch):
    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    store = Store(tmp_path, 10**9)
    store.put("a", plain())

    assert store.get("a") is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_costs_only_the_entry(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "store", 10**9)
    store.put("a", plain())

    assert store.get("a") is None


def test_the_key_names_what_shapes_a_plain_run_and_nothing_else(tinies, tiny_pipes):
    model, pipe = loading.find(tinies["image"]), tiny_pipes["image"]

    def key(**changes):
        request = loading.asked(model, **({"prompt": "a", "steps": 10} | changes))
        call = loading.call_arguments(model, request)
        return plain_runs.key(model, pipe, call, request.seed)

    same = [{}, {"interval": 3}, {"base": "fora"}, {"weight": "linear"}, {"reflect": False}]
    other = [{"prompt": "b"}, {"steps": 11}, {"seed": 1}, {"height": 128}]
    assert len({key(**changes) for changes in same}) == 1
    assert len({key(**changes) for changes in [{}, *other]}) == len(other) + 1


def test_the_key_changes_with_the_weights(tinies, tiny_pipes):
    model, pipe = loading.find(tinies["class"]), tiny_pipes["class"]
    before = plain_runs.key(model, pipe, {}, 0)
    weights = next(model.local.rglob("*.safetensors"))
    os.utime(weights, (1, 1))

    assert plain_runs.key(model, pipe, {}, 0) != before


def test_the_key_changes_with_everything_else_that_shapes_the_picture(tinies, monkeypatch):
    """Precision, kind of device, revision of the weights and the versions of the packages."""

    def pipe(dtype=torch.float32, device="cpu"):
        return SimpleNamespace(dtype=dtype, _execution_device=torch.device(device))

    model = loading.find(tinies["class"])
    keys = [
        plain_runs.key(model, pipe(), {}, 0),
        plain_runs.key(model, pipe(dtype=torch.bfloat16), {}, 0),
        plain_runs.key(model, pipe(device="cuda"), {}, 0),
        plain_runs.key(replace(model, revision="another"), pipe(), {}, 0),
        plain_runs.key(replace(model, source="another"), pipe(), {}, 0),
    ]
    assert plain_runs.key(model, pipe(device="cuda:1"), {}, 0) == keys[2]
    for name, value in (("FORMAT", plain_runs.FORMAT + 1), ("environment", OtherVersions)):
        monkeypatch.setattr(plain_runs, name, value)
        keys.append(plain_runs.key(model, pipe(), {}, 0))

    assert len(set(keys)) == len(keys)


def test_a_repository_of_new_weights_has_other_keys(monkeypatch):
    model = replace(loading.KNOWN["dit-xl-2"], name="a/b", source="a/b", revision=None)
    pipe = SimpleNamespace(dtype=torch.float32, _execution_device=torch.device("cpu"))
    keys = set()
    for commit in ("a" * 40, "b" * 40):
        monkeypatch.setitem(hub._commits, "a/b", commit)
        keys.add(plain_runs.key(model, pipe, {}, 0))
        keys.add(finished.key(model, checked(kind="class", label=0, labels={"a": 0}), "cpu"))

    assert len(keys) == 4


class OtherVersions:
    @staticmethod
    def versions():
        return {"torch": "another"}


@pytest.fixture
def app(tinies, store, monkeypatch):
    """The app's runs on the tiny models with an empty store."""
    before = engine.all_hosts()
    engine.use({kind: engine.Engine(name) for kind, name in tinies.items()})
    monkeypatch.setattr(runs, "store", lambda: store)
    yield
    engine.use(before)


@pytest.mark.parametrize("kind", ["image", "video", "class"])
def test_a_baseline_is_never_computed_twice(app, kind, monkeypatch):
    subject = {"label": "red square"} if kind == "class" else {"prompt": "a red circle"}
    calls = []
    generate = compare.generate

    def counted(pipe, call, config=None, *rest, **named):
        calls.append(1) if config is None else None
        return generate(pipe, call, config, *rest, **named)

    monkeypatch.setattr(compare, "generate", counted)
    first = runs.last(kind, steps=10, interval=5, **subject)
    again = runs.last(kind, steps=10, interval=3, base="fora", **subject)
    other = runs.last(kind, steps=10, interval=5, seed=1, **subject)

    assert len(calls) == 2
    told = [outcome.report["baseline_from"] for outcome in (first, again, other)]
    assert told == ["this run", "the store", "this run"]
    assert again.report["baseline_taken"] == first.report["baseline_taken"]
    told = [outcome.report["timed"]["baseline_seconds"] for outcome in (first, again)]
    assert told[0] == told[1]


def test_a_time_of_another_device_gives_an_estimate_that_says_how(tiny_pipe, tiny_call):
    config = ZCacheConfig(interval=5)
    baseline = compare.compare(tiny_pipe, tiny_call, config).baseline
    moved = replace(baseline, device="another card", stored=True, denoise_seconds=1e6)
    *_, comparison = compare.stages(tiny_pipe, tiny_call, config, baseline=moved)

    report = comparison.report
    assert report["speedup_is"] == "estimated"
    assert "another card" in report["speedup_how"]
    assert report["speedup"] < 100  # not the million seconds of the other card


def test_the_errors_are_those_of_the_latents(tiny_pipe, tiny_call):
    def report(**settings):
        *_, comparison = compare.stages(
            tiny_pipe, tiny_call, ZCacheConfig(**settings), alone=settings["interval"] > 1
        )
        return comparison.report

    exact, cached = report(interval=1), report(interval=5)
    assert exact["errors"] == [0.0] * 10
    assert cached["errors"][0] == 0.0
    assert len(cached["errors"]) == len(cached["base_alone"]["errors"]) == 10
    assert cached["base_alone"]["errors"][:4] == pytest.approx(cached["errors"][:4], abs=1e-3)
    assert max(cached["errors"]) > 0
    assert cached["base_alone"]["reflect_passes"] == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO, errno.ESTALE])
def test_an_entry_that_cannot_be_read_just_now_is_kept(store, monkeypatch, number):
    store.put("a", plain())

    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", fails)
        assert store.get("a") is None
    assert store.get("a") is not None


def test_an_entry_of_another_user_is_read(store, monkeypatch):
    store.put("a", plain())

    def forbidden(*_, **__):
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(os, "utime", forbidden)
    assert store.get("a") is not None


@pytest.mark.parametrize(
    "change",
    [
        {"frames": np.zeros((1, 16, 16, 3), np.float32)},
        {"frames": np.zeros((16, 16, 3), np.uint8)},
        {"frames": np.zeros((1, 16, 16, 4), np.uint8)},
        {"frames": np.zeros((0, 16, 16, 3), np.uint8)},
        {"latents": np.zeros((4, 1, 16), np.int8)},
        {"latents": np.zeros((0, 1, 16), np.float16)},
        {"latents": np.full((4, 1, 16), np.nan, np.float16)},
        {"seconds": 0.0},
        {"seconds": -1.0},
        {"denoise_seconds": float("nan")},
        {"denoise_seconds": float("inf")},
        {"denoise_seconds": True},
        {"denoise_seconds": "2"},
        {"device": None},
        {"taken": "yesterday"},
        {"passes": ()},
        {"passes": (("plain", 0.5),) * 3},
        {"passes": (("full", 0.5),) * 4},
        {"passes": (("plain", 0.0),) * 4},
        {"passes": (("plain", "1"),) * 4},
    ],
    ids=str,
)
def test_a_well_formed_entry_that_is_no_plain_run_is_dropped(store, tmp_path, change):
    store.put("a", replace(plain(), **change))

    assert store.get("a") is None
    assert not (tmp_path / "store" / "a.npz").exists()


@pytest.mark.parametrize("wrong", ["frames", "latents"])
def test_a_baseline_of_another_shape_is_made_anew(tiny_pipe, tiny_call, wrong):
    config = ZCacheConfig(interval=5)
    baseline = compare.compare(tiny_pipe, tiny_call, config).baseline
    other = plain(size=32) if wrong == "frames" else replace(baseline, latents=plain().latents)
    *_, comparison = compare.stages(
        tiny_pipe, tiny_call, config, baseline=replace(other, stored=True)
    )

    assert not comparison.baseline.stored
    assert np.array_equal(comparison.baseline.frames, baseline.frames)


def test_a_link_that_leads_nowhere_and_a_date_to_come_stop_no_trimming(tmp_path):
    store = Store(tmp_path, 10**9)
    store.put("new", plain())
    (tmp_path / "link.npz").symlink_to(tmp_path / "nowhere")
    store.put("future", plain(1))
    os.utime(tmp_path / "future.npz", (time.time() + 10**6,) * 2)
    one = (tmp_path / "new.npz").stat().st_size

    Store(tmp_path, int(2.5 * one)).put("b", plain(2))

    assert {path.stem for path in tmp_path.glob("*.npz") if path.exists()} == {"new", "b"}


def test_an_entry_that_another_process_takes_away_meanwhile_is_nothing_to_tell(
    tmp_path, monkeypatch, caplog
):
    store = Store(tmp_path, 10**9)
    store.put("a", plain())
    monkeypatch.setattr(Path, "glob", lambda *_: [tmp_path / "gone.npz", tmp_path / "a.npz"])
    store.put("b", plain(1))

    assert store.get("b") is not None
    assert caplog.records == []
