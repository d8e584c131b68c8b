"""Whatever another library leaves on a pipeline when its cache is taken off, is taken off here.

cache-dit 1.5 leaves a forward of its own on the transformer and its blocks (on which diffusers'
FirstBlockCache fails), the mark that it is patched, and on DiT a submodule more; diffusers 0.42 leaves
its hook registries, and forwards bound to the instances. So every peer finds what the first one found,
and all of them run in one process, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ...caching.bindings import inner
from ...caching.pipeline import find_denoisers


@contextmanager
def as_before(pipe: Any) -> Iterator[None]:
    """On leaving the block, every module of the pipeline's transformers has the attributes and the
    submodules that it had on entry, and the pipeline's class its own.

    Modules with a hook of accelerate's (offloading) are left alone: it is renewed in every run.

    Raises:
        UnsupportedPipelineError: the pipeline has no transformer.
    """
    modules = [part for denoiser in find_denoisers(pipe) for part in inner(denoiser).modules()]
    kept = [(module, dict(vars(module)), dict(module._modules)) for module in modules]
    owner = type(pipe)
    of_class = dict(vars(owner))
    try:
        yield
    finally:
        for module, attributes, children in kept:
            if "_hf_hook" not in vars(module):
                _put_back(module, attributes, children)
        for name in vars(owner).keys() - of_class.keys():
            delattr(owner, name)
        for name, value in of_class.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)


def _put_back(
    module: nn.Module, attributes: dict[str, Any], children: dict[str, nn.Module | None]
) -> None:
    own = vars(module)
    own.clear()
    own.update(attributes)
    module._modules.clear()
    module._modules.update(children)
