"""One prompt over several intervals, bases or weight functions, as figures and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..measure import files
from ..method import bases, weights
from ..method.config import AUTOMATIC
from ..models import loading
from ..models.request import APP, SUBJECTS, Request, choice
from . import device, engine, pace, runs
from .errors import told
from .visitors import admitted
from .words import cut

OVER: dict[str, Callable[[], Sequence[Any]]] = {
    "interval": lambda: (3, 4, 5, 6, 8, 10),
    "base": bases.choices,
    "weight": weights.choices,
}
MOST = 8  # variants of one sweep
NAME = 28  # characters that fit under a picture of the sheet
ALIKE = "stack"  # what is cached in every row of several bases or weights, which every one of them can be
Row = dict[str, Any]
PLAIN: Row = {
    "name": "plain",
    "speedup": 1.0,
    "speedup_is": "measured",
    "speedup_spread": 0.0,
    "speedup_end_to_end": 1.0,
    "seconds_are": "measured",
    "flops_speedup": 1.0,
    "psnr": None,
    "ssim": 1.0,
    "granularity": None,
}
OWN = (
    "speedup",
    "speedup_is",
    "speedup_how",
    "speedup_spread",
    "speedup_end_to_end",
    "flops_speedup",
    "psnr",
    "ssim",
    "granularity",
)


class Stage(NamedTuple):
    """The rows so far, the path of the contact sheet at the end, and how many variants of how many are over."""

    rows: list[Row]
    sheet: str
    done: int
    of: int


@dataclass(frozen=True)
class Look:
    """How the contact sheet is drawn: how many pictures stand beside each other, and whether light on dark."""

    columns: int = 4
    dark: bool = False


def sweep(
    kind: str,
    subject: Any,
    over: str,
    run: str = "",
    visitor: str = "",
    look: Look = Look(),
    **settings: Any,
) -> Iterator[Stage]:
    """Yield the figures so far, at first none, after each variant, and at the end with the contact sheet.

    The seconds of all rows are at one pace, that of the plain run as the first variant met it.
    The plain run is made once, and it is the first row. Variants that are the same run are one row, named by
    all of them. `run` is the name to stop it by.

    Raises:
        gr.Error: with one sentence that names the value, the limit and the cure.
    """
    try:
        with told():
            host = engine.of(choice("kind", kind, tuple(engine.EMBEDDED)))
            requests = variants(host, subject, choice("over", over, tuple(OVER)), settings)
            pace.check(host.model, list(requests.values()), loading.default_device().type)
            with admitted(visitor):
                yield from _rows(host, requests, run, look)
    finally:
        device.forget(run)


def variants(
    host: engine.Engine, subject: Any, over: str, settings: dict[str, Any]
) -> dict[str, Request]:
    """Return the checked request of each variant by its name, or by the names of several that are the same run;
    those that cannot be run are refused.

    Bases and weights differ in nothing else: what is cached is the same in all rows but that of "automatic",
    which is what runs when nothing is chosen.
    """
    named = {SUBJECTS[host.model.kind][0]: subject}
    one = loading.asked(host.model, APP, **named, **settings)
    values = [value for value in OVER[over]() if over != "interval" or value <= one.steps]
    alike = {} if over == "interval" else {"granularity": ALIKE}
    asked = {}
    for value in values[:MOST]:
        own = settings | {over: value} | ({} if value == AUTOMATIC else alike)
        asked[str(value)] = loading.asked(host.model, APP, **named, **own)
    alike_runs = groupby(
        asked, lambda name: _settles(asked[name])
    )  # a larger N may compute no fewer
    named_by = "N = {}" if over == "interval" else "{}"
    groups = [list(names) for _, names in alike_runs]
    return {named_by.format(", ".join(names)): asked[names[0]] for names in groups}


def _settles(request: Request) -> Any:
    """Return what a request lays down of its run: an interval only where its full steps do, unless the run
    decides on them as it goes."""
    return request if request.config().adaptive else (replace(request, interval=1), request.plan())


def _rows(
    host: engine.Engine, requests: dict[str, Request], name: str, look: Look
) -> Iterator[Stage]:
    rows: list[Row] = []
    cells: list[np.ndarray] = []
    known: dict[Any, Row] = {}
    yield Stage(rows, "", 0, len(requests))
    for done, (variant, request) in enumerate(requests.items(), 1):
        device.check(name)
        *_, outcome = runs.of_request(host, request, name)
        report = outcome.report
        if not rows:
            seconds, steps = report["baseline_seconds"], report["num_steps"]
            is_ = report["speedup_is"]
            rows.append(PLAIN | {"seconds": seconds, "seconds_are": is_, "full_steps": steps})
            cells.append(files.still(Path(outcome.paths["baseline"])))
        picture = files.still(Path(outcome.paths["accelerated"]))
        if (
            made := _made(report, picture)
        ) in known:  # what "automatic" became has a name of its own
            known[made]["name"] += f", {variant}"
        else:
            known[made] = _row(variant, report, seconds)
            rows.append(known[made])
            cells.append(picture)
        yield Stage(rows, "", done, len(requests))
    folder = Path(outcome.paths["accelerated"]).parent
    sheet = files.write(_sheet(rows, cells, look), folder / "contact_sheet.png")
    yield Stage(rows, str(sheet), len(requests), len(requests))


def _made(report: dict[str, Any], picture: np.ndarray) -> Any:
    """Return what tells two runs of one request apart: the same passes on the same features, and after every step
    the same latent, are the same run, whose seconds differ by chance alone."""
    return report["walk"], report["granularity"], tuple(report["errors"]), picture.tobytes()


def _sheet(rows: Sequence[Row], cells: Sequence[np.ndarray], look: Look) -> np.ndarray:
    """Return the captioned pictures; in the dark, by turning all about twice but the paper and the ink."""
    flip = 255 if look.dark else 0
    captioned = [
        (_caption(row), cell ^ np.uint8(flip)) for row, cell in zip(rows, cells, strict=True)
    ]
    return files.contact_sheet(captioned, look.columns) ^ np.uint8(flip)


def _caption(row: Row) -> str:
    """Return name and figures of a row, as they stand under its picture, in letters that Pillow's font has."""
    name = cut(row["name"], NAME)
    if row["granularity"] is None:
        about = "about " if row["seconds_are"] == "estimated" else ""
        return f"{name}\n{about}{row['seconds']:.2f} s"
    likeness = "identical" if row["psnr"] is None else f"{row['psnr']:.1f} dB"
    about = "about " if row["speedup_is"] == "estimated" else ""
    return f"{name}\n{about}{row['speedup']:.2f} times, {likeness}"


def _row(name: str, report: dict[str, Any], plain_seconds: float) -> Row:
    """Return the figures of a variant; its seconds are at the pace of the plain row, so that rows can be
    set against each other."""
    return {
        "name": name,
        "seconds": plain_seconds / report["speedup"],
        "seconds_are": report["speedup_is"],
        "full_steps": report["full_passes"],
        **{key: report[key] for key in OWN},
    }
