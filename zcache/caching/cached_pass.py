"""One cached pass of a denoiser: through its modules, or, once that is proved to be the same, by its tape.

A call's first cached pass is recorded as it runs. The second runs through the modules and is played too: at
another latent, another step, another feature. Only a tape that then gave bit for bit what the modules gave
is used from there on, for as long as what it took for constant is the same: arguments, weights, modules.
A change there begins anew. Modules with hooks, adapters, compiled code or a class that is neither torch's
nor diffusers' may do more than torch calls, and always run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from . import noise
from .arguments import Place, inserted
from .bindings import Denoiser
from .features import Feature, leaves, rebuild, version
from .tape import CONSTANT, LIVE, STEP, Recorder, Tape

MOST_TAPES = 3  # that one call's passes are recorded in a run
PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)
OURS = ("torch.nn.", "diffusers.", "zcache.")

Leaves = list[Any]  # of a call's arguments: tensors, plain values, and keys or lengths of what holds them


def flattened(tree: Any) -> Leaves:
    """The leaves of a call's arguments in order, with the keys or the length of every container."""
    found: Leaves = []
    _flatten(tree, found)
    return found


def _flatten(tree: Any, found: Leaves) -> None:
    if isinstance(tree, dict):
        found.append(tuple(tree))
        for value in tree.values():
            _flatten(value, found)
    elif isinstance(tree, tuple | list):
        found.append(len(tree))
        for value in tree:
            _flatten(value, found)
    else:
        found.append(tree)


class CachedPass:
    """The cached passes of one denoiser call in one run."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser, self._binding = denoiser, denoiser.binding
        self._tape: Tape | None = None
        self._proved = False
        self._left = 0 if denoiser.binding.ignores_arguments else MOST_TAPES
        self._before: Leaves = []
        self._versions: list[int | None] = []
        self._tensors: list[int] = []  # which leaves are the tape's first inputs
        self._parts: list[tuple[dict[str, Any], str, Any]] = []  # owner, name, what was there

    def seen(self, arguments: Leaves) -> None:
        """Note a call's arguments: what is another tensor in the next call is not constant."""
        self._before = arguments
        self._versions = [version(x) if isinstance(x, Tensor) else None for x in arguments]

    def forecast(
        self,
        call: Callable[[], Any],
        arguments: Leaves,
        latents: Sequence[Tensor],
        feature: Feature,
        like: Any,
        memo: dict[Any, Any],
    ) -> Any:
        """The output from a feature.

        Args:
            call: runs the denoiser with these arguments.
            latents: those tensors among the arguments that hold the latent.
            like: an output of the same call.
            memo: of this step; keeps what a further pass at another latent needs not do again.
        """
        if self._tape is not None and self._takes(arguments):
            memo[Tape] = values = self._tape.begin([*self._of(arguments), *leaves(feature)])
            if self._proved:
                return rebuild(like, tuple(self._tape.play(values)))
            output = self._binding.cached(call, feature, like, memo)
            played = self._tape.play(values)
            self._proved = all(map(torch.equal, leaves(output), played))
            if not self._proved:
                self._give_up()
            return output
        return self._recorded(call, arguments, latents, feature, like, memo)

    def again(
        self,
        call: Callable[[], Any],
        arguments: Leaves,
        places: Sequence[tuple[int, Place]],
        sample: Tensor,
        feature: Feature,
        like: Any,
        memo: dict[Any, Any],
    ) -> Any:
        """The output at another latent, `sample`, which stands at `places` (leaf, how) of the arguments."""
        raise NotImplementedError
