"""Other caches on the same pipeline: context managers that take their cache off again.

diffusers' own come with diffusers; cache-dit is an optional extra and is imported on use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .errors import ConfigError, UnsupportedPipelineError

# Every module whose output TaylorSeer caches per layer, and those that then need not run.
_LAYERS = {
    "FluxTransformer2DModel": (
        [
            r"transformer_blocks\.\d+\.(attn|ff|ff_context)",
            r"single_transformer_blocks\.\d+\.proj_out",
        ],
        [r"single_transformer_blocks\.\d+\.(attn|proj_mlp)"],
    ),
}
_LAYERS["HunyuanVideoTransformer3DModel"] = _LAYERS["FluxTransformer2DModel"]


@contextmanager
def diffusers_taylorseer(pipe: Any, interval: int, lite: bool = False) -> Iterator[None]:
    """TaylorSeer of diffusers at order 1: every layer's output, or with `lite` the model's output.

    With three warm-up steps its full steps are 0, 1, 2, 4, 4 + N, 4 + 2N, …: N is the distance
    between later ones.

    Raises:
        UnsupportedPipelineError: diffusers' TaylorSeer cannot run on this transformer.
    """
    from diffusers import TaylorSeerCacheConfig

    transformer = pipe.transformer
    patterns = _LAYERS.get(type(transformer).__name__)
    if patterns is None:
        raise UnsupportedPipelineError(
            f"diffusers' TaylorSeer has no layers named for {type(transformer).__name__}; "
            "leave this peer out for this model"
        )
    layers = (
        {} if lite else {"cache_identifiers": patterns[0], "skip_predict_identifiers": patterns[1]}
    )
    transformer.enable_cache(
        TaylorSeerCacheConfig(
            cache_interval=interval,
            disable_cache_before_step=3,
            max_order=1,
            taylor_factors_dtype=torch.float32,
            use_lite_mode=lite,
            **layers,
        )
    )
    try:
        yield
    finally:
        transformer.disable_cache()


@contextmanager
def cache_dit_mask(pipe: Any, full_steps: tuple[int, ...], num_steps: int) -> Iterator[None]:
    """cache-dit, TaylorSeer at order 1, given full steps; always computes the first block.

    Raises:
        ConfigError: cache-dit is not installed.
    """
    os.environ.setdefault("CACHE_DIT_ENABLE_LOGGERS_SUPPRESS", "1")
    try:
        import cache_dit
    except ImportError as error:
        raise ConfigError("cache-dit is not installed; pip install 'zcache[bench]'") from error

    mask = [int(step in full_steps) for step in range(num_steps)]
    cache_dit.enable_cache(
        pipe,
        cache_config=cache_dit.DBCacheConfig(
            Fn_compute_blocks=1,
            Bn_compute_blocks=0,
            max_warmup_steps=min(3, num_steps),
            num_inference_steps=num_steps,
            steps_computation_mask=mask,
            steps_computation_policy="static",
        ),
        calibrator_config=cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=1),
    )
    try:
        yield
    finally:
        cache_dit.disable_cache(pipe)
