"""Drawing: batches of samples, each with every method, from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import UnsupportedPipelineError
from ..measure import metrics
from ..measure.clock import LoopClock
from ..measure.flop_meter import FlopMeter
from . import rows
from .method import Method
from .methods import UNCACHED
from .prompts import sample
from .store import Store

ARGUMENT = {"image": "prompt", "video": "prompt", "class": "class_labels"}


@dataclass(frozen=True)
class Task:
    """What is drawn: sample i shows subject i modulo their number, from seed `seed` + i.

    `call` holds the pipeline's other arguments. A batch is one pipeline call of `batch` samples that
    stand together, whatever process makes it: caches that look at their input see the same.
    """

    kind: str
    call: dict[str, Any]
    subjects: Sequence[Any]
    count: int
    seed: int = 0
    batch: int = 1

    @property
    def batches(self) -> list[range]:
        """The indices of the samples, batch by batch."""
        starts = range(0, self.count, self.batch)
        return [range(start, min(start + self.batch, self.count)) for start in starts]

    def arguments(self, indices: Sequence[int], **changes: Any) -> dict[str, Any]:
        """The pipeline's arguments for these samples, with new generators (on the CPU, so that every
        device draws the same noise)."""
        return {
            **self.call,
            ARGUMENT[self.kind]: [sample(self.subjects, index) for index in indices],
            **changes,
            "generator": [torch.Generator("cpu").manual_seed(self.seed + i) for i in indices],
            "output_type": "np",
        }


def sample_as_in_the_paper(pipe: Any, model: str) -> None:
    """Give the pipeline of one of the paper's models the scheduler settings of its table (DiT-XL/2: time
    steps evenly from first to last); leave any other as it is."""
    values = rows.SCHEDULERS.get(model)
    if values is not None:
        own = pipe.scheduler
        pipe.scheduler = type(own).from_config(own.config, **values)


def applies(pipe: Any, method: Method, store: Store) -> bool:
    """Put a method on a pipeline and take it off again; note why, if it does not know this pipeline."""
    try:
        with method.apply(pipe):
            return True
    except UnsupportedPipelineError as error:
        store.write_cost(method.name, {"error": " ".join(str(error).split())})
        return False


def draw(
    pipe: Any, task: Task, method: Method, indices: range, store: Store, pixels: bool = True
) -> None:
    """Draw one batch with a method and store it, unless it is there.

    With `pixels`, PSNR in dB and SSIM to the uncached samples are taken before anything is rounded to
    8 bits: means over frames, and of a clip those of the worst frame; an equal frame counts 100 dB.
    """
    if all(store.record(method.name, index) for index in indices):
        return
    with method.apply(pipe) as handle, LoopClock(pipe) as clock:
        output = pipe(**task.arguments(indices, **method.call))
    facts = {"full_passes": handle.report().full_passes} if hasattr(handle, "report") else {}
    drawn = exact_frames(output)
    if method.name == UNCACHED and pixels:
        _keep(drawn, indices, store)
    seconds = clock.denoising / len(indices)
    for index, frames in zip(indices, drawn, strict=True):
        scores = {}
        if pixels:
            scores = likeness(_reference(pipe, task, indices, index, store), frames)
        store.write_frames(method.name, index, rounded(frames), task.kind == "video")
        store.write_seconds(method.name, index, seconds)
        about = {"subject": sample(task.subjects, index), "seed": task.seed + index}
        store.write_record(method.name, index, {**about, "scores": scores, **facts})


def exact_frames(output: Any) -> np.ndarray:
    """Frames (P, F, H, W, 3) in [0, 1] of a pipeline's output; F is 1 for pictures."""
    array = np.asarray(output.frames if hasattr(output, "frames") else output.images)
    return array[:, None] if array.ndim == 4 else array


def rounded(frames: np.ndarray) -> np.ndarray:
    """Frames in [0, 1] as uint8, as diffusers rounds pictures."""
    return (frames * 255).round().clip(0, 255).astype(np.uint8)


def likeness(reference: np.ndarray, frames: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM of frames (F, H, W, 3) in [0, 1]; for clips also the worst frame's."""
    found = metrics.over_frames(255.0 * reference, 255.0 * frames)
    return found if len(frames) > 1 else {name: found[name] for name in ("psnr", "ssim")}


def _keep(drawn: np.ndarray, indices: range, store: Store) -> None:
    for index, frames in zip(indices, drawn, strict=True):
        store.write_reference(index, frames)


def _reference(pipe: Any, task: Task, indices: range, index: int, store: Store) -> np.ndarray:
    """The uncached sample as it was drawn; drawn once more when a method joins a finished folder."""
    kept = store.reference(index)
    if kept is not None:
        return kept
    drawn = exact_frames(pipe(**task.arguments(indices)))
    _keep(drawn, indices, store)
    return drawn[index - indices[0]]


def count_flops(pipe: Any, task: Task, method: Method, store: Store) -> None:
    """Count the denoiser's FLOPs for a sample of the first batch, in a run of its own: counting slows
    a run down. Of a method that decides by its input, this is the first batch's number."""
    if store.cost(method.name) is not None:
        return
    indices = task.batches[0]
    with method.apply(pipe), FlopMeter(pipe) as meter:
        pipe(**task.arguments(indices, **method.call))
    store.write_cost(method.name, {"flops": meter.total / len(indices)})
