"""Count the passes of the full-size models at every shape the app offers, into the shipped table."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from importlib import resources

from zcache.measure.flop_estimate import pass_cost
from zcache.measure.flop_table import key
from zcache.method.config import GRANULARITIES
from zcache.models.architectures import ARCHITECTURES
from zcache.models.request import APP, FRAME_MULTIPLE


def main() -> None:
    """Write `zcache/data/costs.json`; takes minutes."""
    counted = {}
    for name, architecture in ARCHITECTURES.items():
        own = architecture.shape
        video = own.frames > 1
        frames = range(APP.frames[0], APP.frames[1] + 1, FRAME_MULTIPLE) if video else [1]
        for shape in (replace(own, frames=number) for number in frames):
            for granularity in GRANULARITIES:
                cost = pass_cost(name, granularity, shape)
                counted[key(name, granularity, shape)] = list(astuple(cost))
    lines = ",\n".join(f" {json.dumps(name)}: {entry}" for name, entry in counted.items())
    (resources.files("zcache") / "data" / "costs.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
