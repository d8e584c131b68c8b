"""The folder of an evaluation: settings, files that are whole, and what is let go of."""

import os

import numpy as np
import pytest

from zcache import ConfigError
from zcache.evaluation.store import Store, file_name
from zcache.measure import files

SETTINGS = {"model": "mini-flux", "seed": 0, "call": {"steps": 6}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "begun with seed 0, and seed is 1 now"),
        ({"batch": 2}, "begun with batch null, and batch is 2 now"),
        ({"call": None}, 'begun with call {"steps": 6}, and call is null now'),
    ],
)
def test_settings_that_changed_came_or_went_are_refused(tmp_path, changes, said):
    Store(tmp_path).settle(SETTINGS)
    Store(tmp_path).settle(SETTINGS)

    with pytest.raises(ConfigError) as refused:
        Store(tmp_path).settle(SETTINGS | changes)
    assert said in str(refused.value)


def test_the_exact_frames_are_gone_once_they_are_dropped(tmp_path):
    store, frames = Store(tmp_path), np.linspace(0, 1, 12).reshape(1, 2, 2, 3)
    assert store.reference(3) is None
    store.write_reference(3, frames)
    assert np.array_equal(store.reference(3), frames)

    store.drop_reference(3)
    store.drop_reference(3)
    assert store.reference(3) is None
    assert list((tmp_path / "exact").iterdir()) == []


def test_a_sample_that_was_not_drawn_has_no_record_and_says_so(tmp_path):
    store = Store(tmp_path)
    assert store.record("zcache:5", 7) is None
    with pytest.raises(ConfigError, match="lacks sample 7 of zcache:5"):
        store.done("zcache:5", 7)
    store.write_record("zcache:5", 7, {"scores": {}})
    assert store.record("zcache:5", 7) == store.done("zcache:5", 7) == {"scores": {}}


@pytest.mark.parametrize("clip", [False, True])
def test_frames_come_back_bit_for_bit(tmp_path, clip):
    frames = np.random.default_rng(0).integers(0, 256, (3 if clip else 1, 8, 8, 3), np.uint8)
    store = Store(tmp_path)
    store.write_frames("a", 0, frames, clip)
    assert np.array_equal(store.frames("a", 0), frames)


def test_seconds_come_in_the_order_of_the_samples(tmp_path):
    store = Store(tmp_path)
    for index in (10, 2, 0):
        store.write_seconds("a", index, float(index))
    assert store.seconds("a") == [0.0, 2.0, 10.0]
    assert store.seconds("b") == []


def test_a_name_has_only_characters_that_every_file_system_takes():
    """Windows takes no < > : " / \\ | ? * in a name."""
    assert file_name('zcache:5,weight=a.b-c+d_e<>"/\\|?*%') == (
        "zcache%3A5,weight=a.b-c+d_e%3C%3E%22%2F%5C%7C%3F%2A%25"
    )


def test_a_file_is_replaced_at_once_and_a_write_that_fails_leaves_the_old_one(
    tmp_path, monkeypatch
):
    """Whoever reads meanwhile sees the old bytes or the new ones: the new ones stand in a file of
    their own until they are all there."""
    path = tmp_path / "new" / "a.json"
    files.write_whole(path, b"old")
    replace, seen = os.replace, []

    def watched(source, target):
        seen.append((path.read_bytes(), source.read_bytes(), source.parent == path.parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    assert files.write_whole(path, b"new") == path
    assert seen == [(b"old", b"new", True)] and path.read_bytes() == b"new"

    def broken(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [found.name for found in path.parent.iterdir()] == ["a.json"]


def test_every_file_lies_where_the_folder_is_described(tmp_path):
    store, frames = Store(tmp_path), np.zeros((1, 4, 4, 3), np.uint8)
    assert store.cost("zcache:5") is None
    store.write_cost("zcache:5", {"flops": 3})
    assert store.cost("zcache:5") == {"flops": 3}
    store.settle(SETTINGS)
    store.write_frames("zcache:5", 12, frames, clip=False)
    store.write_frames("uncached", 0, frames, clip=True)
    store.write_record("zcache:5", 12, {})
    store.write_reference(12, frames)
    store.write_seconds("zcache:5", 12, 1.0)

    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert found == {
        "settings.json",
        "costs/zcache%3A5.json",
        "samples/zcache%3A5/000012.png",
        "samples/zcache%3A5/000012.json",
        "samples/uncached/000000.npz",
        "exact/000012.npy",
        "timings/zcache%3A5/000012.json",
    }


@pytest.mark.parametrize("text", ["", "{", "[1]", "5", '"a"', "[" * 100_000, "\x00"])
def test_damaged_settings_and_records_are_named_with_the_cure(tmp_path, text):
    store = Store(tmp_path)
    store.write_record("fora", 0, {"scores": {}})
    (tmp_path / "settings.json").write_text(text)
    record = next(tmp_path.glob("samples/*/*.json"))
    record.write_text(text)

    for path, read in (
        (tmp_path / "settings.json", lambda: store.settle({"steps": 1})),
        (record, lambda: store.record("fora", 0)),
    ):
        with pytest.raises(ConfigError, match="is damaged: remove it, and run") as caught:
            read()
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("clip", [True, False])
def test_damaged_frames_are_named_with_the_cure(tmp_path, clip):
    store = Store(tmp_path)
    store.write_frames("fora", 0, np.zeros((1, 8, 8, 3), np.uint8), clip)
    store.write_reference(0, np.zeros((1, 8, 8, 3), np.float32))
    for path in [*tmp_path.glob("samples/*/*"), *tmp_path.glob("exact/*")]:
        path.write_bytes(b"nonsense")

    for read in (lambda: store.frames("fora", 0), lambda: store.reference(0)):
        with pytest.raises(ConfigError, match="is damaged: remove it"):
            read()
