"""`tune`: the best full steps and weights, found on the user's own model in a few runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...caching.bindings import inner
from ...caching.enable import check_ready
from ...caching.pipeline import find_denoisers
from ...caching.times import FLOW, prediction
from ...errors import UnsupportedPipelineError
from ...method.profile import Profile
from ..fingerprint import fingerprint
from ..metrics import interval95
from .asked import Asked, parted, steps_of
from .calls import calls
from .search import Search
from .trial import Told, Trials

logger = logging.getLogger(__name__)


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
    projections: int = 0,
    told: Told | None = None,
    **call: Any,
) -> Profile:
    """Find full steps, weights and relaxation for one pipeline, and measure them on held-out prompts.

    An uncached run of every prompt is recorded; full steps and weights are proposed from its Gram matrix
    (see `knots`, `fitting`), real accelerated runs decide, and with effort enough forecasts are fitted to the
    untuned full steps (`closed_loop`), and full steps are moved one at a time, as long as fits or runs get better.
    What it will cost is told before it starts. Features of one prompt at a time, and the scheduler's input at every
    step of all that decide, lie in temporary files meanwhile.

    Args:
        pipe: a diffusers pipeline without cache.
        prompts: strings, numbers of classes, or dicts of call arguments.
        full: number of full steps; `speedup`: that many times fewer FLOPs instead, or at most 2 % less; `psnr`: at
            least that many dB instead. None of the three is 10 full steps, of a run of fewer than 20 half of them.
        held_out: prompts that decide nothing and are reported on; None takes the last third of `prompts`.
        budgets: further numbers of full steps to find settings for, a curve of speed and quality.
        effort: the most that all runs together may take, in uncached runs; None is 6, or twice the number
            of prompts where that is more.
        granularity: what is cached, see ZCacheConfig; None tries `stack` and `output`.
        folder: where runs are kept; with it, a stopped tuning goes on where it was.
        batch: how many prompts are drawn at once, where nothing but the prompt differs: faster, if there is
            memory.
        seed: of the first prompt's noise.
        projections: gradients of the decoder for each prompt, by which forecasts are fitted to what pictures show
            of a latent (see `sight`), 8 or more; beside the effort. 0 fits them to the latents, which is as good
            where the decoder shows all alike.
        told: told of progress; None logs it, and warns of the cost.
        call: arguments of every pipeline call, `num_inference_steps` among them. Pictures are always taken as
            numbers, whatever `output_type` is; `latent` compares latents.

    Raises:
        ConfigError: arguments outside their limits, or that do not fit together, before anything runs; or a goal
            that turns out to be beyond reach.
        UnsupportedPipelineError: a pipeline that cannot be cached. AlreadyEnabledError: it has a cache.
    """
    said, told = told or logger.warning, told or logger.info
    check_ready(pipe)
    asked = Asked(
        full, speedup, psnr, budgets, effort, granularity, folder, batch, seed, projections
    )
    sets = [calls(pipe, part, call) for part in parted(prompts, held_out)]
    sizes = len(sets[0]), len(sets[1])
    asked.check(steps_of(pipe, sets[0] + sets[1]), *sizes)
    said(
        f"tuning takes up to {asked.most(*sizes):g} uncached runs' time: {sizes[0]} to calibrate by, {sizes[1]} held "
        "out, and accelerated runs"
        + (
            f"; and {projections} gradients of the decoder for each of the former"
            if projections
            else ""
        )
    )
    header = _header(pipe)
    near, far = _trials(pipe, sets, asked, header, told)
    grams = near.reference(asked.forms)
    of_forms = {name: gram.tolist() for name, gram in grams.items()}
    times = _times(pipe.scheduler, near.times, len(of_forms[asked.forms[0]]))
    asked.check(len(times), *sizes)
    flow = header["prediction"] == FLOW
    fit = near.fit if "output" in asked.forms else None
    search = Search(of_forms, times, flow, len(sets[0]), near.measure, fit)
    main = _main(search, asked)
    counts = asked.counts(main)
    limit = asked.limit(search.num_steps, *sizes, counts)
    told(
        f"{main} full steps of {search.num_steps}: up to {limit} accelerated runs for each of {len(counts)} budgets"
    )
    found = search.best(counts, limit)
    far.reference()
    measured = {count: far.measure(config) for count, config in found.items()}
    figures = {count: _figures(each) for count, each in measured.items()}
    for count, config in found.items():
        if config.forecasts is not None:
            found[count] = config.replace(guidance=measured[count]["guidance"])
    for count, row in figures.items():
        told(
            f"{count} full steps: {row['psnr']:.1f} dB held out at {row['flops_speedup']:.2f} times fewer FLOPs"
        )
    return Profile(default=main, budgets=found, figures=figures, call=_plain(call), **header)


def _times(scheduler: Any, times: Sequence[float], num_steps: int) -> list[float]:
    """The times of the steps that were taken: image-to-image begins in the middle of the scheduler's list."""
    name = type(scheduler).__name__
    if not times:
        raise UnsupportedPipelineError(
            f"{name} has no noise levels to place full steps by; use another scheduler"
        )
    if num_steps > len(times):
        raise UnsupportedPipelineError(
            f"{name} took {num_steps} steps in a run, and has noise levels of {len(times)} to place full steps by; "
            "use another scheduler, or a pipeline whose call is one run"
        )
    return list(times[-num_steps:])


def _trials(
    pipe: Any,
    sets: Sequence[Sequence[Mapping[str, Any]]],
    asked: Asked,
    header: Mapping[str, Any],
    told: Told,
) -> tuple[Trials, Trials]:
    """Both sets of calls to run, to calibrate by and held out, each with noise of its own."""
    about = {**header, "weights": fingerprint(pipe), "granularities": list(asked.forms)}
    about |= {"batch": asked.batch, "metered": asked.speedup is not None}
    about |= {"projections": asked.projections} if asked.projections else {}
    near = Trials(
        pipe, sets[0], "calibration", asked.seed, about, asked.where, told, asked.batch, about["metered"],
        asked.projections,
    )  # fmt: skip
    seed = asked.seed + 10_000
    return near, Trials(pipe, sets[1], "held-out", seed, about, asked.where, told, asked.batch)


def _main(search: Search, asked: Asked) -> int:
    """The number of full steps that was asked for, or that fulfils what was."""
    if asked.speedup is not None:
        return search.count_for_speedup(asked.speedup)
    if asked.psnr is not None:
        return search.count_for_quality(asked.psnr)
    return asked.main(search.num_steps)


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
        "scheduler_config": _plain(dict(getattr(scheduler, "config", {}))),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    kinds = str | int | float | bool | None
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, kinds) and not key.startswith("_")
    }
