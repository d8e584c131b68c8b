"""The small parts: interception, substitution, guidance, outputs, registry."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zcache.caching import guidance, intercept
from zcache.caching.arguments import Place, factors, locate, put
from zcache.caching.features import leaves, rebuild
from zcache.caching.stand_ins import NoBlocks, PassThrough, swapped


class Greeter:
    def greet(self, name: str) -> str:
        return f"hello {name}"


class LoudGreeter(Greeter):
    pass


def shouting(original: Any, *args: Any) -> str:
    return original(*args).upper()


@pytest.mark.parametrize("cls", [Greeter, LoudGreeter])
def test_interception_arms_one_instance_only(cls: type) -> None:
    armed, other = cls(), cls()
    own = "greet" in vars(cls)
    intercept.arm(armed, "greet", shouting)
    assert (armed.greet("you"), other.greet("you"), Greeter().greet("you")) == (
        "HELLO YOU",
        "hello you",
        "hello you",
    )
    intercept.disarm(armed, "greet")
    assert armed.greet("you") == "hello you"
    assert ("greet" in vars(cls)) == own


def test_interception_of_class_and_subclass_do_not_mix() -> None:
    base, derived = Greeter(), LoudGreeter()
    original = Greeter.greet
    intercept.arm(derived, "greet", shouting)
    intercept.arm(base, "greet", lambda original, *args: "…")
    assert (base.greet("a"), derived.greet("a")) == ("…", "HELLO A")
    intercept.disarm(base, "greet")
    assert (base.greet("a"), derived.greet("a")) == ("hello a", "HELLO A")
    intercept.disarm(derived, "greet")
    assert Greeter.greet is original and "greet" not in vars(LoudGreeter)


def test_interception_keeps_the_signature() -> None:
    import inspect

    armed = Greeter()
    before = inspect.signature(armed.greet)
    intercept.arm(armed, "greet", shouting)
    assert inspect.signature(armed.greet) == before
    intercept.disarm(armed, "greet")


def test_swapped_restores_after_an_exception() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    originals = list(model)
    with pytest.raises(KeyError), swapped([(model, "0", PassThrough(model[0]))]):
        assert model[0] is not originals[0]
        raise KeyError
    assert list(model) == originals


def test_no_blocks_iterates_over_nothing_and_still_answers() -> None:
    blocks = torch.nn.ModuleList([torch.nn.Linear(2, 3)])
    stand_in = NoBlocks(blocks)
    assert list(stand_in) == [] and len(stand_in) == 1 and stand_in[0] is blocks[0]


LATENT = torch.arange(12.0).reshape(1, 4, 3)


@pytest.mark.parametrize(
    ("made", "repeats", "dim", "start"),
    [
        (LATENT, 1, None, 0),
        (LATENT.to(torch.float64), 1, None, 0),
        (torch.cat([LATENT, LATENT]), 2, None, 0),
        (LATENT[:, None], 1, None, 0),
        (LATENT[0], 1, None, 0),
        (torch.cat([LATENT, torch.full((1, 2, 3), 99.0)], dim=1), 1, 1, 0),
        (torch.cat([torch.full((1, 2, 3), 99.0), LATENT], dim=1), 1, 1, 2),
        (torch.cat([torch.cat([LATENT, torch.full((1, 2, 3), 99.0)], dim=1)] * 2), 2, 1, 0),
    ],
    ids=[
        *("same", "cast", "doubled", "one-dimension-more", "one-dimension-less"),
        *("leading", "trailing", "doubled-leading"),
    ],
)
def test_the_sample_is_found_and_replaced(
    made: torch.Tensor, repeats: int, dim: int | None, start: int
) -> None:
    arguments = ((), {"hidden_states": made, "other": torch.zeros(3), "options": {"scale": 1.0}})
    places = locate(arguments, LATENT)
    assert places == (Place((1, "hidden_states"), repeats, dim, start),)
    new = LATENT * -3
    replaced = put(arguments, places, new)[1]["hidden_states"]
    assert replaced.dtype == made.dtype and replaced.shape == made.shape
    assert locate(((), {"hidden_states": replaced}), new) != ()
    assert torch.equal(arguments[1]["hidden_states"], made)
    assert (replaced[made == 99.0] == 99.0).all()


def test_identity_wins_over_equality() -> None:
    twin = LATENT.clone()
    places = locate(((LATENT, twin), {}), LATENT)
    assert [place.path for place in places] == [(0, 0)]


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_scaled_sample_is_found_and_replaced_at_its_scale(
    repeats: int, dtype: torch.dtype
) -> None:
    arguments = ((torch.cat([LATENT * 0.3] * repeats).to(dtype), torch.zeros_like(LATENT)), {})
    places = locate(arguments, LATENT)
    assert places == (Place((0, 0), repeats, scaled=True),)
    new = LATENT.flip(1) + 1.0
    replaced = put(arguments, places, new, factors(arguments, places, LATENT))[0][0]
    close = {"rtol": 1e-6 if dtype is torch.float32 else 1e-2, "atol": 0.0}
    torch.testing.assert_close(replaced, torch.cat([new * 0.3] * repeats).to(dtype), **close)


def test_a_sample_with_noise_on_it_is_not_found() -> None:
    noisy = LATENT + 0.01 * torch.arange(LATENT.numel()).remainder(3).reshape(LATENT.shape)
    assert locate(((noisy, -LATENT), {}), LATENT) == ()


def outputs(count: int, batch: int = 1) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(batch, 6, 5, generator=generator)] for _ in range(count)]


def cfg(outs: list, scale: float = 4.0) -> torch.Tensor:
    return outs[1][0] + scale * (outs[0][0] - outs[1][0])


def batched(outs: list, scale: float = 1.5) -> torch.Tensor:
    """DiT: guidance on the first channels of a doubled batch, both halves made equal."""
    cond, uncond = outs[0][0][:, :3].chunk(2)
    half = uncond + scale * (cond - uncond)
    return torch.cat([half, half])


@pytest.mark.parametrize(
    ("make", "count", "batch"),
    [(cfg, 2, 1), (cfg, 2, 2), (batched, 1, 2), (batched, 1, 4), (lambda o: o[0][0][:, :4], 1, 1)],
)
def test_linear_guidance_is_found_exactly(make: Any, count: int, batch: int) -> None:
    old, new = outputs(count, batch), [[x[0] ** 2] for x in outputs(count, batch)]
    found = guidance.solve(old, make(old), torch.zeros_like(make(old)))
    assert found.misfit < 1e-6
    torch.testing.assert_close(
        found.apply(make(old), old, new, (make(old), make(old))), make(new), rtol=0, atol=2e-5
    )


def test_an_output_handed_on_is_recognised_by_identity() -> None:
    old, new = outputs(1), outputs(1)
    found = guidance.solve(old, old[0][0], old[0][0])
    assert found.leaf == (0, 0)
    assert found.apply(old[0][0], old, new, (old[0][0], old[0][0])) is new[0][0]


def test_guidance_that_is_not_linear_is_known_by_its_misfit() -> None:
    old = outputs(2)
    assert not guidance.solve(
        old, (old[0][0] * old[1][0]).exp(), torch.zeros_like(old[0][0])
    ).is_linear


def test_outputs_of_another_shape_give_nothing() -> None:
    assert (
        guidance.solve([[torch.zeros(2, 3)]], torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4))
        is None
    )


def test_outputs_keep_their_containers() -> None:
    from diffusers.models.modeling_outputs import Transformer2DModelOutput

    a, b = torch.ones(1), torch.zeros(1)
    for output in (a, (a,), [a, b], Transformer2DModelOutput(sample=a), ([a], {"x": b})):
        again = rebuild(output, tuple(leaf * 2 for leaf in leaves(output)))
        assert type(again) is type(output)
        assert [leaf.item() for leaf in leaves(again)] == [
            leaf.item() * 2 for leaf in leaves(output)
        ]
