"""A link that restores the settings of a run, and what such a link sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ..errors import ZCacheError
from ..models import loading
from ..models.examples import EXAMPLES
from ..models.request import APP, Request, label
from . import engine, inputs, runs
from .outcome import Outcome
from .words import cut

TAB = "tab"
SETTINGS = [name for name in Request.__dataclass_fields__ if name != "kind"]
OTHER_TABS = ("compare", "how")
SHOWN = 40  # characters of what a link asks for and does not get
SWITCH = {"true": True, "false": False}
WHOLE = ("interval", "steps", "seed", "order", "frames", "fps", "tuned")
OF_CACHE = (*inputs.CACHE, "order", "granularity")


def address(kind: str, settings: Mapping[str, Any]) -> str:
    """Return the query of a link to these settings of a tab."""
    given = {name: value for name, value in settings.items() if value is not None}
    settled = inputs.CACHE if given.get("tuned") else ("tuned",)
    given = {name: value for name, value in given.items() if name not in settled}
    return "?" + urlencode({TAB: kind, **{name: _written(given[name]) for name in given}})


def restored(query: Mapping[str, str]) -> tuple[str, dict[str, Any]] | None:
    """Return the kind and the settings that a query asks for; those that cannot be run are left out, and beside
    `tuned` those that it settles.

    None if it names no tab of a model.
    """
    kind = query.get(TAB, "")
    if kind not in engine.EMBEDDED:
        return None
    settings = {}
    for name, text in query.items():
        value = _read(name, text)
        if name in SETTINGS and _allowed(kind, name, value):
            settings[name] = _label(value) if name == "label" else value
    if settings.get("tuned"):
        settings = {name: value for name, value in settings.items() if name not in OF_CACHE}
    by_hand = "tuned" not in settings and any(name in settings for name in OF_CACHE)
    if by_hand and engine.of(kind).profile is not None:
        settings["tuned"] = 0
    return kind, settings


def ignored(query: Mapping[str, str]) -> str:
    """Return what a query asks for and does not get, in one sentence; "" where all is as it asks, or where it
    asks for nothing of this page."""
    found = restored(query)
    settings = found[1] if found else {}
    tab = query.get(TAB)
    left = [name for name in query if name in SETTINGS and name not in settings]
    if tab is not None and not found and tab not in OTHER_TABS:
        left.insert(0, TAB)
    said = ", ".join(f"{name}={cut(query[name], SHOWN)}" for name in left)
    return f"Ignored from the link: {said}." if said else ""


def result(query: Mapping[str, str]) -> tuple[str, Outcome, str] | None:
    """Return the kind, the result and the address of the run that a query asks for, if the store has
    it."""
    found = restored(query)
    if found is None:
        return None
    kind, settings = found
    if kind == "video":
        settings = {"frames": inputs.own_frames(), "fps": inputs.own_rate()} | settings
    try:
        outcome = runs.earlier(kind, **settings)
    except ZCacheError:  # no prompt in it, or one that cannot be run
        return None
    return None if outcome is None else (kind, outcome, address(kind, settings))


def _allowed(kind: str, name: str, value: Any) -> bool:
    model = engine.of(kind).model
    subject = {"label": "0"} if kind == "class" else {"prompt": EXAMPLES[kind][0]}
    try:
        loading.asked(model, APP, **{**subject, name: value})
    except ZCacheError:
        return False
    return True


def _label(value: str) -> str:
    """Return the name of a class, which its number stands for, too."""
    ids = loading.labels(engine.of("class").model)
    return next(name for name in ids if ids[name] == label(value, ids))


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(name: str, text: str) -> Any:
    if name in WHOLE:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else text
    return SWITCH.get(text, text) if name == "reflect" else text
