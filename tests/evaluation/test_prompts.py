"""What an evaluation draws: prompts from files and the Hub, classes, held-out captions."""

from __future__ import annotations

import json

import pytest

from zcache import ConfigError
from zcache.evaluation import prompts
from zcache.models import loading
from zcache.models.request import Request


def test_prompts_are_read_from_every_kind_of_file(tmp_path):
    written = {
        "a.txt": "one\n\n two \none\n",
        "a.tsv": 'Prompt\tCategory\none\tx\n"two"\ty\n',
        "a.json": json.dumps([{"prompt_en": "one", "dimension": []}, {"prompt_en": "two"}]),
    }
    for name, content in written.items():
        (tmp_path / name).write_text(content)
        assert prompts.from_file(tmp_path / name) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "", "holds no prompts"),
        ("a.csv", "x", "give a .txt, .tsv or .json file"),
        ("a.json", "[1]", "where a prompt stands"),
        ("a.json", "[", "cannot be read .*: write it anew, in UTF-8"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.json", '{"prompts": ["a"]}', "holds {'prompts': \\['a'\\]}; it must be a list"),
        ("a.txt", "caf\xe9".encode("latin-1"), "cannot be read .*: write it anew, in UTF-8"),
        ("a.tsv", "Category\tPrompt\nx\n", "holds no prompts"),
        ("a.txt", "x" * 501, "prompt has 501 characters"),
        ("none.txt", None, "nor a file"),
    ],
)
def test_a_bad_file_of_prompts_is_one_sentence(tmp_path, name, content, said):
    if content is not None:
        written = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(written)
    with pytest.raises(ConfigError, match=said):
        prompts.from_file(tmp_path / name)


def test_parti_comes_from_the_hub(monkeypatch, tmp_path):
    (tmp_path / "PartiPrompts.tsv").write_text("Prompt\tCategory\na fox\tAnimals\n")
    fetched = []

    def download(repo: str, filename: str, repo_type: str) -> str:
        fetched.append((repo, repo_type))
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert prompts.read("parti", loading.find("mini-flux"), None) == ["a fox"]
    assert fetched == [("nateraw/parti-prompts", "dataset")]


def test_classes_come_in_turn_and_by_name(tinies, tmp_path):
    model = loading.KNOWN[tinies["class"]]
    labels = loading.labels(model)
    name = next(iter(labels))
    (tmp_path / "classes.txt").write_text(f"{name}\n")

    assert prompts.read("imagenet", model, None) == sorted(set(labels.values()))
    assert prompts.read(str(tmp_path / "classes.txt"), model, None) == [labels[name]]
    with pytest.raises(ConfigError, match="are text"):
        prompts.read("parti", model, None)


def test_captions_of_the_embedded_models_are_held_out():
    from zcache.models.mini.parts import split

    found = prompts.read("embedded", loading.find("mini-flux"), 8)
    assert len(found) == 8 and {split(caption) for caption in found} == {"held-out"}
    assert Request(prompt=found[0]).prompt == found[0]


@pytest.mark.parametrize("count", [1, 20, 100])
@pytest.mark.parametrize("name", ["mini-flux", "mini-hunyuan"])
def test_what_is_tuned_on_is_nothing_that_tables_judge_by(name, count):
    model = loading.find(name)
    tuned_on = prompts.for_tuning("embedded", model, count)
    judged = prompts.read("embedded", model, prompts.JUDGED)

    assert len(set(tuned_on)) == len(tuned_on) == count
    assert not set(tuned_on) & set(judged)


def test_a_list_that_is_named_and_classes_are_tuned_on_as_they_are(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    named = str(tmp_path / "a.txt")
    assert prompts.for_tuning(named, loading.find("mini-flux"), 1) == ["one", "two"]
    dit = loading.find("mini-dit")
    assert prompts.for_tuning("embedded", dit, 2) == prompts.read("embedded", dit, 2)
