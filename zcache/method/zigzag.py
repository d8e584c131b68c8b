"""The whole method on one page, over a sampling loop of one's own (Fig. 3, Sec. 3.2 and 3.3).

`zcache.caching` does the same inside unmodified pipelines, where neither the loop nor the denoiser can
be touched. Here both are plain functions, so nothing stands between the reader and the paper. Latents,
features and model outputs are whatever can be added and multiplied with a number: tensors, arrays or
floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import bases
from .abscissa import along
from .config import ZCacheConfig
from .guided import GUIDED, begins_with_neighbours, is_settled, most_kept, turns_far
from .relaxation import fewest_full_steps, share
from .schedule import Kind
from .weights import AUTOMATIC

Denoise = Callable[[int, Any, Any], tuple[Any, Any]]
Advance = Callable[[int, Any, Any], Any]


def zigzag(
    denoise: Denoise,
    advance: Advance,
    latent: Any,
    num_steps: int,
    config: ZCacheConfig,
    sigmas: Sequence[float] = (),
    flow_times: Sequence[float] = (),
    diffusion: bool = False,
    guided: bool = False,
    scale: float = 1.0,
    positions: Sequence[float] = (),
) -> Any:
    """The latent after `num_steps` steps, most of them not computed in full.

    Args:
        denoise: (step, latent, feature) -> (model output, feature). With the feature None everything is
            computed and the feature found is returned; with a feature, only what follows it is.
        advance: (step, model output, latent) -> the next latent: the scheduler's step. It is called
            more than once for a step, so it keeps no state.
        latent: what the first step is given.
        config: base, weight, schedule and relaxation; `teacache` has its walk without adaptation.
        sigmas: noise level of every step, for `relax` by name; without them all is kept.
        flow_times: a flow's time at every step, for the placement `timed`; without them it is `even`.
        diffusion: whether `advance` is a diffusion sampler's, for the same placement.
        guided: whether it is a flow with guidance, for `base="automatic"`, `weight="automatic"` and
            `relax="time"`.
        scale: of the guidance that `denoise` adds up from outputs; 1 where the denoiser is told it, or none.
        positions: where the steps stand (abscissa.py), for `base="automatic"`; without them, at their numbers.

    Raises:
        ConfigError: the config does not fit the steps.
    """
    base, order = config.strategy, config.order
    base = along(positions) if positions and config.base == bases.AUTOMATIC else base
    planned = config.plan(num_steps, flow_times, diffusion).full_steps
    if diffusion and config.relax == "time" and len(planned) < fewest_full_steps(scale):
        config = config.replace(reflect=False)
    chosen = config.guided_base(planned, num_steps, flow_times, scale) if guided else None
    asked, turned = config, None
    if chosen is not None and begins_with_neighbours(planned):
        base = bases.fora
    if chosen is not None:
        config = config.replace(base=chosen)
    careful = guided and bases.is_careful(config.strategy, order)
    guided = guided and bases.interpolates(config.strategy, order)
    if guided and config.weight == AUTOMATIC:
        config = config.replace(weight="linear")
    latents = {0: latent}  # what enters each step; the newest visit counts
    outputs: dict[int, Any] = {}  # of each step, as it was first taken
    features: dict[int, Any] = {}  # H_A: what was computed at the anchors
    for visit in config.plan(num_steps, flow_times, diffusion).walk:
        k, anchors = visit.step, list(features)
        if visit.kind is Kind.FULL:  # a new anchor: t_1 of the window behind, t_2 of the next
            output, features[k] = denoise(k, latents[k], None)
            tentative = latents[k]
        elif visit.kind is Kind.FORECAST:  # C(H_A, k)
            output, _ = denoise(k, latents[k], _sum(features, base(anchors, k, order)))
        elif k < anchors[-1]:  # (1 - w) C(H_A, k) + w C(H_{A + t_1}, k), w = W(k)
            if turned is None:  # how far outputs turn shows in the first window
                turned = _turned(outputs[k], outputs[anchors[-1]])
                if chosen == bases.DAMPED:
                    chosen = asked.guided_base(planned, num_steps, flow_times, scale, turned)
                    config = config.replace(base=chosen)
            base = bases.resolve(chosen) if chosen else base
            factors = bases.blend(base, anchors, k, order, visit.weight or 0.0)
            output, _ = denoise(k, latents[k], _sum(features, factors))
        else:  # k = t_1: the features found there, on the corrected latent
            levels = (sigmas[anchors[-2]], sigmas[k]) if sigmas else (1.0, 1.0)
            first = anchors[-2] == len(anchors) - 2  # none but neighbours before
            kept = share(config.relax, *levels, guided and bool(sigmas), first, careful)
            if careful and config.base == bases.DAMPED and config.relax == "time" and sigmas:
                kept = min(kept, most_kept(planned, sigmas, scale))
            told = (
                guided and scale <= GUIDED and (asked.weight, config.relax) == (AUTOMATIC, "time")
            )
            early = bool(sigmas) and not is_settled(sigmas[anchors[-2]])
            if told and early and turned and turns_far(planned, sigmas, turned):
                kept = 0.0
            latents[k] = tentative + kept * (latents[k] - tentative)
            output, _ = denoise(k, latents[k], features[k])
        outputs.setdefault(k, output)
        latents[k + 1] = advance(k, output, latents[k])
    return latents[num_steps]


def _turned(first: Any, last: Any) -> float:
    """The distance of two outputs as a part of their size."""
    size, change = (
        float((x * x).sum()) if hasattr(x, "sum") else x * x for x in (first, last - first)
    )
    return float((change / max(size, 1e-30)) ** 0.5)


def _sum(features: dict[int, Any], factors: Sequence[float]) -> Any:
    """sum_i factor_i feature_i over the newest anchors."""
    used = list(features.values())[-len(factors) :]
    return sum(factor * feature for factor, feature in zip(factors, used, strict=True))
