"""Scores of whole sets of pictures: the Fréchet distances and the inception score, by hand; no network."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from zcache import ConfigError
from zcache.evaluation import judging, set_scores

from .noise import CPU, noise

needs_fidelity = pytest.mark.skipif(
    not (find_spec("torch_fidelity") and find_spec("torchvision")),
    reason='no torch-fidelity: python -m pip install -e ".[evaluate]"',
)


def gaussian(mean: list[float], variances: list[float]) -> dict[str, np.ndarray]:
    return {"mu": np.array(mean), "sigma": np.diag(variances)}


@needs_fidelity
def test_frechet_distance_of_two_gaussians_by_hand():
    """|(3, 4)|^2 + (1 + 4 - 2 sqrt(1 4)) + (9 + 1 - 2 sqrt(9 1)) = 25 + 1 + 4."""
    a, b = gaussian([0.0, 0.0], [1.0, 9.0]), gaussian([3.0, 4.0], [4.0, 1.0])
    assert set_scores.frechet(a, b) == pytest.approx(30.0)
    assert set_scores.frechet(a, a) == pytest.approx(0.0, abs=1e-9)


@needs_fidelity
def test_statistics_are_mean_and_unbiased_covariance_of_both_features():
    rows = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]], dtype=torch.double)
    found = set_scores.statistics({"pooled": rows, "spatial": 2 * rows, "logits": rows})

    assert found["mu"].tolist() == [2.0, 2.0] and found["mu_s"].tolist() == [4.0, 4.0]
    assert found["sigma"].tolist() == [[4.0, 3.0], [3.0, 3.0]]
    assert found["sigma_s"].tolist() == [[16.0, 12.0], [12.0, 12.0]]


@needs_fidelity
def test_inception_score_of_sure_and_varied_pictures_is_the_number_of_classes():
    """One split here: every picture surely of its own class gives exp(log 4) = 4."""
    sure = torch.eye(4) * 1000
    assert set_scores.inception_score(sure, splits=1) == pytest.approx(4.0)
    assert set_scores.inception_score(torch.zeros(8, 4), splits=1) == pytest.approx(1.0)


class Inception(nn.Module):
    """Stands where the weights must be downloaded: features that can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.Mixed_6d = nn.Module()
        self.Mixed_6d.branch1x1 = nn.Identity()

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert picture.dtype == torch.uint8 and picture.shape[:2] == (1, 3)
        self.Mixed_6d.branch1x1(picture.float().repeat(1, 3, 1, 1))
        means = picture.float().mean(dim=(2, 3))
        return means, means / 25


def test_features_are_pooled_ones_seven_spatial_channels_and_logits():
    pictures = [noise(4, 5, 3, seed=seed) for seed in range(3)]
    found = set_scores.features(Inception(), pictures, CPU)

    assert found["pooled"].shape == (3, 3) and found["spatial"].shape == (3, 7 * 4 * 5)
    assert found["pooled"][1].tolist() == pytest.approx(pictures[1].mean(axis=(0, 1)).tolist())
    assert found["spatial"][2, :20].tolist() == pictures[2][..., 0].flatten().tolist()


@needs_fidelity
def test_a_set_against_itself_is_at_no_distance_and_one_against_another_is():
    drawn = [[noise(2, 2, 3, seed=s + 100 * side) for s in range(6)] for side in (0, 1)]
    one, other = (set_scores.features(Inception(), pictures, CPU) for pictures in drawn)

    same = set_scores.scores(("fid", "sfid", "is"), one, set_scores.statistics(one))
    apart = set_scores.scores(("fid", "sfid"), one, set_scores.statistics(other))

    assert same["fid"] == pytest.approx(0.0, abs=1e-6)
    assert same["sfid"] == pytest.approx(0.0, abs=1e-5 * apart["sfid"])
    assert same["is"] >= 1.0 and apart["fid"] > 1.0 and apart["sfid"] > 1.0


def test_statistics_of_a_data_set_come_from_adms_file(tmp_path):
    stored = {"mu": np.zeros(2), "sigma": np.eye(2), "mu_s": np.zeros(3), "sigma_s": np.eye(3)}
    np.savez(tmp_path / "whole.npz", **stored)
    np.savez(tmp_path / "part.npz", mu=stored["mu"])

    found = set_scores.reference_statistics(tmp_path / "whole.npz")
    assert all(np.array_equal(found[name], value) for name, value in stored.items())
    with pytest.raises(ConfigError, match="lacks 'sigma'"):
        set_scores.reference_statistics(tmp_path / "part.npz")
    with pytest.raises(ConfigError, match="is no file"):
        set_scores.reference_statistics(tmp_path / "none.npz")


def test_one_picture_is_no_set():
    with pytest.raises(ConfigError, match="at least 2"):
        set_scores.scores(("fid",), set_scores.features(Inception(), [noise(2, 2, 3)], CPU), {})


def test_the_real_inception_has_what_sfid_looks_at(monkeypatch):
    """torch-fidelity's own network, untrained: the layer is there, 7 channels of 17 x 17 places."""
    library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_: None)
    network = set_scores.inception(CPU)

    found = set_scores.features(network, [noise(32, 32, 3)], CPU)

    shapes = {name: tuple(rows.shape) for name, rows in found.items()}
    assert shapes == {"pooled": (1, 2048), "spatial": (1, 2023), "logits": (1, 1008)}


def test_sets_of_clips_are_refused():
    with pytest.raises(ConfigError, match="judge pictures"):
        judging.seat(["fid"], "video", CPU)
