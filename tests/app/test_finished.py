"""Finished comparisons on disk: what is put is what is got, whole or not at all, never beyond the limit."""

import errno
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from zcache.app import engine, finished, links, runs
from zcache.app.finished import Finished
from zcache.app.outcome import Outcome
from zcache.models import loading
from zcache.models.request import checked

from .asking import asked, decoded

SIDES = ("baseline.png", "accelerated.png", "difference.png")


@pytest.fixture
def outcome(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.json").write_text('{"verdict": {}}')
    for name in ("baseline", "accelerated", "difference"):
        (folder / f"{name}.png").write_bytes(name.encode() * 100)
    paths = {path.stem: str(path) for path in folder.iterdir()}
    return Outcome(paths, {"verdict": {}}, done=True)


def emptied(tmp_path, name="back"):
    def folder():
        (tmp_path / name).mkdir()
        return tmp_path / name

    return folder


def test_what_is_put_is_what_is_got(tmp_path, outcome):
    store = Finished(tmp_path / "store", 10**6)
    store.put("one", outcome)
    found = store.get("one", emptied(tmp_path))

    assert found.report == outcome.report and found.done
    assert set(found.paths) == set(outcome.paths)
    for name, path in found.paths.items():
        assert Path(path).read_bytes() == Path(outcome.paths[name]).read_bytes()
    assert store.get("two", emptied(tmp_path, "never")) is None
    assert not (tmp_path / "never").exists()


def test_the_oldest_go_when_the_folder_is_full(tmp_path, outcome):
    store = Finished(tmp_path / "store", 10**6)
    store.put("0", outcome)
    size = (tmp_path / "store" / "0.zip").stat().st_size
    small = Finished(tmp_path / "store", 3 * size)
    for name in "12345":
        small.put(name, outcome)

    held = sorted(path.stem for path in (tmp_path / "store").iterdir())
    assert held == ["3", "4", "5"]


@pytest.mark.parametrize(
    "damage",
    ["empty", "no zip", "no report", "not a comparison", "a climber", "a stranger", "a bomb"],
)
def test_a_damaged_entry_is_dropped_and_writes_nothing_elsewhere(tmp_path, damage, monkeypatch):
    path = tmp_path / "store" / "one.zip"
    path.parent.mkdir()
    members = {
        "no report": {"baseline.png": b""},
        "not a comparison": {"report.json": b"{}", "baseline.png": b""},
        "a climber": {"../../report.json": b"[]"},
        "a stranger": {
            "report.json": b'{"verdict": 1}',
            "passwd": b"",
            **dict.fromkeys(SIDES, b""),
        },
        "a bomb": {"report.json": b" " * 2000},
    }
    if damage in members:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, held in members[damage].items():
                archive.writestr(name, held)
    else:
        path.write_bytes(b"" if damage == "empty" else b"PK nonsense")
    monkeypatch.setattr(finished, "LARGEST", 1000)

    assert Finished(path.parent, 10**6).get("one", emptied(tmp_path)) is None
    assert not path.exists()
    assert not (tmp_path / "report.json").exists()


def test_a_disk_that_fails_costs_nothing_but_the_entry(tmp_path, outcome):
    (tmp_path / "file").touch()
    store = Finished(tmp_path / "file", 10**6)
    store.put("one", outcome)

    assert store.get("one", emptied(tmp_path)) is None


def test_an_entry_that_cannot_be_read_just_now_is_kept(tmp_path, outcome, monkeypatch):
    store = Finished(tmp_path / "store", 10**6)
    store.put("one", outcome)

    def refused(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refused)
        assert store.get("one", emptied(tmp_path, "never")) is None
    assert store.get("one", emptied(tmp_path)).report == outcome.report


def test_opening_links_drops_no_run_in_progress(engines, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "results", lambda: Finished(tmp_path / "finished", 10**8))
    made = runs.last("class", **asked("class"))
    for _ in range(runs.KEPT_RUNS + 2):
        assert runs.earlier("class", **asked("class")).report == made.report

    assert all(Path(path).is_file() for path in made.paths.values())


def test_every_setting_and_the_device_shape_the_name(tinies):
    model = loading.find(tinies["image"])
    request = checked(prompt="a circle")
    changes = {"prompt": "a star", "interval": 4, "seed": 1, "reflect": False, "base": "fora"}
    others = [replace(request, **{name: value}) for name, value in changes.items()]
    keys = [finished.key(model, one, "cpu") for one in (request, *others)]
    keys.append(finished.key(model, request, "cuda"))

    assert len(set(keys)) == len(keys)
    assert finished.key(model, replace(request), "cpu") == keys[0]


@pytest.mark.parametrize("kind", ["image", "video", "class"])
def test_a_link_finds_the_run_it_was_made_of(engines, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "results", lambda: Finished(tmp_path / "finished", 10**8))
    length = {"frames": 5, "fps": 8} if kind == "video" else {}
    made = runs.last(kind, **asked(kind), **length)
    query = dict(
        pair.split("=", 1) for pair in links.address(kind, asked(kind) | length)[1:].split("&")
    )
    query = {name: text.replace("+", " ") for name, text in query.items()}
    found_kind, found, _ = links.result(query)

    assert (found_kind, found.report) == (kind, made.report)
    for side in ("baseline", "base_alone", "accelerated"):
        assert (decoded(found.paths[side]) == decoded(made.paths[side])).all()
    assert links.restored(query)[1] == asked(kind) | length
    assert links.result({**query, "seed": "77"}) is None
    assert links.result({"tab": kind, "interval": "4"}) is None or kind == "class"


def test_a_class_is_restored_by_its_number_too(engines):
    ids = loading.labels(engine.of("class").model)

    for number in set(ids.values()):
        restored = links.restored({"tab": "class", "label": str(number)})[1]["label"]
        assert ids[restored] == number
    assert links.restored({"tab": "class", "label": "99"})[1] == {}
