"""One prompt over several intervals, bases or weight functions, as figures and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..measure import files
from ..method import bases, weights
from ..method.config import AUTOMATIC
from ..models import loading
from ..models.request import APP, SUBJECTS, Request, choice
from . import device, engine, pace, runs
from .errors import told
from .visitors import admitted

OVER: dict[str, Callable[[], Sequence[Any]]] = {
    "interval": lambda: (3, 4, 5, 6, 8, 10),
    "base": bases.choices,
    "weight": weights.choices,
}
MOST = 8  # variants of one sweep
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


def sweep(
    kind: str,
    subject: Any,
    over: str,
    run: str = "",
    visitor: str = "",
    columns: int = 4,
    **settings: Any,
) -> Iterator[tuple[list[Row], str]]:
    """Yield the figures so far after each variant, and at the end the path of the contact sheet too.

    The seconds of all rows are at one pace, that of the plain run as the first variant met it.
    The plain run is made once, and it is the first row. `run` is the name to stop it by, `columns` how many
    pictures stand beside each other on the sheet.

    Raises:
        gr.Error: with one sentence that names the value, the limit and the cure.
    """
    try:
        with told():
            host = engine.of(choice("kind", kind, tuple(engine.EMBEDDED)))
            requests = variants(host, subject, choice("over", over, tuple(OVER)), settings)
            pace.check(host.model, list(requests.values()), loading.default_device().type)
            with admitted(visitor):
                yield from _rows(host, requests, run, columns)
    finally:
        device.forget(run)


def variants(
    host: engine.Engine, subject: Any, over: str, settings: dict[str, Any]
) -> dict[str, Request]:
    """Return the checked request of each variant by its name; those that cannot be run are refused.

    Bases and weights differ in nothing else: what is cached is the same in all rows but that of "automatic",
    which is what runs when nothing is chosen.
    """
    named = {SUBJECTS[host.model.kind][0]: subject}
    one = loading.asked(host.model, APP, **named, **settings)
    values = [value for value in OVER[over]() if over != "interval" or value <= one.steps]
    alike = {} if over == "interval" else {"granularity": ALIKE}
    requests = {}
    for value in values[:MOST]:
        own = settings | {over: value} | ({} if value == AUTOMATIC else alike)
        name = f"N = {value}" if over == "interval" else str(value)
        requests[name] = loading.asked(host.model, APP, **named, **own)
    return requests


def _rows(
    host: engine.Engine, requests: dict[str, Request], name: str, columns: int
) -> Iterator[tuple[list[Row], str]]:
    rows: list[Row] = []
    cells: list[tuple[str, Any]] = []
    for variant, request in requests.items():
        device.check(name)
        *_, outcome = runs.of_request(host, request, name)
        report = outcome.report
        if not rows:
            seconds, steps = report["baseline_seconds"], report["num_steps"]
            is_ = report["speedup_is"]
            rows.append(PLAIN | {"seconds": seconds, "seconds_are": is_, "full_steps": steps})
            about = "~" if is_ == "estimated" else ""
            cells.append(
                (f"plain\n{about}{seconds:.2f} s", files.still(Path(outcome.paths["baseline"])))
            )
        rows.append(_row(variant, report, seconds))
        likeness = "identical" if report["psnr"] is None else f"{report['psnr']:.1f} dB"
        about = "~" if report["speedup_is"] == "estimated" else ""
        caption = f"{variant}\n{about}{report['speedup']:.2f}x, {likeness}"
        cells.append((caption, files.still(Path(outcome.paths["accelerated"]))))
        yield rows, ""
    folder = Path(outcome.paths["accelerated"]).parent
    sheet = files.write(files.contact_sheet(cells, columns), folder / "contact_sheet.png")
    yield rows, str(sheet)


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
