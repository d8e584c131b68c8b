"""Bytes of live tensors along a run, as the allocator hands them out and takes them back.

On the CPU they are read off torch's profiler, on CUDA off the caching allocator, so both count what is
allocated in the middle of an operation, too. What lived before the meter was entered does not count."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ..caching.enable import enabled
from ..method.config import ZCacheConfig

MARK, CHANGE = "zcache: mark", "[memory]"


@dataclass
class Span:
    """Bytes that were live at a mark, and the most until the next one."""

    live: int
    peak: int


class MemoryMeter:
    """While entered, `mark` begins a span; afterwards `spans` are known."""

    def __init__(self, device: torch.device) -> None:
        self.spans: list[Span] = []
        self._device = device
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._start = 0

    def __enter__(self) -> MemoryMeter:
        if self._device.type == "cuda":
            self._start = torch.cuda.memory_allocated(self._device)
        else:
            self._profile.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._device.type == "cuda":
            self._end_span()
        else:
            self._profile.__exit__(*error)
            self._read()

    def mark(self) -> None:
        if self._device.type == "cuda":
            self._end_span()
            torch.cuda.reset_peak_memory_stats(self._device)
            live = torch.cuda.memory_allocated(self._device) - self._start
            self.spans.append(Span(live, live))
        else:
            with record_function(MARK):
                pass

    def _end_span(self) -> None:
        if self.spans:
            peak = torch.cuda.max_memory_allocated(self._device)
            self.spans[-1].peak = peak - self._start

    def _read(self) -> None:
        profiler: Any = self._profile.profiler
        found = [
            (event.start_ns(), event.name(), event.nbytes())
            for event in profiler.kineto_results.events()
            if event.name() in (MARK, CHANGE)
        ]
        live = 0
        for _, name, change in sorted(found, key=lambda event: event[0]):
            if name == MARK:
                self.spans.append(Span(live, live))
                continue
            live += change
            if self.spans:
                self.spans[-1].peak = max(self.spans[-1].peak, live)


@dataclass(frozen=True)
class Used:
    """Most bytes of a run: `held` at the beginning of a pass, `peak` within its denoising loop (but for the
    last pass). `reported`: what the cache says that it held."""

    held: int
    peak: int
    reported: int = 0

    def beyond(self, plain: Used) -> Used:
        """What a run used beyond another one."""
        return Used(self.held - plain.held, self.peak - plain.peak, self.reported)


def measure(pipe: Any, call: dict[str, Any], config: ZCacheConfig | None = None) -> Used:
    """Measure a run of `pipe(**call)`, with the cache if settings are given.

    Run the pipeline once before: a first run may allocate what stays."""
    meter, reported = MemoryMeter(pipe.transformer.device), 0
    with ExitStack() as stack:
        handle = None
        if config is None:
            hook = pipe.transformer.register_forward_pre_hook(lambda *_: meter.mark())
            stack.callback(hook.remove)
        else:
            handle = stack.enter_context(enabled(pipe, config))
            handle.on_pass = lambda *_: meter.mark()
        generator = torch.Generator("cpu").manual_seed(0)
        with meter:
            output = pipe(**call, generator=generator)
        del output
        if handle is not None:
            reported = handle.report().cache_bytes
    spans = meter.spans[:-1]
    return Used(max(s.live for s in spans), max(s.peak for s in spans), reported)
