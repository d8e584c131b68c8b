"""Figure 4: trajectories of hidden features in the plane of their first two principal components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...measure.recording import Recording, record
from ...method.config import ZCacheConfig
from . import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SITE = "head"  # hidden states after the last block
PLAIN = "uncached"


def fig4(pipe: Any, call: dict[str, Any], config: ZCacheConfig, seed: int = 0) -> Figure:
    """The uncached run, reuse (FORA), TaylorSeer and Z-Cache at the same full steps, whole and near the
    end of the run.

    Raises:
        ConfigError, UnsupportedPipelineError: as `zcache.enable` does.
    """
    configs = {
        PLAIN: None,
        "FORA": config.replace(base="fora", reflect=False),
        "TaylorSeer": config.replace(base="taylorseer", reflect=False),
        "Z-Cache": config.replace(reflect=True),
    }
    runs = {name: record(pipe, call, each, seed) for name, each in configs.items()}
    return draw(project({name: path(run) for name, run in runs.items()}))


def path(recording: Recording, site: str = SITE) -> np.ndarray:
    """A site's features at the last visit of every step, (steps, values)."""
    final = recording.final()
    return np.stack(
        [final[step].features[site].float().flatten().numpy() for step in sorted(final)]
    )


def project(paths: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every path (steps, values) in the first two principal components of the uncached one, (steps, 2)."""
    middle = paths[PLAIN].mean(axis=0)
    _, _, components = np.linalg.svd(paths[PLAIN] - middle, full_matrices=False)
    return {name: (values - middle) @ components[:2].T for name, values in paths.items()}


def draw(paths: Mapping[str, np.ndarray]) -> Figure:
    """The figure of projected paths (steps, 2): whole, and the step where the methods part most."""
    figure, axes = canvas.blank(10, 4, 1, 2)
    colours = dict(
        zip(paths, (canvas.PLAIN, canvas.COLOURS[0], canvas.BASE, canvas.OURS), strict=True)
    )
    for place in axes[0]:
        for name, points in paths.items():
            ours = name in (PLAIN, "Z-Cache")
            place.plot(
                *points.T,
                color=colours[name],
                label=name,
                marker="o",
                markersize=2.5,
                linewidth=1.8 if ours else 1.1,
                zorder=3 if ours else 2,
            )
        place.set(xlabel="first component", ylabel="second component")
    (low_x, high_x), (low_y, high_y) = _window(paths)
    axes[0, 0].add_patch(_frame(low_x, low_y, high_x - low_x, high_y - low_y))
    axes[0, 0].legend(fontsize=8)
    axes[0, 0].set_title("hidden states after the last block, every step", fontsize=9)
    axes[0, 1].set(xlim=(low_x, high_x), ylim=(low_y, high_y))
    axes[0, 1].set_title("the frame, enlarged: where the paths part most", fontsize=9)
    return figure


def _window(paths: Mapping[str, np.ndarray]) -> Iterator[tuple[float, float]]:
    """Limits in x and y around the steps near that at which the paths are farthest from the uncached."""
    plain = paths[PLAIN]
    apart = sum(np.linalg.norm(points - plain, axis=1) for points in paths.values())
    worst = int(np.argmax(apart))
    near = slice(max(0, worst - 4), worst + 5)
    points = np.concatenate([path[near] for path in paths.values()])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low) + 1e-9
    yield from zip((low - margin).tolist(), (high + margin).tolist(), strict=True)


def _frame(x: float, y: float, width: float, height: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, fill=False, edgecolor="#666666", linewidth=0.8)
