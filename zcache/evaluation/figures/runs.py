"""What a figure shows of a run: its frames before they are rounded to 8 bits."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from ...caching.enable import enabled
from ...method.config import ZCacheConfig
from ..drawing import exact_frames


def frames(
    pipe: Any, call: dict[str, Any], config: ZCacheConfig | None = None, seed: int = 0
) -> np.ndarray:
    """Run `pipe(**call)`, with the cache if `config` is given; (F, H, W, 3) in [0, 1].

    Raises:
        ConfigError, UnsupportedPipelineError: as `zcache.enable` does.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    with enabled(pipe, config) if config else nullcontext():
        output = pipe(**{**call, "generator": generator, "output_type": "np"})
    return exact_frames(output)[0]
