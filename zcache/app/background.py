"""Work beside the page, in threads that the process waits for before it ends.

A thread that is inside torch while the interpreter is taken down aborts the whole process, with a signal in place
of its exit status.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

PATIENCE_SECONDS = 10.0  # at the end of the process, for each thread


def begin(work: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that does `work`, and return it."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    atexit.register(thread.join, PATIENCE_SECONDS)
    thread.start()
    return thread
