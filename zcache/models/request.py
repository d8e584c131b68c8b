"""What a command line, an API caller or a visitor asks for, checked before anything runs.

Every message names the value, the limit and the cure, so that all doors say the same sentence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any

from ..errors import ZCacheError
from ..method import bases, weights
from ..method.config import GRANULARITY_CHOICES, MAX_ORDER, ZCacheConfig
from ..method.profile import Profile
from ..method.schedule import Plan

PROMPT_LENGTH = 500
SEED_MAX = 2**31 - 1
SIZE_MULTIPLE = 16  # the transformers pack 2x2 latents of a VAE that shrinks by 8
FRAME_MULTIPLE = 4  # HunyuanVideo's VAE makes one latent frame of four, after the first
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # the text around them, and with it a whole title
LABELS_SHOWN = 30
DIGITS = 60  # of a number; Python refuses to read or print one of 4300
SHARED = ("interval", "base", "reflect", "order", "granularity")  # of a configuration and a request
# What a request of each kind says of its subject; all other settings are everyone's.
SUBJECTS = {
    "image": ("prompt", "height", "width"),
    "video": ("prompt", "height", "width", "frames", "fps"),
    "class": ("label",),
}


class RequestError(ZCacheError, ValueError):
    """An input that cannot be run; the message names the value, the limit and the cure."""


@dataclass(frozen=True)
class Limits:
    """How far a door lets its callers go; the app is narrower than the command line."""

    steps: tuple[int, int] = (1, 1000)
    interval: tuple[int, int] = (1, 1000)
    side: tuple[int, int] = (64, 2048)  # pixels
    frames: tuple[int, int] = (1, 257)
    fps: tuple[int, int] = (1, 60)


WIDE = Limits()
APP = Limits(steps=(10, 50), interval=(1, 25), frames=(5, 65))


@dataclass(frozen=True)
class Request:
    """One checked comparison, made by `checked`: what to draw, and how to cache.

    `kind` is "image", "video" or "class", which has a `label`, the others a prompt. An `order` of None is
    ZCacheConfig's; height and width are in pixels, and None leaves the model's default. `tuned` holds the
    settings of the model's profile, where those were asked for.
    """

    prompt: str = ""
    kind: str = "image"
    label: int | None = None
    interval: int = 5
    base: str = bases.AUTOMATIC
    weight: str = weights.AUTOMATIC
    reflect: bool = True
    steps: int = 50
    seed: int = 0
    order: int | None = None
    granularity: str = ZCacheConfig.granularity
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    fps: int | None = None
    tuned: ZCacheConfig | None = None

    def config(self) -> ZCacheConfig:
        """Return the cache configuration this request stands for."""
        if self.tuned is not None:
            return self.tuned
        order = ZCacheConfig.order if self.order is None else self.order
        return ZCacheConfig(
            interval=self.interval,
            base=self.base,
            weight=self.weight,
            reflect=self.reflect,
            granularity=self.granularity,
            order=order,
        )

    def plan(self, flow_times: Sequence[float] = ()) -> Plan:
        """Return the full steps and the walk of its run; models of classes are diffusion models."""
        return self.config().plan(self.steps, flow_times, diffusion=self.kind == "class")

    def to_dict(self) -> dict[str, Any]:
        """Return the request as plain values."""
        return asdict(self)


def checked(
    limits: Limits = WIDE,
    kind: str = "image",
    labels: Mapping[str, int] | None = None,
    profile: Profile | None = None,
    **raw: Any,
) -> Request:
    """Return a Request made of `raw`; the first bad value raises RequestError or ConfigError.

    `labels` are the names and ids of the model's classes. `tuned` in `raw`, a number of full steps, takes the
    settings of the model's `profile` in place of those of the cache; 0 takes none.
    """
    fields = Request.__dataclass_fields__
    allowed = [name for name in fields if name != "kind"]
    unknown = set(raw) - set(allowed)
    if unknown:
        raise RequestError(
            f"unknown setting {_shown(sorted(unknown)[0])}: use {', '.join(allowed)}"
        )
    _check_subject(kind, raw)
    values = {name: fields[name].default for name in allowed} | {"tuned": 0} | raw
    steps = whole("steps", values["steps"], *limits.steps)
    low, high = limits.interval
    why = ", the number of steps" if steps < high else ""
    request = Request(
        kind=kind,
        prompt="" if kind == "class" else text(values["prompt"]),
        label=label(values["label"], labels or {}) if kind == "class" else None,
        steps=steps,
        interval=whole("interval", values["interval"], low, min(high, steps), why),
        base=choice("base", values["base"], bases.choices()),
        weight=choice("weight", values["weight"], weights.choices()),
        reflect=switch("reflect", values["reflect"]),
        seed=whole("seed", values["seed"], 0, SEED_MAX),
        order=None if values["order"] is None else whole("order", values["order"], 0, MAX_ORDER),
        granularity=choice("granularity", values["granularity"], GRANULARITY_CHOICES),
        height=side("height", values["height"], *limits.side),
        width=side("width", values["width"], *limits.side),
        frames=frame_count(values["frames"], *limits.frames),
        fps=None if values["fps"] is None else whole("fps", values["fps"], *limits.fps),
    )
    tuned = whole("tuned", values["tuned"], 0, steps)
    if tuned:
        request = _tuned(request, tuned, profile)
    request.plan()
    return request


def _tuned(request: Request, full: int, profile: Profile | None) -> Request:
    """Return the request with the settings of the profile for so many full steps."""
    if profile is None:
        raise RequestError(
            f"tuned is {full}, but this model has no profile: leave it out, or give 0"
        )
    if full not in profile.budgets:
        known = ", ".join(map(str, sorted(profile.budgets)))
        said = f"tuned is {full}; the profile of this model has {known} full steps"
        raise RequestError(f"{said}: choose one, or 0 for settings of your own")
    steps = profile.call["num_inference_steps"]
    if request.steps != steps:
        said = f"steps is {request.steps}, but the profile was tuned for {steps}"
        raise RequestError(f"{said}: choose {steps}, or tuned 0")
    config = profile.budgets[full]
    own = {name: getattr(config, name) for name in SHARED}
    return replace(request, **own, weight=str(config.weight), tuned=config)


def _check_subject(kind: str, raw: Mapping[str, Any]) -> None:
    """Raise RequestError unless the settings of the subject are those of this kind."""
    for name in {name for names in SUBJECTS.values() for name in names} - set(SUBJECTS[kind]):
        if raw.get(name) is not None:
            raise RequestError(
                f"{_spoken(name)} is {_shown(raw[name])}, but a model of the kind {kind!r} has none: "
                "leave it out, or choose another model"
            )
    needed = SUBJECTS[kind][0]
    if needed not in raw:
        raise RequestError(
            f"{_spoken(needed)} is missing; a model of the kind {kind!r} needs one: "
            f"say which {_spoken(needed)} to draw"
        )


def _spoken(name: str) -> str:
    """Return a setting's name as users write it; `class` is no name in Python."""
    return "class" if name == "label" else name


def text(value: Any) -> str:
    """Return the stripped prompt of 1 to 500 characters."""
    if not isinstance(value, str):
        raise RequestError(f"prompt is {_shown(value)}; it must be text: write a sentence")
    prompt = value.strip()
    if not prompt:
        raise RequestError("prompt is empty; it needs 1 to 500 characters: say what to show")
    if len(prompt) > PROMPT_LENGTH:
        raise RequestError(
            f"prompt has {len(prompt)} characters; at most {PROMPT_LENGTH} are allowed: shorten it"
        )
    bad = [c for c in prompt if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\r\t"]
    if bad:
        raise RequestError(
            f"prompt holds the control character U+{ord(bad[0]):04X}; only printable text is "
            "allowed: remove it"
        )
    turning = [c for c in prompt if c in TURNING]
    if turning:
        raise RequestError(
            f"prompt holds U+{ord(turning[0]):04X}, which turns the direction of the text around it; only text in "
            "its own direction is allowed: remove it"
        )
    return prompt


def whole(name: str, value: Any, low: int, high: int, why: str = "") -> int:
    """Return `value` as an int in low..high; 5.0 counts as whole, 2.5, "5" and True do not. `why` is said of the
    limit."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high or value != int(value):
        said = "empty" if value is None else _shown(value)
        raise RequestError(
            f"{name} is {said}; it must be a whole number from {low} to {high}{why}: "
            "choose one in that range"
        )
    return int(value)


def side(name: str, value: Any, low: int, high: int) -> int | None:
    """Return a picture side in pixels, a multiple of 16, or None for the model's default."""
    return _on_grid(name, value, low, high, SIZE_MULTIPLE, 0, f"divisible by {SIZE_MULTIPLE}")


def frame_count(value: Any, low: int, high: int) -> int | None:
    """Return a number of frames, a multiple of 4 and one more, or None for the model's default."""
    return _on_grid("frames", value, low, high, FRAME_MULTIPLE, 1, "4k + 1, such as 17")


def _on_grid(
    name: str, value: Any, low: int, high: int, multiple: int, rest: int, rule: str
) -> int | None:
    if value is None:
        return None
    number = whole(name, value, low, high)
    off = (number - rest) % multiple
    if off:
        below = number - off
        raise RequestError(
            f"{name} is {number}; it must be {rule}: choose {max(below, low)} or {below + multiple}"
        )
    return number


def label(value: Any, labels: Mapping[str, int]) -> int:
    """Return the id of the class that `value` names; the id itself will do, also as 3.0 or as text."""
    if isinstance(value, str) and value.strip() in labels:
        return labels[value.strip()]
    digits = isinstance(value, str) and value.isascii() and value.strip().isdecimal()
    whole_float = isinstance(value, float) and value.is_integer()
    number = int(value) if whole_float or (digits and len(value) <= DIGITS) else value
    if isinstance(number, int) and not isinstance(number, bool) and number in labels.values():
        return number
    known = _known_labels(value if isinstance(value, str) else "", labels)
    raise RequestError(f"class is {_shown(value)}; it must be {known}: choose one")


def _known_labels(value: str, labels: Mapping[str, int]) -> str:
    """Say which classes exist: all of a few, of many those whose names are near `value`."""
    names = list(labels)
    ids = f"a number from {min(labels.values())} to {max(labels.values())}"
    if len(names) > LABELS_SHOWN:
        near = get_close_matches(value, names, n=5, cutoff=0.5) or names[:5]
        return f"one of {len(names)} names, such as {'; '.join(near)}, or {ids}"
    return f"one of {', '.join(names)}, or {ids}"


def choice(name: str, value: Any, names: tuple[str, ...]) -> str:
    """Return `value` if it is one of `names`."""
    if not isinstance(value, str) or value not in names:
        raise RequestError(
            f"{name} is {_shown(value)}; it must be one of {', '.join(names)}: choose one"
        )
    return value


def switch(name: str, value: Any) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        raise RequestError(f"{name} is {_shown(value)}; it must be true or false: choose one")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**DIGITS:
        return f"a number of more than {DIGITS} digits"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
