"""Every score of one picture or clip against a value worked out by hand or by the library itself; no network."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zcache import ConfigError
from zcache.evaluation import drawing, sample_scores, set_scores
from zcache.evaluation.sample_scores import Sample
from zcache.measure import metrics
from zcache.models import loading
from zcache.models.mini import classes, motion

from ..embedded import DIT, FLUX
from .noise import CPU, noise


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
        right, wrong = FLUX.subjects[1:3]
        drawn = list((255 * FLUX.draw(FLUX.pipe(), 30, prompt=[right])).round().astype(np.uint8))
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
