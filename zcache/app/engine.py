"""The models behind the page: which one makes what, why, and whether it is ready.

They load in threads, when they are first needed; on ZeroGPU all of them in the main thread, before the page is
served, since its emulation of CUDA is that thread's alone. One device serves them all, so loads and runs take
turns: both hold `in_use`, in the process that serves the page.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import CheckpointError, ZCacheError
from ..measure import environment
from ..method.profile import Profile
from ..models import catalogue, hub, loading, profiles
from ..models.quiet import quieten
from . import background
from .errors import capitalised, public
from .imports import import_diffusers

logger = logging.getLogger(__name__)

AUTO, LARGE = "auto", "flux-dev"
EMBEDDED = catalogue.EMBEDDED
VARIABLE = "ZCACHE_MODELS"
RETRY_SECONDS = 60.0  # from a load that failed to the next one
POLL_SECONDS = 0.2
ZERO_GPU, READY = "ZeroGPU", "ready"
in_use = threading.Lock()  # held by whoever loads or runs a model


class Engine:
    """One pipeline, loaded once.

    Args:
        name: a model `models.find` knows, or "auto": FLUX.1-dev where CUDA and a token are, else
            mini-flux.
        note: what the page says about the choice of this model.

    Raises:
        CheckpointError: there is no model of that name.
    """

    def __init__(self, name: str, note: str = "") -> None:
        self._wanted = name
        self._loaded = threading.Event()
        self._started = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pipe: Any = None
        self._error: ZCacheError | None = None
        self._failed_at = 0.0
        self._device = "-"
        self.model = loading.find(EMBEDDED["image"] if name == AUTO else name)
        self.note = note

    @property
    def ready(self) -> bool:
        """Whether loading has ended, well or not."""
        return self._loaded.is_set()

    @property
    def loading(self) -> bool:
        """Whether loading has begun and not ended."""
        return self._thread is not None and not self.ready

    @property
    def undecided(self) -> bool:
        """Whether another model may take this one's place while it loads."""
        return self._wanted == AUTO and not self.ready and not why_not_large()

    @property
    def profile(self) -> Profile | None:
        """The profile of the model; None without one, and as long as another model may take its place."""
        return None if self.undecided else profiles.of(self.model)

    def labels(self) -> list[str]:
        """Return the names of the classes the model draws; none if they cannot be had."""
        try:
            return list(loading.labels(self.model))
        except CheckpointError as error:
            logger.warning("no classes of %s: %s", self.model.name, error)
            return []

    def start(self) -> None:
        """Begin to load, unless that was begun before; again, a while after it failed."""
        with self._started:
            if self._thread is None or self._may_try_again():
                self._loaded.clear()
                self._error = None
                self._thread = background.begin(self._load, "zcache-load")

    def load_here(self) -> None:
        """Load in this thread, unless that was begun before."""
        with self._started:
            if self._thread is None:
                self._thread = threading.current_thread()
                self._load()

    def pipeline(self, check: Callable[[], None] = lambda: None) -> Any:
        """Return the pipeline, waiting for it if need be, or raise the CheckpointError.

        `check` is called now and then while waiting; what it raises ends the wait, not the loading.
        """
        while True:
            self.start()
            while not self._loaded.wait(POLL_SECONDS):
                check()
            pipe, error = self._pipe, self._error
            if error is not None:
                raise error
            if pipe is not None:
                return pipe

    def status(self) -> dict[str, str]:
        """Return what the page says of the model: title, device, state, why, terms."""
        if not self.ready:
            state, device = "loading in the background" if self.loading else "not loaded yet", "…"
        elif self._error is not None:
            state, device = "not loaded", "-"
        else:
            state, device = READY, self._device
        return {
            "title": self.model.title,
            "device": device,
            "state": state,
            "note": public(self.note if self._error is None else sentence(self._error)),
            "knows": self.model.knows,
            "terms": self.model.terms,
        }

    def after_fork(self) -> None:
        """Forget, in a new process, a thread that loads in the old one only."""
        if self.loading:
            self._thread, self._started = None, threading.Lock()

    def _load(self) -> None:
        try:
            quieten()
            import_diffusers()
            with in_use:
                self._pipe = self._load_auto() if self._wanted == AUTO else loading.load(self.model)
            self._pipe.set_progress_bar_config(disable=True)
            self._device = (
                ZERO_GPU
                if on_zero_gpu()  # which GPU it will be is not known before a run
                else environment.device_name(self._pipe._execution_device)
            )
        except ZCacheError as error:
            self._error = error
        except Exception as error:
            logger.exception("loading %s failed", self.model.name)
            self._error = CheckpointError(
                f"{self.model.title} could not be loaded ({type(error).__name__}): "
                "see the server's log"
            )
        finally:
            self._failed_at = time.monotonic()
            self._loaded.set()

    def _may_try_again(self) -> bool:
        waited = time.monotonic() - self._failed_at >= RETRY_SECONDS
        return self.ready and self._error is not None and waited and not on_zero_gpu()

    def _load_auto(self) -> Any:
        small = self.model
        why = why_not_large()
        if not why:
            try:
                hub.check_access(loading.KNOWN[LARGE].source)
                self.model = loading.KNOWN[LARGE]
                return loading.load(LARGE)
            except CheckpointError as error:
                self.model, why = small, f"FLUX.1-dev is not used: {error}."
        self.note = why
        return loading.load(small)


def sentence(error: Exception) -> str:
    """Return an error's message with a capital and a full stop."""
    return f"{capitalised(str(error))}."


def why_not_large() -> str:
    """Return why FLUX.1-dev cannot run here, as one sentence, or "" if it may."""
    import torch

    if not torch.cuda.is_available():
        return "FLUX.1-dev needs a CUDA GPU and this machine has none: the small model runs."
    if not hub.token_present():
        return "FLUX.1-dev is gated and HF_TOKEN is not set: the small model runs."
    return ""


def on_zero_gpu() -> bool:
    """Return whether GPUs are lent by ZeroGPU."""
    from spaces.config import Config

    return bool(Config.zero_gpu)


def lineup(wanted: str | None = None) -> dict[str, Engine]:
    """Return an engine for each kind of model: those `wanted` names, and the embedded ones besides.

    `wanted` is one or more names separated by commas, by default the environment variable
    ZCACHE_MODELS, by default "auto". A name that cannot be had is told where an embedded model
    stands in.
    """
    hosts: dict[str, Engine] = {}
    refused = ""
    for name in (wanted or os.environ.get(VARIABLE) or AUTO).split(","):
        try:
            host = Engine(name.strip())
        except CheckpointError as error:
            refused = sentence(error)
        else:
            hosts[host.model.kind] = host
    return {kind: hosts.get(kind) or Engine(name, refused) for kind, name in EMBEDDED.items()}


_hosts: dict[str, Engine] = {}


def use(hosts: Mapping[str, Engine]) -> None:
    """Make `hosts`, by kind, the engines that runs use."""
    _hosts.clear()
    _hosts.update(hosts)


def of(kind: str) -> Engine:
    """Return the engine of a kind; a worker process finds the one its parent had."""
    return _hosts[kind]


def all_hosts() -> dict[str, Engine]:
    """Return the engines by kind."""
    return dict(_hosts)


def _after_fork() -> None:
    """Free a worker process of what the threads of its parent held and were about to do."""
    global in_use
    in_use = threading.Lock()
    for host in _hosts.values():
        host.after_fork()


if hasattr(os, "register_at_fork"):  # ZeroGPU forks its workers; Windows cannot
    os.register_at_fork(after_in_child=_after_fork)
