"""SmoothCache and L2C on a pipeline: context managers that take their cache off again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ....caching.bindings import inner
from ....errors import ConfigError
from ..stepwise import Branch, Call, StepCache, described
from . import plans, router
from .layers import Layer, Store, layers
from .plans import Errors

Computed = tuple[bool, ...]  # which layers a step computes


@contextmanager
def smoothcache(
    pipe: Any, alpha: float, errors: Mapping[str, Errors], num_steps: int
) -> Iterator[LayerCache]:
    """SmoothCache (arXiv:2411.10510).

    Args:
        alpha: the largest mean relative error of a kind of layer that is reused.
        errors: what `calibrate` found on this pipeline in runs of `num_steps` steps.

    Raises:
        ConfigError: alpha is negative or no number; during a run, it has another number of steps.
        UnsupportedPipelineError: the transformer is not described, or its scheduler cannot be
            followed.
        AlreadyEnabledError: the pipeline has a cache already.
    """
    plans.check(alpha)
    by_kind = {kind: plans.plan(found, alpha, num_steps) for kind, found in errors.items()}
    cache = LayerCache(
        pipe,
        "SmoothCache",
        lambda known: plans.by_layer(by_kind, [layer.kind for layer in known]),
    )
    with cache.on():
        yield cache


@contextmanager
def l2c(pipe: Any, num_steps: int, known: router.Router | None = None) -> Iterator[LayerCache]:
    """Learning-to-Cache (arXiv:2406.01733), with the router of these weights, or a given one.

    Raises:
        ConfigError: during a run, it has another number of steps.
        UnsupportedPipelineError: no router was learned on these weights for so many steps, the
            transformer is not described, or its scheduler cannot be followed.
        AlreadyEnabledError: the pipeline has a cache already.
    """
    cache = LayerCache(pipe, "L2C", lambda of_one: (known or router.find(of_one, num_steps)).plan())
    with cache.on():
        yield cache


class LayerCache(StepCache[Computed]):
    """The cache while it is on a pipeline; every branch of guidance has a store of its own.

    Attributes:
        layers: of each denoiser.
        planned: of each denoiser, for each step which layers are computed.
        steps: the first denoiser's.

    Args:
        planner: returns for each step which of one denoiser's layers are computed.
    """

    def __init__(
        self, pipe: Any, title: str, planner: Callable[[Sequence[Layer]], tuple[Computed, ...]]
    ) -> None:
        super().__init__(pipe)
        self.title = title
        self.layers: list[list[Layer]] = [
            layers(inner(denoiser), described(denoiser, title)) for denoiser in self.denoisers
        ]
        self.planned = [planner(known) for known in self.layers]
        self._stores: dict[Branch, Store] = {}

    def forget(self) -> None:
        self._stores = {}

    def is_full(self, step: Computed) -> bool:
        return all(step)

    def plan(self, begin: int, num_steps: int) -> tuple[Computed, ...]:
        if len(self.planned[0]) != num_steps:
            raise ConfigError(
                f"{self.title} was put on for {len(self.planned[0])} steps, and this run has {num_steps}; "
                "put it on for as many"
            )
        return self.planned[0]

    def compute(self, branch: Branch, step: int, call: Call) -> Any:
        known = self.layers[branch[0]]
        store = self._stores.setdefault(branch, Store(known))
        plan = self.planned[branch[0]]
        return store.run(call, plan[step] if step < len(plan) else (True,) * len(known))
