"""What zcache needs of a scheduler: its small state, its place in the schedule, its noise levels."""

from __future__ import annotations

import inspect
from collections import deque
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedPipelineError

State = dict[str, Any]
OUTPUTS = ("model_outputs", "ets", "derivatives")  # as schedulers call those of steps before


def check(scheduler: Any) -> None:
    """Raise UnsupportedPipelineError if this scheduler cannot be followed: its `step` takes other than
    (model_output, timestep, sample, …), or it calls the model more than once per step."""
    name = type(scheduler).__name__
    step = getattr(scheduler, "step", None)
    if step is None or not hasattr(scheduler, "set_timesteps"):
        raise UnsupportedPipelineError(
            f"{name} has no step() and set_timesteps(); zcache needs a diffusers scheduler"
        )
    leading = list(inspect.signature(step).parameters)[:3]
    if leading != ["model_output", "timestep", "sample"]:
        raise UnsupportedPipelineError(
            f"{name}.step takes {leading} first, zcache follows (model_output, timestep, sample); "
            "use another scheduler, for example DDIMScheduler or FlowMatchEulerDiscreteScheduler"
        )
    order = getattr(scheduler, "order", 1)
    if order != 1:
        raise UnsupportedPipelineError(
            f"{name} is of order {order} and calls the model more than once per step; use a scheduler of order 1, "
            "for example FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler or DDIMScheduler"
        )


def snapshot(scheduler: Any) -> State:
    """The scheduler's state; what it remembers of outputs and latents is copied, since a step may add to it in
    place (PNDM). Tables, which are tensors of one dimension, are shared."""
    return {key: _copied(value) for key, value in vars(scheduler).items()}


def restore(scheduler: Any, state: State) -> None:
    """Bring the scheduler back to a snapshot, attributes made since removed."""
    attributes = vars(scheduler)
    for key in set(attributes) - set(state):
        del attributes[key]
    attributes.update({key: _copied(value) for key, value in state.items()})


def _copied(value: Any) -> Any:
    if type(value) is list:
        return [_copied(each) for each in value]
    if type(value) is deque:
        return deque(map(_copied, value), value.maxlen)
    if type(value) is dict:
        return {key: _copied(each) for key, each in value.items()}
    return value.clone() if isinstance(value, Tensor) and value.ndim > 1 else value


def between(tentative: Any, replayed: Any, share: float) -> Any:
    """What keeps `share` of the way from one latent, or one state of a scheduler, to the other.

    A multistep solver's step is linear in the latent and in what it remembers (UniPC's corrector even takes the
    latent from its memory), so both have to be shortened alike. What is no tensor is `replayed`."""
    if type(tentative) is type(replayed) is dict:
        return {key: between(tentative.get(key), value, share) for key, value in replayed.items()}
    if type(tentative) is type(replayed) is list and len(tentative) == len(replayed):
        return [between(*pair, share) for pair in zip(tentative, replayed, strict=True)]
    alike = isinstance(tentative, Tensor) and isinstance(replayed, Tensor)
    if tentative is replayed or not alike or tentative.shape != replayed.shape:
        return replayed
    if not replayed.is_floating_point():
        return replayed
    return torch.lerp(tentative.float(), replayed.float(), share).to(replayed.dtype)


def previous_sample(result: Any) -> Tensor:
    """x_{t-1} out of what a scheduler's `step` returned."""
    return result[0] if isinstance(result, tuple) else result.prev_sample


def position(scheduler: Any, timestep: Any) -> int:
    """Index in `scheduler.timesteps` of the step that was just taken at `timestep`.

    Image-to-image pipelines begin in the middle. Read from the scheduler's own counter where it has
    one; else the timestep is looked up, which waits for the device once per run."""
    index = getattr(scheduler, "step_index", None)
    if index is not None:
        return int(index) - 1
    value = float(timestep)
    return [float(t) for t in scheduler.timesteps.tolist()].index(value)


def remembers_outputs(scheduler: Any) -> bool:
    """Whether its step looks at model outputs of steps before, as far as its attributes tell."""
    return any(hasattr(scheduler, name) for name in OUTPUTS)


def noise_levels(scheduler: Any) -> list[float] | None:
    """sigma at every timestep: the flow's, or sigma/alpha for DDIM-like schedules.

    Inverted sigmas (Mochi) count from the noise on, so the level is what they lack of 1. None where the scheduler has
    neither.
    """
    timesteps = scheduler.timesteps
    config = getattr(scheduler, "config", {})
    sigmas = getattr(scheduler, "sigmas", None)
    if isinstance(sigmas, Tensor) and len(sigmas) >= len(timesteps):
        levels = [float(s) for s in sigmas[: len(timesteps)].tolist()]
        return [1 - s for s in levels] if config.get("invert_sigmas", False) else levels
    kept = getattr(scheduler, "alphas_cumprod", None)
    if isinstance(kept, Tensor):
        levels = ((1 - kept) / kept).sqrt().tolist()
        return [levels[int(t)] for t in timesteps.tolist()]
    return None
