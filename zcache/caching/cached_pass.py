"""The cached passes of one denoiser call: through the modules, or by a tape that is proved to be the same.

The first cached pass of a run is recorded as it goes through the modules. The second goes through them,
too, and the tape is played beside it: at another step, another latent, another feature. Only a tape that
gives bit for bit what the modules give is used from there on, and only while what it holds for constant is
the same: arguments, weights, modules, hooks. A change there begins anew. Modules with hooks, with compiled
code, or of a class that is not torch's or diffusers' may do more than torch calls: these run every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import noise
from .arguments import Place, at, inserted
from .bindings import Denoiser, inner
from .features import Feature, leaves, rebuild, tensors, version
from .recorder import Recorder
from .tape import CONSTANT, LIVE, STEP, Tape
from .watched import Watched, Weights, calls_are_plain, is_bare, walked

MOST_RECORDINGS = 3  # of one call in a run
PLAIN = (bool, int, float, str, type(None), tuple, torch.dtype, torch.device)

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
        # Those that are given at every play, and where the latent stands in them.
        self._lives: list[tuple[int, Place | None]] = []
        self._watched = Watched(())

    def _give_up(self) -> None:
        self._forget()
        self._recordings = 0

    def see(self, flat: list[Any]) -> None:
        """Look at the leaves of a full step's call: a tensor that is another one in the next call is no
        constant. The constants of a tape are made anew, so that none is older than the newest anchor."""
        if self._tape is not None:
            if not self._stands():
                self._forget()
            else:
                self._tape.renew()
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
        through = partial(self._binding.cached, call, feature, like, memo)
        if self._tape is None:
            return self._recorded(through, arguments, flat, places, feature)
        lives = [*(flat[i] for i, _ in self._lives), *tensors(feature)]
        if self._proved:
            return rebuild(like, tuple(self._tape.play(self._begin(flat, memo), lives)))
        output = through()
        try:
            played = self._tape.play(self._begin(flat, memo), lives)
            self._proved = _same_bits(list(leaves(output)), played)
        except Exception:  # the modules could, so the tape is none of this pass
            self._proved = False
        if not self._proved:
            self._give_up()
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
        lives = self._moved(flat, sample, memo) if self._proved else None
        if self._tape is None or lives is None:
            return self._binding.cached(lambda: call(sample), feature, like, memo)
        values = memo.get(self._tape) or self._begin(flat, memo)
        return rebuild(like, tuple(self._tape.play(values, [*lives, *tensors(feature)])))

    def check(self) -> None:
        """Look once, before steps are taken again, whether weights or modules have changed since."""
        if self._tape is not None and not self._stands():
            self._forget()

    def _begin(self, flat: list[Any], memo: Memo) -> list[Any]:
        assert self._tape is not None
        memo[self._tape] = values = self._tape.begin([flat[i] for i in self._steps])
        return values

    def _moved(self, flat: list[Any], sample: Tensor, memo: Memo) -> list[Tensor] | None:
        """What the tape is given at another latent; None if it does not fit a call with these leaves."""
        if self._tape not in memo and not self._holds(flat):
            return None
        moved = []
        for i, place in self._lives:
            leaf = flat[i]
            if place is not None:
                scaled = sample * memo[place] if place.scaled else sample
                leaf = inserted(leaf, place, scaled)
            if _layout(leaf) != self._expected[i]:
                return None
            moved.append(leaf)
        return moved

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
            and self._watched.stand()
            and calls_are_plain(self._tape.device)
        )

    def _recorded(
        self,
        through: Call,
        arguments: Any,
        flat: list[Any],
        places: Sequence[Place],
        feature: Feature,
    ) -> Any:
        """What `through` the modules comes of a feature; a tape of it, if nothing speaks against one."""
        before, features = self._before, list(tensors(feature))
        self.see(flat)
        if len(before) != len(flat) or not self._recordings or not features:
            return through()
        module, skipped = self._denoiser.module, self._binding.skipped()
        modules = list(walked(module, {id(each) for each in skipped}))
        latents = {id(at(arguments, place.path)): place for place in places}
        kinds = [_kind(leaf, was, latents) for leaf, was in zip(flat, before, strict=True)]
        constants = [x for x, kind in zip(flat, kinds, strict=True) if kind == CONSTANT]
        self._steps = [i for i, kind in enumerate(kinds) if kind == STEP]
        self._lives = [(i, latents.get(id(flat[i]))) for i, k in enumerate(kinds) if k == LIVE]
        steps = [flat[i] for i in self._steps]
        lives = [*(flat[i] for i, _ in self._lives), *features]
        if not (
            inner(module) is module
            and all(map(is_bare, modules))
            and calls_are_plain(features[0].device)
            and all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in flat)
            and _are_distinct([*steps, *lives], constants)
        ):
            self._give_up()
            return through()
        self._recordings -= 1
        known = {LIVE: lives, STEP: steps, CONSTANT: constants}
        weights = Weights(modules, skipped)
        recorder = Recorder(known, weights.has)
        drawn = noise.states(noise.generators(features[0].device))
        with recorder:
            output = through()
        outputs = list(leaves(output))
        if noise.moved(drawn) or recorder.fault or not recorder.are_live(outputs):
            self._give_up()
            return output
        self._tape = Tape(recorder, steps, lives, outputs)
        self._watched = Watched(weights.modules)
        self._expected = [_expected(x, kind) for x, kind in zip(flat, kinds, strict=True)]
        self._before = []
        return output


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


def _are_distinct(given: list[Tensor], constants: list[Tensor]) -> bool:
    """Whether no tensor was given twice: the next call may have two in its place."""
    ids = set(map(id, given))
    return len(ids) == len(given) and ids.isdisjoint(map(id, constants))


def _same_bits(outputs: list[Tensor], played: list[Tensor]) -> bool:
    return len(outputs) == len(played) and all(
        x.dtype == y.dtype and x.stride() == y.stride() and torch.equal(x, y)
        for x, y in zip(outputs, played, strict=True)
    )
