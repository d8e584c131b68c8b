import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # before anything reads it

import pytest
import torch

from .serving import (  # noqa: F401  fixtures
    CHROMIUM,
    browser,
    flux_folder,
    folders,
    served,
    tinies,
    tiny,
    tiny_call,
    tiny_calls,
    tiny_pipe,
    tiny_pipes,
)

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Chromium the browser tests are left out on a developer's machine, and fail in CI."""
    if CHROMIUM or os.environ.get("CI"):
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason="no Chromium: apt-get install chromium"))
