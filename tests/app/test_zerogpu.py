"""The app in ZeroGPU's processes: the real `spaces` package against a device API of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from zcache import ZCacheConfig
from zcache.app import device
from zcache.measure import compare

ROOT = Path(__file__).parents[2]
GRANTED = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "x", "allowToken": "t"}
REQUESTS: list[tuple[str, dict[str, str]]] = []


class DeviceAPI(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        REQUESTS.append((address.path, query))
        body = json.dumps(GRANTED if address.path == "/schedule" else {}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def found(folders, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """What tests/app/zerogpu.py found."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), DeviceAPI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}",
        "ZCACHE_STORE": str(tmp_path_factory.mktemp("store")),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.app.zerogpu", str(folders["image"])],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    server.shutdown()
    assert done.returncode == 0, done.stderr[-3000:]
    yield json.loads(done.stdout.splitlines()[-1])


def test_exactly_one_function_goes_to_the_gpu_and_one_worker_serves_it(found):
    assert found["zero"] is True
    assert found["decorated"] == 1
    assert found["workers"] == 1


def test_the_picture_is_that_of_a_run_without_zerogpu(found, tiny_pipe, tiny_call):
    call = {**tiny_call, "prompt": "a red circle", "num_inference_steps": 50, "output_type": "pil"}
    alone = compare.compare(tiny_pipe, call, ZCacheConfig(interval=8), seed=1)

    ours = np.array(found["first"]).reshape(alone.accelerated.frames[0].shape)
    assert np.abs(ours - alone.accelerated.frames[0]).max() <= 1  # another number of threads


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ("stop", "The run was stopped; the next one starts afresh."),
        ("kill", "The GPU's process ended in the middle of the run, which is lost: run again."),
        ("out of memory", "The GPU ran out of memory: choose fewer steps or a smaller model, and"),
    ],
)
def test_after_a_run_that_ended_early_the_next_one_is_the_same_as_ever(found, after, sentence):
    said = found[{"stop": "stopped", "kill": "killed"}.get(after, after)]

    assert said.startswith(sentence)
    assert found[f"after {after}"] == found["first"] == found["again"]
    assert found["flags left"] == 0


def test_the_page_sees_a_workers_run_in_progress_and_afterwards_nothing_is_left(found):
    assert found["seen"] == ["accelerated", "baseline"]
    assert found["seen afterwards"] == []


def test_seconds_are_asked_for_within_limits_once_a_run(found):
    asked = [float(query["durationSeconds"]) for path, query in REQUESTS if path == "/schedule"]

    assert len(asked) == 9
    low, high = device.SECONDS_ASKED
    assert all(low <= seconds <= high for seconds in asked)
    assert {"/startup-report", "/allow", "/release"} >= {p for p, _ in REQUESTS} - {"/schedule"}


def test_every_model_is_on_the_emulated_gpu_before_the_page_is_launched(tmp_path):
    """What is there then is packed for the workers; a thread of its own is outside of the emulation."""
    environment = {
        **os.environ,
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:9",
        "ZCACHE_STORE": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.app.emulated"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]

    there = json.loads(done.stdout.splitlines()[-1])

    assert there["devices"] == ["cuda:0"] and there["packed"]
    assert there["ready"] == {"image": True, "video": True, "class": True}
    assert {status["state"] for status in there["status"].values()} == {"ready"}
    assert {status["device"] for status in there["status"].values()} == {"ZeroGPU"}
