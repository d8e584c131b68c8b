"""The modes of torch in which a denoiser is called: gradients, inference mode, autocast.

A loop of one's own may call the denoiser in them and take the scheduler's step, where passes are reflected,
outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Modes:
    """The modes of this moment, autocast being that of one type of device."""

    device: str
    grad: bool
    inference: bool
    autocast: bool
    dtype: torch.dtype
    keeps_casts: bool

    @staticmethod
    def now(device: str) -> Modes:
        device = device if torch.amp.is_autocast_available(device) else "cpu"
        return Modes(
            device,
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled(device),
            torch.get_autocast_dtype(device),
            torch.is_autocast_cache_enabled(),
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """These modes for the length of the block; gradients are tracked only where they are now, too."""
        now = Modes.now(self.device)
        with ExitStack() as stack:
            if self.inference and not now.inference:
                stack.enter_context(torch.inference_mode())
            if now.grad and not self.grad:
                stack.enter_context(torch.no_grad())
            if (self.autocast, self.dtype) != (now.autocast, now.dtype):
                cast = torch.autocast(self.device, self.dtype, self.autocast, self.keeps_casts)
                stack.enter_context(cast)
            yield
