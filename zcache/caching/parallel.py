"""Context parallelism (`enable_parallelism`): each process holds a part of the tokens.

diffusers splits the tokens by hooks: on the whole transformer, which a cached pass runs like a full one,
or on the first block, which a cached pass leaves out. There the split is made in the block's stead."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def _splits(block: nn.Module) -> list[Any]:
    """The hooks that split what enters this block, in the order they run: the newest first."""
    registry = getattr(block, "_diffusers_hook", None)
    if registry is None:
        return []
    hooks = [registry.hooks[name] for name in registry._hook_order]
    return [hook for hook in reversed(hooks) if type(hook).__name__ == "ContextParallelSplitHook"]


def is_split(block: nn.Module) -> bool:
    """Whether the tokens are split where they enter this block."""
    return bool(_splits(block))


def entering(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """The arguments as the block's own forward sees them."""
    for hook in _splits(block):
        args, kwargs = hook.pre_forward(block, *args, **kwargs)
    return args, kwargs


def named(block: nn.Module, arguments: Arguments, name: str) -> Any:
    """One argument of the block's forward, given by position or by name."""
    args, kwargs = arguments
    if name in kwargs:
        return kwargs[name]
    parameters = list(inspect.signature(type(block).forward).parameters)[1:]
    return args[parameters.index(name)]


def gathered(transformer: nn.Module, tensor: Tensor) -> Tensor:
    """A tensor of every process's tokens, so that all processes decide alike; (batch, tokens, …)."""
    config = getattr(
        getattr(transformer, "_parallel_config", None), "context_parallel_config", None
    )
    if config is None or tensor.ndim < 3:
        return tensor
    group = config._flattened_mesh.get_group()
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size(group))]
    torch.distributed.all_gather(parts, tensor.contiguous(), group=group)
    return torch.cat(parts, dim=1)
