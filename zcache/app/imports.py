"""diffusers is imported by one thread at a time: two at once may see it half made."""

from __future__ import annotations

import threading
from importlib import import_module

_importing = threading.Lock()


def import_diffusers() -> None:
    """Import what the models need, or wait until another thread has."""
    with _importing:
        for name in ("diffusers", "transformers"):
            import_module(name)
        for name in ("flux", "hunyuan_video", "dit"):
            import_module(f"diffusers.pipelines.{name}")
        import_module("diffusers.models.transformers")
