"""Measure the denoising loop of an unmodified diffusers pipeline, from outside.

The loop has no name in diffusers, but it has edges that every pipeline shares: it begins when
the denoiser is first called, and ends when the VAE is asked to decode, when the pipeline frees
its offloaded models, or when the pipeline returns, whichever comes first. Text encoding,
decoding and file writing stay outside. Whoever knows where a pass of the denoiser begins marks it, and
the loop's time is told pass by pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from ..caching import pipeline
from ..errors import UnsupportedPipelineError

if TYPE_CHECKING:
    import torch

DENOISERS = (*pipeline.DENOISERS, "unet")  # an uncached U-Net can be timed, too


class LoopClock:
    """Context manager around ONE pipeline call; afterwards `total` and `denoising` are in seconds.

    It adds one hook to each denoiser, which removes itself when it has fired, and two wrappers
    on the instance; leaving the context takes all of them off again. On CUDA each reading waits
    for the device.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._device = torch_device(pipe)  # looking it up takes milliseconds
        self._stack = ExitStack()
        self._hooks: list[Any] = []
        self._entered = self._left = self._paused = self._paused_denoising = 0.0
        self._begin: float | None = None
        self._end: float | None = None
        self._words: list[str] = []  # of the passes begun
        self._marks: list[tuple[int | None, Any]] = []  # which pass goes on from which instant

    def __enter__(self) -> LoopClock:
        for denoiser in denoisers(self._pipe):
            handle = denoiser.register_forward_pre_hook(self._on_denoiser)
            self._hooks.append(handle)
            self._stack.callback(handle.remove)
        if getattr(self._pipe, "vae", None) is not None:
            self._stack.enter_context(before(self._pipe.vae, "decode", self._on_end))
        if hasattr(self._pipe, "maybe_free_model_hooks"):
            self._stack.enter_context(before(self._pipe, "maybe_free_model_hooks", self._on_end))
        self._entered = self.now()
        return self

    def __exit__(self, *exception: object) -> None:
        self._left = self.now()
        if self._marks and self._end is None:
            self._marks.append((None, self._instant(self._left)))
        self._stack.close()

    @property
    def total(self) -> float:
        """Seconds of the whole call: text encoding, denoising, decoding."""
        return self._left - self._entered - self._paused

    @property
    def denoising(self) -> float:
        """Seconds of the denoising loop."""
        begin = self._entered if self._begin is None else self._begin
        end = self._left if self._end is None else self._end
        return end - begin - self._paused_denoising

    @property
    def passes(self) -> tuple[tuple[str, float], ...]:
        """The word and the seconds of each pass that was marked; together they are `denoising`."""
        sums = [0.0] * len(self._words)
        for (index, start), (_, stop) in zip(self._marks, self._marks[1:], strict=False):
            if index is not None:
                sums[index] += _between(start, stop)
        return tuple(zip(self._words, sums, strict=True))

    def mark(self, word: str) -> None:
        """Note that a pass called `word` begins; the first one begins with the loop."""
        if self._begin is None:
            self._words[:] = [word]
        elif self._end is None:
            self._words.append(word)
            self._marks.append((len(self._words) - 1, self._instant()))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out of both times what is done inside."""
        inside = self._begin is not None and self._end is None
        began = self.now()
        if inside:
            self._marks.append((None, self._instant(began)))
        try:
            yield
        finally:
            ended = self.now()
            took = ended - began
            if inside:
                index = len(self._words) - 1 if self._words else None
                self._marks.append((index, self._instant(ended)))
            self._paused += took
            self._paused_denoising += took if inside else 0.0

    def _on_denoiser(self, *_: object) -> None:
        # A cached pass goes through the modules as long as they have hooks.
        for hook in self._hooks:
            hook.remove()
        if self._begin is None:
            self._begin = self.now()
            self._marks.append((0 if self._words else None, self._instant(self._begin)))

    def _on_end(self) -> None:
        if self._begin is not None and self._end is None:
            self._end = self.now()
            self._marks.append((None, self._instant(self._end)))

    def _instant(self, now: float | None = None) -> Any:
        """This instant, which on the CPU may be known as `now`; on CUDA an event, without waiting for it."""
        if self._device.type != "cuda":
            return time.perf_counter() if now is None else now
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def now(self) -> float:
        """Return the time in seconds once the device has done its work."""
        synchronize(self._device)
        return time.perf_counter()


def _between(start: Any, stop: Any) -> float:
    """Seconds from one instant to another."""
    if isinstance(start, float):
        return float(stop - start)
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1000


def denoisers(pipe: Any) -> tuple[Any, ...]:
    """Return the pipeline's denoising networks.

    Raises UnsupportedPipelineError when it has none under a name known here.
    """
    found = tuple(m for name in DENOISERS if (m := getattr(pipe, name, None)) is not None)
    if not found:
        raise UnsupportedPipelineError(
            f"{type(pipe).__name__} has none of {', '.join(DENOISERS)}: use a diffusion pipeline"
        )
    return found


def torch_device(pipe: Any) -> torch.device:
    """Return the device that the pipeline runs on."""
    import torch

    return getattr(pipe, "_execution_device", torch.device("cpu"))


def synchronize(device: torch.device) -> None:
    """Wait until the device has done its queued work; the CPU has no queue."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def before(owner: Any, name: str, call: Callable[[], None]) -> Iterator[None]:
    """Run `call` before each call of the method `owner.name`, on this instance only."""
    with given(owner, name, lambda *_, **__: call()):
        yield


@contextmanager
def after(owner: Any, name: str, call: Callable[[Any], None]) -> Iterator[None]:
    """Show `call` what each call of the method `owner.name` returns, on this instance only."""
    with wrapped(owner, name, lambda original: _then(original, call)):
        yield


@contextmanager
def given(owner: Any, name: str, call: Callable[..., None]) -> Iterator[None]:
    """Show `call` what each call of the method `owner.name` is given, on this instance only, before it is made."""

    def seen(original: Callable[..., Any]) -> Callable[..., Any]:
        def both(*args: Any, **kwargs: Any) -> Any:
            call(*args, **kwargs)
            return original(*args, **kwargs)

        return both

    with wrapped(owner, name, seen):
        yield


def _then(original: Callable[..., Any], call: Callable[[Any], None]) -> Callable[..., Any]:
    def both(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        call(result)
        return result

    return both


@contextmanager
def wrapped(owner: Any, name: str, wrap: Callable[[Any], Callable[..., Any]]) -> Iterator[None]:
    """Put what `wrap` makes of the method `owner.name` in its place, on this instance only."""
    original, shadowed = getattr(owner, name), name in vars(owner)
    setattr(owner, name, wraps(original)(wrap(original)))  # pipelines look at the signature
    try:
        yield
    finally:
        if shadowed:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
