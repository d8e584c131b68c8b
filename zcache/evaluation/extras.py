"""What to say when a metric's library or its weights are not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ConfigError


def needed(extra: str, library: str) -> ConfigError:
    """Return the error that says which extra to install; it stands in a clone, not on the index."""
    return ConfigError(f"{library} is not installed; {install(extra)}")


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f'run python -m pip install -e ".[{extra}]" in your clone of zcache'


def with_weights(name: str, load: Callable[[], Any]) -> Any:
    """Return what `load` returns; raise ConfigError if its weights cannot be had."""
    try:
        return load()
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(
            f"the weights of {name} cannot be had ({reason}): connect to the network once, or leave this metric out"
        ) from error
