"""Every score against a value worked out by hand or by the library itself; no network."""

from __future__ import annotations

import json
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zcache import ConfigError
from zcache.evaluation import drawing, judging, sample_scores, set_scores, vbench
from zcache.evaluation.sample_scores import Sample
from zcache.evaluation.store import Store
from zcache.measure import metrics
from zcache.models import loading
from zcache.models.mini import classes, motion

from ..embedded import DIT, FLUX

CPU = torch.device("cpu")
needs_fidelity = pytest.mark.skipif(
    not (find_spec("torch_fidelity") and find_spec("torchvision")),
    reason='no torch-fidelity: python -m pip install -e ".[evaluate]"',
)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def likeness(reference: np.ndarray, frames: np.ndarray) -> dict[str, float]:
    return drawing.likeness(reference / 255.0, frames / 255.0)


def score(name: str, kind: str, sample: Sample) -> dict[str, float]:
    return sample_scores.build(name, kind, CPU)(sample)


def test_pixels_of_a_picture_one_level_off_everywhere():
    """MSE 1, so 20 log10(255) = 48.13 dB: nothing wraps round as it would in 8 bits."""
    reference = np.full((1, 16, 16, 3), 254, np.uint8)
    found = likeness(reference, reference + np.uint8(1))

    assert found["psnr"] == pytest.approx(48.1308, abs=1e-4)
    assert set(found) == {"psnr", "ssim"}


def test_pixels_of_a_darker_picture_are_not_wrapped():
    """Levels 0 against 255 are 0 dB; wrapped 8-bit numbers would call them one level apart."""
    white = np.full((1, 16, 16, 3), 255, np.uint8)
    assert likeness(white, np.zeros_like(white))["psnr"] == 0.0


def test_pixels_see_what_rounding_to_8_bits_would_hide():
    """A hundredth of a level everywhere: 20 log10(25500) = 88.13 dB, where 8 bits would be equal."""
    reference = np.full((1, 16, 16, 3), 0.5)
    found = drawing.likeness(reference, reference + 0.01 / 255)
    assert found["psnr"] == pytest.approx(88.1308, abs=1e-3)


def test_pixels_agree_with_torchmetrics():
    theirs_of = pytest.importorskip("torchmetrics.functional.image")
    a, b = noise(1, 24, 24, 3), noise(1, 24, 24, 3, seed=1)
    theirs = [torch.from_numpy(x).permute(0, 3, 1, 2).double() for x in (a, b)]
    found = likeness(a, b)

    assert found["psnr"] == pytest.approx(
        float(theirs_of.peak_signal_noise_ratio(*theirs, data_range=255.0))
    )
    _, everywhere = theirs_of.structural_similarity_index_measure(
        *theirs, data_range=255.0, return_full_image=True
    )
    inside = everywhere[..., 5:-5, 5:-5]  # where the window lies wholly in the picture
    assert found["ssim"] == pytest.approx(float(inside.mean()), abs=1e-9)


def test_pixels_of_a_clip_are_means_over_frames_and_the_worst():
    clip, reference = noise(3, 16, 16, 3), noise(3, 16, 16, 3, seed=1)
    found = likeness(reference, clip)
    values = [metrics.psnr(*pair) for pair in zip(reference, clip, strict=True)]

    assert found["psnr"] == pytest.approx(np.mean(values))
    assert found["psnr_worst_frame"] == pytest.approx(min(values))


def test_temporal_scores_of_a_clip_that_brightens_by_51_levels_a_frame():
    """Changes of 51 of 255 leave 0.8; against a still clip they drift by 51 levels."""
    still = np.zeros((3, 2, 2, 3), np.uint8)
    clip = still + np.array([0, 51, 102], np.uint8)[:, None, None, None]
    found = score("temporal", "video", Sample(clip, still, ""))

    assert found == {"temporal_consistency": pytest.approx(0.8), "temporal_drift": 51.0}
    assert score("temporal", "video", Sample(clip, clip, ""))["temporal_drift"] == 0.0


@pytest.mark.parametrize("kind", ["image", "video", "class"])
def test_what_shows_the_subject_obeys_and_what_shows_another_does_not(kind):
    if kind == "image":
        right, wrong = FLUX.subjects[:2]
        drawn = list((255 * FLUX.draw(FLUX.pipe(), 30)).round().astype(np.uint8))
    elif kind == "video":
        rng = random.Random(3)
        clip, other = motion.samples(2, "held-out", seed=1)
        drawn, right, wrong = motion.draw(clip, rng), motion.caption(clip), motion.caption(other)
    else:
        right, wrong = classes.LABELS[0], classes.LABELS[1]
        drawn = list((255 * DIT.draw(DIT.pipe(), 20, class_labels=[0])).round().astype(np.uint8))
    frames = np.stack([np.asarray(frame) for frame in drawn])

    assert score("obeyed", kind, Sample(frames, frames, right)) == {"obeyed": 1.0}
    assert score("obeyed", kind, Sample(frames, frames, wrong)) == {"obeyed": 0.0}


def test_a_prompt_that_the_checker_cannot_read_is_said():
    sample = Sample(noise(1, 16, 16, 3), noise(1, 16, 16, 3), "a fox in the snow")
    with pytest.raises(
        ConfigError, match=r"cannot read 'a fox in the snow'.*leave this metric out"
    ):
        score("obeyed", "image", sample)


def test_lpips_is_the_packages_own_on_pictures_in_minus_one_to_one(monkeypatch):
    """The real network, untrained: what is tested is the way to it."""
    lpips = pytest.importorskip("lpips")

    made: list[nn.Module] = []

    def untrained(net: str, verbose: bool) -> nn.Module:
        torch.manual_seed(0)
        assert net == "alex"
        made.append(lpips_class(net=net, pretrained=False, pnet_rand=True, verbose=verbose))
        return made[-1]

    lpips_class = lpips.LPIPS
    monkeypatch.setattr(lpips, "LPIPS", untrained)
    a, b = noise(1, 64, 64, 3), noise(1, 64, 64, 3, seed=1)

    found = score("lpips", "image", Sample(a, b, ""))
    equal = score("lpips", "image", Sample(a, a, ""))

    tensors = [torch.from_numpy(x).permute(0, 3, 1, 2) for x in (a, b)]
    with torch.no_grad():
        theirs = made[0](*(x.double().div(127.5).sub(1).float() for x in tensors))
    assert found["lpips"] == pytest.approx(float(theirs), rel=1e-4)
    assert equal == {"lpips": 0.0}


def test_weights_that_cannot_be_had_are_said_before_anything_is_drawn(monkeypatch):
    library = ModuleType("lpips")

    def unreachable(**_: Any) -> nn.Module:
        raise OSError("Name or service not known\nand much more")

    library.LPIPS = unreachable
    monkeypatch.setitem(sys.modules, "lpips", library)
    with pytest.raises(
        ConfigError, match=r"weights of LPIPS cannot be had \(Name or service not known\)"
    ):
        sample_scores.build("lpips", "image", CPU)


def test_a_missing_extra_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)

    with pytest.raises(ConfigError, match=r'lpips is not installed; run .* -e "\.\[evaluate\]"'):
        sample_scores.build("lpips", "image", CPU)
    with pytest.raises(ConfigError, match="torch-fidelity is not installed"):
        set_scores.inception(CPU)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    """A tiny random CLIP with mini-flux's tokenizer."""
    from transformers import (
        AutoTokenizer,
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
    )

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(Path(loading.find("mini-flux").source) / "tokenizer")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    text = {**sizes, "num_hidden_layers": 1, "vocab_size": len(tokenizer), "eos_token_id": 2}
    vision = {**sizes, "num_hidden_layers": 1, "image_size": 32, "patch_size": 16}
    size = {"height": 32, "width": 32}
    processor = CLIPProcessor(CLIPImageProcessor(size=size, crop_size=size), tokenizer)
    folder = tmp_path_factory.mktemp("clip")
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_clipscore_is_a_hundred_times_the_cosine_of_clips_embeddings(clip_folder, monkeypatch):
    from transformers import AutoProcessor, CLIPModel

    monkeypatch.setattr(sample_scores, "CLIP", str(clip_folder))
    network, processor = (c.from_pretrained(clip_folder) for c in (CLIPModel, AutoProcessor))
    prompt = "two red circles left of a blue square"
    judge = sample_scores.build("clipscore", "image", CPU)

    for seed in range(4):
        frames = noise(1, 32, 32, 3, seed=seed)
        inputs = processor(text=[prompt], images=[Image.fromarray(frames[0])], return_tensors="pt")
        with torch.no_grad():
            seen = network(**inputs)
        cosine = torch.cosine_similarity(seen.image_embeds, seen.text_embeds)
        found = judge(Sample(frames, frames, prompt))["clipscore"]
        assert found == pytest.approx(100 * max(float(cosine), 0.0), abs=1e-3)


def test_imagereward_is_asked_with_the_prompt_and_the_picture(monkeypatch):
    asked = []

    class Network:
        def score(self, prompt: str, picture: Image.Image) -> float:
            asked.append((prompt, picture.size))
            return 0.5

    library = ModuleType("ImageReward")
    library.load = lambda name, device: asked.append((name, device)) or Network()
    monkeypatch.setitem(sys.modules, "ImageReward", library)

    found = score("imagereward", "image", Sample(noise(1, 16, 24, 3), noise(1, 16, 24, 3), "a fox"))

    assert found == {"imagereward": 0.5}
    assert asked == [("ImageReward-v1.0", "cpu"), ("a fox", (24, 16))]


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("beauty", "image", "metric 'beauty' is unknown"),
        ("temporal", "image", "judges clips"),
        ("imagereward", "video", "judges pictures of prompts"),
        ("clipscore", "class", "needs prompts"),
    ],
)
def test_a_metric_of_another_kind_is_refused(name, kind, said):
    with pytest.raises(ConfigError, match=said):
        sample_scores.build(name, kind, CPU)


def test_every_judge_says_what_it_writes():
    assert set(sample_scores.WRITES) == set(sample_scores.JUDGES)


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


def most() -> dict[str, float]:
    return {
        name: top
        for table in (vbench.QUALITY, vbench.SEMANTIC)
        for name, (_, top, _) in table.items()
    }


def test_the_total_of_the_best_clips_is_100_and_quality_counts_four_fifths():
    worst = {name: low for name, (low, _, _) in {**vbench.QUALITY, **vbench.SEMANTIC}.items()}
    assert vbench.total(most()) == pytest.approx(100.0)
    assert vbench.total(worst) == pytest.approx(0.0)
    mixed = most() | {name: worst[name] for name in vbench.SEMANTIC}
    assert vbench.total(mixed) == pytest.approx(80.0)


def test_dynamic_degree_counts_half_among_seven_qualities():
    """Without it 6 of 6.5 parts of quality are left: 80 * 6 / 6.5 + 20."""
    assert vbench.total(most() | {"dynamic_degree": 0.0}) == pytest.approx(80 * 6 / 6.5 + 20)


def test_vbench_reads_clips_by_prompt_and_gives_the_total(tmp_path, monkeypatch):
    store, ran = Store(tmp_path), []
    for index in range(3):
        store.write_frames("zcache:5", index, noise(5, 32, 32, 3, seed=index), clip=True)

    def run(command: list[Any], **_: Any) -> Any:
        ran.append([str(part) for part in command])
        results = Path(command[command.index("--output_path") + 1])
        results.mkdir(parents=True)
        raw = {name: [value, []] for name, value in most().items()}
        (results / "results_eval_results.json").write_text(json.dumps(raw))
        return type("Ran", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(vbench.subprocess, "run", run)
    total = vbench.score(store, "zcache:5", ["a fox", "a hen"], 3, fps=8)

    assert total == pytest.approx(100.0)
    clips = Path(ran[0][ran[0].index("--videos_path") + 1])
    assert sorted(p.name for p in clips.iterdir()) == ["a fox-0.mp4", "a fox-1.mp4", "a hen-0.mp4"]
    assert ran[0][:2] == ["vbench", "evaluate"] and set(most()) <= set(ran[0])


def test_a_missing_vbench_or_dimension_is_said(monkeypatch):
    monkeypatch.setattr(vbench.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="vbench is not on PATH"):
        vbench.check("video")
    with pytest.raises(ConfigError, match="VBench gave no subject_consistency"):
        vbench.total({})
