"""The model behind the page: which one, why, and whether it is ready. It loads in a thread."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from .. import environment, hub, models
from ..errors import CheckpointError, ZCacheError
from ..quiet import quieten

logger = logging.getLogger(__name__)

SMALL, LARGE = "mini-flux", "flux-dev"
VARIABLE = "ZCACHE_MODELS"


class Engine:
    """One pipeline, loaded once, used by one run at a time.

    Args:
        name: a model `models.load` knows, or "auto": FLUX.1-dev where CUDA and a token are, else
            mini-flux. None reads the environment variable ZCACHE_MODELS, by default "auto".
    """

    def __init__(self, name: str | None = None) -> None:
        self._wanted = name or os.environ.get(VARIABLE, "auto")
        self._loaded = threading.Event()
        self._started = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pipe: Any = None
        self._error: ZCacheError | None = None
        self.in_use = threading.Lock()
        self.model = models.find(SMALL if self._wanted == "auto" else self._wanted)
        self.note = ""

    @property
    def ready(self) -> bool:
        """Whether loading has ended, well or not."""
        return self._loaded.is_set()

    def start(self) -> None:
        """Begin to load, unless that was begun before."""
        with self._started:
            if self._thread is None:
                self._thread = threading.Thread(target=self._load, name="zcache-load", daemon=True)
                self._thread.start()

    def pipeline(self) -> Any:
        """Return the pipeline, waiting for it if need be, or raise the CheckpointError."""
        self.start()
        self._loaded.wait()
        if self._error is not None:
            raise self._error
        return self._pipe

    def status(self) -> dict[str, str]:
        """Return what the page says of the model: title, device, state, why, terms."""
        if not self.ready:
            state, device = "loading in the background", "…"
        elif self._error is not None:
            state, device = "not loaded", "-"
        else:
            state, device = "ready", environment.device_name(self._pipe._execution_device)
        return {
            "title": self.model.title,
            "device": device,
            "state": state,
            "note": str(self._error) if self._error is not None else self.note,
            "knows": self.model.knows,
            "terms": self.model.terms,
        }

    def _load(self) -> None:
        try:
            quieten()
            self._pipe = self._load_auto() if self._wanted == "auto" else models.load(self._wanted)
            self._pipe.set_progress_bar_config(disable=True)
        except ZCacheError as error:
            self._error = error
        except Exception as error:
            logger.exception("loading %s failed", self.model.name)
            self._error = CheckpointError(
                f"{self.model.title} could not be loaded ({type(error).__name__}): "
                "see the server's log"
            )
        finally:
            self._loaded.set()

    def _load_auto(self) -> Any:
        self.note = why_not_large()
        if not self.note:
            try:
                hub.check_access(models.KNOWN[LARGE].source)
                self.model = models.KNOWN[LARGE]
                return models.load(LARGE)
            except CheckpointError as error:
                self.model, self.note = models.KNOWN[SMALL], f"FLUX.1-dev is not used: {error}."
        return models.load(SMALL)


def why_not_large() -> str:
    """Return why FLUX.1-dev cannot run here, as one sentence, or "" if it may."""
    import torch

    if not torch.cuda.is_available():
        return "FLUX.1-dev needs a CUDA GPU and this machine has none: the small model runs."
    if not hub.token_present():
        return "FLUX.1-dev is gated and HF_TOKEN is not set: the small model runs."
    return ""


_current: Engine | None = None


def use(engine: Engine) -> None:
    """Make `engine` the one that runs use."""
    global _current
    _current = engine


def current() -> Engine:
    """Return the engine in use; a worker process finds the one its parent had."""
    if _current is None:
        use(Engine())
    return _current
