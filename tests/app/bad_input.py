"""Generated input for the endpoints: mostly bad, always from a seed."""

from __future__ import annotations

import random
from typing import Any

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    " ",
    "5",
    "taylorseer",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "/etc/passwd",
    "http://example.com/x.png",
    "\x00\x1b[31m",
    "\ud800",
    "x" * 600,
    "🎲" * 200,
    "{}",
    "%s%n{0}",
    "'; drop table users; --",
    0,
    -1,
    1,
    2.5,
    1e308,
    -1e308,
    10**30,
    2**31,
    [],
    [1],
    {},
    {"path": "/etc/passwd"},
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
)
SETTINGS: dict[str, tuple[Any, ...]] = {
    "interval": (1, 5, 10),
    "base": ("taylorseer", "fora"),
    "weight": ("logarithmic", "half"),
    "reflect": (True, False),
    "steps": (10,),
    "seed": (0, 1),
    "order": (0, 1),
    "granularity": ("stack", "output"),
}
SUBJECT = {"prompt": ("a red circle",)}
ENDPOINTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "/compare_image": SUBJECT | SETTINGS,
    "/compare_video": SUBJECT | SETTINGS | {"frames": (5,), "fps": (8,)},
    "/compare_class": {"label": ("red square", "0")} | SETTINGS,
    "/three_pictures": {"kind": ("image", "class"), "subject": ("a red circle", "0")} | SETTINGS,
    "/sweep": {
        "kind": ("image", "class"),
        "subject": ("a red circle",),
        "over": ("base",),
        **{name: SETTINGS[name] for name in ("interval", "steps", "seed")},
    },
    "/plan": {
        "kind": ("image", "video", "class"),
        **{name: value for name, value in SETTINGS.items() if name != "seed"},
        "frames": (5, 17),
    },
}


def call(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """Return an endpoint and arguments, at least one of them odd."""
    endpoint = rng.choice(list(ENDPOINTS))
    named = {name: rng.choice(good) for name, good in ENDPOINTS[endpoint].items()}
    for name in rng.sample(list(named), rng.randint(1, 3)):
        named[name] = rng.choice(ODD) if rng.random() < 0.8 else rng.uniform(-100, 100)
    return endpoint, named
