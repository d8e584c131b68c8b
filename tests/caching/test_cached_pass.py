"""Cached passes alone: recorded, proved, then played, and only where nothing can be missed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zcache.caching.arguments import Place, flattened
from zcache.caching.bindings import Denoiser, bind
from zcache.caching.cached_pass import CachedPass

from ..pipelines import flux


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
