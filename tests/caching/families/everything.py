"""All families, each built once a process."""

from __future__ import annotations

from functools import cache
from typing import Any

from . import (
    audio,
    conditioned,
    cosmos,
    diffusion,
    edits,
    image,
    joint,
    recent,
    segments,
    variants,
    video,
    world,
)
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
    *recent.FAMILIES,
    *edits.FAMILIES,
    *variants.FAMILIES,
)
BY_NAME = {family.name: family for family in FAMILIES}


@cache
def pipeline(name: str) -> Any:
    return BY_NAME[name].build()
