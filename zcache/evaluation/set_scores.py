"""Scores of a whole set of pictures: FID, sFID and the Inception Score.

All three look through the Inception-v3 of the TensorFlow FID code as torch-fidelity ports it. sFID is
ADM's (Dhariwal & Nichol 2021, after Nash et al. 2021): the Fréchet distance of the first seven
channels of `mixed_6/conv`, here `Mixed_6d.branch1x1`, 17 x 17 places each. The reference is the
uncached set, or the statistics of a data set in ADM's .npz (`mu`, `sigma`, `mu_s`, `sigma_s`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .extras import needed, with_weights

SETS = ("fid", "sfid", "is")
SPATIAL_CHANNELS = 7
SPLITS = 10  # of the Inception Score, over shuffled samples
Features = dict[str, Tensor]


def inception(device: Any) -> nn.Module:
    """torch-fidelity's Inception-v3 with what all three scores need.

    Raises:
        ConfigError: torch-fidelity is not installed, or its weights cannot be had.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise needed("evaluate", "torch-fidelity") from error

    def load() -> nn.Module:
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])

    return with_weights("Inception-v3", load).to(device).eval()


def features(network: nn.Module, pictures: Iterable[np.ndarray], device: Any) -> Features:
    """Features of pictures, (H, W, 3) uint8 each: pooled (P, 2048), spatial (P, 2023), logits (P, 1008).

    The network sees one picture at a time, so that nothing depends on how they are grouped.
    """
    seen: dict[str, list[Tensor]] = {"pooled": [], "spatial": [], "logits": []}

    def keep_spatial(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen["spatial"].append(output[:, :SPATIAL_CHANNELS].flatten(1).cpu())

    branch = network.get_submodule("Mixed_6d.branch1x1")
    hook = branch.register_forward_hook(keep_spatial)
    try:
        with torch.no_grad():
            for picture in pictures:
                tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].to(device)
                pooled, logits = network(tensor)
                seen["pooled"].append(pooled.cpu())
                seen["logits"].append(logits.cpu())
    finally:
        hook.remove()
    return {name: torch.cat(rows).double() for name, rows in seen.items()}


def statistics(found: Features) -> dict[str, np.ndarray]:
    """Mean and covariance of the pooled and the spatial features, by ADM's names."""
    return {
        f"{part}{ending}": value
        for name, ending in (("pooled", ""), ("spatial", "_s"))
        for part, value in zip(("mu", "sigma"), _gaussian(found[name]), strict=True)
    }


def reference_statistics(path: Path) -> dict[str, np.ndarray]:
    """The statistics of a data set from ADM's .npz.

    Raises:
        ConfigError: no such file, or it lacks the statistics.
    """
    wanted = ("mu", "sigma", "mu_s", "sigma_s")
    if not path.is_file():
        raise ConfigError(
            f"reference {str(path)!r} is no file: give an .npz of ADM's reference batches"
        )
    with np.load(path) as stored:
        missing = [name for name in wanted if name not in stored]
        if missing:
            raise ConfigError(f"{path} lacks {missing[0]!r}: give an .npz with {', '.join(wanted)}")
        return {name: stored[name].astype(np.float64) for name in wanted}


def frechet(a: dict[str, np.ndarray], b: dict[str, np.ndarray], ending: str = "") -> float:
    """|mu_a - mu_b|^2 + Tr(Sigma_a + Sigma_b - 2 (Sigma_a Sigma_b)^(1/2)), by torch-fidelity."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    sides = [{part: side[f"{part}{ending}"] for part in ("mu", "sigma")} for side in (a, b)]
    return fid_statistics_to_metric(*sides, verbose=False)[KEY_METRIC_FID]


def inception_score(logits: Tensor, splits: int = SPLITS) -> float:
    """exp E KL(p(y|x) || p(y)) of logits (P, classes), mean over at most P splits, by
    torch-fidelity."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    return isc_features_to_metric(logits, splits=min(splits, len(logits)))[KEY_METRIC_ISC_MEAN]


def scores(
    names: Iterable[str], found: Features, reference: dict[str, np.ndarray]
) -> dict[str, float]:
    """The scores of a set by their names.

    Raises:
        ConfigError: fewer than two pictures, of which there is no covariance.
    """
    if len(found["logits"]) < 2:
        raise ConfigError(
            "FID, sFID and IS are of sets; draw at least 2 samples (the paper: 50,000)"
        )
    own = statistics(found)
    ways = {
        "fid": lambda: frechet(own, reference),
        "sfid": lambda: frechet(own, reference, "_s"),
        "is": lambda: inception_score(found["logits"]),
    }
    return {name: ways[name]() for name in names}


def _gaussian(rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    from torch_fidelity.metric_fid import fid_features_to_statistics

    found = fid_features_to_statistics(rows)
    return found["mu"], found["sigma"]
