"""All families, each built once a process."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from . import diffusion, image, video
from .family import Family

FAMILIES: tuple[Family, ...] = (*image.FAMILIES, *diffusion.FAMILIES, *video.FAMILIES)
BY_NAME = {family.name: family for family in FAMILIES}


@lru_cache(maxsize=None)
def pipeline(name: str) -> Any:
    return BY_NAME[name].build()
