"""ZeroGPU's emulation of CUDA, which its main thread alone is in: run by test_zerogpu.py.

    python -m tests.app.emulated

A torch without CUDA lacks three names that `spaces` looks for; with these it emulates a GPU as on a Space, up
to the fork. Prints one JSON object: where the page's models are before it is launched, and what it says."""

from __future__ import annotations

import json
import os

import torch


def _is_in_bad_fork() -> bool:
    return False


_is_in_bad_fork.__module__ = "torch.cuda"  # spaces sends it to another process, by its name
torch.version.cuda = "12.8"
torch.cuda._is_in_bad_fork = _is_in_bad_fork  # type: ignore[attr-defined]
torch._C._cuda_init = lambda: None  # type: ignore[attr-defined]

import spaces  # noqa: E402, F401
from spaces.zero.torch.patching import cuda_aliases  # noqa: E402

from zcache.app import build_demo, engine  # noqa: E402


def main() -> None:
    build_demo()
    hosts = engine.all_hosts()
    ready = {kind: host.ready for kind, host in hosts.items()}
    weights = [p for host in hosts.values() for p in host.pipeline().transformer.parameters()]
    found = {
        "ready": ready,
        "devices": sorted({str(weight.device) for weight in weights}),
        "packed": all(weight in cuda_aliases for weight in weights),
        "status": {kind: host.status() for kind, host in hosts.items()},
    }
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
