"""Say on what a figure was measured: device, precision, threads and versions."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__

PACKAGES = ("torch", "diffusers", "transformers")


def describe(pipe: Any) -> dict[str, Any]:
    """Return `device`, `dtype` and `versions` of a loaded pipeline as plain values."""
    return {
        "device": device_name(pipe._execution_device),
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "versions": versions(),
    }


def device_name(device: Any) -> str:
    """Return the name of the card, or of the processor with the threads torch uses."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"{_processor()}, {count} thread{'s' if count > 1 else ''}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    found = {"zcache": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine() or "CPU"
