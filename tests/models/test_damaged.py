"""Damaged checkpoints are refused, each with what is wrong and the cure."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from zcache import CheckpointError
from zcache.measure import flop_table
from zcache.models import folder, loading


@pytest.fixture
def copy(flux_folder, tmp_path):
    """A copy of the tiny checkpoint, free to damage."""
    return shutil.copytree(flux_folder, tmp_path / "copy")


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


def test_a_pipeline_of_another_class_is_refused_with_those_that_fit(copy):
    unknown_class(copy)

    with pytest.raises(CheckpointError, match=r"is a NoSuchPipeline, .* FluxPipeline, Hunyuan"):
        loading.find(str(copy))


def test_a_missing_packaged_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="is missing"):
        folder.check(tmp_path / "nothing")


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
