"""What a command line, an API caller or a visitor asks for, checked before anything runs.

Every message names the value, the limit and the cure, so that all three doors say the same
sentence.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

from . import bases, weights
from .config import GRANULARITIES, MAX_ORDER, ZCacheConfig
from .errors import ZCacheError

PROMPT_LENGTH = 500
SEED_MAX = 2**31 - 1
SIZE_MULTIPLE = 16  # FLUX packs 2x2 latents of a VAE that shrinks by 8
EXAMPLES = (
    "two red circles left of a blue square on a light background",
    "three yellow stars on a dark striped background",
    "a large green triangle above two purple circles on a grey dotted background",
)


class RequestError(ZCacheError, ValueError):
    """An input that cannot be run; the message names the value, the limit and the cure."""


@dataclass(frozen=True)
class Limits:
    """How far a door lets its callers go; the app is narrower than the command line."""

    steps: tuple[int, int] = (1, 1000)
    interval: tuple[int, int] = (1, 1000)
    side: tuple[int, int] = (64, 2048)  # pixels


WIDE = Limits()
APP = Limits(steps=(10, 50), interval=(1, 10))


@dataclass(frozen=True)
class Request:
    """One checked comparison: what to draw, and how to cache.

    Build it with `checked`. Height and width are in pixels; None leaves the model's default.
    """

    prompt: str
    interval: int = 5
    base: str = "taylorseer"
    weight: str = "logarithmic"
    reflect: bool = True
    steps: int = 50
    seed: int = 0
    order: int = 1
    granularity: str = "stack"
    height: int | None = None
    width: int | None = None

    def config(self) -> ZCacheConfig:
        """Return the cache configuration this request stands for."""
        return ZCacheConfig(
            interval=self.interval,
            base=self.base,
            weight=self.weight,
            reflect=self.reflect,
            order=self.order,
            granularity=self.granularity,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the request as plain values."""
        return asdict(self)


def checked(limits: Limits = WIDE, **raw: Any) -> Request:
    """Return a Request made of `raw`; the first bad value raises RequestError or ConfigError."""
    unknown = set(raw) - set(Request.__dataclass_fields__)
    if unknown:
        raise RequestError(
            f"unknown setting {_shown(sorted(unknown)[0])}: "
            f"use {', '.join(Request.__dataclass_fields__)}"
        )
    values = {f.name: f.default for f in Request.__dataclass_fields__.values()} | raw
    steps = whole("steps", values["steps"], *limits.steps)
    low, high = limits.interval
    request = Request(
        prompt=text(values["prompt"]),
        steps=steps,
        interval=whole("interval", values["interval"], low, min(high, steps)),
        base=choice("base", values["base"], bases.names()),
        weight=choice("weight", values["weight"], weights.names()),
        reflect=switch("reflect", values["reflect"]),
        seed=whole("seed", values["seed"], 0, SEED_MAX),
        order=whole("order", values["order"], 0, MAX_ORDER),
        granularity=choice("granularity", values["granularity"], GRANULARITIES),
        height=side("height", values["height"], *limits.side),
        width=side("width", values["width"], *limits.side),
    )
    request.config().plan(request.steps)
    return request


def text(value: Any) -> str:
    """Return the stripped prompt of 1 to 500 characters."""
    if not isinstance(value, str):
        raise RequestError(f"prompt is {_shown(value)}; it must be text: write a sentence")
    prompt = value.strip()
    if not prompt:
        raise RequestError("prompt is empty; it needs 1 to 500 characters: describe a picture")
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
    return prompt


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int in low..high; 5.0 counts as whole, 2.5, "5" and True do not."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value != int(value) or not low <= value <= high:
        raise RequestError(
            f"{name} is {_shown(value)}; it must be a whole number from {low} to {high}: "
            "choose one in that range"
        )
    return int(value)


def side(name: str, value: Any, low: int, high: int) -> int | None:
    """Return a picture side in pixels, a multiple of 16, or None for the model's default."""
    if value is None:
        return None
    pixels = whole(name, value, low, high)
    if pixels % SIZE_MULTIPLE:
        below = pixels - pixels % SIZE_MULTIPLE
        raise RequestError(
            f"{name} is {pixels}; it must be divisible by {SIZE_MULTIPLE}: "
            f"choose {max(below, low)} or {below + SIZE_MULTIPLE}"
        )
    return pixels


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
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
