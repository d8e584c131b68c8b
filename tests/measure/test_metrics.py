import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from zcache.measure import metrics


def random_picture(seed: int, side: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, side, side, 3)).astype(np.uint8)


def test_a_picture_is_identical_to_itself():
    picture = random_picture(0)

    assert metrics.psnr(picture, picture) == math.inf
    assert metrics.ssim(picture, picture) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("side", [24, 33, 64])
def test_how_a_picture_lies_in_memory_says_nothing_of_it(side: int):
    """To the last bit: a drawn picture is a view of (F, C, H, W), and one that was stored is not."""
    random = np.random.default_rng(0)
    stored = [255 * random.random((1, side, side, 3), np.float32) for _ in range(2)]
    drawn = [np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1) for x in stored]

    for measure in (metrics.psnr, metrics.ssim):
        assert measure(*drawn) == measure(*stored) == measure(stored[0], drawn[1])


def test_a_clip_counts_each_frame_and_an_equal_one_a_hundred_decibels():
    clip = np.concatenate([random_picture(seed) for seed in (0, 1)])
    other = clip.copy()
    other[1] = np.clip(clip[1].astype(int) + 20, 0, 255)

    scores = metrics.over_frames(clip, other)

    worst = metrics.psnr(clip[1], other[1])
    assert scores["psnr_worst_frame"] == worst
    assert scores["psnr"] == pytest.approx((100 + worst) / 2)
    assert scores["ssim_worst_frame"] == metrics.ssim(clip[1], other[1])
    assert scores["ssim"] == pytest.approx((1 + scores["ssim_worst_frame"]) / 2)


def test_clips_of_two_lengths_are_refused():
    with pytest.raises(ValueError):
        metrics.over_frames(np.zeros((2, 16, 16, 3)), np.zeros((3, 16, 16, 3)))


def test_psnr_of_a_constant_difference_of_ten():
    dark, bright = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 110, np.uint8)

    assert metrics.psnr(dark, bright) == pytest.approx(20 * math.log10(255 / 10))


def test_differences_of_bytes_do_not_wrap_around():
    black, white = np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)

    assert metrics.psnr(black, white) == metrics.psnr(white, black) == pytest.approx(0.0)


def test_ssim_of_flat_pictures_is_the_luminance_term():
    a, b, c1 = 100.0, 120.0, (0.01 * 255) ** 2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)

    assert metrics.ssim(np.full((11, 11, 1), a), np.full((11, 11, 1), b)) == pytest.approx(expected)


def test_ssim_of_one_window_written_out():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 255, (2, 11, 11))
    x = np.arange(11) - 5
    weights = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a = (weights * (a - mean_a) ** 2).sum()
    var_b = (weights * (b - mean_b) ** 2).sum()
    cov = (weights * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = ((2 * mean_a * mean_b + c1) * (2 * cov + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )

    assert metrics.ssim(a[..., None], b[..., None]) == pytest.approx(expected)


def test_ssim_agrees_with_scipys_gaussian_filter():
    a, b = (random_picture(seed)[0, ..., 0].astype(float) for seed in (2, 3))

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    expected = np.mean(luminance * (2 * cov + c2) / (var_a + var_b + c2))

    assert metrics.ssim(a[..., None], b[..., None]) == pytest.approx(expected)


def test_noise_lowers_both():
    picture = random_picture(4)
    little, much = (
        np.clip(picture.astype(int) + d, 0, 255) for d in (random_noise(3), random_noise(30))
    )

    assert metrics.psnr(picture, little) > metrics.psnr(picture, much)
    assert metrics.ssim(picture, little) > metrics.ssim(picture, much)


def random_noise(scale: int) -> np.ndarray:
    return np.random.default_rng(5).integers(-scale, scale + 1, (1, 24, 24, 3))


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ssim])
def test_pictures_of_two_sizes_are_refused(measure):
    with pytest.raises(ValueError, match="must be equal"):
        measure(random_picture(0, 24), random_picture(0, 32))


def test_ssim_refuses_a_picture_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11"):
        metrics.ssim(random_picture(0, 10), random_picture(1, 10))
