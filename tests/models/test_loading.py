import importlib
import inspect
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import diffusers
import huggingface_hub
import psutil
import pytest
import torch
from huggingface_hub.utils import _http
from safetensors.torch import load_file, save_file

from zcache import CheckpointError
from zcache.measure import compare, flop_table
from zcache.models import catalogue, folder, hub, loading
from zcache.models.request import WIDE, checked

from .. import pipelines

MEBI = 2**20


@pytest.fixture
def copy(flux_folder, tmp_path):
    """A copy of the tiny checkpoint, free to damage."""
    return shutil.copytree(flux_folder, tmp_path / "copy")


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


def test_a_pipeline_of_another_class_is_refused_with_those_that_fit(copy):
    unknown_class(copy)

    with pytest.raises(CheckpointError, match=r"is a NoSuchPipeline, .* FluxPipeline, Hunyuan"):
        loading.find(str(copy))


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


def damage_index(path):
    (path / "model_index.json").write_text("{", encoding="utf-8")


def remove_index(path):
    (path / "model_index.json").unlink()


def empty_index(path):
    (path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}', encoding="utf-8")


def list_index(path):
    (path / "model_index.json").write_text("[]", encoding="utf-8")


def remove_component(path):
    shutil.rmtree(path / "vae")


def remove_weights(path):
    (path / "transformer" / "diffusion_pytorch_model.safetensors").unlink()


def truncate_weights(path):
    file = path / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def scramble_header(path):
    file = path / "text_encoder" / "model.safetensors"
    file.write_bytes(b"\xff" * 64 + file.read_bytes()[64:])


def empty_weights(path):
    (path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"")


def break_config(path):
    (path / "transformer" / "config.json").write_text("not json", encoding="utf-8")


def change_shape(path):
    file = path / "transformer" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"num_attention_heads": 3}), encoding="utf-8")


def unknown_class(path):
    file = path / "model_index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(index | {"_class_name": "NoSuchPipeline"}), encoding="utf-8")


def lose_a_shard(path):
    index = {"weight_map": {"a": "part-1.safetensors"}}
    file = path / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    file.write_text(json.dumps(index), encoding="utf-8")


def only_a_pickle(path):
    remove_weights(path)
    (path / "transformer" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_index, "model_index.json is not readable JSON"),
        (remove_index, "model_index.json is missing"),
        (empty_index, "lists no components"),
        (list_index, "not a JSON object"),
        (remove_component, "lacks its component 'vae'"),
        (remove_weights, "no .safetensors weights"),
        (only_a_pickle, "no .safetensors weights"),
        (truncate_weights, "is damaged"),
        (scramble_header, "is damaged"),
        (empty_weights, "is damaged"),
        (break_config, "config.json is not readable JSON"),
        (change_shape, "cannot be loaded"),
        (lose_a_shard, "part-1.safetensors is missing"),
    ],
)
def test_a_damaged_checkpoint_is_named_with_the_cure(copy, damage, message):
    damage(copy)

    with pytest.raises(CheckpointError, match=message) as caught:
        loading.load(str(copy))

    assert "fetch it again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_packaged_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="is missing"):
        folder.check(tmp_path / "nothing")


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


# The Hub, answered at the edge of the network with the headers the real one sends.


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Call it with status and headers, or an exception: what the Hub says to auth-check, and to the
    rest."""
    httpx = importlib.import_module(type(_http.get_session()).__module__.split(".")[0])

    def install(auth, rest=(500, {}), body=None):
        def handler(request):
            said = auth if request.url.path.endswith("/auth-check") else rest
            if isinstance(said, str):
                raise getattr(httpx, said)("unreachable", request=request)
            status, headers = said
            return httpx.Response(status, headers=headers, request=request, json=body or {})

        transport = httpx.MockTransport(handler)
        huggingface_hub.set_client_factory(lambda: httpx.Client(transport=transport))

    yield install
    huggingface_hub.set_client_factory(_http.default_client_factory)


GATED = (403, {"X-Error-Code": "GatedRepo"})
WRONG_TOKEN = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})


@pytest.mark.parametrize(
    ("auth", "rest", "message"),
    [
        (GATED, (500, {}), "is gated .* accept its licence .* HF_TOKEN"),
        (WRONG_TOKEN, (500, {}), "refused the token .*HTTP 401"),
        ((403, {}), (500, {}), "refused the token .*HTTP 403"),
        ((404, {"X-Error-Code": "RepoNotFound"}), (500, {}), "no repository owner/name"),
        ((401, {}), (500, {}), "no repository owner/name"),
        ((503, {}), (500, {}), "answered HTTP 503 .* try again later"),
        ("ConnectError", "ConnectError", "cannot be reached: connect to the network"),
        ("ConnectTimeout", "ConnectError", "cannot be reached: connect to the network"),
        ((200, {}), (404, {"X-Error-Code": "RevisionNotFound"}), "no such revision"),
        ((200, {}), GATED, "is gated"),
        ((200, {}), (404, {"X-Error-Code": "EntryNotFound"}), "is no diffusers pipeline"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence_with_the_cure(answer, auth, rest, message):
    answer(auth, rest)

    with pytest.raises(CheckpointError, match=message) as caught:
        loading.load("owner/name")

    assert "\n" not in str(caught.value)


@pytest.fixture
def index_on_the_hub(answer, monkeypatch, tmp_path):
    """Call it with a model_index.json: the Hub has it, and this machine nothing yet."""

    def install(index):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        headers = {"ETag": '"1"', "X-Repo-Commit": "a" * 40}
        answer((200, {}), (200, headers), index)

    return install


def test_a_repository_on_the_hub_says_its_kind_and_classes(index_on_the_hub):
    index_on_the_hub({"_class_name": "DiTPipeline", "id2label": {"0": "cat, tomcat", "1": "dog"}})

    model = loading.find("owner/name")

    assert (model.kind, model.local) == ("class", None)
    assert loading.labels(model) == {"cat": 0, "tomcat": 0, "dog": 1}


def test_a_repository_of_another_pipeline_is_refused(index_on_the_hub):
    index_on_the_hub({"_class_name": "StableDiffusionPipeline"})

    with pytest.raises(CheckpointError, match="owner/name is a StableDiffusionPipeline"):
        loading.find("owner/name")


def test_weights_that_are_not_safetensors_are_named_with_the_cure():
    error = OSError("Could not find the necessary `safetensors` weights in {'vae/x.bin'}")

    assert "not safetensors" in str(hub.explained("owner/name", error))


def test_a_full_disk_is_said():
    error = hub.explained("owner/name", OSError(28, "No space left on device"))

    assert "disk is full" in str(error)


@pytest.mark.parametrize("component", ["text_encoder", "text_encoder_2", "vae", "transformer"])
def test_a_component_that_lacks_a_tensor_is_refused_with_its_name(copy, component):
    file = next((copy / component).glob("*.safetensors"))
    tensors = load_file(file)
    del tensors[sorted(name for name in tensors if "weight" in name)[0]]
    save_file(tensors, file, {"format": "pt"})

    with pytest.raises(CheckpointError, match=r"lack the tensor \S+weight \(1 missing"):
        loading.load(str(copy))


def test_a_text_encoder_of_other_names_is_refused(copy):
    file = next((copy / "text_encoder").glob("*.safetensors"))
    tensors = {f"x.{name}": tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})

    with pytest.raises(CheckpointError, match=r"lack the tensor"):
        loading.load(str(copy))


def test_a_name_longer_than_a_path_may_be_is_refused_in_short():
    with pytest.raises(CheckpointError, match="neither known") as caught:
        loading.find("x" * 10_000)

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ['{"weight_map": 5}', '{"weight_map": {"a": 1}}', "[" * 100_000])
def test_an_index_of_odd_shape_is_refused(copy, text):
    (copy / "transformer" / "x.safetensors.index.json").write_text(text)

    with pytest.raises(CheckpointError):
        loading.load(str(copy))


@pytest.mark.parametrize("kind", ["image", "class"])
@pytest.mark.parametrize("layers", [10**6, [2, 10**6]])
def test_layers_beyond_reason_are_refused_before_any_is_built(folders, tmp_path, kind, layers):
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    config = copy / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_layers": layers}))
    name = str(copy)

    for read in (
        lambda: loading.load(name),
        lambda: flop_table.stored(copy, 64, 64, 1, 16),
    ):
        with pytest.raises(CheckpointError, match="has num_layers 1e\\+06; at most 1000"):
            read()


def test_a_model_that_names_no_guidance_is_called_with_its_pipelines():
    for pipeline, scale in catalogue.OWN_GUIDANCE.items():
        call = inspect.signature(getattr(diffusers, pipeline).__call__)
        assert scale == call.parameters["guidance_scale"].default
        model = catalogue.Model("a", "a", "a", pipeline)
        assert catalogue.usual_guidance(model) == scale
        assert catalogue.usual_guidance(replace(model, call={"guidance_scale": 1.5})) == 1.5
