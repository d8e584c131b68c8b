"""The named endpoints for `gradio_client`, `curl` and other programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ..method import bases, weights
from ..method.config import GRANULARITY_CHOICES, MAX_ORDER, ZCacheConfig
from ..models.examples import EXAMPLES
from ..models.request import APP, PROMPT_LENGTH, SEED_MAX, SUBJECTS, Request, RequestError, choice
from . import callers, engine, forecast, runs, sweeps
from .errors import told
from .inputs import own_frames, own_rate
from .outcome import Outcome
from .visitors import visitor

# One device serves all, but those who wait must be in here: equal runs are shared, and any can be stopped, on the
# page by its name there, in a program by the event that `callers` follows.
ON_DEVICE: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": 8}
AT_ONCE: dict[str, Any] = {"queue": False}
HIDDEN: dict[str, Any] = {"visible": False}
AS_SENT: dict[str, Any] = {"preprocess": False}  # or gradio makes text of a number, and of a list
NOBODY: Any = None  # gradio gives each call its request
FIRST_CLASS = "0"
whole = "{}, a whole number from {} to {}".format
SETTLED = ("interval", "base", "weight", "reflect", "order", "granularity")  # by `tuned`
ORDER = whole("Order of the base", 0, MAX_ORDER) + f", or none for {ZCacheConfig.order}"


def compare_image(
    prompt: str,
    interval: int,
    base: str,
    weight: str,
    reflect: bool,
    steps: int,
    seed: int,
    order: int | None = None,
    granularity: str = Request.granularity,
    tuned: int = 0,
    request: gr.Request = NOBODY,
) -> tuple[str, str, dict[str, Any]]:
    """Draw one prompt with and without Z-Cache; return baseline file, accelerated file, report."""
    outcome = _made("image", _asked(locals()))
    return outcome.paths["baseline"], outcome.paths["accelerated"], outcome.report


def compare_video(
    prompt: str,
    interval: int,
    base: str,
    weight: str,
    reflect: bool,
    steps: int,
    seed: int,
    order: int | None = None,
    granularity: str = Request.granularity,
    frames: int | None = None,
    fps: int | None = None,
    tuned: int = 0,
    request: gr.Request = NOBODY,
) -> tuple[str, str, str, dict[str, Any]]:
    """Film one prompt with and without Z-Cache; return baseline, accelerated and side-by-side clip,
    report."""
    outcome = _made("video", _asked(locals()))
    paths = outcome.paths
    return paths["baseline"], paths["accelerated"], paths["side_by_side"], outcome.report


def compare_class(
    label: str,
    interval: int,
    base: str,
    weight: str,
    reflect: bool,
    steps: int,
    seed: int,
    order: int | None = None,
    granularity: str = Request.granularity,
    tuned: int = 0,
    request: gr.Request = NOBODY,
) -> tuple[str, str, dict[str, Any]]:
    """Draw one class, given by name or number, with and without Z-Cache; return baseline file,
    accelerated file, report."""
    outcome = _made("class", _asked(locals()))
    return outcome.paths["baseline"], outcome.paths["accelerated"], outcome.report


def three_pictures(
    kind: str,
    subject: str | None = None,
    interval: int = Request.interval,
    base: str = Request.base,
    weight: str = Request.weight,
    reflect: bool = Request.reflect,
    steps: int = Request.steps,
    seed: int = Request.seed,
    order: int | None = None,
    granularity: str = Request.granularity,
    tuned: int = 0,
    request: gr.Request = NOBODY,
) -> tuple[str, str | None, str, dict[str, Any]]:
    """Make one prompt or class plainly, with the base strategy alone, and with Z-Cache; return the
    three files (the second is empty where the base alone was not run) and the report."""
    asked = _asked(locals() | {"subject": _subject(kind, subject)})
    with told():
        named = SUBJECTS[choice("kind", asked.pop("kind"), tuple(engine.EMBEDDED))][0]
    outcome = _made(kind, {named: asked.pop("subject"), **asked})
    paths = outcome.paths
    return paths["baseline"], paths.get("base_alone"), paths["accelerated"], outcome.report


def sweep(
    kind: str,
    subject: str | None = None,
    over: str = "interval",
    interval: int = Request.interval,
    steps: int = Request.steps,
    seed: int = Request.seed,
    request: gr.Request = NOBODY,
) -> tuple[str, list[dict[str, Any]]]:
    """Run one prompt or class over several intervals, bases or weight functions; return a contact
    sheet and the figures of each, the plain run first."""
    asked = _asked(locals() | {"subject": _subject(kind, subject)})
    *_, last = sweeps.sweep(**asked, run=callers.begin())
    return last.sheet, last.rows


def plan(
    kind: str,
    interval: int,
    base: str,
    weight: str,
    reflect: bool,
    steps: int,
    order: int | None = None,
    granularity: str = Request.granularity,
    frames: int | None = None,
    tuned: int = 0,
) -> dict[str, Any]:
    """Return schedule, walk, FLOPs and expected seconds of a run, at once and without running it;
    `frames` counts for videos only."""
    if kind == "video" and frames is None:
        frames = own_frames()
    settings = locals()
    with told():
        _check_tuned(settings)
    return forecast.plan(**settings)


def info() -> dict[str, Any]:
    """Return the models and whether they are loaded, the versions, and the limits of this app."""
    return forecast.info()


def add_endpoints() -> None:
    """Add /compare_image, /compare_video, /compare_class, /three_pictures, /sweep, /plan and /info to
    the page in progress.

    Their inputs have no limits of their own: a browser and a program are told the same sentence.
    """
    prompt = f"Prompt, 1 to {PROMPT_LENGTH} characters"
    drawn = [gr.Textbox(EXAMPLES["image"][0], label=prompt, **HIDDEN)]
    filmed = [gr.Textbox(EXAMPLES["video"][0], label=prompt, **HIDDEN)]
    length = [
        gr.Number(own_frames(), label=whole("Frames, 4k + 1", *APP.frames), **HIDDEN),
        gr.Number(own_rate(), label=whole("Frames per second", *APP.fps), **HIDDEN),
    ]
    label = [gr.Textbox(FIRST_CLASS, label="Name or number of the class", **HIDDEN)]
    pictures = _files("picture (PNG)", "Baseline", "Accelerated")
    _add(compare_image, drawn + _settings() + _tuned(), pictures)
    _add(
        compare_video,
        filmed + _settings() + length + _tuned(),
        _files("clip (mp4)", "Baseline", "Accelerated", "Side-by-side"),
    )
    pictures = _files("picture (PNG)", "Baseline", "Accelerated")
    _add(compare_class, label + _settings() + _tuned(), pictures)

    either = [
        gr.Textbox("image", label=_one_of("Kind", tuple(engine.EMBEDDED)), **HIDDEN),
        gr.Textbox(
            None, label="Prompt, or name or number of a class; none for an example", **HIDDEN
        ),
    ]
    sides = _files("picture (PNG) or clip (mp4)", "Baseline", "Base alone", "Accelerated")
    _add(three_pictures, either + _settings() + _tuned(), sides)

    kind = gr.Textbox("image", label=_one_of("Kind", tuple(engine.EMBEDDED)), **HIDDEN)
    interval, base, weight, reflect, steps, _, order, granularity = _settings()
    frames = gr.Number(
        None,
        label=whole("Frames of a video, 4k + 1", *APP.frames) + ", or none for its own",
        **HIDDEN,
    )
    swept = [
        *either,
        gr.Textbox("interval", label=_one_of("Over", tuple(sweeps.OVER)), **HIDDEN),
        gr.Number(Request.interval, label=whole("Interval", *APP.interval), **HIDDEN),
        gr.Number(Request.steps, label=whole("Steps", *APP.steps), **HIDDEN),
        gr.Number(Request.seed, label=whole("Seed", 0, SEED_MAX), **HIDDEN),
    ]
    sheet = [gr.File(label="Contact sheet (PNG)", **HIDDEN), gr.JSON(label="Figures", **HIDDEN)]
    _expose(sweep, swept, sheet, ON_DEVICE)
    settings = [kind, interval, base, weight, reflect, steps, order, granularity, frames, *_tuned()]
    _expose(plan, settings, [gr.JSON(label="Plan", **HIDDEN)], AT_ONCE)
    _expose(info, [], [gr.JSON(label="App", **HIDDEN)], AT_ONCE)


def _asked(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an endpoint with the visitor's name in the request's place."""
    settings = dict(given)
    with told():
        _check_tuned(settings)
    return {"visitor": visitor(settings.pop("request")), **settings}


def _subject(kind: Any, subject: Any) -> Any:
    """Return the subject, of a call without one the first example of its kind."""
    if subject is not None:
        return subject
    return EXAMPLES[kind][0] if isinstance(kind, str) and kind in EXAMPLES else FIRST_CLASS


def _made(kind: str, asked: dict[str, Any]) -> Outcome:
    """Return what a run makes, which ends early if its caller does not wait for it."""
    return runs.last(kind, callers.begin(), **asked)


def _check_tuned(settings: dict[str, Any]) -> None:
    """Raise RequestError if beside `tuned` there is a setting of the cache other than the default."""
    full = settings.get("tuned")
    for name in SETTLED if full else ():
        if settings[name] != getattr(Request, name):
            raise RequestError(
                f"{name} is {settings[name]!r:.60}, which tuned {full!r:.60} settles: leave it out, or give tuned 0"
            )


def _add(function: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
    outputs.append(gr.JSON(label="Report", **HIDDEN))
    _expose(function, inputs, outputs, ON_DEVICE)


def _expose(
    function: Callable[..., Any], inputs: list[Any], outputs: list[Any], how: dict[str, Any]
) -> None:
    trigger = gr.Button(**HIDDEN)
    trigger.click(function, inputs, outputs, api_name=function.__name__, **AS_SENT, **how)


def _settings() -> list[Any]:
    return [
        gr.Number(Request.interval, label=whole("Interval", *APP.interval), **HIDDEN),
        gr.Textbox(Request.base, label=_one_of("Base strategy", bases.choices()), **HIDDEN),
        gr.Textbox(Request.weight, label=_one_of("Weight function", weights.choices()), **HIDDEN),
        gr.Checkbox(Request.reflect, label="Go back over each window", **HIDDEN),
        gr.Number(Request.steps, label=whole("Steps", *APP.steps), **HIDDEN),
        gr.Number(Request.seed, label=whole("Seed", 0, SEED_MAX), **HIDDEN),
        gr.Number(Request.order, label=ORDER, **HIDDEN),
        gr.Textbox(
            Request.granularity, label=_one_of("Granularity", GRANULARITY_CHOICES), **HIDDEN
        ),
    ]


def _tuned() -> list[Any]:
    label = "Full steps of the model's profile, whose settings of the cache are taken; 0: those given here"
    return [gr.Number(0, label=label, **HIDDEN)]


def _files(what: str, *sides: str) -> list[Any]:
    return [gr.File(label=f"{side} {what}", **HIDDEN) for side in sides]


def _one_of(what: str, names: tuple[str, ...]) -> str:
    return f"{what}, one of {', '.join(names)}"
