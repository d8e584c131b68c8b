"""All families, each built once a process."""

from __future__ import annotations

from functools import cache
from typing import Any

from . import audio, conditioned, cosmos, diffusion, image, joint, segments, video, world
from .family import Family

FAMILIES: tuple[Family, ...] = (
    *image.FAMILIES,
    *joint.FAMILIES,
    *diffusion.FAMILIES,
    *video.FAMILIES,
    *cosmos.FAMILIES,
    *world.FAMILIES,
    *segments.FAMILIES,
    *conditioned.FAMILIES,
    *audio.FAMILIES,
)
BY_NAME = {family.name: family for family in FAMILIES}


@cache
def pipeline(name: str) -> Any:
    return BY_NAME[name].build()
