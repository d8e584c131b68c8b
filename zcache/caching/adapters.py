"""The registry of described transformers.

To add one: one entry in a `families_*` file (or one `register` call), one row in
tests/caching/families.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..errors import UnsupportedPipelineError
from .description import Adapter, Blocks, Signal
from .families_audio import AUDIO
from .families_image import IMAGE
from .families_video import VIDEO

__all__ = [
    "Adapter",
    "Blocks",
    "Signal",
    "check",
    "described",
    "find",
    "names",
    "register",
    "resolve",
]

_adapters: dict[str, Adapter] = {**IMAGE, **VIDEO, **AUDIO}


def register(transformer_class: str, adapter: Adapter) -> None:
    """Describe a transformer class, by name: listing a model imports nothing."""
    _adapters[transformer_class] = adapter


def names() -> tuple[str, ...]:
    """Return the transformer classes that are described."""
    return tuple(_adapters)


def described(transformer_class: str) -> Adapter:
    """Return the description of a class, by name. Raises KeyError if there is none."""
    return _adapters[transformer_class]


def find(transformer: nn.Module) -> Adapter | None:
    """Return the description of this transformer, or None; of a class derived from a described one (FSDP2 makes
    such) that one's, unless it has a forward of its own."""
    for cls in type(transformer).__mro__:
        if cls.__name__ in _adapters:
            return _adapters[cls.__name__]
        if "forward" in cls.__dict__:
            return None
    return None


def resolve(owner: nn.Module, path: str) -> list[tuple[nn.Module, str]]:
    """Return owners and names of the submodules that a path stands for; empty if there is none."""
    *parents, name = path.split(".")
    for parent in parents:
        if not isinstance(child := getattr(owner, parent, None), nn.Module):
            return []
        owner = child
    if name == "*":
        return [(owner, child) for child in owner._modules]
    return [(owner, name)] if owner._modules.get(name) is not None else []


def _there(owner: nn.Module, path: str) -> bool:
    """Return whether a path is known to a module; what is None in this model is known."""
    return bool(resolve(owner, path)) or hasattr(owner, path)


def _missing(transformer: nn.Module, adapter: Adapter) -> Iterator[tuple[nn.Module, str]]:
    for path in (adapter.head, *adapter.other_heads, *adapter.conditioning):
        if not resolve(transformer, path):
            yield transformer, path
    for path in adapter.per_step:
        if not _there(transformer, path):
            yield transformer, path
    for blocks in adapter.blocks:
        if not isinstance(getattr(transformer, blocks.name, None), nn.ModuleList):
            yield transformer, blocks.name
            continue
        members = list(getattr(transformer, blocks.name))
        for path in (*blocks.features, *blocks.bypass):
            if members and not any(_there(block, path) for block in members):
                yield members[0], path


def check(transformer: nn.Module, adapter: Adapter) -> None:
    """Raise UnsupportedPipelineError if a described attribute is not there (another diffusers
    version)."""
    for owner, name in _missing(transformer, adapter):
        import diffusers

        raise UnsupportedPipelineError(
            f"{type(owner).__name__} has no submodule {name!r} in diffusers {diffusers.__version__}; "
            "use granularity='output', or a diffusers version that zcache was tried with (pyproject.toml)"
        )
    if not any(len(getattr(transformer, blocks.name)) for blocks in adapter.blocks):
        listed = ", ".join(blocks.name for blocks in adapter.blocks)
        raise UnsupportedPipelineError(
            f"{type(transformer).__name__} has no block in {listed or 'its description, which lists none'}; "
            "use granularity='output'"
        )
