"""The verdict in words: from likeness alone, of a clip from its worst frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zcache.measure import files, metrics, verdict

ORDER = [verdict.OTHER, verdict.CLOSE, verdict.SAME]
figures = st.tuples(st.floats(0, 100), st.floats(-1, 1))


def told(psnr, ssim, **more):
    return {"identical": False, "psnr": psnr, "ssim": ssim, **more}


@given(figures, figures)
def test_a_nearer_run_never_gets_a_worse_verdict(one, other):
    worse = told(min(one[0], other[0]), min(one[1], other[1]))
    better = told(max(one[0], other[0]), max(one[1], other[1]))

    assert ORDER.index(verdict.level(worse)) <= ORDER.index(verdict.level(better))


@given(figures, figures)
def test_the_worst_frame_of_a_clip_decides(mean, worst):
    clip = told(*mean, psnr_worst_frame=worst[0], ssim_worst_frame=worst[1])

    assert verdict.level(clip) == verdict.level(told(*worst))
    assert "clip" in verdict.sentence(clip)


def test_equal_pictures_are_identical_and_differ_nowhere():
    one = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)

    assert verdict.of({"identical": True, "psnr": None, "ssim": 1.0})["level"] == verdict.IDENTICAL
    assert files.heat_map(one, one)[1] == 0


def shifted(pixels):
    """Likeness of a square to itself so many pixels to the right."""
    plain = np.full((128, 128, 3), 240, np.uint8)
    moved = plain.copy()
    plain[40:80, 40:80] = (30, 60, 200)
    moved[40:80, 40 + pixels : 80 + pixels] = (30, 60, 200)
    return told(metrics.psnr(plain, moved), metrics.ssim(plain, moved))


@pytest.mark.parametrize(("pixels", "level"), [(1, verdict.CLOSE), (8, verdict.OTHER)])
def test_a_shape_a_little_off_is_a_small_difference_and_elsewhere_another_picture(pixels, level):
    assert verdict.level(shifted(pixels)) == level


def test_one_level_of_noise_cannot_be_told_apart_and_much_noise_can():
    rng = np.random.default_rng(0)
    plain = rng.integers(64, 192, (128, 128, 3)).astype(np.uint8)
    levels = {}
    for strength in (1, 60):
        noisy = np.clip(plain + rng.integers(-strength, strength + 1, plain.shape), 0, 255)
        levels[strength] = verdict.level(
            told(metrics.psnr(plain, noisy), metrics.ssim(plain, noisy))
        )

    assert levels == {1: verdict.SAME, 60: verdict.OTHER}


def test_a_broken_result_says_what_to_do():
    assert "let more steps be computed in full" in verdict.sentence(told(8.0, 0.4))
    assert "choose" not in verdict.sentence(told(30.0, 0.96))
