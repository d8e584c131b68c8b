"""A program under ZeroGPU's package and process model, on a CPU: run by test_zerogpu.py.

    python -m tests.app.zerogpu CHECKPOINT

The device API that `spaces` talks to is `SPACES_ZERO_DEVICE_API_URL`. torch is hidden while `spaces`
is imported, because its CUDA emulation cannot take a torch without CUDA; forks, pickling, workers and
errors are the real ones. Prints one JSON object of what it found."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.modules["torch"] = None  # type: ignore[assignment]
import spaces  # noqa: E402
import spaces.zero.decorator as decorator  # noqa: E402

del sys.modules["torch"]

import gradio as gr  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from zcache.app import device, engine, runs  # noqa: E402
from zcache.models import loading  # noqa: E402

from ..folders import as_model  # noqa: E402

BUSY_TICKS = 3
ASKED: dict[str, Any] = {"prompt": "a red circle", "steps": 50, "interval": 8}


def picture(seed: int) -> list[int]:
    outcome = runs.last("image", **ASKED, seed=seed)
    return np.asarray(Image.open(outcome.paths["accelerated"])).flatten().tolist()


def refused(seed: int, name: str = "", meanwhile: Callable[[], None] | None = None) -> str:
    """What a visitor reads of a run that fails, or in the middle of which something happens."""
    acting = threading.Thread(target=soon, args=(meanwhile,), daemon=True)
    if meanwhile is not None:
        acting.start()
    try:
        runs.last("image", name, watched=name == "watched", **ASKED, seed=seed)
    except gr.Error as error:
        return str(error.message)
    else:
        return "nothing went wrong"
    finally:
        if meanwhile is not None:
            acting.join()


def workers() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]


def soon(action: Callable[[], None]) -> None:
    """Do it once a worker has begun to compute."""
    before = {pid: ticks(pid) for pid in workers()}
    while not any(ticks(pid) > before.get(pid, 0) + BUSY_TICKS for pid in workers()):
        time.sleep(0.002)
    action()


def ticks(pid: int) -> int:
    """Hundredths of a second that a process has computed."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])


def kill() -> None:
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    while workers():
        time.sleep(0.01)


def main(checkpoint: str) -> None:
    loading.KNOWN["tiny"] = as_model(Path(checkpoint), "tiny", "FluxPipeline")
    engine.use({"image": engine.Engine("tiny")})
    found: dict[str, Any] = {"decorated": len(set(decorator.decorated_cache.values()))}
    found["zero"] = spaces.config.Config.zero_gpu
    engine.of("image").pipeline().transformer.register_forward_pre_hook(dawdle)
    found["first"], found["again"] = picture(1), picture(1)
    found["workers"] = len(workers())
    assert os.getpid() not in workers()

    seen: set[str] = set()
    device.announce("watched")
    found["watched"] = refused(5, "watched", lambda: watch("watched", seen))
    found["seen"], found["seen afterwards"] = sorted(seen), sorted(device.seen("watched"))

    device.announce("mine")
    found["stopped"] = refused(2, "mine", lambda: device.stop("mine"))
    found["after stop"] = picture(1)

    found["killed"] = refused(3, meanwhile=kill)
    found["after kill"] = picture(1)

    kill()  # so that the next worker is a fork of the broken pipeline
    vae = engine.of("image").pipeline().vae
    decode, vae.decode = vae.decode, _out_of_memory
    found["out of memory"] = refused(4)
    kill()
    vae.decode = decode
    found["after out of memory"] = picture(1)
    kill()
    found["flags left"] = len(device._stops)
    print(json.dumps(found), flush=True)
    os._exit(0)


def watch(name: str, seen: set[str]) -> None:
    """Note the sides of a run that show small pictures, until it is over."""
    for _ in range(500):
        seen.update(side for side, png in device.seen(name).items() if png[1:4] == b"PNG")
        if len(seen) == 2:
            return
        time.sleep(0.01)


def dawdle(*_: Any) -> None:
    """Make a run long enough to be disturbed in the middle."""
    time.sleep(0.01)


def _out_of_memory(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("/secret/path")


if __name__ == "__main__":
    main(sys.argv[1])
