"""Laws of the whole method, on real diffusers classes at toy size; each holds for every
pipeline."""

from __future__ import annotations

import copy

import pytest
import torch

import zcache
from zcache import ZCacheConfig
from zcache.caching.intercept import is_armed

from ..pipelines import CASES, Case
from ..planning import planned

GRANULARITIES = ("stack", "module", "output")
case = pytest.mark.parametrize("case", CASES, ids=str)
granularity = pytest.mark.parametrize("granularity", GRANULARITIES)
CONFIG = ZCacheConfig(interval=4)


def attributes(module: torch.nn.Module) -> list[tuple[str, tuple[str, ...]]]:
    """Every instance attribute of every submodule, and the forwards that shadow the class's."""
    return [(name, tuple(sorted(vars(child)))) for name, child in module.named_modules()]


class BlockCounter:
    """Counts full computations from outside: how often the last block runs."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        blocks = (
            getattr(transformer, "single_transformer_blocks", None)
            or transformer.transformer_blocks
        )
        self.count = 0
        self._hook = blocks[-1].register_forward_hook(self._seen)

    def _seen(self, *_: object) -> None:
        self.count += 1

    def __enter__(self) -> BlockCounter:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


@case
@granularity
def test_interval_one_is_bit_identical(case: Case, granularity: str) -> None:
    pipe = case.build()
    plain = case.run(pipe)
    with zcache.enabled(pipe, ZCacheConfig(interval=1, granularity=granularity)):
        cached = case.run(pipe)
    assert torch.equal(plain, cached)


@case
@granularity
def test_disable_restores(case: Case, granularity: str) -> None:
    pipe = case.build()
    plain = case.run(pipe)
    before = attributes(pipe.transformer)
    class_before = dict(vars(type(pipe.transformer))), dict(vars(type(pipe.scheduler)))
    scheduler_type = type(pipe.scheduler)

    zcache.enable(pipe, CONFIG.replace(granularity=granularity))
    case.run(pipe)
    zcache.disable(pipe)

    assert attributes(pipe.transformer) == before
    assert (dict(vars(type(pipe.transformer))), dict(vars(type(pipe.scheduler)))) == class_before
    assert type(pipe.scheduler) is scheduler_type
    assert torch.equal(plain, case.run(pipe))


@case
@granularity
def test_a_second_run_equals_the_first(case: Case, granularity: str) -> None:
    pipe = case.build()
    with zcache.enabled(pipe, CONFIG.replace(granularity=granularity)) as handle:
        first, first_report = case.run(pipe), handle.report()
        second, second_report = case.run(pipe), handle.report()
    assert torch.equal(first, second)
    assert first_report.walk == second_report.walk


@case
@pytest.mark.parametrize("stop_at", [("full", 4), ("forecast", 2), ("reflect", 2)], ids=str)
def test_a_run_after_an_exception_equals_a_clean_one(case: Case, stop_at: tuple[str, int]) -> None:
    pipe = case.build()

    def fail(step: int, kind: str, num_steps: int) -> None:
        if kind == stop_at[0] and step >= stop_at[1] - 2:
            raise KeyboardInterrupt

    with zcache.enabled(pipe, ZCacheConfig(interval=3)) as handle:
        clean = case.run(pipe)
        handle.on_pass = fail
        with pytest.raises(KeyboardInterrupt):
            case.run(pipe)
        handle.on_pass = None
        after = case.run(pipe)
    assert torch.equal(clean, after)


@case
def test_an_exception_in_the_context_still_disables(case: Case) -> None:
    pipe = case.build()
    plain = case.run(pipe)
    with pytest.raises(RuntimeError), zcache.enabled(pipe, CONFIG):
        raise RuntimeError
    assert torch.equal(plain, case.run(pipe))
    with zcache.enabled(pipe, CONFIG):
        pass


@case
def test_two_pipelines_do_not_touch_each_other(case: Case) -> None:
    cached, plain = case.build(), case.build()
    expected = case.run(plain)
    with zcache.enabled(cached, CONFIG) as handle:
        first = case.run(cached)
        assert torch.equal(expected, case.run(plain))
        assert torch.equal(first, case.run(cached))
        assert handle.report().forecast_passes > 0
    assert not torch.equal(expected, first)


@case
@granularity
@pytest.mark.parametrize("reflect", [True, False])
def test_full_computations_are_those_reported(case: Case, granularity: str, reflect: bool) -> None:
    pipe = case.build()
    with (
        zcache.enabled(pipe, CONFIG.replace(granularity=granularity, reflect=reflect)) as handle,
        BlockCounter(pipe.transformer) as counter,
    ):
        case.run(pipe)
    report = handle.report()
    calls_per_step = report.full_computations // report.full_passes
    # At module granularity the blocks' shells run in cached passes too, but no feature in them
    # does.
    passes = report.full_passes
    if granularity == "module":
        passes += report.forecast_passes + report.reflect_passes + 1  # the self-check's
    assert counter.count == passes * calls_per_step
    assert report.full_passes == len(report.full_steps)


@case
def test_reflection_adds_no_full_computation(case: Case) -> None:
    pipe = case.build()
    counts = []
    for reflect in (True, False):
        with zcache.enabled(pipe, CONFIG.replace(reflect=reflect)) as handle:
            case.run(pipe)
        counts.append((handle.report().full_computations, handle.report().full_steps))
    assert counts[0] == counts[1]


@case
@granularity
@pytest.mark.parametrize("base", ["taylorseer", "fora", "teacache"])
def test_every_base_runs_and_reflects(case: Case, granularity: str, base: str) -> None:
    """With all of the correction: by `time` strong guidance and few full steps leave none (DiT by TeaCache)."""
    pipe = case.build()
    config = CONFIG.replace(granularity=granularity, base=base, relax=None)
    with zcache.enabled(pipe, config) as handle:
        output = case.run(pipe)
    report = handle.report()
    assert torch.isfinite(output).all()
    assert report.finished and report.forecast_passes > 0 and report.reflect_passes > 0


# Every pipeline but DiT's and HunyuanVideo 1.5's takes callbacks.
CALLED_BACK = [case for case in CASES if not case.name.startswith(("dit", "hunyuan15"))]


@pytest.mark.parametrize("case", CALLED_BACK, ids=str)
def test_callbacks_see_every_step_once_and_in_order(case: Case) -> None:
    pipe = case.build()
    seen: list[int] = []

    def note(pipe: object, index: int, timestep: object, kwargs: dict) -> dict:
        seen.append(index)
        return {}

    with zcache.enabled(pipe, CONFIG) as handle:
        case.run(pipe, callback_on_step_end=note)
    assert seen == list(range(handle.report().num_steps))


@case
def test_the_walk_of_a_run_is_the_planned_one(case: Case) -> None:
    pipe = case.build()
    with zcache.enabled(pipe, CONFIG) as handle:
        case.run(pipe)
    report = handle.report()
    plan = planned(CONFIG, pipe, report.num_steps)
    assert report.walk == str(plan)
    assert report.full_steps == plan.full_steps
    assert report.fallbacks == ()


@case
def test_a_copy_of_an_enabled_scheduler_is_plain(case: Case) -> None:
    pipe = case.build()
    with zcache.enabled(pipe, CONFIG):
        twin = copy.deepcopy(pipe.scheduler)
        assert not is_armed(twin, "step")
        assert is_armed(pipe.scheduler, "step")


@case
def test_nothing_is_held_after_a_run(case: Case) -> None:
    pipe = case.build()
    with zcache.enabled(pipe, CONFIG) as handle:
        case.run(pipe)
        assert handle._run is None and handle._scope is None
        assert handle.report().cache_bytes > 0


def test_nothing_is_held_while_the_pipeline_decodes() -> None:
    """The last step lets go of the features: decoding may need the memory."""
    case = next(case for case in CASES if case.name == "dit")
    pipe, seen = case.build(), []
    with zcache.enabled(pipe, CONFIG) as handle:
        decode = pipe.vae.decode

        def note(*args: object, **kwargs: object) -> object:
            run = handle._run
            seen.append((run.done, run.anchors, run.window, run.held()))
            return decode(*args, **kwargs)

        pipe.vae.decode = note
        case.run(pipe)
    assert seen == [(True, {}, [], [])]
