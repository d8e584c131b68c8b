"""The settings behind the paper's Tables 1 to 3: the sampler, and the full steps of every row.

The full steps are the lists whose FLOPs agree with the printed ones (Table 2's Z-Cache rows to 0.01
TFLOP): on FLUX.1-dev four warm-up steps, then every N-th, and the last step full when two or more
would remain behind the last anchor; on HunyuanVideo every N-th from step 0; on DiT-XL/2 two warm-up
steps, then every N-th. In Z-Cache rows neither the first window nor one closed by the last step is
gone back over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..method.config import ZCacheConfig
from ..models.shift import ON_THE_HUB
from . import printed

# The values that the scheduler of a table's pipeline has.
SCHEDULERS: dict[str, dict[str, Any]] = {
    "flux-dev": ON_THE_HUB["FluxPipeline"],
    "hunyuan-video": ON_THE_HUB["HunyuanVideoPipeline"],
    "dit-xl-2": {"timestep_spacing": "linspace", "clip_sample": False},
}


@dataclass(frozen=True)
class Row:
    """One TaylorSeer or Z-Cache row, of 50 steps."""

    model: str
    method: str
    interval: int
    full_steps: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.model}/{self.method}/{self.interval}"

    @property
    def tflops(self) -> float:
        """The printed total."""
        printed_rows = {row.method: row for row in printed.rows(self.model)}
        return printed_rows[f"row:{self.name}"].values["tflops"]

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


_FULL_STEPS = (
    ("flux-dev", "taylorseer", (6, 7, 8), _flux_taylorseer),
    ("flux-dev", "z-cache", (7, 8, 9), _flux_zcache),
    ("hunyuan-video", "taylorseer", (5, 7), _hunyuan),
    ("hunyuan-video", "z-cache", (5, 7), _hunyuan),
    ("dit-xl-2", "taylorseer", (5, 6, 7), _dit),
    ("dit-xl-2", "z-cache", (5, 6, 7), _dit),
)
_ROWS = [
    Row(model, method, interval, full_steps(interval))
    for model, method, intervals, full_steps in _FULL_STEPS
    for interval in intervals
]
ROWS: dict[str, Row] = {row.name: row for row in _ROWS}


def row(name: str) -> Row:
    """The row of a name such as `flux-dev/z-cache/9`.

    Raises:
        ConfigError: there is no such row.
    """
    if name not in ROWS:
        raise ConfigError(f"preset {name!r} is unknown; choose one of: {', '.join(ROWS)}")
    return ROWS[name]
