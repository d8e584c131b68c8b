"""Threads beside the page, and the end of the process."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_process_that_ends_while_work_is_in_torch_ends_well():
    script = """
        import threading, time
        import torch
        from zcache.app import background

        begun = threading.Event()

        def work():
            begun.set()
            until = time.monotonic() + 1
            while time.monotonic() < until:
                torch.randn(64, 64) @ torch.randn(64, 64)
            print("all of it", flush=True)

        background.begin(work, "work")
        begun.wait()
    """

    command = [sys.executable, "-c", textwrap.dedent(script)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0
    assert ended.stdout.strip() == "all of it"
