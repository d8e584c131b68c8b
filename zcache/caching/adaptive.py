"""TeaCache on a run: full or cached, by how far the model's input has moved."""

from __future__ import annotations

from typing import Any

from ..method.schedule import Kind
from ..method.teacache import IDENTITY, Accumulator
from .arguments import copied
from .bindings import Signal
from .state import Original, RunState


def decide(run: RunState, signal: Signal, original: Original, arguments: Any) -> Kind:
    """The kind of a step that begins: relative change of the signal from step to step, rescaled and added up.
    Waits for the device."""
    args, kwargs = arguments
    now = signal(lambda: original(*copied(args), **copied(kwargs)), kwargs)
    before, run.last_signal = run.last_signal, now
    if run.accumulator is None:
        if signal.coefficients is None:
            run.log.fall_back(
                f"no TeaCache coefficients are published for {signal.model}; identity is used"
            )
        run.accumulator = Accumulator(
            signal.coefficients or IDENTITY, run.config.threshold, run.config.interval
        )
    begins = run.step < (run.config.warmup or 1)
    if run.plan is None or begins or before is None or before.shape != now.shape:
        run.accumulator.restart()
        return Kind.FULL
    full = run.accumulator.is_full(float((now - before).abs().mean() / before.abs().mean()))
    ends = run.config.last_full is not False and run.step == run.plan.num_steps - 1
    return Kind.FULL if full or ends else Kind.FORECAST
