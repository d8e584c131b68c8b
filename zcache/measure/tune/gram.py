"""The Gram matrix of the cached feature over the steps of an uncached run, in bounded memory.

Each step's feature goes to a file as it comes (float32), and the products are added up over slices of
all steps' features in float64: neither the device nor the CPU ever holds more than one feature and one
slice."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import numpy as np
from torch import Tensor

from ...caching import intercept
from ...caching.bindings import bind
from ...caching.features import tensors
from ...caching.pipeline import find_denoisers
from ...errors import UnsupportedPipelineError
from ..clock import after

SLICE = 1 << 16  # numbers of every step's feature that are multiplied at a time


class Rows:
    """Rows of equal length on disk, and their inner products."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lengths: list[int] = []

    def begin(self) -> None:
        """A new row."""
        self._lengths.append(0)

    def extend(self, values: Tensor) -> None:
        """Add numbers to the newest row."""
        flat = values.detach().flatten().float().cpu().numpy()
        self._file.write(flat.tobytes())
        self._lengths[-1] += flat.size

    def matrix(self) -> np.ndarray:
        """All rows (T, length) float32, on disk.

        Raises:
            UnsupportedPipelineError: as `gram`.
        """
        if len(set(self._lengths)) != 1 or not self._lengths[0]:
            raise UnsupportedPipelineError(
                "the cached feature is missing or of another shape at some steps, so no full steps can be "
                "placed; use a zcache.ZCacheConfig of your own"
            )
        count, length = len(self._lengths), self._lengths[0]
        self._file.flush()
        return np.memmap(self._file.name, np.float32, "r", shape=(count, length))

    def gram(self) -> np.ndarray:
        """Mean products (T, T) float64 of the rows: <r_i, r_j> / length.

        Raises:
            UnsupportedPipelineError: the rows are of different lengths, or empty.
        """
        rows = self.matrix()
        count, length = rows.shape
        total = np.zeros((count, count))
        for begin in range(0, length, SLICE):
            part = rows[:, begin : begin + SLICE].astype(np.float64)
            total += part @ part.T
        return total / length


@contextmanager
def recording(pipe: Any, *granularities: str) -> Iterator[dict[str, Rows]]:
    """While this lasts, every step of `pipe` is a row: what each granularity caches of all its denoiser calls.

    The run is bit-identical to one without. The rows are gone when it ends: take their `gram` before.

    Raises:
        UnsupportedPipelineError: the denoiser is not known at a granularity.
    """
    with ExitStack() as stack:
        rows = {
            name: Rows(stack.enter_context(tempfile.NamedTemporaryFile(prefix="zcache-rows-")))
            for name in granularities
        }
        fresh = [True]

        def seen(bindings: dict[str, Any]) -> intercept.Handler:
            def handle(original: Any, *args: Any, **kwargs: Any) -> Any:
                if fresh[0]:
                    fresh[0] = False
                    for row in rows.values():
                        row.begin()
                return computed(list(bindings.items()), lambda: original(*args, **kwargs))

            return handle

        def computed(bindings: list[tuple[str, Any]], run: Callable[[], Any]) -> Any:
            if not bindings:
                return run()
            (name, binding), *others = bindings
            output, feature = binding.full(lambda: computed(others, run), {})
            for tensor in () if feature is None else tensors(feature):
                rows[name].extend(tensor)
            return output

        for denoiser in find_denoisers(pipe):
            handler = seen({name: bind(name, denoiser) for name in granularities})
            intercept.arm(denoiser, "__call__", handler)
            stack.callback(intercept.disarm, denoiser, "__call__", handler)
        stack.enter_context(after(pipe.scheduler, "step", lambda _: fresh.__setitem__(0, True)))
        yield rows
