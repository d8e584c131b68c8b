"""The cached passes of one denoiser call: through the modules, or by a tape that is proved to be the same.

The first cached pass of a run is recorded as it goes through the modules. The second goes through them,
too, and the tape is played beside it: at another step, another latent, another feature. Only a tape that
gives bit for bit what the modules give is used from there on, and only while what it holds for constant is
the same: arguments, weights, modules. A change there begins anew. Modules with hooks, with compiled code, or
of a class that is not torch's or diffusers' may do more than torch calls: these run every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_all_modules

from . import noise
from .arguments import Place, at, inserted
from .bindings import Denoiser, inner
from .features import Feature, leaves, rebuild, tensors, version
from .tape import CONSTANT, LIVE, STEP, Recorder, Tape

MOST_RECORDINGS = 3  # of one call in a run
PLAIN = (bool, int, float, str, type(None), tuple, torch.dtype, torch.device)
KNOWN = ("torch.nn.", "diffusers.", "transformers.")

Call = Callable[[], Any]
Memo = dict[Any, Any]


class CachedPass:
    """One denoiser call of every step; `flat` are the leaves of its arguments, as `flattened` gives them."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser, self._binding = denoiser, denoiser.binding
        self._recordings = MOST_RECORDINGS if not self._binding.ignores_arguments else 0
        self._before: list[tuple[Any, int | None]] = []
        self._forget()

    def _forget(self) -> None:
        self._tape: Tape | None = None
        self._proved = False
        self._expected: list[Any] = []  # of a call's leaves
        self._steps: list[int] = []  # the leaves that are given to the tape once a step
        self._lives: list[
            tuple[int, Place | None]
        ] = []  # those at every play, and how they hold the latent
        self._parts: list[tuple[dict[str, Any], str, Any]] = []  # where modules and weights stand

    def see(self, flat: list[Any]) -> None:
        """Look at a call's leaves: a tensor that is another one in the next call is no constant."""
        if self._recordings and self._tape is None:
            self._before = [(x, version(x) if isinstance(x, Tensor) else None) for x in flat]

    def forecast(
        self,
        call: Call,
        arguments: Any,
        flat: list[Any],
        places: Sequence[Place],
        feature: Feature,
        like: Any,
        memo: Memo,
    ) -> Any:
        """The output from a feature. `like`: an output of the same call, for its container type. `memo`: of
        this step, keeps what is the same at another latent. `places`: of the latent, empty if unknown."""
        if self._tape is not None and not self._holds(flat):
            self._forget()
        if self._tape is None:
            return self._recorded(call, arguments, flat, places, feature, like, memo)
        values = self._begin(flat, memo)
        lives = [*(flat[i] for i, _ in self._lives), *tensors(feature)]
        if self._proved:
            return rebuild(like, tuple(self._tape.play(values, lives)))
        output = self._binding.cached(call, feature, like, memo)
        played = self._tape.play(values, lives)
        self._proved = all(map(torch.equal, leaves(output), played))
        if not self._proved:
            self._forget()
            self._recordings = 0
        return output

    def again(
        self,
        call: Callable[[Tensor], Any],
        flat: list[Any],
        sample: Tensor,
        feature: Feature,
        like: Any,
        memo: Memo,
    ) -> Any:
        """The output at another latent, `sample`, from another feature. `call` runs the denoiser there;
        `flat` are the leaves of the call as it was."""
        values = memo.get(self._tape)
        if self._tape is None or not self._proved or not (values or self._holds(flat)):
            return self._binding.cached(lambda: call(sample), feature, like, memo)
        values = values or self._begin(flat, memo)
        lives = [
            flat[i] if place is None else inserted(flat[i], place, sample)
            for i, place in self._lives
        ]
        return rebuild(like, tuple(self._tape.play(values, [*lives, *tensors(feature)])))

    def check(self) -> None:
        """Look once, before steps are taken again, whether weights or modules have changed since."""
        if self._tape is not None and not self._stands():
            self._forget()

    def _begin(self, flat: list[Any], memo: Memo) -> list[Any]:
        assert self._tape is not None
        memo[self._tape] = values = self._tape.begin([flat[i] for i in self._steps])
        return values

    def _holds(self, flat: list[Any]) -> bool:
        """Whether everything that the tape takes for constant is as it was."""
        return (
            len(flat) == len(self._expected)
            and all(map(_is_as_expected, flat, self._expected))
            and self._stands()
        )

    def _stands(self) -> bool:
        return (
            self._tape is not None
            and not self._tape.is_stale()
            and all(owner.get(name) is part for owner, name, part in self._parts)
        )

    def _recorded(
        self,
        call: Call,
        arguments: Any,
        flat: list[Any],
        places: Sequence[Place],
        feature: Feature,
        like: Any,
        memo: Memo,
    ) -> Any:
        before = self._before
        self.see(flat)
        if len(before) != len(flat) or not self._recordings:
            return self._binding.cached(call, feature, like, memo)
        modules = list(self._modules())
        if not _can_be_recorded(modules, flat):
            self._recordings = 0
            return self._binding.cached(call, feature, like, memo)
        self._recordings -= 1
        latents = {id(at(arguments, place.path)): place for place in places}
        kinds = [_kind(leaf, was, latents) for leaf, was in zip(flat, before, strict=True)]
        self._steps = [i for i, kind in enumerate(kinds) if kind == STEP]
        self._lives = [(i, latents.get(id(flat[i]))) for i, k in enumerate(kinds) if k == LIVE]
        features = list(tensors(feature))
        lives = [*(flat[i] for i, _ in self._lives), *features]
        known = [(x, LIVE) for x in lives] + [(flat[i], STEP) for i in self._steps]
        known += [(x, CONSTANT) for x in flat if isinstance(x, Tensor)]
        weights = _Weights(modules, self._binding.skipped())
        recorder = Recorder(known, weights.has)
        drawn = noise.states(noise.generators({}, features[0].device))
        with recorder:
            output = self._binding.cached(call, feature, like, memo)
        outputs = list(leaves(output))
        if noise.moved(drawn) or recorder.fault or not recorder.are_live(outputs):
            self._forget()
            self._recordings = 0
            return output
        given = ([flat[i] for i in self._steps], lives, outputs)
        self._tape = Tape(recorder, *([recorder.slot(x, CONSTANT) for x in each] for each in given))
        self._parts = list(weights.used())
        self._expected = [_expected(x, kind) for x, kind in zip(flat, kinds, strict=True)]
        self._before = []
        return output

    def _modules(self) -> Iterator[nn.Module]:
        """The modules that a cached pass may run."""
        module = self._denoiser.module
        if inner(module) is module:
            yield from _walked(module, {id(skipped) for skipped in self._binding.skipped()})


class _Weights:
    """The tensors of a transformer's modules, and of which modules they were asked for."""

    def __init__(self, modules: Sequence[nn.Module], skipped: Sequence[nn.Module]) -> None:
        self._modules, self._skipped = list(modules), skipped
        self._known = {id(x) for _, _, x in _parts(modules) if isinstance(x, Tensor)}
        self._others: dict[
            int, nn.Module
        ] = {}  # of modules within a block that the head runs (DiT)

    def has(self, tensor: Tensor) -> bool:
        """Whether it is one of them, of a module that can be recorded."""
        if id(tensor) in self._known:
            return True
        if not self._others:
            every = (module for skipped in self._skipped for module in skipped.modules())
            self._others = {id(x): m for m in every for _, _, x in _parts([m])}
        module = self._others.get(id(tensor))
        if module is None or not _is_bare(module):
            return False
        self._modules.append(module)
        return True

    def used(self) -> Iterator[tuple[dict[str, Any], str, Any]]:
        """Where the modules and their tensors stand."""
        return _parts(self._modules)


def _walked(module: nn.Module, skipped: set[int]) -> Iterator[nn.Module]:
    yield module
    for child in module._modules.values():
        if child is not None and id(child) not in skipped:
            yield from _walked(child, skipped)


def _parts(modules: Sequence[nn.Module]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Where the modules, and their tensors, stand: owner, name and what is there."""
    for module in modules:
        for owner in (module._modules, module._parameters, module._buffers):
            yield from ((owner, name, part) for name, part in owner.items())
        own = vars(module)
        yield from ((own, name, x) for name, x in own.items() if isinstance(x, Tensor))


def _can_be_recorded(modules: Sequence[nn.Module], flat: list[Any]) -> bool:
    """Whether torch calls are all that these modules do, as far as they show."""
    return (
        bool(modules)
        and not torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not of_all_modules._has_any_global_hook()
        and all(map(_is_bare, modules))
        and all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in flat)
    )


def _is_bare(module: nn.Module) -> bool:
    """Whether it is its class's forward and nothing beside. A registry of diffusers without hooks is none."""
    own = vars(module)
    hooks = own["_forward_hooks"] or own["_forward_pre_hooks"]
    registered = getattr(own.get("_diffusers_hook"), "hooks", None)
    return (
        f"{type(module).__module__}.".startswith(KNOWN)
        and not (hooks or registered or "forward" in own or "_hf_hook" in own)
        and module._compiled_call_impl is None
    )


def _kind(leaf: Any, before: tuple[Any, int | None], latents: dict[int, Place]) -> int | None:
    """What a leaf of the arguments depends on; None if it is no tensor."""
    if not isinstance(leaf, Tensor):
        return None
    if id(leaf) in latents:
        return LIVE
    if leaf is before[0] and version(leaf) == before[1] is not None:
        return CONSTANT
    return STEP if latents else LIVE


def _expected(leaf: Any, kind: int | None) -> Any:
    return _layout(leaf) if kind in (STEP, LIVE) else leaf


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor.shape, tensor.stride(), tensor.dtype, tensor.device)


def _is_as_expected(leaf: Any, expected: Any) -> bool:
    if isinstance(leaf, Tensor):
        return leaf is expected or (type(expected) is tuple and _layout(leaf) == expected)
    return type(leaf) is type(expected) and leaf == expected
