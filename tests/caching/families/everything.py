"""All families, each built once a process."""

from __future__ import annotations

from functools import cache
from typing import Any

from . import cosmos, diffusion, image, joint, video, world
from .family import Family

EVERY: tuple[Family, ...] = (
    *image.FAMILIES,
    *joint.FAMILIES,
    *diffusion.FAMILIES,
    *video.FAMILIES,
    *cosmos.FAMILIES,
    *world.FAMILIES,
)
FAMILIES = tuple(family for family in EVERY if not family.silent)
BY_NAME = {family.name: family for family in EVERY}


@cache
def pipeline(name: str) -> Any:
    return BY_NAME[name].build()
