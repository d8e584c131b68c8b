"""One way to call one real pipeline at toy size; no text encoder, no file, no network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import CogVideoXDDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from zcache.caching import adapters
from zcache.caching.features import leaves

from ...pipelines import flow_scheduler, quiet, seeded

STEPS = 8
TEXT = 7  # tokens of a prompt: no family draws that many image tokens

__all__ = ["STEPS", "TEXT", "Family", "assembled", "flow", "flow_scheduler", "noise", "prompts"]


@dataclass(frozen=True)
class Family:
    """A pipeline, its arguments, and what is known to stand in reflection's way.

    `partly`: at one granularity or another something is left undone or done in full, and the report
    says what and why.
    """

    name: str
    build: Callable[[], Any]
    arguments: Callable[[], dict[str, Any]]
    partly: bool = False

    def granularities(self, pipe: Any) -> tuple[str, ...]:
        adapter = adapters.find(denoisers(pipe)[0])
        return adapter.granularities if adapter is not None else ("output",)

    def run(self, pipe: Any, **changes: Any) -> Tensor:
        """Everything the pipeline returns, as one vector."""
        torch.manual_seed(0)
        output = pipe(
            **{"num_inference_steps": STEPS, **self.arguments(), **changes}, return_dict=False
        )
        flat = [torch.as_tensor(leaf).flatten().float() for leaf in leaves(as_tensors(output))]
        return torch.cat(flat)

    def __str__(self) -> str:
        return self.name


def as_tensors(output: Any) -> Any:
    if isinstance(output, tuple | list):
        return [as_tensors(value) for value in output]
    return torch.as_tensor(output) if hasattr(output, "shape") else output


def denoisers(pipe: Any) -> list[torch.nn.Module]:
    names = ("transformer", "transformer_2", "unconditional_transformer")
    found = (getattr(pipe, name, None) for name in names)
    return [module for module in found if module is not None]


def assembled(pipeline: type, transformer: Any, scheduler: Any = None, **parts: Any) -> Any:
    """The pipeline from its transformer; every part that is not named is None."""
    parts = {"transformer": transformer.eval(), "scheduler": scheduler or flow(), **parts}
    required = [
        name
        for name, parameter in inspect.signature(pipeline.__init__).parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in ("self", *parts)
    ]
    return quiet(pipeline(**parts, **dict.fromkeys(required)))


def made(cls: type, **config: Any) -> Any:
    """A model with random weights, the same ones every time."""
    torch.manual_seed(0)
    model = cls(**config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():  # gates that training opens
                parameter.normal_(std=0.05)
    return model


def flow(shift: float = 3.0, **config: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=shift, **config)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def prompts(
    channels: int,
    masks: str = "",
    tokens: int = TEXT,
    dtype: torch.dtype = torch.float32,
    **more: Any,
) -> dict[str, Any]:
    """Embedded prompt and negative prompt; `masks`: the name of their masks, if they have any."""
    arguments: dict[str, Any] = {"generator": seeded(), "output_type": "latent"}
    for seed, prefix in ((1, ""), (2, "negative_")):
        arguments[f"{prefix}prompt_embeds"] = noise(seed, 1, tokens, channels)
        if masks:
            arguments[f"{prefix}{masks}"] = torch.ones(1, tokens, dtype=dtype)
    return {**arguments, **more}


def zero_snr(snr_shift_scale: float) -> CogVideoXDDIMScheduler:
    """As CogVideoX and CogView3 ship it: rescaled to a terminal SNR of zero, where sigma / alpha is infinite."""
    return CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=snr_shift_scale,
        timestep_spacing="trailing",
    )
