"""The embedded models as tests call them: how to load one, and its pictures as one array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from zcache.models import loading
from zcache.models.mini import motion, scenes

STEPS = 16


@dataclass(frozen=True)
class Embedded:
    """`subjects` are held-out captions or class ids, given to the pipeline as `argument`."""

    name: str
    argument: str
    subjects: tuple[Any, ...]

    def __str__(self) -> str:
        return self.name

    def load(self) -> Any:
        """A new pipeline on the CPU."""
        pipe = loading.load(self.name, "cpu")
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def pipe(self) -> Any:
        """The pipeline that all tests share."""
        return _shared(self)

    def draw(self, pipe: Any, steps: int = STEPS, count: int = 1, **changes: Any) -> np.ndarray:
        """Pictures (count, H, W, 3) or clips (count, F, H, W, 3) in [0, 1]."""
        call = {**loading.find(self.name).call, "num_inference_steps": steps, **changes}
        call.setdefault(self.argument, list(self.subjects[:count]))
        generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
        output = pipe(**call, generator=generators, output_type="np")
        return output.frames if hasattr(output, "frames") else output.images


@cache
def _shared(embedded: Embedded) -> Any:
    return embedded.load()


def _captions(grammar: Any) -> tuple[str, ...]:
    return tuple(grammar.caption(scene) for scene in grammar.samples(4, "held-out", seed=0))


FLUX = Embedded("mini-flux", "prompt", _captions(scenes))
VIDEO = Embedded("mini-hunyuan", "prompt", _captions(motion))
DIT = Embedded("mini-dit", "class_labels", (0, 2, 5, 7))
ALL = (FLUX, VIDEO, DIT)
