"""Methods by name, as `--methods` takes them.

    uncached                             the reference, always drawn
    steps:10                             fewer steps, the pipeline's own sampler
    unipc:10  dpm:10                     fewer steps with UniPC, or with DPM-Solver++
    fora:5  taylorseer:5  teacache:0.4   a base strategy alone; TeaCache by its threshold
    zcache:5                             Z-Cache; settings follow: zcache:5,base=fora,weight=linear
    row:flux-dev/z-cache/9               a row of the paper's tables, with the paper's full steps
    diffusers-taylorseer:5  diffusers-taylorseer-lite:5  first-block:0.1  mag:0.12
    cache-dit-mask:5  cache-dit-foca:5  cache-dit-dmd:5  cache-dit:0.16     caches of other libraries
    toca:6  duca:5                       ToCa and DuCa; settings follow: toca:6,ratio=0.9,warmup=4
    spectrum:2  seacache:0.3             Spectrum, windows growing from 2 (flex=0.75,weight=0.5,ridge=0.1); SeaCache
    dpcache:10                           10 full steps placed by DPCache, calibrated on one uncached run (order=2)
    smoothcache:0.22  l2c:30             SmoothCache by its alpha, L2C by its number of steps

and sets of them: paper (what the paper compares), equal:5 (everyone at the cost of interval 5),
bases:5, weights:5, diffusers:5, cachedit:5. All of them can stand in one command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any

from ..errors import ConfigError
from ..method import bases, weights
from ..method.config import ZCacheConfig
from . import printed, rows
from .method import Method
from .rivals import dpcache, libraries, lineup, seacache, spectrum
from .rivals.layerwise.calibration import calibrated
from .rivals.layerwise.on_pipeline import l2c
from .rivals.toca import on_pipeline, rules
from .written import number as _number
from .written import settings as _settings

UNCACHED = "uncached"
Draw = Callable[..., Any]  # (pipe, index of the sample = 0)


def parse(name: str, num_steps: int, draw: Draw = lambda pipe, index=0: None) -> Method:
    """Return the method of a name.

    Args:
        num_steps: sampling steps of the uncached run.
        draw: an uncached run of a pipeline, on which MagCache and SmoothCache are calibrated.

    Raises:
        ConfigError: an unknown name, or a setting outside its limits.
    """
    word, _, rest = name.partition(":")
    if word not in _KINDS:
        raise ConfigError(f"method {name!r} is unknown; begin with one of: {', '.join(_KINDS)}")
    if not rest and word != UNCACHED:
        raise ConfigError(f"method {name!r} lacks its number; write for example '{word}:5'")
    with _naming(name):
        method = _KINDS[word](rest, num_steps, draw)
    return Method(name, method.apply, method.call)


def expand(names: list[str], model: str, num_steps: int) -> list[str]:
    """Return the names with sets written out, `uncached` first, each once.

    Raises:
        ConfigError: a set's interval does not fit the steps, or the model has no set `paper`.
    """
    found = [UNCACHED]
    for name in names:
        word, _, rest = name.partition(":")
        if name == "paper":
            found += printed.methods(model)
        elif word in _SETS:
            with _naming(name):
                found += _SETS[word](_number(rest, int), num_steps)
        else:
            found.append(name)
    return list(dict.fromkeys(found))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """What is refused meanwhile is refused of the method of this name."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"method {name!r}: {error}") from error


def _fewer(scheduler: Callable[[Any], Any] | None, rest: str, num_steps: int, _: Draw) -> Method:
    steps = _number(rest, int)
    if not 1 <= steps <= num_steps:
        raise ConfigError(f"fewer steps are {steps}; choose 1 to {num_steps}, the uncached run's")
    call = {"num_inference_steps": steps}
    if scheduler is None:
        return Method("", call=call)
    return Method("", lambda pipe: lineup.scheduler_of(pipe, scheduler(pipe)), call)


def _cached(rest: str, num_steps: int, fixed: dict[str, Any]) -> Method:
    known = {field.name for field in fields(ZCacheConfig)}
    values = {**fixed, **_settings(rest, known)}
    config = ZCacheConfig(**values)
    config.plan(num_steps)
    return Method.zcache("", config)


def _alone(base: str) -> Callable[[str, int, Draw], Method]:
    return lambda rest, num_steps, _: _cached(rest, num_steps, {"base": base, "reflect": False})


def _teacache(rest: str, num_steps: int, _: Draw) -> Method:
    threshold = _number(rest, float)
    interval = min(5, num_steps)
    config = ZCacheConfig(interval, base="teacache", threshold=threshold, reflect=False)
    return Method.zcache("", config)


def _row(rest: str, num_steps: int, _: Draw) -> Method:
    row = rows.row(rest)
    row.config.plan(num_steps)
    return Method.zcache("", row.config)


def _mask(calibrator: str, rest: str, num_steps: int, _: Draw) -> Method:
    interval = _number(rest, int)
    full = ZCacheConfig.paper(interval).plan(num_steps).full_steps
    return Method("", lambda pipe: libraries.cache_dit_mask(pipe, full, num_steps, calibrator))


def _dynamic(rest: str, num_steps: int, _: Draw) -> Method:
    threshold = _number(rest, float)
    return Method("", lambda pipe: libraries.cache_dit_dynamic(pipe, threshold, num_steps))


def _mag(rest: str, num_steps: int, draw: Draw) -> Method:
    threshold = _number(rest, float)
    known: dict[int, list[float]] = {}

    @contextmanager
    def apply(pipe: Any) -> Iterator[None]:
        if id(pipe) not in known:
            known[id(pipe)] = libraries.mag_ratios(pipe, lambda: draw(pipe), num_steps)
        with libraries.diffusers_mag(pipe, threshold, 5, known[id(pipe)], num_steps):
            yield

    return Method("", apply)


def _taylorseer_of_diffusers(lite: bool, rest: str, num_steps: int, _: Draw) -> Method:
    interval = _number(rest, int)
    return Method("", lambda pipe: libraries.diffusers_taylorseer(pipe, interval, lite))


def _first_block(rest: str, num_steps: int, _: Draw) -> Method:
    threshold = _number(rest, float)
    return Method("", lambda pipe: libraries.diffusers_first_block(pipe, threshold))


def _spectrum(rest: str, num_steps: int, _: Draw) -> Method:
    values = _settings(rest, {"flex", "weight", "ridge"}, "window")
    spectrum.growing(num_steps, values["window"], values.get("flex", spectrum.FLEX))
    return Method("", lambda pipe: spectrum.spectrum(pipe, num_steps, **values))


def _seacache(rest: str, num_steps: int, _: Draw) -> Method:
    threshold = _number(rest, float)
    seacache.settings(threshold)
    return Method("", lambda pipe: seacache.seacache(pipe, threshold))


def _dpcache(rest: str, num_steps: int, draw: Draw) -> Method:
    values = _settings(rest, {"order"}, "count")
    dpcache.check(values["count"], num_steps)
    known: dict[int, Any] = {}

    @contextmanager
    def apply(pipe: Any) -> Iterator[Any]:
        if id(pipe) not in known:
            known[id(pipe)] = dpcache.calibrated(pipe, lambda: draw(pipe))
        with dpcache.dpcache(pipe, known[id(pipe)], **values) as handle:
            yield handle

    return Method("", apply)


def _tokenwise(way: Callable[..., Any], rest: str, num_steps: int, _: Draw) -> Method:
    values = _settings(rest, {"ratio", "warmup", "coded"})
    rules.check(rules.Settings(**values), num_steps)
    return Method("", lambda pipe: way(pipe, **values))


def _smoothcache(rest: str, num_steps: int, draw: Draw) -> Method:
    return Method("", calibrated(_number(rest, float), num_steps, draw))


def _l2c(rest: str, num_steps: int, draw: Draw) -> Method:
    fewer = _fewer(None, rest, num_steps, draw).call
    return Method("", lambda pipe: l2c(pipe, fewer["num_inference_steps"]), fewer)


_KINDS: dict[str, Callable[[str, int, Draw], Method]] = {
    UNCACHED: lambda rest, num_steps, _: Method(""),
    "steps": partial(_fewer, None),
    "unipc": partial(_fewer, lineup.unipc),
    "dpm": partial(_fewer, lineup.dpm),
    "fora": _alone("fora"),
    "taylorseer": _alone("taylorseer"),
    "teacache": _teacache,
    "zcache": lambda rest, num_steps, _: _cached(rest, num_steps, {}),
    "row": _row,
    "diffusers-taylorseer": partial(_taylorseer_of_diffusers, False),
    "diffusers-taylorseer-lite": partial(_taylorseer_of_diffusers, True),
    "first-block": _first_block,
    "mag": _mag,
    "cache-dit-mask": partial(_mask, "taylorseer"),
    "cache-dit-foca": partial(_mask, "foca"),
    "cache-dit-dmd": partial(_mask, "dmd"),
    "cache-dit": _dynamic,
    "spectrum": _spectrum,
    "seacache": _seacache,
    "dpcache": _dpcache,
    "toca": partial(_tokenwise, on_pipeline.toca),
    "duca": partial(_tokenwise, on_pipeline.duca),
    "smoothcache": _smoothcache,
    "l2c": _l2c,
}


def _equal(interval: int, num_steps: int) -> list[str]:
    """Everyone at as many full passes as Z-Cache at this interval has."""
    full = len(ZCacheConfig(interval).plan(num_steps).full_steps)
    grown = (
        [f"spectrum:2,flex={spectrum.matched(num_steps, full):g}"] if full > spectrum.WARMUP else []
    )
    return [
        *(f"{word}:{full}" for word in ("steps", "unipc", "dpm")),
        *grown,
        f"dpcache:{full}",
        f"fora:{interval}",
        f"zcache:{interval},base=teacache,reflect=no",
        f"taylorseer:{interval}",
        *(f"zcache:{interval},base={base}" for base in ("fora", "teacache")),
        f"zcache:{interval}",
    ]


def _bases(interval: int, _: int) -> list[str]:
    return [
        f"zcache:{interval},base={base}{reflect}"
        for base in bases.names()
        for reflect in (",reflect=no", "")
    ]


def _weights(interval: int, _: int) -> list[str]:
    return [f"zcache:{interval},weight={weight}" for weight in weights.names()]


def _diffusers(interval: int, _: int) -> list[str]:
    return [
        f"diffusers-taylorseer:{interval}",
        f"diffusers-taylorseer-lite:{interval}",
        *(f"first-block:{threshold}" for threshold in (0.05, 0.1, 0.2)),
        *(f"mag:{threshold}" for threshold in (0.06, 0.12, 0.24)),
    ]


def _cachedit(interval: int, _: int) -> list[str]:
    return [
        *(f"cache-dit-{forecast}:{interval}" for forecast in ("mask", "foca", "dmd")),
        *(f"cache-dit:{threshold}" for threshold in (0.08, 0.16, 0.32)),
    ]


_SETS = {
    "equal": _equal,
    "bases": _bases,
    "weights": _weights,
    "diffusers": _diffusers,
    "cachedit": _cachedit,
}
