"""Relaxed reflection: how much of a window's correction is kept at its newer anchor (ours).

The features at `stop` were computed on a latent that is off by e. If the denoised prediction did not
move with e at all, the velocity there would already answer it by e / sigma_stop, replaying the window
would overshoot by (sigma_start - sigma_stop) / 2 * e / sigma_stop, and the right share would be
`sigma`: 2 sigma_stop / (sigma_start + sigma_stop). Measured on trained models (examples/study) the
prediction does move: the whole correction is right in every window but those along which the noise
level falls to a small part, which are the last ones. `ratio` is twice that share, and at most all."""

from __future__ import annotations

NAMES = ("ratio", "sigma")


def share(relax: str | float | None, sigma_start: float, sigma_stop: float) -> float:
    """The share of the correction to keep, from 0 to 1.

    Args:
        relax: a name, a share, or None for all of it (the paper).
        sigma_start: noise level at the older anchor: the flow's sigma, or sigma/alpha of a diffusion
            schedule.
        sigma_stop: noise level at the newer anchor.
    """
    if relax is None:
        return 1.0
    if relax not in NAMES:
        return float(relax)
    total = sigma_start + sigma_stop
    kept = 2 * sigma_stop / total if total > 0 else 1.0
    return kept if relax == "sigma" else min(1.0, 2 * kept)
