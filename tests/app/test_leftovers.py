"""Nothing of a server is left when it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENDS = """
import time
from zcache.app import device, leftovers, runs
leftovers.end_tidily()
(runs._new_folder() / "picture.png").touch()
device.announce("a/image")
device.stop("a/image")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without telling it")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_ended_leaves_nothing(tmp_path, how):
    server = subprocess.Popen(
        [sys.executable, "-c", ENDS],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A run of the tests in the background may ignore the interrupt, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"
    before = {path.name.split("-")[0] for path in tmp_path.iterdir()}
    server.send_signal(how)
    server.wait(timeout=60)

    assert "zcache" in before
    assert [path.name for path in Path(tmp_path).iterdir() if path.name.startswith("zcache")] == []
