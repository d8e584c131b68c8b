"""The one place where an exception becomes what a visitor or an API caller reads."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from ..errors import CheckpointError, ZCacheError


class StoppedError(ZCacheError):
    """The visitor pressed Stop."""


logger = logging.getLogger(__name__)

MEMORY = "The GPU ran out of memory: choose fewer steps or a smaller model, and run again."
BROKEN = "The run failed for a reason inside the server; it is in the server's log. Run again."


@contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong inside into a gr.Error of one clear, escaped sentence."""
    try:
        yield
    except gr.Error:
        raise
    except StoppedError as error:
        raise _error("StoppedError", "the run was stopped; the next one starts afresh.") from error
    except CheckpointError as error:
        raise _error("Model not available", str(error)) from error
    except (ZCacheError, ValueError) as error:
        if not isinstance(error, ZCacheError):
            logger.exception("a run was refused")
        raise _error("Cannot run this", str(error)) from error
    except Exception as error:
        logger.exception("a run failed")
        memory = "OutOfMemory" in type(error).__name__ or isinstance(error, MemoryError)
        raise _error(
            "Out of memory" if memory else "Run failed", MEMORY if memory else BROKEN
        ) from error


def _error(title: str, sentence: str) -> gr.Error:
    shown = html.escape(sentence[:1].upper() + sentence[1:], quote=False)
    return gr.Error(shown, title=title, print_exception=False)
