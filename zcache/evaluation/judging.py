"""Every sample before every judge, once; what other processes judge is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from . import sample_scores, set_scores, vbench
from .drawing import Task
from .method import Method
from .methods import UNCACHED
from .processes import Share
from .store import Store

Panel = Mapping[str, sample_scores.Judge]
Told = Callable[[str], None]
WAIT = 2.0  # seconds between two looks for what other processes still do


def seat(wanted: Sequence[str], kind: str, device: Any) -> Panel:
    """The judges of single samples; what the other metrics need is looked for, too."""
    if {*wanted} & {*set_scores.SETS}:
        if kind == "video":
            raise ConfigError("FID, sFID and IS judge pictures; take 'vbench' for clips")
        set_scores.inception("cpu")
    if "vbench" in wanted:
        vbench.check(kind)
    single = [name for name in wanted if name not in ("pixels", "vbench", *set_scores.SETS)]
    return {name: sample_scores.build(name, kind, device) for name in single}


def judge_all(
    task: Task,
    names: Mapping[int, str],
    ways: list[Method],
    store: Store,
    share: Share,
    panel: Panel,
    told: Told,
) -> None:
    """Score this process's samples by every judge that has not scored them yet.

    Args:
        names: the names of classes by their ids, empty for prompts.
    """
    for batch in share.of(task.batches):
        for index in batch:
            for way in ways:
                record = store.done(way.name, index)
                todo = _unjudged(record, panel)
                if not todo:
                    continue
                subject = record["subject"]
                frames = store.frames(way.name, index)
                sample = sample_scores.Sample(
                    frames, store.frames(UNCACHED, index), names.get(subject, subject)
                )
                for name in todo:
                    record["scores"] |= panel[name](sample)
                store.write_record(way.name, index, record)
                told(f"judged {way.name}, sample {index}: {', '.join(todo)}")


def _unjudged(record: dict[str, Any], panel: Panel) -> list[str]:
    return [name for name in panel if sample_scores.WRITES[name] not in record["scores"]]


def check_pixels(task: Task, ways: list[Method], store: Store) -> None:
    """Raise ConfigError if samples were drawn when nobody asked for PSNR and SSIM."""
    for way in ways:
        if any("psnr" not in store.done(way.name, i)["scores"] for i in range(task.count)):
            raise ConfigError(
                f"{store.root} has samples of {way.name} that were drawn without the metric 'pixels', which "
                "is taken before rounding: leave it out, or take another --out"
            )


def wait(task: Task, ways: list[Method], store: Store, panel: Panel, told: Told) -> None:
    """Wait until the other processes have written every record and every cost."""

    def is_there(way: Method, index: int) -> bool:
        record = store.record(way.name, index)
        return record is not None and not _unjudged(record, panel)

    samples = [(way, index) for way in ways for index in range(task.count)]
    costs = list(ways)
    while True:
        samples = [each for each in samples if not is_there(*each)]
        costs = [way for way in costs if store.cost(way.name) is None]
        if not samples and not costs:
            return
        told(f"waiting for the other processes: {len(samples)} samples, {len(costs)} costs to come")
        time.sleep(WAIT)
