"""Fetch a pipeline from the Hugging Face Hub, and say in one sentence why it cannot be had."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .catalogue import stand_in

_commits: dict[str, str] = {}  # of each repository asked for without a revision, the one in use


def token_present() -> bool:
    """Return whether a Hub token is set in the environment or stored by `hf auth login`."""
    from huggingface_hub import get_token

    return bool(get_token())


def check_access(repo: str) -> None:
    """Ask the Hub whether this token may read `repo`; raises CheckpointError if it may not."""
    from huggingface_hub import HfApi

    try:
        HfApi().auth_check(repo)
    except Exception as error:
        raise explained(repo, error) from error


def fetch(repo: str, revision: str | None = None) -> Path:
    """Return the local folder of a Hub pipeline, downloading what is missing (safetensors only).

    A copy that is already in the Hub cache is used when the network is down. Without a revision a process
    keeps to the commit it met first.

    Raises:
        CheckpointError: gated, wrong token, missing, no network, disk full.
    """
    from diffusers import DiffusionPipeline

    found = _fetched(repo, DiffusionPipeline.download, revision, use_safetensors=True)
    return _kept(repo, Path(found), revision)


def fetch_index(repo: str, revision: str | None = None) -> Path:
    """Return a local folder that holds at least the pipeline's index, model_index.json.

    Raises:
        CheckpointError: as `fetch` does.
    """
    from huggingface_hub import hf_hub_download

    found = _fetched(repo, hf_hub_download, revision, filename="model_index.json")
    return _kept(repo, Path(found).parent, revision)


def commit(repo: str, revision: str | None = None) -> str | None:
    """Return the revision of a repository that this process uses; None where it fetched nothing of it."""
    return revision or _commits.get(repo)


def _kept(repo: str, folder: Path, revision: str | None) -> Path:
    """Return a fetched folder, and note the commit it is named by."""
    if revision is None:
        _commits.setdefault(repo, folder.name)
    return folder


def _fetched(
    repo: str, download: Callable[..., str], revision: str | None, **arguments: Any
) -> str:
    """Return what `download` returns; without a Hub that answers it is asked for what is on this machine."""
    failure: CheckpointError | None = None
    try:
        check_access(repo)
    except CheckpointError as error:
        if not is_network_failure(error):
            raise
        failure = error
    try:
        revision = commit(repo, revision)
        return download(repo, revision=revision, local_files_only=bool(failure), **arguments)
    except Exception as error:
        raise failure or explained(repo, error) from error


def explained(repo: str, error: BaseException) -> CheckpointError:
    """Return the CheckpointError that says what went wrong with `repo`, and the cure."""
    from huggingface_hub import errors

    for cause in _chain(error):
        if isinstance(cause, errors.GatedRepoError):
            return CheckpointError(
                f"{repo} is gated and this token has no access: accept its licence at "
                f"https://huggingface.co/{repo} and set HF_TOKEN to a token of that account"
            )
        if isinstance(cause, errors.RevisionNotFoundError):
            return CheckpointError(f"{repo} has no such revision: give a commit or branch it has")
        if isinstance(cause, errors.RepositoryNotFoundError | errors.HFValidationError):
            return CheckpointError(
                f"the Hub has no repository {repo} that this token may see: check the name, "
                "or set HF_TOKEN if it is private"
            )
        if isinstance(cause, errors.RemoteEntryNotFoundError):
            return CheckpointError(
                f"{repo} is no diffusers pipeline (a file of one is missing): give a repository "
                "with a model_index.json and its components"
            )
        if isinstance(cause, errors.HfHubHTTPError) and cause.response is not None:
            return _by_status(repo, cause.response.status_code)
        if getattr(cause, "errno", None) == errno.ENOSPC:
            return CheckpointError(f"the disk is full while fetching {repo}: free some space")
    if is_network_failure(error):
        return _no_network(repo)
    if "`safetensors` weights" in str(error):
        return CheckpointError(
            f"{repo} has weights that are not safetensors, the only kind read here: convert them "
            "with `save_pretrained` and give that folder, or choose another repository"
        )
    reason = (
        str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    )
    return CheckpointError(f"{repo} cannot be fetched ({reason}): check the name and try again")


def is_network_failure(error: BaseException) -> bool:
    """Return whether `error`, or a cause of it, says that the Hub could not be reached, or is out of order."""
    return any(
        isinstance(cause, ConnectionError | TimeoutError)
        or (getattr(getattr(cause, "response", None), "status_code", None) or 0) >= 500
        or type(cause).__name__ in ("ConnectError", "ConnectTimeout", "ReadTimeout", "NetworkError")
        for cause in _chain(error)
    )


def _by_status(repo: str, status: int) -> CheckpointError:
    if status in (401, 403):
        return CheckpointError(
            f"the Hub refused the token for {repo} (HTTP {status}): set HF_TOKEN to a valid token "
            "with read access, or unset it"
        )
    return CheckpointError(f"the Hub answered HTTP {status} for {repo}: try again later")


def _no_network(repo: str) -> CheckpointError:
    return CheckpointError(
        f"{repo} is not on this machine and the Hub cannot be reached: connect to the network, "
        f"or choose {stand_in(repo)}, which is embedded"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
