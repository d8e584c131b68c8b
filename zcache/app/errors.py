"""The one place where an exception becomes what a visitor or an API caller reads."""

from __future__ import annotations

import errno
import html
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from ..errors import CheckpointError, ZCacheError


class StoppedError(ZCacheError):
    """The visitor pressed Stop."""


logger = logging.getLogger(__name__)

PATH = re.compile(r"(?<![\w:/.<])/(?:[^\s/'\"<>]+/)+([^\s/'\"<>:,;]+)")
MEMORY = "{} ran out of memory: choose fewer steps or a smaller model, and run again."
ON_CPU = "DefaultCPUAllocator"  # torch's RuntimeError names it, and has no class of its own
DISK = "The server's disk is full: try again in a few minutes."
LOST = "The GPU's process ended in the middle of the run, which is lost: run again."
BROKEN = "The run failed for a reason inside the server; it is in the server's log. Run again."


@contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong inside into a gr.Error of one clear, escaped sentence."""
    try:
        yield
    except gr.Error as error:
        if error.title == "ZeroGPU worker error":  # it died, or said the name of an exception only
            raise _error("GPU worker lost", LOST) from error
        raise
    except StoppedError as error:
        raise _error(
            StoppedError.__name__, "the run was stopped; the next one starts afresh."
        ) from error
    except CheckpointError as error:
        raise _error("Model not available", str(error)) from error
    except ZCacheError as error:
        raise _error("Cannot run this", str(error)) from error
    except Exception as error:
        logger.exception("a run failed")
        raise _error(*_unexpected(error)) from error


def _unexpected(error: Exception) -> tuple[str, str]:
    """Return title and sentence for an error nobody raised on purpose; nothing of it is shown."""
    if "OutOfMemory" in type(error).__name__:
        return "Out of memory", MEMORY.format("The GPU")
    if isinstance(error, MemoryError) or ON_CPU in str(error):
        return "Out of memory", MEMORY.format("The server")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Disk full", DISK
    return "Run failed", BROKEN


def was_stopped(error: Exception) -> bool:
    """Whether an error says, before or after `told`, that the visitor pressed Stop."""
    told_so = isinstance(error, gr.Error) and error.title == StoppedError.__name__
    return told_so or isinstance(error, StoppedError)


def sentence_of(error: gr.Error) -> str:
    """Return what an error that `told` raised says, without its escapes."""
    return html.unescape(str(error.message))


def public(text: str) -> str:
    """Return `text` with the last name of each path of this machine in the path's place."""
    return PATH.sub(r"\1", text)


def capitalised(text: str) -> str:
    """Return `text` with a capital, unless it begins with the name of a repository, which has none of its own."""
    first = text.partition(" ")[0]
    return text if "/" in first else text[:1].upper() + text[1:]


def _error(title: str, sentence: str) -> gr.Error:
    shown = html.escape(capitalised(public(sentence)), quote=False)
    return gr.Error(shown, title=title, print_exception=False)
