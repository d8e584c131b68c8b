"""What the tests of the app ask for, and what comes back, decoded."""

import imageio.v2 as imageio
import numpy as np
from PIL import Image

KINDS = ("image", "video", "class")
REPORT_KEYS = {
    "speedup",
    "baseline_seconds",
    "accelerated_seconds",
    "full_steps",
    "psnr",
    "ssim",
}


def asked(kind="image", **changes):
    subject = {"label": "red square"} if kind == "class" else {"prompt": "a red circle"}
    return subject | {"interval": 5, "steps": 10} | changes


def decoded(path):
    """The frames of a picture or a clip, (F, H, W, 3)."""
    if path.endswith(".png"):
        return np.asarray(Image.open(path))[None]
    with imageio.get_reader(path) as reader:
        return np.stack(list(reader.iter_data()))
