"""The settings behind the paper's Tables 1 to 3: sampler, resolution and the full steps of every row.

The full steps are the lists whose FLOPs agree with the printed ones (Table 2's Z-Cache rows to 0.01
TFLOP): on FLUX.1-dev four warm-up steps, then every N-th, and the last step full when two or more
would remain behind the last anchor; on HunyuanVideo every N-th from step 0; on DiT-XL/2 two warm-up
steps, then every N-th. In Z-Cache rows neither the first window nor one closed by the last step is
gone back over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from ..method.config import ZCacheConfig


@dataclass(frozen=True)
class Setting:
    """How a table's pictures are sampled.

    `call` holds the pipeline's arguments, `scheduler` the values its scheduler's config must have.
    """

    model: str
    table: int
    call: Mapping[str, Any]
    scheduler: Mapping[str, Any] = field(default_factory=dict)


SETTINGS: dict[str, Setting] = {
    "flux-dev": Setting(
        "flux-dev",
        2,
        {
            "height": 1024,
            "width": 1024,
            "num_inference_steps": 50,
            "guidance_scale": 3.5,
            "max_sequence_length": 512,
        },
        {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15},
    ),
    "hunyuan-video": Setting(
        "hunyuan-video",
        3,
        {
            "height": 480,
            "width": 640,
            "num_frames": 65,
            "num_inference_steps": 50,
            "guidance_scale": 6.0,
        },
        {"shift": 7.0},
    ),
    "dit-xl-2": Setting(
        "dit-xl-2",
        1,
        {"num_inference_steps": 50, "guidance_scale": 1.5},
        {"timestep_spacing": "linspace", "clip_sample": False},
    ),
}


@dataclass(frozen=True)
class Row:
    """One TaylorSeer or Z-Cache row: `tflops` is the printed total, 50 steps."""

    model: str
    method: str
    interval: int
    tflops: float
    full_steps: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.model}/{self.method}/{self.interval}"

    @property
    def config(self) -> ZCacheConfig:
        """The row as the paper ran it: per-layer features, order 1, no relaxation.

        The order on FLUX and DiT is not printed; 1 is assumed, which the FLOPs do not depend on.
        """
        return ZCacheConfig(
            interval=self.interval,
            full_steps=self.full_steps,
            granularity="module",
            reflect=self.method == "z-cache",
            first_window=False,
            last_window=False,
            weight="logarithmic",
            relax=None,
        )


def _flux_taylorseer(interval: int) -> tuple[int, ...]:
    return (0, 1, 2, *range(3, 50, interval))


def _flux_zcache(interval: int) -> tuple[int, ...]:
    full = _flux_taylorseer(interval)
    return (*full, 49) if 49 - full[-1] >= 2 else full


def _hunyuan(interval: int) -> tuple[int, ...]:
    return tuple(range(0, 50, interval))


def _dit(interval: int) -> tuple[int, ...]:
    return (0, *range(1, 50, interval))


_ROWS = (
    [
        Row("flux-dev", "taylorseer", n, t, _flux_taylorseer(n))
        for n, t in ((6, 820.80), (7, 746.28), (8, 671.77))
    ]
    + [
        Row("flux-dev", "z-cache", n, t, _flux_zcache(n))
        for n, t in ((7, 821.59), (8, 747.01), (9, 672.59))
    ]
    + [Row("hunyuan-video", "taylorseer", n, t, _hunyuan(n)) for n, t in ((5, 5960.4), (7, 4794.5))]
    + [Row("hunyuan-video", "z-cache", n, t, _hunyuan(n)) for n, t in ((5, 5997.2), (7, 4799.6))]
    + [Row("dit-xl-2", "taylorseer", n, t, _dit(n)) for n, t in ((5, 5.24), (6, 4.76), (7, 3.82))]
    + [Row("dit-xl-2", "z-cache", n, t, _dit(n)) for n, t in ((5, 5.25), (6, 4.78), (7, 3.82))]
)
ROWS: dict[str, Row] = {row.name: row for row in _ROWS}


def row(name: str) -> Row:
    """The row of a name such as `flux-dev/z-cache/9`.

    Raises:
        ConfigError: there is no such row.
    """
    if name not in ROWS:
        raise ConfigError(f"preset {name!r} is unknown; choose one of: {', '.join(ROWS)}")
    return ROWS[name]
