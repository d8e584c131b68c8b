"""Context parallelism: two processes on the CPU (gloo) draw what one does."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

import zcache
from zcache import ZCacheConfig
from zcache.caching.bindings import Signal

from .families.everything import BY_NAME
from .families.judge import LIMIT, apart

PROCESSES = 2
FAMILIES = ("flux", "wan", "qwen-image-true-cfg")
CASES = [
    (name, granularity, base)
    for name in FAMILIES
    for granularity, base in (("stack", "taylorseer"), ("output", "taylorseer"), ("stack", "teacache"))
    if (name, base) != ("qwen-image-true-cfg", "teacache")
]  # fmt: skip


def arguments(name: str) -> dict[str, Any]:
    """Prompts of a length that two processes can halve."""
    own = BY_NAME[name].arguments()
    for key, value in own.items():
        if key.endswith(("prompt_embeds", "prompt_embeds_mask")) and value.shape[1] == 7:
            own[key] = value[:, :6]
    return own


def drawn(pipe: Any, name: str, config: ZCacheConfig) -> tuple[list[torch.Tensor], Any]:
    """Where the run ends, after every signal that decided on it; and its report."""
    seen: list[torch.Tensor] = []
    measure = Signal.__call__

    def noting(signal: Signal, *args: Any) -> torch.Tensor:
        seen.append(measure(signal, *args))
        return seen[-1]

    with patch.object(Signal, "__call__", noting), zcache.enabled(pipe, config) as handle:
        seen.append(BY_NAME[name].run(pipe, **arguments(name)))
        return seen, handle.report()


def process(rank: int, port: int, out: str) -> None:
    """Draw every case alone, then together; rank 0 writes what it found."""
    from diffusers import ContextParallelConfig

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )
    found = {}
    for name in FAMILIES:
        alone, together = BY_NAME[name].build(), BY_NAME[name].build()
        # diffusers numbers the processes by accelerators, of which a CPU has none.
        with patch.object(torch.accelerator, "device_count", return_value=PROCESSES):
            together.transformer.enable_parallelism(
                config=ContextParallelConfig(ulysses_degree=PROCESSES)
            )
        for case in (case for case in CASES if case[0] == name):
            config = ZCacheConfig(interval=3, granularity=case[1], base=case[2], relax=None)
            one, expected = drawn(alone, name, config)
            both, report = drawn(together, name, config)
            found[" ".join(case)] = {
                "apart": max(apart(b, a) for b, a in zip(both, one, strict=True)),
                "same walk": report.walk == expected.walk,
                "fallbacks": list(report.fallbacks),
                "expected": list(expected.fallbacks),
                "forecasts": report.forecast_passes,
            }
    if rank == 0:
        Path(out).write_text(json.dumps(found), encoding="utf-8")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("parallel") / "found.json"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(process, (port, str(out)), nprocs=PROCESSES)
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_two_processes_draw_what_one_does(case: tuple[str, str, str], found: dict) -> None:
    seen = found[" ".join(case)]
    assert seen["apart"] <= LIMIT and seen["same walk"]
    assert seen["forecasts"] > 0 and seen["fallbacks"] == seen["expected"]
