"""When ToCa and DuCa compute, and what share of a layer's tokens: plain numbers, no tensors.

Sources: ToCa, arXiv:2410.05317 (ICLR 2025); DuCa, arXiv:2412.18911v1, the version of the year that
the tables cite (v2 draws its tokens at random). The numbers are those of the published
implementations. At a *full* step everything is computed and kept. At a *tokens* step attention is
reused whole and the MLPs are computed for the tokens of the highest score. At a *skip* step (DuCa
only) no block runs. Choices, where the sources differ, are silent, or cannot be met:

- A full step computes every block, as ToCa is described. The published DiT code changes its interval
  in the middle of a full step, so that some of its "full" steps compute the first block only; the
  FLOPs of the published tables are those of that code. `coded` makes such steps tokens or skip steps,
  block 0 included.
- HunyuanVideo chooses tokens by score, as ToCa is described; its published code draws them at random,
  and does not write the single-stream ones back.
- DuCa on FLUX was never published: it takes HunyuanVideo's alternation, which begins with tokens.
- A ratio of 0 caches nothing, attention included: every step is full. The published factors would
  leave tokens out even then, and reuse attention always.
- Depth l / 27 on DiT is l over the last block's index, which is the same on DiT-XL/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from ....errors import ConfigError, UnsupportedPipelineError

STALENESS = 0.25  # weight of a token's age in intervals (ToCa's s3)


class Kind(Enum):
    """What a step does."""

    FULL = "full"
    TOKENS = "tokens"
    SKIP = "skip"


@dataclass(frozen=True)
class Rules:
    """The published numbers of one transformer class.

    Args:
        ratios: cached share of the tokens where none is asked for, of ToCa and of DuCa.
        streams: factor on the computed share, by block list.
        depth: factor of block l out of n of its list.
        time: factor of step index i (ascending) out of n.
        spread: how much of its own score the best token of every 2x2 patch gets on top, of ToCa and
            of DuCa (s4); 0 is off.
        warmup: full steps at the beginning.
        dynamic: whether the interval follows the step, as on DiT.
    """

    ratios: tuple[float, float]
    streams: Mapping[str, float]
    depth: Callable[[int, int], float]
    time: Callable[[int, int], float] = lambda step, num_steps: 1.0
    spread: tuple[float, float] = (0.0, 0.0)
    warmup: int = 1
    dynamic: bool = False


def _falling(block: int, blocks: int) -> float:
    """1.5 - l / 27, counted in each stream, whatever its depth; 0.13 in FLUX's last block."""
    return max(0.0, 1.5 - block / 27)


def _rising(block: int, blocks: int) -> float:
    return 0.8 + 0.4 * block / max(1, blocks - 1)


def _late(step: int, num_steps: int) -> float:
    """3 - 4 s / S with s descending: nothing in the first quarter, three times the share at last."""
    return max(0.0, 3 - 4 * (num_steps - 1 - step) / num_steps)


_TWO_STREAMS = {"transformer_blocks": 0.4, "single_transformer_blocks": 1.6}
RULES: dict[str, Rules] = {
    "FluxTransformer2DModel": Rules((0.9, 0.9), _TWO_STREAMS, _falling, warmup=3),
    "HunyuanVideoTransformer3DModel": Rules((0.9, 0.9), _TWO_STREAMS, _falling),
    "DiTTransformer2DModel": Rules(
        (0.93, 0.95), {"transformer_blocks": 2.5}, _rising, _late, (0.6, 0.8), dynamic=True
    ),
}


def find(transformer_class: str) -> Rules:
    """Return the rules of a transformer class.

    Raises:
        UnsupportedPipelineError: it has none.
    """
    if transformer_class not in RULES:
        raise UnsupportedPipelineError(
            f"ToCa and DuCa have no rules for {transformer_class} (they have: {', '.join(RULES)}); "
            "leave them out for this model"
        )
    return RULES[transformer_class]


@dataclass(frozen=True)
class Settings:
    """What is asked of ToCa, or with `dual` of DuCa. All are checked at construction.

    Args:
        interval: N, between full steps; 1 computes everything. On DiT N is stretched where it is
            noisy, see `plan`.
        ratio: R, the share of tokens that is cached, in [0, 1]; None takes the published one. 0
            computes everything; 1 computes no token, which is FORA.
        warmup: full steps at the beginning; None takes the published number. DiT has none.
        coded: see the top of this file; only DiT heeds it.

    Raises:
        ConfigError: a value is outside its limits.
    """

    interval: int
    ratio: float | None = None
    warmup: int | None = None
    coded: bool = False
    dual: bool = False

    def __post_init__(self) -> None:
        for name, value in (("interval", self.interval), ("warmup", self.warmup)):
            if name == "warmup" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value!r}; give a whole number from 1 up")
        number = isinstance(self.ratio, int | float) and not isinstance(self.ratio, bool)
        if self.ratio is not None and not (
            number and math.isfinite(self.ratio) and 0 <= self.ratio <= 1
        ):
            raise ConfigError(
                f"ratio is {self.ratio!r}; give the share of tokens to cache, from 0 to 1, for example 0.9"
            )
        for name in ("coded", "dual"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give True or False")

    def computed(self, rules: Rules) -> float:
        """1 - R, before any factor."""
        ratio = rules.ratios[self.dual] if self.ratio is None else self.ratio
        return round(
            1 - ratio, 9
        )  # 1 - 0.9 is a little less than a tenth, and int() would lose a token


def check(settings: Settings, num_steps: int) -> None:
    """Raise ConfigError if the interval is above the steps."""
    if settings.interval > num_steps:
        raise ConfigError(
            f"interval {settings.interval} is above the {num_steps} sampling steps; "
            f"choose an interval from 1 to {num_steps}, or more steps"
        )


def plan(settings: Settings, rules: Rules, num_steps: int) -> tuple[Kind, ...]:
    """The kind of every step, in sampling order.

    FLUX and HunyuanVideo: {0 … w - 1} and every N-th after; DuCa's cached steps are tokens, skip,
    tokens, … . DiT, with s descending from S - 1: full where n divides s, n being set at each full
    step to round(N / (1.4 - 0.8 s / S)), or 2 for s in [0.2 S, 0.4 S); DuCa skips where s mod n is
    even. If no token is to be computed (R = 1), both are FORA's rule: no warm-up, n = N.

    Raises:
        ConfigError: the interval is above the steps.
    """
    check(settings, num_steps)
    if settings.interval == 1 or settings.computed(rules) == 1:
        return (Kind.FULL,) * num_steps
    return (_dynamic if rules.dynamic else _constant)(settings, rules, num_steps)


def _constant(settings: Settings, rules: Rules, num_steps: int) -> tuple[Kind, ...]:
    warmup = 1 if settings.computed(rules) == 0 else settings.warmup or rules.warmup
    kinds = []
    for step in range(num_steps):
        since = max(0, step - (warmup - 1)) % settings.interval
        skip = settings.dual and since % 2 == 0
        kinds.append(Kind.FULL if since == 0 else Kind.SKIP if skip else Kind.TOKENS)
    return tuple(kinds)


def _dynamic(settings: Settings, rules: Rules, num_steps: int) -> tuple[Kind, ...]:
    interval, kinds = settings.interval, []
    for s in reversed(range(num_steps)):
        first = s == num_steps - 1
        full = first or s % interval == 0
        if full and settings.computed(rules) > 0:
            interval = _stretched(settings.interval, s, num_steps)
        if settings.coded:
            full = first or s % interval == 0
        skip = settings.dual and s % interval % 2 == 0
        kinds.append(Kind.FULL if full else Kind.SKIP if skip else Kind.TOKENS)
    return tuple(kinds)


def _stretched(interval: int, s: int, num_steps: int) -> int:
    if 0.2 * num_steps <= s < 0.4 * num_steps:
        return 2
    return max(1, round(interval / (1.4 - 0.8 * s / num_steps)))


def share(
    settings: Settings, rules: Rules, stream: str, block: int, blocks: int, step: int, steps: int
) -> float:
    """Return the share of tokens in [0, 1] whose MLP is computed: (1 - R) x stream x depth x time.

    Args:
        stream: name of the block list.
        block: index in that list of `blocks` blocks.
        step: ascending index of `steps` steps.
    """
    factors = rules.streams[stream] * rules.depth(block, blocks) * rules.time(step, steps)
    return min(1.0, settings.computed(rules) * factors)
