"""Read a pipeline folder safely: say what is missing, damaged or too large before any of it is
used."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

INDEX = "model_index.json"
CURE = "delete the folder and fetch it again"
WEIGHTLESS = (
    "scheduler",
    "tokenizer",
    "feature_extractor",
    "image_processor",
    "processor",
    "guider",
)
SHARD = re.compile(r"-\d{5}-of-\d{5}")
MOST_LAYERS = 1000
HEADROOM = 1.15  # activations and the loader's own copies


def pipeline_class(path: Path) -> str:
    """Return the pipeline's class name as written in the folder's index."""
    name = _index(path).get("_class_name")
    if not isinstance(name, str):
        raise CheckpointError(f"{path / INDEX} names no pipeline class: {CURE}")
    return name


def labels(path: Path) -> dict[str, int]:
    """Return the names of a class-conditional pipeline's classes with their ids, by id.

    As in diffusers, a comma separates several names of one class.
    """
    named = _index(path).get("id2label")
    if not isinstance(named, dict) or not named:
        raise CheckpointError(f"{path / INDEX} names no classes (id2label): {CURE}")
    pairs = [(name.strip(), int(key)) for key, names in named.items() for name in names.split(",")]
    return dict(sorted(pairs, key=lambda pair: pair[1]))


def check(path: Path) -> None:
    """Raise CheckpointError unless every component has its configuration and readable weights."""
    pipeline_class(path)
    for component in _components(path):
        place = path / component
        if not place.is_dir() or not any(place.iterdir()):
            raise CheckpointError(
                f"the checkpoint {path} lacks its component {component!r}: {CURE}"
            )
        for file in place.glob("*.json"):
            _json(file)
        check_layers(place)
        if not component.startswith(WEIGHTLESS):
            for file in _weight_files(place):
                _shapes(file)


def check_layers(place: Path) -> None:
    """Raise CheckpointError if a component's configuration asks for more layers than any model has, which
    would be built for minutes before its weights are found missing."""
    for name, value in config(place).items():
        number = max((n for n in _flat(value) if isinstance(n, int)), default=0)
        if "layers" in name and number > MOST_LAYERS:
            raise CheckpointError(
                f"{place / 'config.json'} has {name} {number:.6g}; at most {MOST_LAYERS} are built: {CURE}"
            )


def config(place: Path, name: str = "config.json") -> dict[str, Any]:
    """Return the configuration of a component, empty where it has none."""
    file = place / name
    return _json(file) if file.is_file() else {}


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def count_parameters(path: Path) -> int:
    """Return how many numbers the weight files of the folder hold."""
    return sum(component_bytes(path, itemsize=1).values())


def component_bytes(path: Path, itemsize: int) -> dict[str, int]:
    """Return the bytes of each component that has weights, at `itemsize` bytes a number."""
    weighted = [c for c in _components(path) if not c.startswith(WEIGHTLESS)]
    return {
        component: itemsize
        * sum(math.prod(s) for file in _weight_files(path / component) for s in _shapes(file))
        for component in weighted
    }


def check_memory(title: str, nbytes: int, device: torch.device, largest: int | None = None) -> str:
    """Return how weights of `nbytes` go on the device: "whole", by "model" or by "layer".

    `largest` is the biggest component in bytes; without it the answer is only about the host's
    memory. Raises CheckpointError when the machine has not enough memory for any of the three.
    """
    import psutil

    needed, host = nbytes * HEADROOM, psutil.virtual_memory().available
    free = _free(device) if device.type == "cuda" else host
    if needed <= free:
        return "whole"
    if device.type == "cuda" and needed <= host:
        return "model" if largest is not None and largest * HEADROOM <= free else "layer"
    raise CheckpointError(
        f"{title} needs {needed / 1e9:.1f} GB of memory and this machine has "
        f"{max(free, host) / 1e9:.1f} GB free: close other programs, use a larger machine, "
        "or choose an embedded model: mini-flux, mini-hunyuan or mini-dit"
    )


def read(path: Path, dtype: torch.dtype) -> DiffusionPipeline:
    """Build the pipeline of a checked folder on the CPU, from safetensors, without the network."""
    from diffusers import DiffusionPipeline

    how = {"use_safetensors": True, "local_files_only": True}
    try:
        parts = {name: _whole(path / name, cls, dtype, how) for name, cls in _classes(path).items()}
        return DiffusionPipeline.from_pretrained(str(path), dtype=dtype, **parts, **how)
    except CheckpointError:
        raise
    except MemoryError as error:
        raise CheckpointError(f"{path} does not fit in memory: close other programs") from error
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"the checkpoint {path} cannot be loaded ({reason[:200]}): {CURE}"
        ) from error


def _classes(path: Path) -> dict[str, Any]:
    """Return the classes of the components that have weights, as far as diffusers or transformers
    has them."""
    index, found = _index(path), {}
    for component in _components(path):
        library, name = index[component]
        if component.startswith(WEIGHTLESS) or library not in ("diffusers", "transformers"):
            continue
        cls = getattr(import_module(library), str(name), None)
        if cls is not None:
            found[component] = cls
    return found


def _whole(place: Path, cls: Any, dtype: torch.dtype, how: dict[str, Any]) -> Any:
    """Load one component; raises CheckpointError that names a tensor its files lack."""
    module, told = cls.from_pretrained(
        str(place), dtype=dtype, variant=_variant(place) or None, output_loading_info=True, **how
    )
    if told["missing_keys"]:
        raise CheckpointError(
            f"the weights in {place} lack the tensor {min(told['missing_keys'])} "
            f"({len(told['missing_keys'])} missing in all): {CURE}"
        )
    return module


def _index(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise CheckpointError(
            f"the checkpoint folder {path} is missing: install zcache again, or {CURE}"
        )
    return _json(path / INDEX)


def _components(path: Path) -> list[str]:
    index = _index(path)
    named = {k: v for k, v in index.items() if isinstance(v, list) and len(v) == 2 and v[0]}
    if not named:
        raise CheckpointError(f"{path / INDEX} lists no components: {CURE}")
    return sorted(named)


def _variant(place: Path) -> str:
    """Return which weights of a component are read: the plain ones, "", else a variant such as "fp16"."""
    plain = any(place.glob("*.safetensors.index.json"))
    return "" if plain else min(map(_variant_of, place.glob("*.safetensors")), default="")


def _variant_of(file: Path) -> str:
    """Return "fp16" of x.fp16.safetensors and of its shards, "" of x.safetensors."""
    return SHARD.sub("", file.stem).partition(".")[2]


def _weight_files(place: Path) -> Iterator[Path]:
    """Yield the safetensors files of one component, all the shards its index lists, of one variant."""
    variant = _variant(place)
    indices = sorted(place.glob(f"*.safetensors.index.{variant and f'{variant}.'}json"))
    if indices:
        weight_map = _json(indices[0]).get("weight_map")
        if not isinstance(weight_map, dict) or not all(
            isinstance(shard, str) for shard in weight_map.values()
        ):
            raise CheckpointError(f"{indices[0]} names no weight files (weight_map): {CURE}")
        shards = set(weight_map.values())
        missing = sorted(s for s in shards if not (place / s).is_file())
        if missing:
            raise CheckpointError(f"the weight file {place / missing[0]} is missing: {CURE}")
        yield from (place / shard for shard in sorted(shards))
        return
    files = sorted(f for f in place.glob("*.safetensors") if _variant_of(f) == variant)
    if not files:
        raise CheckpointError(
            f"{place} holds no .safetensors weights, the only kind read here: {CURE}"
        )
    yield from files


def _shapes(file: Path) -> list[list[int]]:
    """Return the shapes of all tensors, from the header; a truncated file raises."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as weights:
            return [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"the weight file {file} is damaged ({error}): {CURE}") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{file} is missing: {CURE}, or give a diffusers pipeline folder"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not readable JSON ({error}): {CURE}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is not a JSON object: {CURE}")
    return content


def _free(device: torch.device) -> int:
    import torch

    return torch.cuda.mem_get_info(device)[0]
