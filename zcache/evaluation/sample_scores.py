"""Scores of one sample: against the uncached sample of the same seed, or by itself.

A judge is built once, before anything is drawn, so that a missing extra or missing weights are said
at once. Libraries are imported on use; `python -m pip install -e ".[evaluate]"` brings them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from .extras import install, needed, with_weights

CLIP = "openai/clip-vit-large-patch14"
IMAGE_REWARD = "ImageReward-v1.0"
LEVELS = 255.0


@dataclass(frozen=True)
class Sample:
    """Frames and those of the uncached run, (F, H, W, 3) uint8; `subject` is the prompt, or the name
    of the class."""

    frames: np.ndarray
    reference: np.ndarray
    subject: str


Judge = Callable[[Sample], dict[str, float]]


def build(name: str, kind: str, device: Any) -> Judge:
    """Return the judge of a name for pictures, clips or classes.

    Raises:
        ConfigError: an unknown name, one that does not judge this kind, or what it needs is not here.
    """
    if name not in JUDGES:
        from .set_scores import SETS

        raise ConfigError(
            f"metric {name!r} is unknown; choose of: {', '.join(['pixels', *JUDGES, *SETS, 'vbench'])}"
        )
    return JUDGES[name](kind, device)


def _temporal(kind: str, device: Any) -> Judge:
    """Judge how little neighbouring frames of a clip differ, and how far that is from the uncached
    clip.

    `temporal_consistency` is VBench's temporal flickering score (255 - mean |frame - next|) / 255
    (Huang et al. 2023), 1 for a still clip; `temporal_drift` the mean absolute difference between the
    changes from frame to frame and those of the uncached clip, in levels of 255.
    """
    if kind != "video":
        raise ConfigError("metric 'temporal' judges clips; leave it out for pictures")

    def judge(sample: Sample) -> dict[str, float]:
        changes, wanted = (
            np.diff(frames.astype(np.float64), axis=0)
            for frames in (sample.frames, sample.reference)
        )
        return {
            "temporal_consistency": float((LEVELS - np.abs(changes).mean()) / LEVELS),
            "temporal_drift": float(np.abs(changes - wanted).mean()),
        }

    return judge


def _obeyed(kind: str, device: Any) -> Judge:
    """1 when the sample shows what was asked for, by the checkers of the embedded models' grammars
    (the paper's "semantic shift" is what this loses)."""
    try:
        from PIL import Image

        from ..models.mini import check, classes, motion_check
    except ImportError as error:
        raise needed("evaluate", "scipy") from error

    def judge(sample: Sample) -> dict[str, float]:
        frames = [Image.fromarray(frame) for frame in sample.frames]
        if kind == "class":
            return {"obeyed": float(classes.recognised(frames[0]) == sample.subject)}
        checker = motion_check if kind == "video" else check
        try:
            wanted = checker.read(sample.subject)
        except ValueError as error:
            raise ConfigError(f"metric 'obeyed' {error}, or leave this metric out") from error
        return {
            "obeyed": float(bool(checker.obeys(frames if kind == "video" else frames[0], wanted)))
        }

    return judge


def _lpips(kind: str, device: Any) -> Judge:
    """LPIPS with AlexNet (Zhang et al. 2018), by the authors' package; mean over frames."""
    import torch

    try:
        import lpips
    except ImportError as error:
        raise needed("evaluate", "lpips") from error
    network = (
        with_weights("LPIPS", lambda: lpips.LPIPS(net="alex", verbose=False)).to(device).eval()
    )

    def judge(sample: Sample) -> dict[str, float]:
        pairs = zip(sample.frames, sample.reference, strict=True)
        with torch.no_grad():
            distances = [float(network(*(_signed(f).to(device) for f in pair))) for pair in pairs]
        return {"lpips": float(np.mean(distances))}

    return judge


def _clipscore(kind: str, device: Any) -> Judge:
    """CLIPScore (Hessel et al. 2021) on torchmetrics' scale: 100 max(cosine, 0), mean over frames."""
    import torch
    from transformers import AutoProcessor, CLIPModel

    if kind == "class":
        raise ConfigError("metric 'clipscore' needs prompts; leave it out for classes")
    network = with_weights("CLIP", lambda: CLIPModel.from_pretrained(CLIP)).to(device).eval()
    processor = with_weights("CLIP", lambda: AutoProcessor.from_pretrained(CLIP))

    def judge(sample: Sample) -> dict[str, float]:
        inputs = processor(
            text=[sample.subject],
            images=list(sample.frames),
            return_tensors="pt",
            truncation=True,
            padding=True,
        ).to(device)
        with torch.no_grad():
            seen = network(**inputs)
        cosines = (seen.image_embeds @ seen.text_embeds.T).clamp(min=0)
        return {"clipscore": 100 * float(cosines.mean())}

    return judge


def _imagereward(kind: str, device: Any) -> Judge:
    """ImageReward (Xu et al. 2023), by the authors' package; pictures only."""
    from PIL import Image

    if kind != "image":
        raise ConfigError(
            f"metric 'imagereward' judges pictures of prompts, not {kind}: leave it out"
        )
    try:
        import ImageReward
    except ImportError as error:
        raise ConfigError(
            f"ImageReward cannot be imported ({error}); {install('imagereward')}, in an "
            "environment whose transformers it works with"
        ) from error
    network = with_weights(
        "ImageReward", lambda: ImageReward.load(IMAGE_REWARD, device=str(device))
    )

    def judge(sample: Sample) -> dict[str, float]:
        reward = network.score(sample.subject, Image.fromarray(sample.frames[0]))
        return {"imagereward": float(reward)}

    return judge


def _signed(frame: np.ndarray) -> Any:
    """Return a frame (H, W, 3) uint8 as a tensor (1, 3, H, W) in [-1, 1]."""
    import torch

    return torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / (LEVELS / 2) - 1


JUDGES: dict[str, Callable[[str, Any], Judge]] = {
    "temporal": _temporal,
    "obeyed": _obeyed,
    "lpips": _lpips,
    "clipscore": _clipscore,
    "imagereward": _imagereward,
}
# What each judge writes, so that a sample that has it is not judged again.
WRITES = {
    "temporal": "temporal_consistency",
    **{name: name for name in ("obeyed", "lpips", "clipscore", "imagereward")},
}
