"""`tune`: the best full steps and weights, found on the user's own model in a few runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...caching.bindings import inner
from ...caching.enable import check_ready
from ...caching.pipeline import find_denoisers
from ...caching.times import FLOW, prediction
from ...errors import ConfigError, UnsupportedPipelineError
from ...method import checks
from ...method.profile import Profile
from ..fingerprint import fingerprint
from ..metrics import interval95
from .calls import calls
from .search import Search
from .trial import Told, Trials

logger = logging.getLogger(__name__)

DEFAULT_FULL = 10
LEAST_EFFORT = 6.0  # uncached runs' time
FORMS = ("stack", "output")  # granularities that are tried


def tune(
    pipe: Any,
    prompts: Sequence[Any],
    *,
    full: int | None = None,
    speedup: float | None = None,
    psnr: float | None = None,
    held_out: Sequence[Any] | None = None,
    budgets: Sequence[int] = (),
    effort: float | None = None,
    granularity: str | None = None,
    folder: str | Path | None = None,
    batch: int = 1,
    seed: int = 0,
    told: Told | None = None,
    **call: Any,
) -> Profile:
    """Find full steps, weights and relaxation for one pipeline, and measure them on held-out prompts.

    An uncached run of every prompt is recorded; full steps and weights are proposed from its Gram matrix
    (see `knots`, `fitting`), real accelerated runs decide, and with effort enough the winner's full steps are
    moved one at a time, as long as these runs get better. What it will cost is told before it starts.

    Args:
        pipe: a diffusers pipeline without cache.
        prompts: strings, numbers of classes, or dicts of call arguments.
        full: number of full steps; `speedup`: that many times fewer FLOPs instead, or at most 2 % less; `psnr`: at
            least that many dB instead. None of the three is 10 full steps.
        held_out: prompts that decide nothing and are reported on; None takes the last third of `prompts`.
        budgets: further numbers of full steps to find settings for, a curve of speed and quality.
        effort: the most that all runs together may take, in uncached runs; None is 6, or twice the number
            of prompts where that is more.
        granularity: what is cached, see ZCacheConfig; None tries `stack` and `output`.
        folder: where runs are kept; with it, a stopped tuning goes on where it was.
        batch: how many prompts are drawn at once, where nothing but the prompt differs: faster, if there is
            memory.
        seed: of the first prompt's noise.
        told: told of progress; None logs it, and warns of the cost.
        call: arguments of every pipeline call, `num_inference_steps` among them.

    Raises:
        ConfigError: arguments that do not fit together, or a goal that cannot be reached.
        UnsupportedPipelineError: a pipeline that cannot be cached. AlreadyEnabledError: it has a cache.
    """
    said, told = told or logger.warning, told or logger.info
    check_ready(pipe)
    _check(full, speedup, psnr)
    _check_counts(full, budgets, batch, effort, call.get("num_inference_steps"))
    prompts = list(prompts) if not isinstance(prompts, str) else prompts
    if held_out is None:
        if len(prompts) < 2 or isinstance(prompts, str):
            raise ConfigError(
                f"prompts is {prompts!r:.60}; give two or more, one of them to judge by, or held_out"
            )
        share = max(1, len(prompts) // 3)
        prompts, held_out = prompts[:-share], prompts[-share:]
    sets = calls(pipe, prompts, call), calls(pipe, held_out, call)
    if effort is None:
        effort = max(LEAST_EFFORT, 2.0 * len(sets[0] + sets[1]))
    said(
        f"tuning takes up to {effort:g} uncached runs' time: {len(sets[0])} to calibrate by, {len(sets[1])} held "
        "out, and accelerated runs"
    )
    header = _header(pipe)
    where = None if folder is None else Path(folder)
    forms = FORMS if granularity is None else (granularity,)
    about = {**header, "weights": fingerprint(pipe), "granularities": list(forms)}
    about |= {"batch": batch, "metered": speedup is not None}
    near = Trials(pipe, sets[0], "calibration", seed, about, where, told, batch, about["metered"])
    far = Trials(pipe, sets[1], "held-out", seed + 10_000, about, where, told, batch)
    grams = near.reference(forms)
    if not near.times:
        raise UnsupportedPipelineError(
            f"{type(pipe.scheduler).__name__} has no noise levels to place full steps by; use another scheduler"
        )
    flow = header["prediction"] == FLOW
    of_forms = {name: gram.tolist() for name, gram in grams.items()}
    search = Search(of_forms, near.times, flow, len(sets[0]), near.measure)
    if speedup is not None:
        full = search.count_for_speedup(speedup)
    elif psnr is not None:
        full = search.count_for_quality(psnr)
    main = full or DEFAULT_FULL
    counts = sorted({main, *budgets})
    limit = _limit(effort, len(sets[0]), len(sets[1]), counts, search.num_steps)
    told(
        f"{main} full steps of {search.num_steps}: up to {limit} accelerated runs for each of {len(counts)} budgets"
    )
    found = search.best(counts, limit)
    far.reference()
    figures = {count: _figures(far.measure(config)) for count, config in found.items()}
    for count, row in figures.items():
        told(
            f"{count} full steps: {row['psnr']:.1f} dB held out at {row['flops_speedup']:.2f} times fewer FLOPs"
        )
    return Profile(default=main, budgets=found, figures=figures, call=_plain(call), **header)


def _check(full: int | None, speedup: float | None, psnr: float | None) -> None:
    if sum(value is not None for value in (full, speedup, psnr)) > 1:
        raise ConfigError("give one of full, speedup and psnr, not several")
    for name, value, least in (("speedup", speedup, 1), ("psnr", psnr, 0)):
        if value is not None and not value >= least:
            raise ConfigError(f"{name} is {value!r}; give a number from {least} up")


def _check_counts(
    full: int | None, budgets: Sequence[int], batch: int, effort: float | None, num_steps: Any
) -> None:
    """What can be refused before the first run, which may take minutes."""
    checks.whole("batch", batch, 1)
    most = num_steps if isinstance(num_steps, int) else None
    for name, count in [("full", full)] * (full is not None) + [("a budget", n) for n in budgets]:
        checks.whole(name, count, 2, most)
    if effort is not None and not (checks.is_number(effort) and effort > 0):
        raise ConfigError(f"effort is {effort!r}; give uncached runs' time, a number above 0")


def _limit(effort: float, near: int, far: int, counts: Sequence[int], num_steps: int) -> int:
    """How many accelerated runs there may be for each budget: two settings on all prompts at least."""
    share = sum(counts) / num_steps
    limit = int((effort - near - far - far * share) / share)
    if limit < 2 * near:
        needed = near + far + (far + 2 * near) * share
        raise ConfigError(
            f"effort is {effort:g} uncached runs, and these prompts and budgets need {needed:.1f} at least; "
            "give more effort, or fewer prompts or budgets"
        )
    return limit


def _figures(measured: dict[str, Any]) -> dict[str, Any]:
    """Means over the held-out prompts with 95 % intervals (None where there is one prompt)."""
    row: dict[str, Any] = {name: round(measured[name], 3) for name in ("flops_speedup", "speedup")}
    for name in ("psnr", "ssim"):
        values = measured[name]
        row[name] = round(float(np.mean(values)), 5) if values else None
        row[f"{name}_interval"] = round(interval95(values), 5) if len(values) > 1 else None
    return row | {"prompts": len(measured["psnr"])}


def _header(pipe: Any) -> dict[str, Any]:
    scheduler = pipe.scheduler
    return {
        "model": type(inner(find_denoisers(pipe)[0])).__name__,
        "scheduler": type(scheduler).__name__,
        "prediction": prediction(scheduler),
        "scheduler_config": _plain(dict(scheduler.config)),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    kinds = str | int | float | bool | None
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, kinds) and not key.startswith("_")
    }
