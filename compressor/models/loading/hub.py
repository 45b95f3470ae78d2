"""Checkpoints from the Hub: only the named files, no code, and one sentence for whatever goes wrong."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

from compressor.errors import ModelUnavailableError, log_cause
from compressor.models.loading.repository_files import RepositoryFiles

Progress = Callable[[float, str], None]
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
TIMEOUT_S = 5.0  # of the Hub's first answer, without which there is no network


def cache_directory() -> Path:
    """Where downloads are kept."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(repository: str, revision: str | None, files: RepositoryFiles) -> Path | None:
    """The directory of a checkpoint that was downloaded before, whole; looks at no network.

    Args:
        repository: its id.
        revision: a commit or a branch; the newest that is here if None.
        files: that make it whole, beside those that a listing of the repository names, where one is here.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        directory = Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=list(files.patterns), local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        return None
    return directory if files.complete_in(directory) else None


def cached_part(repository: str, revision: str | None) -> Path | None:
    """The directory of a checkpoint of which at least config.json is here; looks at no network.

    Args:
        repository: its id.
        revision: a commit or a branch; the newest that is here if None.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def fetch(
    repository: str, revision: str | None, files: RepositoryFiles, progress: Progress | None = None
) -> Path:
    """The directory of a checkpoint; what of it is not here yet is downloaded, a broken download goes on.

    Args:
        repository: its id.
        revision: a commit or a branch; the newest if None.
        files: that make a checkpoint.
        progress: called with the share that is here, and a sentence; a bar in the terminal if None.
    Raises:
        ModelUnavailableError: no network, no such repository or revision, no access, or no room.
    """
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        return cached(repository, revision, files) or _download(repository, revision, files, progress)
    except (OSError, HTTPError, HFValidationError, RuntimeError) as error:  # the last of its transfer library
        refusal = _refusal(error, repository, revision) or _unreachable(repository)
        if isinstance(error, HFValidationError):  # no name, under which nothing can be here
            raise refusal from error
        there = cached_part(repository, revision)
        if there and files.complete_in(there):  # a listing names more, but nothing that is needed
            log_cause(f"Completing {repository}", error)
            return there
        raise refusal from error


def _download(
    repository: str, revision: str | None, files: RepositoryFiles, progress: Progress | None
) -> Path:
    from huggingface_hub import snapshot_download

    info = _first_answer(repository, revision)
    if lacking := files.lacking_names([file.rfilename for file in info.siblings or ()]):
        raise ModelUnavailableError(
            f"{repository} on the Hub has no {lacking}, without which it cannot be loaded here; "
            "choose another repository."
        )
    bar = progress and _reporting(progress, repository, _missing_bytes(repository, info, files))
    return Path(
        snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(files.patterns),
            etag_timeout=TIMEOUT_S,
            tqdm_class=bar,
        )
    )


def _refusal(error: Exception, repository: str, revision: str | None) -> ModelUnavailableError | None:
    """What the Hub, or the disk, refuses; None where the Hub cannot be reached."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        reason = "gives its files only to those who accepted its terms: accept them on its page on the Hub, "
        return ModelUnavailableError(f"{repository} {reason}then run hf auth login.")
    if isinstance(error, RevisionNotFoundError):
        return ModelUnavailableError(
            f"{repository} has no revision {revision!r} any more; choose another, or none for the newest."
        )
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return ModelUnavailableError(
            f"There is no repository {repository!r} on the Hub, or it is private; "
            "check its name, or run hf auth login."
        )
    if isinstance(error, OSError) and error.errno in DISK:
        return ModelUnavailableError(
            f"Cannot write {repository} to {cache_directory()}: {os.strerror(error.errno)}; "
            "make room, or let HF_HOME name another place."
        )
    return None


def _first_answer(repository: str, revision: str | None) -> Any:
    """What the Hub says of a repository, or TimeoutError: a download would wait for minutes.

    It is asked in a thread, as looking up a name, and trying one address after another, have no timeout.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    answer: Future[Any] = Future()

    def ask() -> None:
        try:
            answer.set_result(
                HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
            )
        except (HTTPError, OSError, ValueError) as error:
            answer.set_exception(error)

    Thread(target=ask, name="hub", daemon=True).start()
    return answer.result(timeout=TIMEOUT_S)


def _unreachable(repository: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"{repository} could not be downloaded: the Hub cannot be reached; check the network and try again, "
        "or give the directory of a checkpoint that is here."
    )


def _missing_bytes(repository: str, info: Any, files: RepositoryFiles) -> int:
    """Bytes of what is still to be downloaded of a repository."""
    from huggingface_hub.utils import filter_repo_objects

    chosen = filter_repo_objects(
        info.siblings or (), allow_patterns=list(files.patterns), key=lambda file: file.rfilename
    )
    there = cached_part(repository, info.sha)
    return sum(file.size or 0 for file in chosen if not (there and (there / file.rfilename).is_file()))


def _reporting(progress: Progress, repository: str, total: int) -> type:
    """A silent tqdm that reports bytes written to `progress`."""
    from huggingface_hub.utils import tqdm

    class Reporting(tqdm):
        def __init__(self, *args: Any, name: str | None = None, **options: Any) -> None:
            # of the bars for files, for bytes received and for bytes written, the last
            self.counts = name == "huggingface_hub.snapshot_download"
            self.written = 0
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self.counts and total:
                self.written += n or 0
                written = min(self.written, total)
                amount = f"{written / 1e9:.1f} of {total / 1e9:.1f} GB"
                progress(written / total, f"Downloading {repository}: {amount}")

    return Reporting
