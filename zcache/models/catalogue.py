"""The models zcache knows by name: where their weights are, on what terms, and how they are called."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from . import folder
from .mini.scenes import NOUNS, TONES

# What the pipeline classes make that can be asked for by a request.
KINDS = {
    "FluxPipeline": "image",
    "HunyuanVideoPipeline": "video",
    "HunyuanVideo15Pipeline": "video",
    "DiTPipeline": "class",
}

# The defaults of diffusers' pipelines.
OWN_GUIDANCE = {"FluxPipeline": 3.5, "HunyuanVideoPipeline": 6.0, "DiTPipeline": 4.0}


@dataclass(frozen=True)
class Model:
    """One model: where its weights are, on what terms, and how its pipeline is called.

    `source` is a Hub repository id, or the path of a local folder. `knows` says what a small
    model can draw. `nbytes` is what the weights take in memory in the precision of the source.
    `call` holds the pipeline's default arguments, `fps` the frames per second of its clips.
    """

    name: str
    title: str
    source: str
    pipeline: str
    revision: str | None = None
    licence: str = "unknown"
    terms: str = "The terms of this checkpoint are its author's; read them before use."
    knows: str = ""
    gated: bool = False
    nbytes: int = 0
    call: dict[str, Any] = field(default_factory=dict)
    fps: int = 24

    @property
    def kind(self) -> str:
        """What it makes of what: "image" and "video" of a prompt, "class" an image of a class."""
        return KINDS[self.pipeline]

    @property
    def local(self) -> Path | None:
        """The folder of a local model, or None for one on the Hub."""
        return Path(self.source) if Path(self.source).is_absolute() else None


def usual_guidance(model: Model) -> float:
    """Return the guidance scale that a model is called with, where nothing says another; 1 of a FLUX that is
    not told it, as schnell."""
    if model.pipeline == "FluxPipeline" and model.local:
        config = folder.config(model.local / "transformer")
        if config.get("guidance_embeds") is False:
            return 1.0
    return float(model.call.get("guidance_scale", OWN_GUIDANCE.get(model.pipeline, 1.0)))


def packaged(name: str) -> str:
    """Return the path of a checkpoint folder that ships inside this package."""
    return str(resources.files("zcache") / "checkpoints" / name)


EMBEDDED = {"image": "mini-flux", "video": "mini-hunyuan", "class": "mini-dit"}


def stand_in(source: str) -> str:
    """Return the embedded model of the kind of a known source, or all of them."""
    kinds = [model.kind for model in KNOWN.values() if model.source == source]
    return EMBEDDED[kinds[0]] if kinds else "mini-flux, mini-hunyuan or mini-dit"


KNOWN = {
    model.name: model
    for model in (
        Model(
            name="mini-flux",
            title="mini-flux (embedded)",
            source=packaged("mini-flux"),
            pipeline="FluxPipeline",
            licence="apache-2.0",
            terms="Trained for this repository on Fluent Emoji (Microsoft, MIT); free to use under "
            "Apache-2.0.",
            knows="It draws one to three emoji, the first left of or above the others, on a plain, striped "
            f"or dotted {', '.join(TONES[:-1])} or {TONES[-1]} background, and nothing else: "
            f"{', '.join(NOUNS[:-1])} and {NOUNS[-1]}.",
            nbytes=50_000_000,
            call={
                "num_inference_steps": 50,
                "height": 128,
                "width": 128,
                "guidance_scale": 3.5,
                "max_sequence_length": 20,
            },
        ),
        Model(
            name="mini-hunyuan",
            title="mini-hunyuan (embedded)",
            source=packaged("mini-hunyuan"),
            pipeline="HunyuanVideoPipeline",
            licence="apache-2.0",
            terms="Trained for this repository; free to use under Apache-2.0.",
            knows="It films one or two circles, squares or triangles in six colours that move left, "
            "right, up or down, grow or shrink, and nothing else.",
            nbytes=60_000_000,
            call={
                "num_inference_steps": 50,
                "height": 64,
                "width": 64,
                "num_frames": 17,
                "guidance_scale": 1.0,
                "max_sequence_length": 16,
            },
            fps=8,
        ),
        Model(
            name="mini-dit",
            title="mini-dit (embedded)",
            source=packaged("mini-dit"),
            pipeline="DiTPipeline",
            licence="apache-2.0",
            terms="Trained for this repository on Fluent Emoji (Microsoft, MIT); free to use under "
            "Apache-2.0.",
            knows="It paints one emoji of eight groups, and chooses which; nothing else.",
            nbytes=50_000_000,
            call={"num_inference_steps": 50, "guidance_scale": 1.5},
        ),
        Model(
            name="flux-dev",
            title="FLUX.1-dev",
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
        Model(
            name="hunyuan-video",
            title="HunyuanVideo",
            source="hunyuanvideo-community/HunyuanVideo",
            pipeline="HunyuanVideoPipeline",
            revision="e8c2aaa66fe3742a32c11a6766aecbf07c56e773",
            licence="tencent-hunyuan-community",
            terms="Tencent Hunyuan Community License; it does not apply, nor to what the model makes, "
            "in the European Union, the United Kingdom and South Korea.",
            nbytes=41_400_000_000,
            call={
                "num_inference_steps": 50,
                "height": 480,
                "width": 640,
                "num_frames": 65,
                "guidance_scale": 6.0,
                "max_sequence_length": 256,
            },
        ),
        Model(
            name="dit-xl-2",
            title="DiT-XL/2 256x256",
            source="facebook/DiT-XL-2-256",
            pipeline="DiTPipeline",
            # Its main branch has pickles only; this commit, of refs/pr/1, adds their safetensors.
            revision="32d0e3550d47bdf75c5092db378c0f32cd12e100",
            licence="cc-by-nc-4.0",
            terms="CC-BY-NC 4.0: not for commercial use.",
            nbytes=3_000_000_000,
            call={"num_inference_steps": 50, "guidance_scale": 1.5},
        ),
    )
}
