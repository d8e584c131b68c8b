"""A tape misses nothing: weights, hooks, modules and modes that change are seen in the run they change in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zcache
from zcache import ZCacheConfig
from zcache.caching import watched

from ..pipelines import flux
from .taping import BY_NAME, CONFIG, FLUX, draw, through_modules


def write(transformer: Any) -> None:
    with torch.no_grad():
        transformer.norm_out.linear.weight.mul_(1.5)


def write_constant(transformer: Any) -> None:
    with torch.no_grad():
        transformer.time_text_embed.text_embedder.linear_1.weight.mul_(1.5)


def replace_weight(transformer: Any) -> None:
    transformer.proj_out.weight = nn.Parameter(transformer.proj_out.weight.detach() * 1.5)


def replace_module(transformer: Any) -> None:
    transformer.proj_out = nn.Sequential(transformer.proj_out, nn.Tanh())


def replace_data(transformer: Any) -> None:
    weight = transformer.time_text_embed.text_embedder.linear_1.weight
    weight.data = weight.data * 1.5


def patch_forward(transformer: Any) -> None:
    forward = transformer.norm_out.forward
    transformer.norm_out.forward = lambda *args: forward(*args) * 1.5


def hook(transformer: Any) -> None:
    transformer.x_embedder.register_forward_hook(lambda module, args, output: output * 1.5)


def hook_before(transformer: Any) -> None:
    transformer.norm_out.register_forward_pre_hook(lambda module, args: (args[0] * 1.5, args[1]))


def set_eps(transformer: Any) -> None:
    transformer.norm_out.norm.eps = 0.5


OF_CONSTANTS = (write_constant, replace_data)
CHANGES = (write, replace_weight, replace_module, patch_forward, hook, hook_before, set_eps)


@pytest.mark.parametrize("step", [5, 6, 7])
@pytest.mark.parametrize("change", [*OF_CONSTANTS, *CHANGES])
def test_what_a_callback_changes_is_seen_at_once(
    change: Callable[[Any], None], step: int, monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    # Through the modules, a reflected step keeps the embedding of its forecast, of the old weights.
    config = CONFIG.replace(reflect=change not in OF_CONSTANTS)

    def run() -> Tensor:
        def callback(pipe: Any, i: int, t: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if i == step:
                change(pipe.transformer)
            return kwargs

        return draw(FLUX, config, callback_on_step_end=callback)

    unchanged = draw(FLUX, config)
    plays.clear()
    expected = through_modules(monkeypatch, run)
    assert not torch.equal(expected, unchanged)
    assert torch.equal(run(), expected)
    assert plays


@pytest.mark.parametrize("window", [1, 2])
def test_what_is_written_past_torchs_count_is_seen_from_the_next_full_step_on(
    window: int, monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    """A write through `.data` into a weight of which a constant was made, as the second or third window ends."""
    config = ZCacheConfig(full_steps=(0, 4, 8, 10), reflect=False)
    step = config.full_steps[window + 1] - 1

    def run() -> Tensor:
        def callback(pipe: Any, i: int, t: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if i == step:
                pipe.transformer.time_text_embed.text_embedder.linear_1.weight.data.mul_(1.5)
            return kwargs

        return draw(FLUX, config, callback_on_step_end=callback)

    expected = through_modules(monkeypatch, run)
    assert not torch.equal(expected, draw(FLUX, config))
    plays.clear()
    assert torch.equal(run(), expected)
    assert plays


HOOKED = {
    "flux": lambda transformer: transformer.x_embedder,
    "flux-root": lambda transformer: transformer,
    # Of a block that no cached pass runs, but for this part of it.
    "dit": lambda transformer: transformer.transformer_blocks[0].norm1.emb,
    "dit-deep": lambda transformer: transformer.transformer_blocks[0].norm1.emb.time_proj,
}


@pytest.mark.parametrize("name", HOOKED)
def test_hooks_run_in_every_pass(name: str, plays: list[int]) -> None:
    case, seen = BY_NAME[name.split("-")[0]], []
    pipe = case.build()
    HOOKED[name](pipe.transformer).register_forward_hook(lambda *_: seen.append(1))
    with zcache.enabled(pipe, CONFIG) as handle:
        case.run(pipe)
    report = handle.report()
    passes = report.full_passes + report.forecast_passes + report.reflect_passes
    assert len(seen) >= passes
    assert not plays


def test_what_a_class_does_besides_is_done_in_every_pass(
    monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    pipe = flux()
    cls = type(pipe.transformer.norm_out)
    forward = cls.forward
    monkeypatch.setattr(cls, "forward", lambda *args: forward(*args))
    draw(FLUX, pipe=pipe)
    assert not plays


@pytest.mark.parametrize("during", ["all", "the second half"])
def test_under_autocast_the_modules_run(
    during: str, monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    # Through the modules, a reflected step keeps the embedding of its forecast, of the mode before.
    config = CONFIG.replace(reflect=during == "all")

    def run() -> Tensor:
        context = torch.autocast("cpu", torch.bfloat16)
        pipe, entered = flux(), []

        def callback(pipe: Any, i: int, t: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if i == 4 and during != "all":
                context.__enter__()
                entered.append(i)
            return kwargs

        try:
            if during == "all":
                context.__enter__()
                entered.append(0)
            return draw(FLUX, config, pipe, callback_on_step_end=callback)
        finally:
            if entered:
                context.__exit__(None, None, None)

    expected = through_modules(monkeypatch, run)
    assert torch.equal(run(), expected)
    assert bool(plays) == (during != "all")
    assert not torch.equal(draw(FLUX, config), expected)


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, torch.enable_grad, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_where_calls_do_more_than_they_say_they_are_not_plain(mode: Callable[[], Any]) -> None:
    cpu = torch.device("cpu")
    with torch.no_grad():
        assert watched.calls_are_plain(cpu)
        with mode():
            assert not watched.calls_are_plain(cpu)
