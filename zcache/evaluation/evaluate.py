"""One evaluation from beginning to end, or from where it was stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..measure import environment
from ..measure.files import write_whole
from ..measure.fingerprint import fingerprint
from ..models import hub, loading
from ..models.catalogue import Model
from . import judging, methods, printed, prompts, set_scores, table, vbench
from .drawing import Task, applies, count_flops, draw
from .method import Method
from .methods import UNCACHED
from .processes import Share
from .store import Store, read_json, write_json

Told = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What to evaluate.

    Args:
        names: methods and sets of them, see `methods`.
        prompts: see `prompts`.
        count: samples of each method; None takes every subject once.
        metrics: "pixels" (PSNR and SSIM), names of `judges` and `sets`, "vbench"; None takes those
            that need no download.
        steps: sampling steps of the uncached run.
        reference: statistics of a data set for FID and sFID; None compares with the uncached set.
        sizes: height, width and frames where they are not the model's own.
    """

    names: Sequence[str]
    prompts: str = "embedded"
    count: int | None = None
    metrics: Sequence[str] | None = None
    steps: int = 50
    seed: int = 0
    batch: int = 1
    reference: Path | None = None
    sizes: dict[str, int] = field(default_factory=dict)


def evaluate(
    pipe: Any,
    model: Model,
    asked: Asked,
    out: Path,
    share: Share | None = None,
    told: Told = lambda line: None,
) -> dict[str, Any] | None:
    """Draw, judge and gather; what the folder `out` already holds is neither drawn nor judged again, and
    methods that are not asked for this time keep their results.

    Returns:
        The results, also written to `out`; None in a process that does not gather.

    Raises:
        ConfigError: a bad name or number, an extra that is missing, or a folder of other settings.
        CheckpointError: prompts that the Hub holds cannot be had.
    """
    share = share or Share.launched()
    task = _task(model, asked)
    given = asked.metrics
    wanted = list(default_metrics(model, asked.prompts) if given is None else given)
    panel = judging.seat(wanted, task.kind, pipe._execution_device)
    store = Store(out)

    def plainly(same: Any, index: int = 0) -> None:
        same(**task.arguments([index]))

    names = methods.expand(list(asked.names), model.name, asked.steps)
    ways = [methods.parse(name, asked.steps, plainly) for name in names]
    settings = _settings(model, asked, task) | environment.describe(pipe)
    settings["scheduler"] = _scheduler(pipe)
    settings["weights"] = hub.commit(model.source, model.revision) or fingerprint(pipe)
    store.settle(settings)
    ways = [way for way in ways if applies(pipe, way, store)]
    _draw_all(pipe, task, ways, store, share, "pixels" in wanted, told)
    for way in share.of(ways):
        count_flops(pipe, task, way, store)
    names_of_classes = {number: name for name, number in loading.labels(model).items()}
    judging.judge_all(task, names_of_classes, ways, store, share, panel, told)
    if not share.leads:
        return None
    if share.world > 1:
        judging.wait(task, ways, store, panel, told)
    of_sets = _score_sets(pipe, task, ways, store, wanted, asked, model)
    if "pixels" in wanted:
        judging.check_pixels(task, ways, store)
    result = table.gather(store, names, task.count, settings, of_sets)
    former = (read_json(out / "results.json") or {"methods": []})["methods"]
    result["methods"] += [row for row in former if row["method"] not in names]
    timings = table.latencies(store, [row["method"] for row in result["methods"]])
    write_json(out / "results.json", result)
    write_json(out / "timings.json", timings)
    write_whole(out / "table.md", f"{table.table(result, timings)}\n".encode())
    return result


def default_metrics(model: Model, source: str) -> list[str]:
    """PSNR and SSIM; for clips the temporal scores; where the checkers know the subjects, obedience."""
    names = ["pixels"]
    if model.kind == "video":
        names.append("temporal")
    if source == "embedded" and model.name in printed.STANDS_FOR:
        names.append("obeyed")
    return names


def _task(model: Model, asked: Asked) -> Task:
    for name in ("steps", "batch"):
        _at_least_one(name, getattr(asked, name))
    if asked.count is not None:
        _at_least_one("count", asked.count)
    subjects = prompts.read(asked.prompts, model, asked.count)
    first: dict[str, Any] = {"label" if model.kind == "class" else "prompt": subjects[0]}
    raw = {"steps": asked.steps, "interval": 1, "seed": asked.seed, **asked.sizes, **first}
    request = loading.asked(model, **raw)
    call = loading.call_arguments(model, request)
    del call["class_labels" if model.kind == "class" else "prompt"]
    return Task(model.kind, call, subjects, asked.count or len(subjects), asked.seed, asked.batch)


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} is {value}; give a whole number from 1 up")


def _settings(model: Model, asked: Asked, task: Task) -> dict[str, Any]:
    """What every number depends on. Methods and metrics are not in it: more can join later."""
    listed = json.dumps(list(task.subjects[: task.count]))
    return {
        "model": model.name,
        "kind": task.kind,
        "call": {key: value for key, value in task.call.items() if key != "output_type"},
        "prompts": asked.prompts,
        "prompts_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        "count": task.count,
        "seed": task.seed,
        "batch": task.batch,
    }


def _scheduler(pipe: Any) -> dict[str, Any]:
    """The scheduler's class and the plain values of its config."""
    config = {k: v for k, v in pipe.scheduler.config.items() if isinstance(v, str | int | float)}
    return {**config, "_class_name": type(pipe.scheduler).__name__}


def _draw_all(
    pipe: Any,
    task: Task,
    ways: list[Method],
    store: Store,
    share: Share,
    pixels: bool,
    told: Told,
) -> None:
    mine = [(batch, way) for batch in share.of(task.batches) for way in ways]
    left = [(b, w) for b, w in mine if not all(store.record(w.name, index) for index in b)]
    told(f"{len(mine) - len(left)} of {len(mine)} batches are there")
    began = time.monotonic()
    for done, (batch, way) in enumerate(left, 1):
        draw(pipe, task, way, batch, store, pixels)
        seconds = (time.monotonic() - began) / done * (len(left) - done)
        told(f"drawn {done} of {len(left)}: {way.name}, sample {batch[-1]}; {_left(seconds)}")
    for batch in share.of(task.batches):
        for index in batch:
            store.drop_reference(index)


def _left(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s left"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min left" if hours else f"{minutes} min left"


def _score_sets(
    pipe: Any,
    task: Task,
    ways: list[Method],
    store: Store,
    wanted: Sequence[str],
    asked: Asked,
    model: Model,
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {way.name: {} for way in ways}
    of_sets = [name for name in wanted if name in set_scores.SETS]
    if of_sets:
        device = pipe._execution_device
        network = set_scores.inception(device)

        def seen(name: str) -> set_scores.Features:
            frames = (store.frames(name, index)[0] for index in range(task.count))
            return set_scores.features(network, frames, device)

        against = (
            set_scores.reference_statistics(asked.reference)
            if asked.reference
            else set_scores.statistics(seen(UNCACHED))
        )
        for way in ways:
            found[way.name] |= set_scores.scores(of_sets, seen(way.name), against)
    if "vbench" in wanted:
        for way in ways:
            total = vbench.score(store, way.name, list(task.subjects), task.count, model.fps)
            found[way.name]["vbench"] = total
    return found
