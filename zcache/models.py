"""The models zcache knows by name, and one `load` for them, for any pipeline folder and any Hub
repository."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import folder, hub
from .errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

    from .request import Request


@dataclass(frozen=True)
class Model:
    """One model: where its weights are, on what terms, and how its pipeline is called.

    `source` is a Hub repository id, or the path of a local folder. `knows` says what a small
    model can draw. `nbytes` is what the weights take in memory in the precision of the source.
    `call` holds the pipeline's default arguments.
    """

    name: str
    title: str
    kind: str
    source: str
    pipeline: str
    revision: str | None = None
    licence: str = "unknown"
    terms: str = "The terms of this checkpoint are its author's; read them before use."
    knows: str = ""
    gated: bool = False
    nbytes: int = 0
    call: dict[str, Any] = field(default_factory=dict)

    @property
    def local(self) -> Path | None:
        """The folder of a local model, or None for one on the Hub."""
        return Path(self.source) if Path(self.source).is_absolute() else None


def packaged(name: str) -> str:
    """Return the path of a checkpoint folder that ships inside this package."""
    return str(resources.files("zcache") / "checkpoints" / name)


KNOWN = {
    model.name: model
    for model in (
        Model(
            name="mini-flux",
            title="mini-flux (embedded)",
            kind="image",
            source=packaged("mini-flux"),
            pipeline="FluxPipeline",
            licence="apache-2.0",
            terms="Trained for this repository; free to use under Apache-2.0.",
            knows="It draws one to three circles, squares, triangles or stars in six colours, "
            "left of or above others, and nothing else.",
            nbytes=50_000_000,
            call={
                "num_inference_steps": 50,
                "height": 128,
                "width": 128,
                "guidance_scale": 1.0,
                "max_sequence_length": 20,
            },
        ),
        Model(
            name="flux-dev",
            title="FLUX.1-dev",
            kind="image",
            source="black-forest-labs/FLUX.1-dev",
            pipeline="FluxPipeline",
            revision="3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
            licence="flux-1-dev-non-commercial-license",
            terms="FLUX.1 [dev] Non-Commercial License; accept it on the model's page first.",
            gated=True,
            nbytes=33_700_000_000,
            call={
                "num_inference_steps": 50,
                "height": 1024,
                "width": 1024,
                "guidance_scale": 3.5,
                "max_sequence_length": 512,
            },
        ),
    )
}


def find(name: str) -> Model:
    """Return the model called `name`, or describe the folder or Hub repository of that name.

    Raises:
        CheckpointError: `name` is none of these.
    """
    if name in KNOWN:
        return KNOWN[name]
    path = Path(name).expanduser()
    if name and path.is_dir():
        return Model(name, path.name, "image", str(path.resolve()), folder.pipeline_class(path))
    if name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~")):
        return Model(name, name, "image", name, "DiffusionPipeline")
    raise CheckpointError(
        f"model {name!r} is neither known ({', '.join(KNOWN)}) nor a folder here: "
        "give one of these names, a pipeline folder, or a Hub repository as owner/name"
    )


def load(name: str, device: str | torch.device | None = None) -> DiffusionPipeline:
    """Load a pipeline by known name, local folder or Hub repository, on the device that is there.

    Weights are read from safetensors only, in bfloat16 on CUDA and float32 on the CPU (bfloat16
    above 8 GB). On CUDA they go to the card whole, or component by component, or layer by layer,
    as its free memory allows.

    Raises:
        CheckpointError: missing, gated, corrupt or too large; the message is one sentence with
        the cure.
    """
    import torch

    model = find(name)
    target = torch.device(device) if device else default_device()
    if model.local is None:
        folder.check_memory(model.title, model.nbytes, target)
    path = model.local or hub.fetch(model.source, model.revision)
    folder.check(path)
    dtype = _dtype(target, folder.count_parameters(path))
    sizes = folder.component_bytes(path, dtype.itemsize)
    placement = folder.check_memory(model.title, sum(sizes.values()), target, max(sizes.values()))
    return _placed(folder.read(path, dtype), placement, target)


def call_arguments(model: Model, request: Request) -> dict[str, Any]:
    """Return the keyword arguments of the pipeline call for a request: the model's defaults, then
    the request's."""
    asked = {"height": request.height, "width": request.width}
    return {
        **model.call,
        "prompt": request.prompt,
        "num_inference_steps": request.steps,
        **{name: pixels for name, pixels in asked.items() if pixels is not None},
    }


def default_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _dtype(device: torch.device, parameters: int) -> torch.dtype:
    import torch

    small = parameters * 4 <= 8e9
    return torch.float32 if device.type == "cpu" and small else torch.bfloat16


def _placed(pipe: DiffusionPipeline, placement: str, device: torch.device) -> DiffusionPipeline:
    if placement == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif placement == "layer":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe
