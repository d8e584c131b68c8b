"""Loading: which names and folders are models, what each makes and is asked for, and whether it fits."""

import inspect
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import diffusers
import psutil
import pytest
import torch

from zcache import CheckpointError
from zcache.measure import compare
from zcache.models import catalogue, folder, loading
from zcache.models.request import WIDE, checked

from .. import pipelines

MEBI = 2**20


def test_a_folder_loads_as_its_own_pipeline_class(flux_folder):
    pipe = loading.load(str(flux_folder))

    assert type(pipe).__name__ == "FluxPipeline"
    assert pipe.transformer.dtype == torch.float32
    assert pipe.device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mini-flux", "image"),
        ("mini-hunyuan", "video"),
        ("mini-dit", "class"),
        ("flux-dev", "image"),
        ("hunyuan-video", "video"),
        ("dit-xl-2", "class"),
    ],
)
def test_known_models_say_what_they_make_and_on_what_terms(name, kind):
    model = loading.find(name)

    assert (model.name, model.kind) == (name, kind)
    assert model.licence != "unknown" and model.terms and model.nbytes
    assert model.call["num_inference_steps"] == 50
    subject = {"label": 0} if kind == "class" else {"prompt": "a cat"}
    request = checked(WIDE, kind, {"cat": 0}, **subject)
    compare.check(loading.call_arguments(model, request), request.config())


def test_a_known_repository_is_found_by_its_id_too():
    assert loading.find("facebook/DiT-XL-2-256") is loading.KNOWN["dit-xl-2"]


@pytest.mark.parametrize("kind", ["image", "video", "class"])
def test_a_folder_says_its_kind(folders, kind):
    assert loading.find(str(folders[kind])).kind == kind


def test_a_pipeline_with_a_guider_is_a_folder_like_any_other(tmp_path):
    pipelines.hunyuan15(guidance=1.0).save_pretrained(tmp_path)

    folder.check(tmp_path)
    assert loading.find(str(tmp_path)).kind == "video"


def test_labels_are_those_of_the_pipeline(folders, tinies, tiny_pipes):
    assert loading.labels(loading.find(tinies["class"])) == tiny_pipes["class"].labels
    assert loading.labels(loading.find(tinies["image"])) == {}


def test_a_pipeline_without_classes_is_named(folders, tmp_path):
    copied = shutil.copytree(folders["class"], tmp_path / "copy")
    index = json.loads((copied / "model_index.json").read_text(encoding="utf-8"))
    del index["id2label"]
    (copied / "model_index.json").write_text(json.dumps(index), encoding="utf-8")

    with pytest.raises(CheckpointError, match="names no classes"):
        loading.labels(loading.find(str(copied)))


def test_what_is_asked_for_reaches_the_call(tinies):
    film, drawing = loading.find(tinies["video"]), loading.find(tinies["class"])
    clip = loading.asked(film, prompt="a cat", frames=9, height=96)

    call = loading.call_arguments(film, clip)
    assert (call["prompt"], call["num_frames"], call["height"], call["width"]) == (
        "a cat",
        9,
        96,
        64,
    )
    assert (loading.fps(film, clip), loading.fps(drawing, loading.asked(drawing, label=0))) == (
        8,
        None,
    )
    assert loading.call_arguments(drawing, loading.asked(drawing, label="red square")) == {
        "guidance_scale": 1.5,
        "class_labels": [1],
        "num_inference_steps": 50,
        "output_type": "pil",
    }


def test_models_on_the_hub_are_pinned_to_a_commit():
    remote = [model for model in loading.KNOWN.values() if model.local is None]

    assert remote
    assert all(re.fullmatch("[0-9a-f]{40}", model.revision) for model in remote)


@pytest.mark.parametrize("name", ["nope", "", "a/b/c", "../x", "/no/such/folder", "~nobody/x"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(CheckpointError, match="neither known"):
        loading.find(name)


def test_a_name_longer_than_a_path_may_be_is_refused_in_short():
    with pytest.raises(CheckpointError, match="neither known") as caught:
        loading.find("x" * 10_000)

    assert len(str(caught.value)) < 400


def test_bytes_are_counted_from_the_headers(flux_folder):
    pipe = loading.load(str(flux_folder))
    expected = sum(p.numel() for p in pipe.transformer.parameters()) * 2

    assert folder.component_bytes(flux_folder, itemsize=2)["transformer"] == expected


def test_too_little_memory_is_said_before_loading(flux_folder, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))

    with pytest.raises(CheckpointError, match=r"GB of memory .* mini-flux"):
        loading.load(str(flux_folder))


@pytest.mark.parametrize(
    ("free", "placement"), [(200 * MEBI, "whole"), (100 * MEBI, "model"), (20 * MEBI, "layer")]
)
def test_on_cuda_the_weights_go_where_they_fit(monkeypatch, free, placement):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 0))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=400 * MEBI))

    answer = folder.check_memory("m", 150 * MEBI, torch.device("cuda"), largest=80 * MEBI)

    assert answer == placement


def test_a_model_that_names_no_guidance_is_called_with_its_pipelines():
    calls = {p: inspect.signature(getattr(diffusers, p).__call__) for p in catalogue.KINDS}
    taken = {p: call.parameters.get("guidance_scale") for p, call in calls.items()}
    assert {p: scale.default for p, scale in taken.items() if scale} == catalogue.OWN_GUIDANCE
    for pipeline, scale in catalogue.OWN_GUIDANCE.items():
        model = catalogue.Model("a", "a", "a", pipeline)
        assert catalogue.usual_guidance(model) == scale
        assert catalogue.usual_guidance(replace(model, call={"guidance_scale": 1.5})) == 1.5


@pytest.mark.parametrize(("told", "scale"), [(True, 3.5), (False, 1.0)])
def test_a_flux_that_is_not_told_its_guidance_has_none(flux_folder, tmp_path, told, scale):
    copied = shutil.copytree(flux_folder, tmp_path / "copy")
    config = copied / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"guidance_embeds": told}))

    assert catalogue.usual_guidance(loading.find(str(copied))) == scale


def test_of_several_variants_the_plain_weights_are_counted(flux_folder, tmp_path):
    copied = shutil.copytree(flux_folder, tmp_path / "copy")
    counted = folder.component_bytes(copied, itemsize=1)
    for plain in list(copied.glob("*/*.safetensors")):
        shutil.copy(plain, plain.with_suffix(".fp16.safetensors"))

    assert folder.component_bytes(copied, itemsize=1) == counted


def state(pipe):
    return {
        f"{name}.{key}": value
        for name, part in pipe.components.items()
        if isinstance(part, torch.nn.Module)
        for key, value in part.state_dict().items()
    }


@pytest.mark.parametrize("size", ["5GB", "5KB"], ids=["whole", "shards"])
def test_a_folder_with_only_a_variant_is_loaded(tiny_pipe, tmp_path, size):
    tiny_pipe.save_pretrained(tmp_path, variant="fp16", max_shard_size=size)
    assert all(".fp16" in file.name for file in tmp_path.glob("*/*.safetensors*"))

    pipe = loading.load(str(tmp_path))
    own, other = state(tiny_pipe), state(pipe)
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    numbers = sum(p.numel() for p in tiny_pipe.transformer.parameters())
    assert folder.component_bytes(tmp_path, itemsize=1)["transformer"] == numbers
