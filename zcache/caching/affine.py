"""A scheduler's step in closed form, x' = a x + b v, for two schedulers that remember nothing.

Taking a step again costs a dozen small operations in the scheduler; here it is two. The form is used in a run
only where it gave what the scheduler's own steps gave, at every step of a window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .features import version

ROUNDING = 8  # units in the last place that the order of operations explains
HARMLESS = {"return_dict", "generator"}  # arguments of a step without noise


Table = tuple[str, Tensor, int | None]  # of a scheduler: its name, the tensor, the writes into it


@dataclass(frozen=True)
class Affine:
    """a and b of every step; `casts`: whether the result has the model output's precision. A tensor b rounds
    in half precision as the scheduler's own does. `tables`: what they were computed of."""

    rows: tuple[tuple[float, float | Tensor], ...]
    casts: bool = False
    tables: tuple[Table, ...] = ()

    def is_of(self, scheduler: Any) -> bool:
        """Whether the scheduler's tables are as they were."""
        return all(
            getattr(scheduler, name, None) is table and version(table) == seen
            for name, table, seen in self.tables
        )

    def advance(self, step: int, model_output: Tensor, sample: Tensor) -> Tensor:
        """The latent after a step."""
        a, b = self.rows[step]
        wide = sample.to(torch.float32) if sample.itemsize < 4 else sample
        moved = (wide if a == 1.0 else wide * a) + b * model_output
        return (moved.to(model_output.dtype) if self.casts else moved).to(sample.dtype)


def find(scheduler: Any, begin: int) -> Affine | None:
    """The closed form of the steps from `begin` on; None where there is none, or none is known."""
    cls, config = type(scheduler), getattr(scheduler, "config", None)
    if config is None or not cls.__module__.startswith("diffusers."):
        return None
    if cls.__name__ == "FlowMatchEulerDiscreteScheduler" and not config.stochastic_sampling:
        sigmas = scheduler.sigmas[begin:]
        rows = tuple((1.0, b) for b in sigmas.diff().unbind())
        return Affine(rows, casts=True, tables=_tables(scheduler, "sigmas", "timesteps"))
    if cls.__name__ == "DDIMScheduler" and not (config.thresholding or config.clip_sample):
        kept = [*scheduler.alphas_cumprod.tolist(), float(scheduler.final_alpha_cumprod)]
        stride = config.num_train_timesteps // scheduler.num_inference_steps
        times = scheduler.timesteps[begin:].tolist()
        if not all(0 < kept[t] < 1 for t in times):  # a terminal SNR of zero has no closed form
            return None
        pairs = [(kept[t], kept[max(t - stride, -1)]) for t in times]
        return Affine(
            tuple(_ddim(config.prediction_type, *pair) for pair in pairs),
            tables=_tables(scheduler, "alphas_cumprod", "timesteps"),
        )
    return None


def _tables(scheduler: Any, *names: str) -> tuple[Table, ...]:
    found = ((name, getattr(scheduler, name)) for name in names)
    return tuple((name, table, version(table)) for name, table in found)


def _ddim(prediction: str, alpha: float, following: float) -> tuple[float, float]:
    """Equation 12 of DDIM (arXiv:2010.02502) without noise. alpha: kept of the signal's variance."""
    s, n, s_next, n_next = map(math.sqrt, (alpha, 1 - alpha, following, 1 - following))
    if prediction == "epsilon":
        return s_next / s, n_next - s_next * n / s
    if prediction == "sample":
        return n_next / n, s_next - n_next * s / n
    return s_next * s + n_next * n, n_next * s - s_next * n


def is_plain(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a step's further arguments change nothing: `eta` 0, no noise given."""
    others = [value for name, value in kwargs.items() if name not in HARMLESS]
    return not args and all(x is None or (isinstance(x, int | float) and x == 0) for x in others)


def beyond_rounding(closed: Tensor, returned: Tensor) -> Tensor:
    """By how much the closed form misses what the scheduler returned, more than rounding explains."""
    units = ROUNDING if closed.dtype in (torch.float32, torch.float64) else 0
    limit = units * torch.finfo(closed.dtype).eps * returned.norm()
    return ((closed - returned).norm() - limit).clamp_min(0)
