"""One `load` for the models zcache knows by name, any pipeline folder and any Hub repository, and the
way from a request to the pipeline's call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, ConfigError
from . import folder, hub, profiles
from .catalogue import KINDS, KNOWN, Model
from .request import WIDE, Limits, Request, checked

if TYPE_CHECKING:
    import torch


def find(name: str) -> Model:
    """Return the model called `name`, or describe the folder or Hub repository of that name.

    Of a repository that is not known here, the index is fetched: it says what the pipeline is.

    Raises:
        CheckpointError: `name` is none of these, or a pipeline of a kind that is not supported.
    """
    if name in KNOWN:
        return KNOWN[name]
    for model in KNOWN.values():
        if name == model.source:
            return model
    path = Path(name).expanduser()
    if name and _is_folder(path):
        return Model(name, path.name, str(path.resolve()), _supported(name, path))
    if name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~", "/")):
        return Model(name, name, name, _supported(name, hub.fetch_index(name)))
    said = repr(name if len(name) <= 100 else f"{name[:97]}...")
    raise CheckpointError(
        f"model {said} is neither known ({', '.join(KNOWN)}) nor a folder here: "
        "give one of these names, a pipeline folder, or a Hub repository as owner/name"
    )


def _is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name too long for the system is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _supported(name: str, path: Path) -> str:
    """Return the pipeline class of a folder if requests can be made of it."""
    pipeline = folder.pipeline_class(path)
    if pipeline not in KINDS:
        raise CheckpointError(
            f"{name} is a {pipeline}, which cannot be asked for by prompt or class here: "
            f"give one of the classes {', '.join(KINDS)}"
        )
    return pipeline


def labels(model: Model) -> dict[str, int]:
    """Return the names of the classes a model draws with their ids; empty for one with a prompt.

    Raises:
        CheckpointError: the model's index cannot be had, or names no classes.
    """
    if model.kind != "class":
        return {}
    return folder.labels(model.local or hub.fetch_index(model.source, model.revision))


def asked(model: Model, limits: Limits = WIDE, **raw: Any) -> Request:
    """Return the checked request of `raw` to a model.

    Raises:
        RequestError, ConfigError: the first bad value.
        CheckpointError: the names of its classes cannot be had.
    """
    return checked(limits, model.kind, labels(model), profiles.of(model), **raw)


def load(name: str | Model, device: str | torch.device | None = None) -> Any:
    """Load a diffusers pipeline by known name, local folder or Hub repository, on the device that is there.

    Weights are read from safetensors only, in bfloat16 on CUDA and float32 on the CPU (bfloat16
    above 8 GB). On CUDA they go to the card whole, or component by component, or layer by layer,
    as its free memory allows.

    Raises:
        CheckpointError: missing, gated, corrupt or too large; the message is one sentence with
        the cure.
        ConfigError: a device that is not here.
    """
    model = name if isinstance(name, Model) else find(name)
    target = _present(device) if device else default_device()
    if model.local is None:
        folder.check_memory(model.title, model.nbytes, target)
    path = model.local or hub.fetch(model.source, model.revision)
    folder.check(path)
    dtype = precision(path, target)
    sizes = folder.component_bytes(path, dtype.itemsize)
    placement = folder.check_memory(model.title, sum(sizes.values()), target, max(sizes.values()))
    pipe = _placed(folder.read(path, dtype), placement, target)
    if model.kind == "video":
        pipe.vae.enable_tiling()  # only clips larger than a tile are cut: a whole one is too much
    return pipe


def call_arguments(model: Model, request: Request) -> dict[str, Any]:
    """Return the keyword arguments of the pipeline call for a request: the model's defaults, then
    the request's."""
    subject: dict[str, Any] = {"prompt": request.prompt}
    if request.kind == "class":
        subject = {"class_labels": [request.label]}
    sizes = {"height": request.height, "width": request.width, "num_frames": request.frames}
    return {
        **model.call,
        **subject,
        "num_inference_steps": request.steps,
        "output_type": "pil",  # HunyuanVideo 1.5 would return numbers
        **{name: size for name, size in sizes.items() if size is not None},
    }


def fps(model: Model, request: Request) -> int | None:
    """Return the frames per second of what a request makes; None for a picture."""
    return request.fps or model.fps if model.kind == "video" else None


def default_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _present(device: str | torch.device) -> torch.device:
    """Return the device of a name; raises ConfigError unless a tensor can be made on it."""
    import torch

    try:
        return torch.empty(0, device=device).device
    except Exception as error:  # each kind of device has its own
        raise ConfigError(
            f"device is {str(device)!r}, which PyTorch does not find here: give {default_device()}, "
            "or leave it out"
        ) from error


def precision(path: Path, device: torch.device | None = None) -> torch.dtype:
    """Return in which precision `load` reads the weights of a folder, on the device that is there."""
    import torch

    small = folder.count_parameters(path) * 4 <= 8e9
    on_cpu = (device or default_device()).type == "cpu"
    return torch.float32 if on_cpu and small else torch.bfloat16


def _placed(pipe: Any, placement: str, device: torch.device) -> Any:
    if placement == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif placement == "layer":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe
