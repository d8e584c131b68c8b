"""Other caches on the same pipeline: context managers that take their cache off again.

diffusers' own come with diffusers; cache-dit is an optional extra and is imported on use.
"""

from __future__ import annotations

import ast
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch

from ...errors import UnsupportedPipelineError
from ..extras import needed
from .restoring import as_before

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
    config = TaylorSeerCacheConfig(
        cache_interval=interval,
        disable_cache_before_step=3,
        max_order=1,
        taylor_factors_dtype=torch.float32,
        use_lite_mode=lite,
        **layers,
    )
    with _built_in(pipe, config):
        yield


@contextmanager
def diffusers_first_block(pipe: Any, threshold: float) -> Iterator[None]:
    """FirstBlockCache of diffusers: the first block always runs, and decides by how far its residual
    moved whether the others do.

    Raises:
        UnsupportedPipelineError: the transformer has no cache of diffusers' kind.
    """
    from diffusers import FirstBlockCacheConfig

    with _built_in(pipe, FirstBlockCacheConfig(threshold=threshold)):
        yield


@contextmanager
def diffusers_mag(
    pipe: Any, threshold: float, max_skip: int, ratios: Sequence[float], num_steps: int
) -> Iterator[None]:
    """MagCache of diffusers, with the ratios that `mag_ratios` calibrated on this very model.

    Raises:
        UnsupportedPipelineError: the transformer has no cache of diffusers' kind.
    """
    from diffusers import MagCacheConfig

    config = MagCacheConfig(
        threshold=threshold,
        max_skip_steps=max_skip,
        num_inference_steps=num_steps,
        mag_ratios=list(ratios),
    )
    with _built_in(pipe, config):
        yield


def mag_ratios(pipe: Any, draw: Callable[[], Any], num_steps: int) -> list[float]:
    """MagCache's own calibration: one uncached run by `draw`; diffusers prints what it found.

    Raises:
        UnsupportedPipelineError: the transformer has no cache of diffusers' kind, or nothing was
            printed.
    """
    from diffusers import MagCacheConfig

    printed = io.StringIO()
    with (
        _built_in(pipe, MagCacheConfig(calibrate=True, num_inference_steps=num_steps)),
        redirect_stdout(printed),
    ):
        draw()
    lists = [line for line in printed.getvalue().splitlines() if line.startswith("[1")]
    if not lists:
        raise UnsupportedPipelineError(
            f"MagCache's calibration gave no ratios for {type(pipe.transformer).__name__}; "
            "leave this peer out for this model"
        )
    return ast.literal_eval(lists[-1])


@contextmanager
def _built_in(pipe: Any, config: Any) -> Iterator[None]:
    """Turn one of diffusers' caches on for the length of the block."""
    transformer = pipe.transformer
    if not hasattr(transformer, "enable_cache"):
        raise UnsupportedPipelineError(
            f"{type(transformer).__name__} takes none of diffusers' caches; "
            "leave this peer out for this model"
        )
    with as_before(pipe):
        transformer.enable_cache(config)
        try:
            yield
        finally:
            transformer.disable_cache()


@contextmanager
def cache_dit_mask(
    pipe: Any, full_steps: tuple[int, ...], num_steps: int, calibrator: str = "taylorseer"
) -> Iterator[None]:
    """cache-dit, given full steps; always computes the first block.

    Args:
        calibrator: what forecasts: `taylorseer` at order 1; `foca`, a rule of cache-dit's own after that paper;
            `dmd`, dynamic mode decomposition.

    Raises:
        ConfigError: cache-dit is not installed.
        UnsupportedPipelineError: cache-dit does not know this pipeline.
    """
    mask = [int(step in full_steps) for step in range(num_steps)]
    settings = {"steps_computation_mask": mask, "steps_computation_policy": "static"}
    with _cache_dit(pipe, num_steps, settings, calibrator):
        yield


@contextmanager
def cache_dit_dynamic(pipe: Any, threshold: float, num_steps: int) -> Iterator[None]:
    """cache-dit deciding by the first block's residual, TaylorSeer at order 1; raises as
    `cache_dit_mask`."""
    with _cache_dit(pipe, num_steps, {"residual_diff_threshold": threshold}):
        yield


@contextmanager
def _cache_dit(
    pipe: Any, num_steps: int, settings: dict[str, Any], forecast: str = "taylorseer"
) -> Iterator[None]:
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")  # it logs to stdout, where our JSON goes
    try:
        import cache_dit
    except ImportError as error:
        raise needed("bench", "cache-dit") from error
    config = cache_dit.DBCacheConfig(
        Fn_compute_blocks=1,
        Bn_compute_blocks=0,
        max_warmup_steps=min(3, num_steps),
        num_inference_steps=num_steps,
        **settings,
    )
    calibrator = {
        "taylorseer": lambda: cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=1),
        "foca": lambda: cache_dit.FoCaCalibratorConfig(),
        "dmd": lambda: cache_dit.DMDCalibratorConfig(),
    }[forecast]()
    with as_before(pipe):
        try:
            cache_dit.enable_cache(pipe, cache_config=config, calibrator_config=calibrator)
        except (ValueError, AssertionError, AttributeError) as error:
            raise UnsupportedPipelineError(
                f"cache-dit cannot cache {type(pipe).__name__} ({error}); leave this peer out"
            ) from error
        try:
            yield
        finally:
            cache_dit.disable_cache(pipe)
