"""The recorded oracle: anchors taken from outside, the blend by hand, played through the plain pipeline.

Hooks of torch record what a run with zcache computes in full. The forecast, the reflection's blend and
its weights are spelt out here (order 1, logarithmic, unrelaxed), and the pipeline is run once more
without zcache, with its transformer made to answer from those features. Both must end in one latent."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zcache.caching import adapters
from zcache.caching.features import leaves, rebuild

from ...oracle import forecast, mix
from .family import Family, denoisers

Place = tuple[int, int]  # step, ordinal of the denoiser call within it


class Parts:
    """What hooks need to know of a transformer: blocks, heads, feature sites."""

    def __init__(self, transformer: nn.Module) -> None:
        self.transformer = transformer
        adapter = adapters.find(transformer)
        self.blocks: list[nn.Module] = []
        self.heads: list[nn.Module] = []
        self.sites: list[nn.Module] = []
        if adapter is None:
            return
        for described in adapter.blocks:
            for block in getattr(transformer, described.name):
                self.blocks.append(block)
                for path in described.features:
                    self.sites += [o._modules[n] for o, n in adapters.resolve(block, path)]
        for path in (adapter.head, *adapter.other_heads):
            self.heads += [o._modules[n] for o, n in adapters.resolve(transformer, path)]


@contextmanager
def hooked(*handles: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def unchanged(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
    """A block's output with every tensor replaced by the input of its shape; no hints from VACE's, and
    nothing from what is added."""
    if type(module).__name__ == "WanVACETransformerBlock":
        return torch.zeros_like(output[0]), output[1]
    if type(module).__name__ == "WanAnimateFaceBlockCrossAttention":
        return torch.zeros_like(output)
    return _inputs_for(args, kwargs, output)


def _inputs_for(args: tuple, kwargs: dict, output: Any) -> Any:
    if output is None:
        return None
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if isinstance(output, Tensor):
        return next(value for value in given if value.shape == output.shape)
    return tuple(_inputs_for(args, kwargs, leaf) for leaf in output)


def cloned(tree: Any) -> Any:
    """Containers and tensors copied."""
    if isinstance(tree, Tensor):
        return tree.clone()
    if type(tree) is dict:
        return {key: cloned(value) for key, value in tree.items()}
    return type(tree)(cloned(v) for v in tree) if type(tree) in (tuple, list) else tree


def uncontrolled(kwargs: dict) -> dict:
    """Without what a control net adds between the blocks: the stack's residual holds it."""
    return {name: value for name, value in kwargs.items() if "controlnet" not in name}


def head_inputs(parts: Parts, call: Callable[[], Any]) -> list[Tensor]:
    """What the heads are given when no block changes anything."""
    seen: list[Tensor] = []
    skip = [b.register_forward_hook(unchanged, with_kwargs=True) for b in parts.blocks]
    note = [h.register_forward_pre_hook(lambda _, a: seen.append(a[0])) for h in parts.heads]
    with hooked(*skip, *note):
        call()
    return seen


class Recorder:
    """The features of every call that was computed in full."""

    def __init__(self, pipe: Any, granularity: str) -> None:
        self.granularity = granularity
        self.step = 0
        self.values: dict[Place, Any] = {}
        self.owner: dict[Place, int] = {}
        self.ordinal: Callable[[], int] = lambda: 0  # of the call that is being made
        self._later: list[Callable[[], None]] = []
        self._parts = [Parts(transformer) for transformer in denoisers(pipe)]

    def on_pass(self, step: int, kind: str, num_steps: int) -> None:
        self.step = step

    @contextmanager
    def listening(self) -> Iterator[None]:
        with ExitStack() as stack:
            for index, parts in enumerate(self._parts):
                stack.enter_context(self._listening_to(index, parts))
            yield
        for later in self._later:
            later()

    @contextmanager
    def _listening_to(self, index: int, parts: Parts) -> Iterator[None]:
        ran: list[Any] = []
        heads: list[Tensor] = []

        def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
            ran.clear(), heads.clear()

        def end(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            if self.granularity == "output":
                self._keep(index, tuple(leaves(output)))
            elif self.granularity == "module" and ran:
                self._keep(index, tuple(ran))
            elif ran:
                self._keep_residual(index, parts, args, kwargs, list(heads))

        watched = parts.sites if self.granularity == "module" else parts.blocks
        with hooked(
            parts.transformer.register_forward_pre_hook(begin, with_kwargs=True),
            parts.transformer.register_forward_hook(end, with_kwargs=True),
            *(m.register_forward_hook(lambda _, a, out: ran.append(out)) for m in watched),
            *(h.register_forward_pre_hook(lambda _, a: heads.append(a[0])) for h in parts.heads),
        ):
            yield

    def _keep(self, index: int, value: Any) -> Place:
        place = (self.step, self.ordinal())
        self.values[place], self.owner[place] = value, index
        return place

    def _keep_residual(
        self, index: int, parts: Parts, args: tuple, kwargs: dict, after: list[Tensor]
    ) -> None:
        place = self._keep(index, None)
        args, kwargs = cloned(args), cloned(kwargs)  # a pipeline may write into its latent

        def later() -> None:
            call = type(parts.transformer).forward
            plain = uncontrolled(kwargs)
            before = head_inputs(parts, lambda: call(parts.transformer, *args, **plain))
            self.values[place] = tuple(a - b for a, b in zip(after, before, strict=True))

        self._later.append(later)


class Player:
    """Answers for the transformer with given features, in the plain pipeline."""

    def __init__(self, pipe: Any, granularity: str, values: dict[Place, Any]) -> None:
        self.pipe, self.granularity, self.values = pipe, granularity, values
        self.step, self.ordinal = 0, 0

    def _next(self) -> Any:
        self.ordinal += 1
        return self.values[self.step, self.ordinal - 1]

    @contextmanager
    def playing(self) -> Iterator[None]:
        scheduler = self.pipe.scheduler
        cls, own = type(scheduler), type(scheduler).step

        taken: list[float] = []

        @functools.wraps(own)
        def step(of: Any, output: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
            if of is scheduler:
                if float(timestep) not in taken:  # Cosmos 1 steps twice at a timestep
                    taken.append(float(timestep))
                self.step, self.ordinal = len(taken), 0
            return own(of, output, timestep, *args, **kwargs)

        inherited = "step" not in vars(cls)
        cls.step = step
        try:
            with ExitStack() as stack:
                for transformer in denoisers(self.pipe):
                    stack.enter_context(self._answering(Parts(transformer)))
                yield
        finally:
            if inherited:
                del cls.step
            else:
                cls.step = own

    @contextmanager
    def _answering(self, parts: Parts) -> Iterator[None]:
        now: list[Any] = []

        def begin(module: nn.Module, args: tuple, kwargs: dict) -> Any:
            now[:] = list(self._next())
            return (args, uncontrolled(kwargs)) if self.granularity == "stack" else None

        def end(module: nn.Module, args: tuple, output: Any) -> Any:
            return rebuild(output, tuple(now)) if self.granularity == "output" else None

        handles = [
            parts.transformer.register_forward_pre_hook(begin, with_kwargs=True),
            parts.transformer.register_forward_hook(end),
        ]
        if self.granularity == "module":
            handles += [m.register_forward_hook(lambda *_: now.pop(0)) for m in parts.sites]
        if self.granularity == "stack":
            handles += [b.register_forward_hook(unchanged, with_kwargs=True) for b in parts.blocks]
            handles += [
                h.register_forward_pre_hook(lambda _, a: (a[0] + now.pop(0), *a[1:]))
                for h in parts.heads
            ]
        with hooked(*handles):
            yield


def blended(recorder: Recorder, kinds: tuple[str, ...]) -> dict[Place, Any]:
    """The feature of every call of a run: its own where it was computed, else the blend by hand."""
    full = [step for step, kind in enumerate(kinds) if kind == "full"]
    played = dict(recorder.values)
    for step in (s for s, kind in enumerate(kinds) if kind != "full"):
        start = max(s for s in full if s < step)
        stop = min((s for s in full if s > step), default=None)
        for ordinal in (o for s, o in recorder.values if s == start):
            past = _past(recorder, full, start, ordinal)
            value = forecast(past, step)
            if kinds[step] == "reflected":
                both = [*past, (stop, recorder.values[stop, ordinal])]
                w = math.log(step - start + 1) / math.log(stop - start + 1)
                value = mix(value, forecast(both, step), w)
            played.setdefault((step, ordinal), value)
    return played


def _past(recorder: Recorder, full: list[int], start: int, ordinal: int) -> list[tuple[int, Any]]:
    """The two newest anchors of a call up to `start`: of one denoiser, and missing at no full step."""
    owner = recorder.owner[start, ordinal]
    anchors = [(start, recorder.values[start, ordinal])]
    for step in range(start - 1, -1, -1):
        if recorder.owner.get((step, ordinal)) == owner:
            return [(step, recorder.values[step, ordinal]), *anchors]
        if step in full or (step, ordinal) in recorder.owner:
            break
    return anchors


def play(family: Family, pipe: Any, recorder: Recorder, kinds: tuple[str, ...]) -> Tensor:
    """Where the plain pipeline ends with the features of a run."""
    player = Player(pipe, recorder.granularity, blended(recorder, kinds))
    with player.playing(), torch.no_grad():
        return family.run(pipe)
