"""Cached passes by tape: the same bits as through the modules, and only where nothing can be missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zcache
from zcache import ZCacheConfig
from zcache.caching import cached_pass, watched
from zcache.caching.arguments import Place, flattened
from zcache.caching.bindings import Denoiser, bind
from zcache.caching.cached_pass import CachedPass
from zcache.caching.recorder import Recorder
from zcache.caching.tape import Tape

from ..pipelines import CASES, Case, flux

BY_NAME = {case.name: case for case in CASES}
FLUX = BY_NAME["flux"]
CONFIG = ZCacheConfig(interval=4)


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """One entry per play of a tape."""
    counted: list[int] = []
    play = Tape.play

    def counting(self: Tape, values: Any, lives: Any) -> list[Tensor]:
        counted.append(1)
        return play(self, values, lives)

    monkeypatch.setattr(Tape, "play", counting)
    yield counted


def draw(case: Case, config: ZCacheConfig = CONFIG, pipe: Any = None, **more: Any) -> Tensor:
    pipe = pipe or case.build()
    with zcache.enabled(pipe, config):
        return case.run(pipe, **more)


def through_modules(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], Tensor]) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(cached_pass, "MOST_RECORDINGS", 0)
        return draw()


@pytest.mark.parametrize("granularity", ["stack", "module"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_tape_draws_bit_for_bit_what_the_modules_draw(
    case: Case, granularity: str, monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    config = CONFIG.replace(granularity=granularity)
    expected = through_modules(monkeypatch, lambda: draw(case, config))
    assert not plays
    assert torch.equal(draw(case, config), expected)
    # HunyuanVideo's layers write into a mask, which a tape cannot tell.
    writes = granularity == "module" and case.name.split("-")[0] in ("hunyuan", "i2v")
    assert bool(plays) != writes


def test_without_reflection_and_with_fora_too(
    monkeypatch: pytest.MonkeyPatch, plays: list[int]
) -> None:
    for changes in ({"reflect": False}, {"base": "fora"}, {"interval": 2}):
        config = CONFIG.replace(**changes)
        expected = through_modules(monkeypatch, lambda config=config: draw(FLUX, config))
        plays.clear()
        assert torch.equal(draw(FLUX, config), expected)
        assert plays


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


def test_after_an_exception_the_next_run_is_clean(plays: list[int]) -> None:
    pipe = flux()
    expected = draw(FLUX, pipe=pipe)
    for step in (5, 6, 7):

        def callback(
            pipe: Any, i: int, t: Any, kwargs: dict[str, Any], step: int = step
        ) -> dict[str, Any]:
            if i == step:
                raise KeyboardInterrupt
            return kwargs

        with pytest.raises(KeyboardInterrupt):
            draw(FLUX, pipe=pipe, callback_on_step_end=callback)
        assert torch.overrides._get_current_function_mode_stack() == []
        assert torch.equal(draw(FLUX, pipe=pipe), expected)


def test_an_exception_within_a_recording_leaves_no_tape() -> None:
    pipe, raised = flux(), []
    norm = pipe.transformer.norm_out.norm
    functional = torch.nn.functional.layer_norm

    def failing(*args: Any, **kwargs: Any) -> Tensor:
        if isinstance(torch.overrides._get_current_function_mode(), Recorder) and not raised:
            raised.append(1)
            raise ArithmeticError
        return functional(*args, **kwargs)

    assert norm is not None
    expected = draw(FLUX, pipe=pipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "layer_norm", failing)
        with pytest.raises(ArithmeticError):
            draw(FLUX, pipe=pipe)
    assert torch.overrides._get_current_function_mode_stack() == []
    assert torch.equal(draw(FLUX, pipe=pipe), expected)


def test_a_tape_that_lies_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = through_modules(monkeypatch, lambda: draw(FLUX))
    play, lies = Tape.play, []

    def lie(self: Tape, values: Any, lives: Any) -> list[Tensor]:
        lies.append(1)
        return [tensor * (1 + 1e-6) for tensor in play(self, values, lives)]

    monkeypatch.setattr(Tape, "play", lie)
    assert torch.equal(draw(FLUX), expected)
    assert len(lies) == 1


def test_a_tape_that_cannot_be_played_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, tried = through_modules(monkeypatch, lambda: draw(FLUX)), []

    def fail(self: Tape, values: Any, lives: Any) -> list[Tensor]:
        tried.append(1)
        raise ArithmeticError

    monkeypatch.setattr(Tape, "play", fail)
    assert torch.equal(draw(FLUX), expected)
    assert len(tried) == 1


def test_nothing_of_a_tape_outlives_its_run() -> None:
    pipe = flux()
    with zcache.enabled(pipe, CONFIG) as handle:
        states = []
        handle.on_pass = lambda *_: states.append(handle._run)
        FLUX.run(pipe)
    assert states[-1].passes == {}


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, torch.enable_grad, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_where_calls_do_more_than_they_say_they_are_not_plain(mode: Callable[[], Any]) -> None:
    cpu = torch.device("cpu")
    with torch.no_grad():
        assert watched.calls_are_plain(cpu)
        with mode():
            assert not watched.calls_are_plain(cpu)


def passes_of(transformer: Any) -> CachedPass:
    denoiser = Denoiser(transformer, bind("stack", transformer))
    return CachedPass(denoiser)


def arguments(transformer: Any, **more: Any) -> dict[str, Any]:
    config, generator = transformer.config, torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    given = {
        "hidden_states": noise(1, 16, config.in_channels),
        "encoder_hidden_states": noise(1, 5, config.joint_attention_dim),
        "pooled_projections": noise(1, config.pooled_projection_dim),
        "timestep": torch.full((1,), 0.5),
        "guidance": torch.full((1,), 3.0),
        "img_ids": torch.zeros(16, 3),
        "txt_ids": torch.zeros(5, 3),
        "return_dict": False,
    }
    return {name: x for name, x in (given | more).items() if x is not None}


class Called:
    """Cached passes of one transformer, called as a run calls them."""

    def __init__(self) -> None:
        self.transformer = flux().transformer
        self.passes = passes_of(self.transformer)
        self.binding = self.passes._binding
        self.given = arguments(self.transformer)
        with torch.no_grad():
            self.output, self.feature = self.binding.full(lambda: self._call(self.given), {})
        self.passes.see(flattened(((), self.given)))

    def _call(self, given: dict[str, Any]) -> Any:
        return self.transformer(**given)

    @torch.no_grad()
    def __call__(self, **changes: Any) -> tuple[Tensor, Tensor]:
        """A cached pass, and what the modules give."""
        self.given = given = {**self.given, **changes}
        places = (Place((1, "hidden_states")),)
        feature = torch.rand(()) * self.feature
        found = self.passes.forecast(
            *(lambda: self._call(given), ((), given), flattened(((), given)), places, feature),
            *(self.output, {}),
        )
        return found[0], self.binding.cached(lambda: self._call(given), feature, None, {})[0]

    def step(self, time: float, **changes: Any) -> bool:
        """Whether the next step's pass, of another latent, is what the modules give."""
        latent = torch.randn_like(self.given["hidden_states"])
        timestep = torch.full((len(latent),), time)
        found, expected = self(**{"hidden_states": latent, "timestep": timestep, **changes})
        return torch.equal(found, expected)


def test_a_pass_is_recorded_then_proved_then_played(plays: list[int]) -> None:
    called = Called()
    for number, time in enumerate((0.4, 0.3, 0.2, 0.1)):
        assert called.step(time)
        assert len(plays) == number
    assert called.passes._proved


def test_arguments_that_change_after_a_while_are_seen(plays: list[int]) -> None:
    called = Called()
    for time in (0.4, 0.3, 0.2):
        assert called.step(time)
    given = called.given
    changes: list[dict[str, Any]] = [
        {"pooled_projections": given["pooled_projections"] * 2},  # another tensor
        {"guidance": torch.full((1,), 7.0)},
        {"joint_attention_kwargs": {}},  # another argument
        {name: torch.cat([given[name]] * 2) for name in given if given[name] is not False}
        | {"img_ids": given["img_ids"], "txt_ids": given["txt_ids"]},
    ]
    for change in changes:
        assert called.step(0.1, **change)
        assert called.step(0.05)
    called.given["pooled_projections"].mul_(3)  # the same tensor with other values
    assert called.step(0.04)


def test_a_tensor_given_twice_is_not_recorded(plays: list[int]) -> None:
    called = Called()
    both = torch.full((1,), 0.5)
    assert called.step(0.4, timestep=both, guidance=both)
    for time in (0.3, 0.2, 0.1):
        assert called.step(time, guidance=torch.full((1,), 3.0 + time))
    assert not plays


def test_what_cannot_be_compared_is_not_recorded(plays: list[int]) -> None:
    called, other = Called(), object()
    called.passes.see(flattened(((), called.given | {"joint_attention_kwargs": {"other": other}})))
    for time in (0.4, 0.3, 0.2, 0.1):
        assert called.step(time, joint_attention_kwargs={"other": other})
    assert not plays


def test_a_latent_of_another_layout_goes_through_the_modules(plays: list[int]) -> None:
    called = Called()
    for time in (0.4, 0.3, 0.2):
        assert called.step(time)
    before = len(plays)
    latent = torch.randn(1, called.given["hidden_states"].shape[2], 16).mT
    flat = flattened(((), called.given))

    def at(sample: Tensor) -> Any:
        return called.transformer(**{**called.given, "hidden_states": sample})

    with torch.no_grad():
        found = called.passes.again(at, flat, latent, called.feature, called.output, {})
        expected = called.binding.cached(lambda: at(latent), called.feature, None, {})
        assert len(plays) == before
        latent = latent.contiguous()
        again = called.passes.again(at, flat, latent, called.feature, called.output, {})
        assert len(plays) == before + 1
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(again[0], expected[0])
