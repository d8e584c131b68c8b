"""What a run will do and cost, told before it runs; nothing here waits for a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ZCacheError
from ..measure import environment, flop_table, verdict
from ..method import bases, weights
from ..method.config import GRANULARITY_CHOICES, MAX_ORDER
from ..method.schedule import Kind
from ..models.catalogue import KNOWN, Model
from ..models.request import APP, PROMPT_LENGTH, SEED_MAX, Request, checked, choice
from ..models.shift import flow_times
from . import drawings, engine, pace
from .errors import told
from .pace import cost_of


def plan(kind: str = "image", **settings: Any) -> dict[str, Any]:
    """Return schedule, walk and cost of a run with these settings.

    Raises:
        gr.Error: the first bad setting, in one sentence.
    """
    with told():
        host = engine.of(choice("kind", kind, tuple(engine.EMBEDDED)))
        request = asked(kind, **settings)
        return described(host, request)


def prepare() -> None:
    """Count what the passes of each model cost at its own shape, so that plans are instant later."""
    for kind, host in engine.all_hosts().items():
        cost_of(host.model, asked(kind))


def asked(kind: str, **settings: Any) -> Request:
    """Return the checked request of settings that say nothing of a subject."""
    profile = engine.of(kind).profile if settings.get("tuned") else None
    if kind == "class":
        return checked(APP, kind, {"any": 0}, profile, label=0, **settings)
    return checked(APP, kind, profile=profile, prompt="any", **settings)


def saves(kind: str, full: int) -> float:
    """Return how many times fewer FLOPs a run takes with the settings of a model's profile for so many full
    steps: as plans and reports count them, or as the profile has it where they cannot be counted."""
    host = engine.of(kind)
    assert host.profile is not None
    steps = host.profile.call["num_inference_steps"]
    cost = cost_of(host.model, asked(kind, tuned=full, steps=steps))
    return cost.speedup if cost else host.profile.figures[full]["flops_speedup"]


def described(host: engine.Engine, request: Request) -> dict[str, Any]:
    """Return what a checked request will do and cost on a model, as plain values."""
    schedule = request.plan(flow_times(host.model, request))
    cost = cost_of(host.model, request)
    return {
        "kind": request.kind,
        "model": _name(host.model),
        "adaptive": request.config().adaptive,
        "num_steps": request.steps,
        "full_steps": list(schedule.full_steps),
        **{f"{kind.word}_passes": schedule.count(kind) for kind in Kind},
        "walk": str(schedule),
        "flops": cost and cost.to_dict(),
        "flops_speedup": cost and cost.speedup,
        "seconds": pace.seconds(host.model, request, cost),
    }


def info() -> dict[str, Any]:
    """Return the models and whether they are loaded, the versions, and the limits of this app."""
    models = [
        {
            "kind": kind,
            "name": _name(host.model),
            "licence": host.model.licence,
            **(status := host.status()),
            "device": status["device"] if status["state"] == engine.READY else None,
            "tuned": _tuned(kind, host),
        }
        for kind, host in engine.all_hosts().items()
    ]
    return {
        "models": models,
        "versions": environment.versions(),
        "limits": {
            "steps": APP.steps,
            "interval": APP.interval,
            "frames": APP.frames,
            "fps": APP.fps,
            "order": (0, MAX_ORDER),
            "seed": (0, SEED_MAX),
            "prompt_characters": (1, PROMPT_LENGTH),
            "base": bases.choices(),
            "weight": weights.choices(),
            "granularity": GRANULARITY_CHOICES,
            "seconds_of_work": pace.WORK_LIMIT,
        },
    }


def _tuned(kind: str, host: engine.Engine) -> list[dict[str, Any]]:
    """Return the numbers of full steps in a model's profile, as `tuned` takes them, with what each saves."""
    figures = sorted(host.profile.figures) if host.profile else []
    return [{"full_steps": full, "flops_speedup": saves(kind, full)} for full in figures]


def _name(model: Model) -> str:
    """Return what a model is called, of a folder on this machine its last part."""
    return model.name if model.name in KNOWN else model.title


def line(kind: str, settings: dict[str, Any]) -> str:
    """Return one sentence on the run these settings ask for, or on why they cannot be run."""
    try:
        host = engine.of(kind)
        request = asked(kind, **settings)
        told_plan = described(host, request)
    except ZCacheError as error:
        return engine.sentence(error)
    if told_plan["full_passes"] == told_plan["num_steps"]:
        return f"This run: all {told_plan['num_steps']} steps in full, nothing is cached."
    said = ", ".join(_saved(request, told_plan))
    return f"This run: {said}.{_expected(host, len(told_plan['full_steps']), request)}"


def _saved(request: Request, told_plan: dict[str, Any]) -> Iterator[str]:
    """Yield what a run computes in full, what it saves, and how long it takes."""
    about = "about " if told_plan["adaptive"] else ""
    yield f"{about}{told_plan['full_passes']} full steps of {told_plan['num_steps']}"
    if not (told_plan["adaptive"] or request.tuned):
        yield f"at most {request.interval} apart"
    if told_plan["flops_speedup"]:
        yield f"{told_plan['flops_speedup']:.1f} times fewer FLOPs"
    if times := told_plan["seconds"]:
        yield f"about {_short(times['accelerated'])} instead of {_short(times['plain'])}"


def curve(kind: str, settings: dict[str, Any]) -> str:
    """Return the weight that a run with these settings is blended with, as a drawing; "" if they cannot be run,
    or if it differs from window to window."""
    try:
        request = asked(kind, **settings)
        weight = flop_table.weight(engine.of(kind).model, request)
    except ValueError:
        return ""
    if isinstance(weight, weights.Fitted):
        return ""
    of_the_run = next((name for name in weights.names() if weights.resolve(name) is weight), "")
    name = request.weight
    if of_the_run and of_the_run != name:
        name = f"{name}, which is {of_the_run} on this model"
    return drawings.weight_curve(name, weight, request.interval)


def _expected(host: engine.Engine, full: int, request: Request) -> str:
    """Return what the profile of a model measured with the settings of a request, as a sentence."""
    if request.tuned is None or host.profile is None:
        return ""
    row = host.profile.figures.get(full, {})
    if "psnr" not in row:
        return ""
    near = verdict.level({"identical": False, "psnr": row["psnr"], "ssim": row.get("ssim") or 1.0})
    return f" On subjects kept out of the tuning: {row['psnr']:.0f} dB in the mean, {near}."


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
