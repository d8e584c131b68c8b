"""How model_output was made of the denoiser's outputs, found from observed steps and made again."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from zcache.caching import forms, guidance, nonlinear
from zcache.caching.guidance import LIMIT, Combination, rounding
from zcache.caching.terms import terms

ELSE = torch.randn(
    1, 6, 5, generator=torch.Generator().manual_seed(9)
)  # a latent that plays no part


def predictions(seed: int, shape: tuple[int, ...] = (1, 6, 5)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    c = torch.randn(shape, generator=generator)
    return c, 0.7 * c + 0.5 * torch.randn(shape, generator=generator)


def plain(c: Tensor, u: Tensor) -> Tensor:
    return u + 4.0 * (c - u)


def normalise(c: Tensor, u: Tensor, dim: int = -1) -> Tensor:
    v = plain(c, u)
    return v * (torch.norm(c, dim=dim, keepdim=True) / torch.norm(v, dim=dim, keepdim=True))


def rescale(c: Tensor, u: Tensor, phi: float = 0.7) -> Tensor:
    v = plain(c, u)
    deviations = [x.std(dim=list(range(1, x.ndim)), keepdim=True) for x in (c, v)]
    return phi * v * (deviations[0] / deviations[1]) + (1 - phi) * v


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("swapped", [False, True])
def test_normalised_guidance_is_recognised_and_run_again(swapped: bool, sign: float) -> None:
    (c, u), (c2, u2) = predictions(1), predictions(2)
    old, new = ([[u], [c]], [[u2], [c2]]) if swapped else ([[c], [u]], [[c2], [u2]])
    form = nonlinear.normalised(old, sign * normalise(c, u))
    assert form is not None and form.scale == pytest.approx(4.0, rel=1e-5)
    found = form.apply(sign * normalise(c, u), old, new, (c, c2))
    torch.testing.assert_close(found, sign * normalise(c2, u2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_token_is_normalised_along_whatever_dimension_its_channels_stand(dim: int) -> None:
    (c, u), (c2, u2) = predictions(1, (2, 6, 5, 4)), predictions(2, (2, 6, 5, 4))
    form = nonlinear.normalised([[c], [u]], normalise(c, u, dim))
    assert form is not None
    found = form.apply(normalise(c, u, dim), [[c], [u]], [[c2], [u2]], (c, c2))
    torch.testing.assert_close(found, normalise(c2, u2, dim), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_rescaled_guidance_is_recognised_from_two_steps_and_run_again(batch: int) -> None:
    shape = (batch, 6, 5)
    steps = [predictions(seed, shape) for seed in (1, 2, 3)]
    outputs = [[[c], [u]] for c, u in steps]
    made = [rescale(c, u) for c, u in steps]
    sums = [
        guidance.solve(o, m, ELSE.expand_as(m)) for o, m in zip(outputs[:2], made[:2], strict=True)
    ]
    form = nonlinear.rescaled(sums, outputs[:2], made[:2])
    if batch == 1:
        assert form is not None
        assert (*form.weights, form.amount) == pytest.approx((4.0, -3.0, 0.7), rel=1e-4)
        found = form.apply(made[0], outputs[0], outputs[2], (made[0], made[2]))
        torch.testing.assert_close(found, made[2], rtol=0, atol=1e-4)
        linear = sums[0].apply(made[0], outputs[0], outputs[2], (made[0], made[2]))
        assert (linear - made[2]).abs().max() > 1e-2
    else:  # each picture of a batch has a deviation of its own: a sum does not explain one step
        assert form is None and sums[0].misfit > rounding(torch.float32)


def perturbed(c: Tensor, u: Tensor, p: Tensor) -> Tensor:
    """Perturbed attention guidance, rescaled."""
    v = u + 4.0 * (c - u) + 2.0 * (c - p)
    deviations = [x.std(dim=(1, 2), keepdim=True) for x in (c, v)]
    return v * (0.7 * deviations[0] / deviations[1] + 0.3)


def limited(c: Tensor, u: Tensor, p: Tensor) -> Tensor:
    """Z-Image's, as it hands it on."""
    v = plain(c, u)
    return -v * min(1.0, float(0.8 * c.norm() / v.norm()))


@pytest.mark.parametrize("make", [perturbed, limited])
def test_a_sum_that_is_scaled_by_what_it_adds_up_is_recognised_and_run_again(
    make: Callable[..., Tensor],
) -> None:
    steps = [(*predictions(seed), predictions(seed + 9)[0]) for seed in (1, 2, 3)]
    outputs = [[[x] for x in (step if make is perturbed else step[:2])] for step in steps]
    made = [make(*step) for step in steps]
    sums = [guidance.solve(o, m, ELSE) for o, m in zip(outputs[:2], made[:2], strict=True)]
    assert nonlinear.is_unsteady(sums, torch.float32)
    form = nonlinear.rescaled(sums, outputs[:2], made[:2])
    assert form is not None
    found = form.apply(made[0], outputs[0], outputs[2], (made[0], made[2]))
    torch.testing.assert_close(found, made[2], rtol=0, atol=1e-4)


def test_guidance_of_some_channels_alone_is_recognised_and_run_again() -> None:
    def made(c: Tensor, u: Tensor) -> Tensor:
        return -torch.cat([plain(c, u)[:, :3], c[:, 3:]], dim=1)

    (c, u), (c2, u2) = predictions(1, (2, 4, 5, 5)), predictions(2, (2, 4, 5, 5))
    form = nonlinear.solve([[c], [u]], made(c, u), torch.zeros_like(c))
    assert isinstance(form, forms.Channelwise)
    found = form.apply(made(c, u), [[c], [u]], [[c2], [u2]], (c, c2))
    torch.testing.assert_close(found, made(c2, u2), rtol=0, atol=1e-4)
    assert nonlinear.channelwise([[c], [u]], normalise(c, u, 2)) is None


def test_factors_of_a_channel_that_depend_on_what_they_add_up_are_noticed() -> None:
    def made(c: Tensor, u: Tensor) -> Tensor:
        v = plain(c, u)
        return v / torch.linalg.vector_norm(v, dim=(0, 2, 3), keepdim=True)

    steps = [predictions(seed, (2, 4, 5, 5)) for seed in (1, 2)]
    forms = [nonlinear.channelwise([[c], [u]], made(c, u)) for c, u in steps]
    assert nonlinear.is_unsteady([form for form in forms if form is not None], torch.float32)


def test_plain_guidance_is_taken_for_neither() -> None:
    steps = [predictions(seed) for seed in (1, 2)]
    outputs, made = [[[c], [u]] for c, u in steps], [plain(c, u) for c, u in steps]
    sums = [guidance.solve(o, m, ELSE.expand_as(m)) for o, m in zip(outputs, made, strict=True)]
    assert all(s.factors == pytest.approx((4.0, -3.0), abs=1e-5) for s in sums)
    assert nonlinear.rescaled(sums, outputs, made) is None
    assert not nonlinear.is_unsteady(sums, torch.float32)
    assert nonlinear.normalised(outputs[0], made[0]) is None


def test_the_scale_is_that_of_plain_guidance_and_one_of_all_else() -> None:
    c, u = predictions(1)
    outputs = [[c], [u]]
    for made, scale in (
        (plain(c, u), 4.0),
        (u + 0.5 * (c - u), 1.0),
        (c, 1.0),
        (normalise(c, u), 1.0),
        (torch.full_like(c, math.nan), 1.0),
    ):
        found = guidance.solve(outputs, made, ELSE.expand_as(made))
        assert guidance.scale(found) == pytest.approx(scale, abs=1e-5)


def test_the_scale_is_that_of_a_sum_that_is_bent_or_takes_the_latent_in_too() -> None:
    """Guidance leads astray whatever is done to its sum; only a plain one decides what is cached."""
    c, u = predictions(1)
    outputs, steps = [[c], [u]], [predictions(seed) for seed in (1, 2)]
    latent = torch.randn(c.shape, generator=torch.Generator().manual_seed(3))
    each = [[[a], [b]] for a, b in steps]
    made = [rescale(a, b) for a, b in steps]
    linear = [guidance.solve(o, v, latent) for o, v in zip(each, made, strict=True)]
    for found in (
        nonlinear.solve(outputs, normalise(c, u), latent),
        nonlinear.rescaled(linear, each, made),
        guidance.solve(outputs, (latent - plain(c, u)) / 0.3, latent),
    ):
        assert guidance.scale(found) == pytest.approx(4.0, rel=1e-4)
        assert guidance.known_scale(found) is None


def test_a_sum_with_the_latent_is_found_where_the_outputs_round_more_than_what_is_made_of_them() -> (
    None
):
    """Cosmos 2 in bfloat16 makes a velocity in float32."""
    (x, d), _ = predictions(1), predictions(2)
    half = d.bfloat16()
    made = (x - d) / 0.3  # of what was rounded on its way here
    found = guidance.solve([[half]], made, x)
    assert found.takes_latent and 1e-4 < found.misfit < 2e-2


def test_a_velocity_made_of_a_denoised_prediction_takes_the_latent_in() -> None:
    """v = (x - D) / sigma, as Cosmos 2 hands its scheduler."""
    (x, d), (x2, d2) = predictions(1), predictions(2)
    found = guidance.solve([[d]], (x - d) / 0.3, x)
    assert found.takes_latent and found.factors == pytest.approx((-1 / 0.3, 1 / 0.3), abs=1e-4)
    applied = found.apply((x - d) / 0.3, [[d]], [[d2]], (x, x2))
    torch.testing.assert_close(applied, (x2 - d2) / 0.3, rtol=0, atol=1e-4)
    velocities = [(x - d) / 0.3, (x - d) / 0.4]
    right, wrong = found.distances([[[d]]] * 2, velocities, [x] * 2).tolist()
    assert right < 1e-5 and wrong > 0.1


def test_outputs_that_come_one_by_one_are_put_together() -> None:
    """Z-Image answers a batch with a list, guided ones first, with a dimension of one frame."""
    like = torch.zeros(2, 4, 3, 3)
    items = [torch.full((4, 1, 3, 3), float(n)) for n in range(4)]
    first, second = terms([items], like)
    assert first.shape == like.shape and first[:, 0, 0, 0].tolist() == [0.0, 1.0]
    assert second[:, 0, 0, 0].tolist() == [2.0, 3.0]
    assert list(terms([[torch.zeros(5, 1, 3, 3)]], like)) == []


def squared(c: Tensor, u: Tensor) -> Tensor:
    return c + 0.1 * c.square()


@pytest.mark.parametrize(("amount", "linear"), [(0.02, True), (0.5, False)])
def test_the_limit_between_first_order_and_not_at_all(amount: float, linear: bool) -> None:
    """The misfit of c + a (c^2 - its linear part) grows with a; 5 % is the limit."""
    c, u = predictions(1, (1, 64, 64))
    bent = c + amount * (c.square() - c.square().mean())
    found = guidance.solve([[c], [u]], bent, torch.zeros_like(c))
    assert found.is_linear == linear == (found.misfit <= 0.05) and LIMIT == 0.05
    assert found.misfit > rounding(torch.float32)


@pytest.mark.parametrize("make", [plain, normalise, rescale, squared])
def test_not_finite_is_no_error(make: Callable[[Tensor, Tensor], Tensor]) -> None:
    c, u = predictions(1)
    c[0, 0, 0] = math.nan
    found = guidance.solve([[c], [u]], make(c, u), c)
    assert found.misfit == math.inf and not found.is_linear
    assert nonlinear.normalised([[c], [u]], make(c, u)) is None


def test_what_held_before_is_tried_first() -> None:
    c, u = predictions(1)
    found = guidance.solve([[c], [u]], plain(c, u), c)
    c2, u2 = predictions(2)
    fits = guidance.explain(
        [found, found, None, Combination(leaf=(0, 0)), Combination(leaf=(0, 0))],
        [[[c2], [u2]], [[c2], [u2]], [[c2]], [[c2]], [[c2]]],
        [plain(c2, u2), u2 + 5.0 * (c2 - u2), c2, c2, u2],
        [c2] * 5,
    )
    assert fits == [True, False, False, True, False]


def test_a_share_above_one_is_not_taken_for_rescaling() -> None:
    """phi is a share: 1.5 would draw the deviation beyond that of the conditional prediction."""
    steps = [predictions(seed) for seed in (1, 2)]
    outputs, made = [[[c], [u]] for c, u in steps], [rescale(c, u, phi=1.5) for c, u in steps]
    sums = [guidance.solve(o, m, ELSE) for o, m in zip(outputs, made, strict=True)]
    assert nonlinear.rescaled(sums, outputs, made) is None


@pytest.mark.parametrize(
    ("numbers", "alike"),
    [((7.0, 7.006), True), ((7.0, 7.008), False), ((0.5, 0.5009), True), ((0.5, 0.502), False)],
)
def test_numbers_agree_to_a_thousandth_of_the_larger_or_of_one(
    numbers: tuple[float, float], alike: bool
) -> None:
    assert nonlinear._alike(numbers) == alike


@pytest.mark.parametrize(
    ("given", "scale"),
    [({"guidance": torch.tensor([3.5, 3.5])}, 3.5), ({"guidance": torch.tensor([6000.0])}, 6.0),
     ({"guidance": torch.tensor([1000.0])}, 1.0),
     ({"guidance": torch.tensor([500.0])}, 0.5), ({"guidance": torch.tensor([30.0])}, 30.0),
     ({"guidance": torch.ones(2)}, 1.0),
     ({"guidance": None}, 1.0), ({}, 1.0), ({"guidance": torch.ones(0)}, 1.0)],
    ids=str,
)  # fmt: skip
def test_the_scale_that_a_denoiser_is_told(given: dict, scale: float) -> None:
    """FluxPipeline gives the scale, HunyuanVideoPipeline a thousand times of it."""
    assert guidance.told(given) == scale
