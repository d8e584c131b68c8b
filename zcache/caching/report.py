"""What a run did: passes, bytes, seconds, and every fallback with its reason."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..method.schedule import Kind, Pass, render


@dataclass(frozen=True)
class Report:
    """The last run of a pipeline with zcache; of a video drawn in chunks, that is the last chunk's.

    Attributes:
        num_steps: steps of the run (0 before the first).
        full_steps: the steps computed in full.
        kinds: for each step `full`, `forecast`, or `reflected` (forecast first, then re-run with
            the blend).
        full_passes, forecast_passes, reflect_passes: steps visited that way.
        full_computations: denoiser calls computed in full; two per full step with true CFG.
        walk: every pass in order, as text.
        cache_bytes: the most bytes the cache held: anchors' features, and the open window's latents, outputs
            and embeddings of the timestep.
        seconds: time in full, forecast and reflect passes; on CUDA by events, without waiting
            during the run.
        base: the base strategy, the newest where the run chose another.
        granularity: what is cached.
        guidance: the scale that was added up times that which was told, as the first step showed them, where
            forecasts were fitted to it.
        relaxation: for each reflected full step, the share of the correction kept (1.0 is all of
            it).
        fallbacks: everything that was not done as configured, and why; of all chunks.
        finished: whether the last step was taken.
    """

    num_steps: int = 0
    full_steps: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    full_passes: int = 0
    forecast_passes: int = 0
    reflect_passes: int = 0
    full_computations: int = 0
    walk: str = ""
    cache_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    base: str = ""
    granularity: str = ""
    guidance: float | None = None
    relaxation: dict[int, float] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()
    finished: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        values = asdict(self)
        for name in ("full_steps", "kinds", "fallbacks"):
            values[name] = list(values[name])
        values["relaxation"] = {str(step): kept for step, kept in self.relaxation.items()}
        return values


class Stopwatch:
    """Seconds by kind of pass, without waiting for a device."""

    def __init__(self) -> None:
        self._spans: list[tuple[str, Any, Any]] = []

    @contextmanager
    def measure(self, word: str, device: torch.device) -> Iterator[None]:
        start = self._now(device)
        try:
            yield
        finally:
            self._spans.append((word, start, self._now(device)))

    @staticmethod
    def _now(device: torch.device) -> Any:
        if device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return event

    def seconds(self) -> dict[str, float]:
        """Return the sums; waits for the device."""
        sums = {kind.word: 0.0 for kind in Kind}
        for word, start, stop in self._spans:
            if isinstance(start, float):
                sums[word] += stop - start
            else:
                stop.synchronize()
                sums[word] += start.elapsed_time(stop) / 1000
        return sums


class Log:
    """Collects a run's facts as they happen; `report` freezes them.

    Args:
        before: the log of a run earlier in the same call (a video drawn in chunks), whose reasons stay.
    """

    def __init__(self, before: Log | None = None) -> None:
        self.num_steps = 0
        self.passes: list[Pass] = []
        self.full_computations = 0
        self.cache_bytes = 0
        self.base = self.granularity = ""
        self.guidance: float | None = None
        self.relaxation: dict[int, float] = {}
        self.finished = False
        self.stopwatch = Stopwatch()
        self._fallbacks: dict[str, int] = {} if before is None else before._fallbacks.copy()

    def fall_back(self, reason: str) -> None:
        """Note that something was not done as configured."""
        self._fallbacks[reason] = self._fallbacks.get(reason, 0) + 1

    def hold(self, held: list[torch.Tensor], more: int = 0) -> None:
        """Note which tensors the cache holds now, and how many bytes more."""
        storages = dict(_storage(tensor) for tensor in held)
        self.cache_bytes = max(self.cache_bytes, sum(storages.values()) + more)

    def report(self) -> Report:
        kinds: dict[int, str] = {}
        for p in self.passes:
            if p.kind is Kind.REFLECT and kinds.get(p.step) == "forecast":
                kinds[p.step] = "reflected"
            elif p.kind is not Kind.REFLECT:
                kinds[p.step] = p.kind.word
        counts = {kind: sum(p.kind is kind for p in self.passes) for kind in Kind}
        return Report(
            num_steps=self.num_steps,
            full_steps=tuple(step for step, word in kinds.items() if word == "full"),
            kinds=tuple(kinds[step] for step in sorted(kinds)),
            full_passes=counts[Kind.FULL],
            forecast_passes=counts[Kind.FORECAST],
            reflect_passes=counts[Kind.REFLECT],
            full_computations=self.full_computations,
            walk=render(self.passes),
            cache_bytes=self.cache_bytes,
            seconds=self.stopwatch.seconds(),
            base=self.base,
            granularity=self.granularity,
            guidance=self.guidance,
            relaxation=dict(self.relaxation),
            fallbacks=tuple(
                reason if count == 1 else f"{reason} ({count} times)"
                for reason, count in self._fallbacks.items()
            ),
            finished=self.finished,
        )


def _storage(tensor: torch.Tensor) -> tuple[int, int]:
    """Return a name for the memory a tensor lies in, and its bytes. Wrappers, such as a
    collective that is still under way, have no memory of their own to point to."""
    if type(tensor) is not torch.Tensor:
        return id(tensor), tensor.numel() * tensor.element_size()
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
