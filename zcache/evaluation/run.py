"""One evaluation from beginning to end, or from where it was stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import environment, models
from ..errors import ConfigError
from ..known import Model
from ..quality import Method
from . import judges, methods, prompts, results, sets, vbench
from .methods import UNCACHED
from .produce import Task, applies, count_flops, draw
from .share import Share
from .store import Store, write_bytes, write_json

Told = Callable[[str], None]
WAIT = 2.0  # seconds between two looks for what other processes still draw


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
    """Draw, judge and gather; what the folder `out` already holds is neither drawn nor judged again.

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
    panel = _panel(wanted, task.kind, pipe)
    store = Store(out)

    def plainly(same: Any) -> None:
        same(**task.arguments(range(1)))

    names = methods.expand(list(asked.names), model.name, asked.steps)
    ways = [methods.parse(name, asked.steps, plainly) for name in names]
    settings = _settings(model, asked, task) | environment.describe(pipe)
    store.settle(settings)
    ways = [way for way in ways if applies(pipe, way, store)]
    _draw_all(pipe, task, ways, store, share, "pixels" in wanted, told)
    for way in share.of(ways):
        count_flops(pipe, task, way, store)
    _judge_all(model, task, ways, store, share, panel, told)
    if not share.leads:
        return None
    if share.world > 1:
        _wait(task, ways, store, panel, told)
    of_sets = _score_sets(pipe, task, ways, store, wanted, asked, model)
    if "pixels" in wanted:
        _check_pixels(task, ways, store)
    result = results.gather(store, names, task.count, settings, of_sets)
    timings = results.latencies(store, names)
    write_json(out / "results.json", result)
    write_json(out / "timings.json", timings)
    write_bytes(out / "table.md", f"{results.table(result, timings)}\n".encode())
    return result


def default_metrics(model: Model, source: str) -> list[str]:
    """PSNR and SSIM; for clips the temporal scores; where the checkers know the subjects, obedience."""
    names = ["pixels"]
    if model.kind == "video":
        names.append("temporal")
    if source == "embedded" and model.name in methods.paper.STANDS_FOR:
        names.append("obeyed")
    return names


def _task(model: Model, asked: Asked) -> Task:
    for name in ("steps", "batch"):
        _at_least_one(name, getattr(asked, name))
    if asked.count is not None:
        _at_least_one("count", asked.count)
    subjects = prompts.read(asked.prompts, model, asked.count)
    first = {"label" if model.kind == "class" else "prompt": subjects[0]}
    request = models.asked(
        model, steps=asked.steps, interval=1, seed=asked.seed, **asked.sizes, **first
    )
    call = models.call_arguments(model, request)
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


def _panel(wanted: Sequence[str], kind: str, pipe: Any) -> dict[str, judges.Judge]:
    """The judges of single samples; what the other metrics need is looked for, too."""
    device = pipe._execution_device
    if {*wanted} & {*sets.SETS}:
        if kind == "video":
            raise ConfigError("FID, sFID and IS judge pictures; take 'vbench' for clips")
        sets.inception("cpu")
    if "vbench" in wanted:
        vbench.check(kind)
    single = [name for name in wanted if name not in ("pixels", "vbench", *sets.SETS)]
    return {name: judges.build(name, kind, device) for name in single}


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
        told(f"drawn {done} of {len(left)}: {way.name}, sample {batch[-1]}; {_left(seconds)} left")
    for batch in share.of(task.batches):
        for index in batch:
            store.drop_reference(index)


def _left(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _judge_all(
    model: Model,
    task: Task,
    ways: list[Method],
    store: Store,
    share: Share,
    panel: dict[str, judges.Judge],
    told: Told,
) -> None:
    """Score this process's samples by every judge that has not scored them yet."""
    named = {number: name for name, number in models.labels(model).items()}
    for batch in share.of(task.batches):
        for index in batch:
            for way in ways:
                record = store.record(way.name, index)
                todo = _unjudged(record, panel)
                if not todo:
                    continue
                subject = record["subject"]
                frames = store.frames(way.name, index)
                sample = judges.Sample(
                    frames, store.frames(UNCACHED, index), named.get(subject, subject)
                )
                for name in todo:
                    record["scores"] |= panel[name](sample)
                store.write_record(way.name, index, record)
        told(f"judged up to sample {batch[-1]}")


def _unjudged(record: dict[str, Any], panel: dict[str, judges.Judge]) -> list[str]:
    return [name for name in panel if judges.WRITES[name] not in record["scores"]]


def _check_pixels(task: Task, ways: list[Method], store: Store) -> None:
    """Raise ConfigError if samples were drawn when nobody asked for PSNR and SSIM."""
    for way in ways:
        if any("psnr" not in store.record(way.name, i)["scores"] for i in range(task.count)):
            raise ConfigError(
                f"{store.root} has samples of {way.name} that were drawn without the metric 'pixels', which "
                "is taken before rounding: leave it out, or take another --out"
            )


def _wait(
    task: Task, ways: list[Method], store: Store, panel: dict[str, judges.Judge], told: Told
) -> None:
    """Wait until the other processes have written every record and every cost."""

    def missing() -> int:
        records = [store.record(way.name, i) for way in ways for i in range(task.count)]
        costs = [store.cost(way.name) for way in ways]
        unjudged = [r for r in records if r is None or _unjudged(r, panel)]
        return len(unjudged) + costs.count(None)

    while left := missing():
        told(f"waiting for the other processes: {left} samples and costs to come")
        time.sleep(WAIT)


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
    of_sets = [name for name in wanted if name in sets.SETS]
    if of_sets:
        device = pipe._execution_device
        network = sets.inception(device)

        def seen(name: str) -> sets.Features:
            frames = (store.frames(name, index)[0] for index in range(task.count))
            return sets.features(network, frames, device)

        against = (
            sets.reference_statistics(asked.reference)
            if asked.reference
            else sets.statistics(seen(UNCACHED))
        )
        for way in ways:
            found[way.name] |= sets.scores(of_sets, seen(way.name), against)
    if "vbench" in wanted:
        for way in ways:
            total = vbench.score(store, way.name, list(task.subjects), task.count, model.fps)
            found[way.name]["vbench"] = total
    return found
