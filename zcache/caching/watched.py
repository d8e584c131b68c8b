"""The modules of a cached pass: whether torch calls are all that they do, and whether they are as they were."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_all_modules

KNOWN = ("torch.nn.", "diffusers.", "transformers.")
BOOKKEEPING = set(vars(nn.Module())) - {"training"}

Part = tuple[dict[str, Any], str, Any]  # where something stands: owner, name, what is there


class Watched:
    """Modules, with their tensors, hooks and settings, as they stand now."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._owners = [owner for module in modules for owner in _owners(module)]
        self._sizes = list(map(len, self._owners))
        parts = [part for module in modules for part in _parts(module)]
        self._parts = tuple(zip(*parts, strict=True)) or ((), (), ())

    def stand(self) -> bool:
        """Whether nothing was put in, taken out or replaced since."""
        owners, names, parts = self._parts
        return (
            list(map(len, self._owners)) == self._sizes
            and all(map(operator.is_, map(dict.get, owners, names), parts))
            and not of_all_modules._has_any_global_hook()
        )


class Weights:
    """The tensors of a transformer's modules, and which modules they were asked for of.

    Args:
        modules: those that a cached pass runs.
        skipped: those that it does not run, but of which a head may run a part (DiT).
    """

    def __init__(self, modules: Sequence[nn.Module], skipped: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self._known = _tensors(modules)
        self._skipped = skipped

    def has(self, tensor: Tensor) -> bool:
        """Whether it is one of them, of modules that can be recorded."""
        if id(tensor) in self._known:
            return True
        part = next((part for part in self._within() if id(tensor) in _tensors(part)), None)
        if part is None or not all(map(is_bare, part)):
            return False
        self._known |= _tensors(part)
        self.modules += part
        return True

    def _within(self) -> Iterator[list[nn.Module]]:
        for module in self._skipped:
            yield [module]
            yield from (list(child.modules()) for child in module.children())


def walked(module: nn.Module, skipped: set[int]) -> Iterator[nn.Module]:
    """The module and all below it, but those of the skipped ids."""
    yield module
    for child in module._modules.values():
        if child is not None and id(child) not in skipped:
            yield from walked(child, skipped)


def is_bare(module: nn.Module) -> bool:
    """Whether it is its class's forward and nothing beside. A registry of diffusers without hooks is none."""
    own, cls = vars(module), type(module)
    hooks = own["_forward_hooks"] or own["_forward_pre_hooks"]
    registered = getattr(own.get("_diffusers_hook"), "hooks", None)
    return (
        f"{cls.__module__}.".startswith(KNOWN)
        and f"{cls.forward.__module__}.".startswith(KNOWN)
        and not (hooks or registered or "forward" in own or "_hf_hook" in own)
        and module._compiled_call_impl is None
    )


def calls_are_plain(device: torch.device) -> bool:
    """Whether a torch call gives nothing but what it says: no gradients, no autocast, and writes counted
    (not so in inference mode)."""
    return not (
        torch.is_grad_enabled()
        or torch.is_inference_mode_enabled()
        or torch.is_autocast_enabled(device.type)
    )


def _owners(module: nn.Module) -> Iterator[dict[str, Any]]:
    own = vars(module)
    yield own
    for name in ("_modules", "_parameters", "_buffers", "_forward_hooks", "_forward_pre_hooks"):
        yield own[name]


def _parts(module: nn.Module) -> Iterator[Part]:
    for owner in (module._modules, module._parameters, module._buffers):
        yield from ((owner, name, part) for name, part in owner.items())
    own = vars(module)
    yield from ((own, name, part) for name, part in own.items() if name not in BOOKKEEPING)


def _tensors(modules: Sequence[nn.Module]) -> set[int]:
    return {id(x) for module in modules for _, _, x in _parts(module) if isinstance(x, Tensor)}
