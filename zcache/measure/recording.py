"""Record what a run computes, without changing a bit of it: hidden states of every layer, the model's
output and the latent, at every visit of every step.

Hooks of torch sit on the blocks and before the head; where a granularity skips the blocks, their
features are simply absent, and `head`, `output` or `latent` stand for the run (the cached passes of
granularity `output` call nothing but the scheduler). What is kept lies on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from ..caching import adapters
from ..caching.bindings import inner
from ..caching.enable import enabled
from ..caching.features import leaves
from ..caching.handle import ZCache
from ..method.config import ZCacheConfig

TOKENS = 64  # of a layer's hidden states that are kept, evenly spread
PLAIN = "plain"  # the kind of a visit in a run without cache
Keep = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Visit:
    """One pass over a step: `kind` is "plain", "full", "forecast" or "reflect", `features` by site.

    Sites are the blocks, as `transformer_blocks.3`, in the order of the forward: (batch, tokens kept,
    channels), image and text tokens in one; `head`: what the head is given; `output`: what the
    scheduler is given, guidance included; `latent`: the latent that it steps from. A full pass from which the
    run goes back takes no step of the scheduler, so it has neither `output` nor `latent`.
    """

    step: int
    kind: str
    features: dict[str, Tensor]


@dataclass
class Recording:
    """The visits of one run in order, and what the pipeline returned."""

    visits: list[Visit] = field(default_factory=list)
    result: Any = None

    def final(self) -> dict[int, Visit]:
        """Return the last visit of every step: the one that the output stands on."""
        return {visit.step: visit for visit in self.visits}

    def full_steps(self) -> tuple[int, ...]:
        """Return the steps that were computed in full."""
        return tuple(visit.step for visit in self.visits if visit.kind == "full")

    def layers(self) -> list[str]:
        """Return the blocks that some visit ran, in the order of the forward."""
        found = dict.fromkeys(site for visit in self.visits for site in visit.features)
        return [site for site in found if site not in ("head", "output", "latent")]


def thinned(tensor: Tensor, tokens: int = TOKENS) -> Tensor:
    """Return at most so many tokens of (batch, tokens, channels), evenly spread; else the
    tensor."""
    if tensor.ndim != 3 or tensor.shape[1] <= tokens:
        return tensor
    chosen = torch.linspace(0, tensor.shape[1] - 1, tokens, device=tensor.device).round().long()
    return tensor.index_select(1, chosen)


def record(
    pipe: Any,
    call: dict[str, Any],
    config: ZCacheConfig | None = None,
    seed: int = 0,
    keep: Keep = thinned,
) -> Recording:
    """Run `pipe(**call)`, with the cache if `config` is given, and return what it computed.

    Of several denoiser calls in one step (true guidance) the last is kept. The pipeline is left as
    it was found.

    Args:
        keep: what is kept of a layer's hidden states.

    Raises:
        ConfigError, UnsupportedPipelineError: as `zcache.enable` does.
    """
    probe = _Probe(keep)
    generator = torch.Generator("cpu").manual_seed(seed)
    with ExitStack() as stack:
        stack.enter_context(_watched(pipe.scheduler, probe))
        for handle in _hooks(inner(pipe.transformer), probe):
            stack.callback(handle.remove)
        cache = stack.enter_context(enabled(pipe, config) if config else nullcontext())
        if cache is not None:
            cache.on_pass, probe.cache = probe.begin, cache
        probe.recording.result = pipe(**call, generator=generator)
    return probe.recording


class _Probe:
    """Collects features until the visit they belong to is over."""

    def __init__(self, keep: Keep) -> None:
        self.recording = Recording()
        self._keep = keep
        self._open: dict[str, Tensor] = {}
        self._told: tuple[int, str] | None = None
        self._steps = 0
        self.cache: ZCache | None = None

    def begin(self, step: int, kind: str, num_steps: int) -> None:
        """Begin a pass. What is still open belongs to a full pass from which the run goes back now."""
        if self._open:
            self._close()
        self._told = (step, kind)

    def see(self, site: str, output: Any) -> None:
        """Note what a layer returned."""
        states = [tensor for tensor in leaves(output) if tensor.ndim == 3]
        if states:
            joined = torch.cat([self._keep(state) for state in states], dim=1)
            self._open[site] = _held(joined)

    def stepped(self, model_output: Tensor, sample: Tensor) -> None:
        """Close the visit: the scheduler takes a step."""
        if self.cache is not None and self.cache.trying:
            return
        self._open |= {"output": _held(model_output), "latent": _held(sample)}
        self._close()
        self._steps += 1

    def _close(self) -> None:
        step, kind = self._told or (self._steps, PLAIN)
        self.recording.visits.append(Visit(step, kind, self._open))
        self._open = {}


def _held(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _hooks(transformer: nn.Module, probe: _Probe) -> Iterator[Any]:
    adapter = adapters.find(transformer)
    if adapter is None:
        return
    for blocks in adapter.blocks:
        for index, block in enumerate(getattr(transformer, blocks.name)):
            site = f"{blocks.name}.{index}"
            yield block.register_forward_hook(lambda _, __, out, site=site: probe.see(site, out))
    head = getattr(transformer, adapter.head)
    yield head.register_forward_pre_hook(lambda _, args: probe.see("head", args[0]))


@contextmanager
def _watched(scheduler: Any, probe: _Probe) -> Iterator[None]:
    """Let the scheduler's `step` tell the probe first, for the length of the block.

    The cache takes steps again by its scheduler's class, so the watch is a class of this one
    scheduler for the length of the run.
    """
    own = type(scheduler)

    @wraps(own.step)  # pipelines and the cache look at the signature
    def step(
        self: Any, model_output: Tensor, timestep: Any, sample: Tensor, *a: Any, **k: Any
    ) -> Any:
        probe.stepped(model_output, sample)
        return own.step(self, model_output, timestep, sample, *a, **k)

    scheduler.__class__ = type(own.__name__, (own,), {"step": step})
    try:
        yield
    finally:
        scheduler.__class__ = own
