"""Count the passes of the full-size and the embedded models at every shape the app offers, into the shipped table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple, replace
from importlib import resources

from zcache.app.engine import EMBEDDED
from zcache.measure import flop_table
from zcache.measure.flop_estimate import PassCost, count, pass_cost
from zcache.measure.flop_table import key
from zcache.method.config import GRANULARITIES
from zcache.models import loading
from zcache.models.architectures import ARCHITECTURES
from zcache.models.request import APP, FRAME_MULTIPLE

FRAMES = range(APP.frames[0], APP.frames[1] + 1, FRAME_MULTIPLE)


def full_size() -> Iterator[tuple[str, PassCost]]:
    for name, architecture in ARCHITECTURES.items():
        own = architecture.shape
        for frames in FRAMES if own.frames > 1 else [1]:
            shape = replace(own, frames=frames)
            for granularity in GRANULARITIES:
                yield key(name, granularity, shape), pass_cost(name, granularity, shape)


def embedded() -> Iterator[tuple[str, PassCost]]:
    for kind, name in EMBEDDED.items():
        model = loading.find(name)
        assert model.local is not None
        sides = model.call.get("height"), model.call.get("width")
        text = model.call.get("max_sequence_length", 0)
        for frames in FRAMES if kind == "video" else [1]:
            architecture = flop_table.stored(model.local, *sides, frames, text)
            assert architecture is not None
            for granularity in GRANULARITIES:
                cost = count(architecture, granularity, architecture.shape)
                yield key(name, granularity, architecture.shape), cost


def main() -> None:
    """Write `zcache/data/costs.json`; takes minutes."""
    counted = {name: list(astuple(cost)) for name, cost in (*full_size(), *embedded())}
    lines = ",\n".join(f" {json.dumps(name)}: {entry}" for name, entry in counted.items())
    (resources.files("zcache") / "data" / "costs.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
