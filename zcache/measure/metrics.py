"""PSNR and SSIM between two pictures or clips, in float64, so that two runs can be told apart by
number.

PSNR is 10 log10(peak^2 / MSE). SSIM follows Wang et al. (2004), "Image Quality Assessment: From
Error Visibility to Structural Similarity": an 11x11 Gaussian window with sigma 1.5, K1 = 0.01,
K2 = 0.03, averaged over the window positions that lie wholly inside the picture, over channels
and frames; scikit-image computes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

WINDOW = 11
SIGMA = 1.5
MOST = 100.0  # dB that one picture or frame counts at most, so that an equal one leaves a mean


def psnr(reference: np.ndarray, picture: np.ndarray, peak: float = 255.0) -> float:
    """Return the peak signal-to-noise ratio in dB; `inf` for identical pictures.

    Both arrays have the same shape, any number of dimensions, values in 0..peak.
    Raises ValueError when the shapes differ.
    """
    a, b = _pair(reference, picture)
    mse = float(np.mean((a - b) ** 2))
    return math.inf if mse == 0 else 10 * math.log10(peak**2 / mse)


def bounded_psnr(reference: np.ndarray, picture: np.ndarray, peak: float = 255.0) -> float:
    """Return `psnr`, but at most 100 dB, so that it can be averaged; raises as `psnr` does."""
    return min(psnr(reference, picture, peak), MOST)


def ssim(reference: np.ndarray, picture: np.ndarray, peak: float = 255.0) -> float:
    """Return the mean structural similarity, 1.0 for identical pictures.

    Arrays are (..., height, width, channels) with values in 0..peak; height and width at least 11.
    Raises ValueError when the shapes differ or the picture is smaller than the window.
    """
    a, b = _pair(reference, picture)
    if a.ndim < 3 or min(a.shape[-3:-1]) < WINDOW:
        raise ValueError(
            f"the picture has shape {a.shape}; SSIM needs (..., height, width, channels) with "
            f"height and width at least {WINDOW}: use a larger picture"
        )
    from skimage.metrics import structural_similarity

    values = [
        structural_similarity(
            *pair,
            data_range=peak,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=SIGMA,
            use_sample_covariance=False,
        )
        for pair in zip(_frames(a), _frames(b), strict=True)
    ]
    return float(np.mean(values))


def over_frames(reference: np.ndarray, clip: np.ndarray) -> dict[str, float]:
    """Return `psnr` and `ssim` as means over the frames, and those of the worst frame.

    Both arrays are (F, H, W, 3) with values in 0..255. The worst frame's are called
    `psnr_worst_frame` and `ssim_worst_frame`; a frame's PSNR counts 100 dB at most.
    Raises ValueError when the shapes differ or a frame is smaller than the window of SSIM.
    """
    pairs = list(zip(reference, clip, strict=True))
    psnrs = [bounded_psnr(*pair) for pair in pairs]
    ssims = [ssim(*pair) for pair in pairs]
    return {
        "psnr": float(np.mean(psnrs)),
        "ssim": float(np.mean(ssims)),
        "psnr_worst_frame": min(psnrs),
        "ssim_worst_frame": min(ssims),
    }


def _pair(reference: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # In one order of memory, in which their means are added up: else equal pictures differ in the last bit.
    a, b = (np.ascontiguousarray(x, np.float64) for x in (reference, picture))
    if a.shape != b.shape:
        raise ValueError(
            f"the pictures have shapes {a.shape} and {b.shape}; they must be equal: "
            "compare pictures of one size"
        )
    return a, b


def _frames(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, *x.shape[-3:])


def interval95(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean (normal approximation)."""
    if len(values) < 2:
        return math.nan
    return 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
