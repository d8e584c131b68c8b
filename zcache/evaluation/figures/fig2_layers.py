"""Figure 2: how far every layer's hidden states are from the uncached run's, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ConfigError
from ...measure.recording import Recording, record
from ...method.config import ZCacheConfig
from . import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-4  # of the colour scale: what is nearer than this looks equal


def fig2(pipe: Any, call: dict[str, Any], config: ZCacheConfig, seed: int = 0) -> Figure:
    """Draw the relative L1 error per layer and step: the base strategy alone, Z-Cache, and both as means over
    the layers. Features are cached per layer, as in the paper.

    Raises:
        ConfigError, UnsupportedPipelineError: as `zcache.enable` does.
    """
    config = config.replace(granularity="module")
    plain = record(pipe, call, seed=seed)
    alone, ours = (
        record(pipe, call, config.replace(reflect=reflect), seed) for reflect in (False, True)
    )
    errors = [layer_errors(plain, run) for run in (alone, ours)]
    return draw(errors[0], errors[1], ours.full_steps(), config.base)


def layer_errors(reference: Recording, other: Recording) -> np.ndarray:
    """mean |h - h*| / mean |h*| of every layer at the last visit of every step, (layers, steps).

    Raises:
        ConfigError: the runs have no layer in common at some step.
    """
    layers = reference.layers()
    wanted, found = reference.final(), other.final()
    if not layers or any(
        layer not in visit.features for visit in found.values() for layer in layers
    ):
        raise ConfigError("the runs lack layers at some steps; record with granularity 'module'")
    errors = np.empty((len(layers), len(wanted)))
    for row, layer in enumerate(layers):
        for step, visit in wanted.items():
            true = visit.features[layer].float()
            off = (found[step].features[layer].float() - true).abs().mean()
            errors[row, step] = float(off / true.abs().mean())
    return errors


def draw(alone: np.ndarray, ours: np.ndarray, full_steps: tuple[int, ...], base: str) -> Figure:
    """Draw two error maps (layers, steps)."""
    from matplotlib.colors import LogNorm

    figure, axes = canvas.blank(11, 3.2, 1, 3, width_ratios=(1, 1, 1.1))
    top = max(alone.max(), ours.max(), 10 * FLOOR)
    norm = LogNorm(FLOOR, top)
    for place, errors, name in zip(
        axes[0], (alone, ours), (f"{base} alone", "Z-Cache"), strict=False
    ):
        shown = place.imshow(
            np.maximum(errors, FLOOR), norm=norm, aspect="auto", origin="lower", cmap="magma_r"
        )
        place.set(title=name, xlabel="step", ylabel="layer")
    figure.colorbar(shown, ax=axes[0, :2].tolist(), label="relative L1 error", pad=0.01)
    place = axes[0, 2]
    for errors, name, colour in (
        (alone, f"{base} alone", canvas.BASE),
        (ours, "Z-Cache", canvas.OURS),
    ):
        place.plot(errors.mean(axis=0), label=name, color=colour, linewidth=1.6)
    for step in full_steps:
        place.axvline(step, color="#bbbbbb", linewidth=0.6, zorder=0)
    place.set(
        title="mean over layers; lines: full steps", xlabel="step", ylabel="relative L1 error"
    )
    place.set_ylim(bottom=0)
    place.legend(fontsize=8)
    return figure
