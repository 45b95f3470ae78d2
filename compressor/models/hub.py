"""Checkpoints from the Hub: only the named files, no code, and one sentence for whatever goes wrong."""

import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

from compressor.errors import ModelUnavailableError

Progress = Callable[[float, str], None]
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
TIMEOUT_S = 5.0  # of the Hub's first answer, without which there is no network


def cache_directory() -> Path:
    """Where downloads are kept."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached(repository: str, revision: str | None, files: Sequence[str]) -> Path | None:
    """The directory of a checkpoint that was downloaded before, whole; looks at no network.

    Args:
        repository: its id.
        revision: a commit or a branch; the newest that is here if None.
        files: patterns of names.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=list(files), local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        return None


def fetch(
    repository: str, revision: str | None, files: Sequence[str], progress: Progress | None = None
) -> Path:
    """The directory of a checkpoint, downloaded where it is not here yet; a broken download goes on.

    Args:
        repository: its id.
        revision: a commit or a branch; the newest if None.
        files: patterns of names.
        progress: is told the share that is here, and a sentence; a bar in the terminal if None.
    Raises:
        ModelUnavailableError: no network, no such repository or revision, no access, or no room.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        if there := cached(repository, revision, files):
            return there
        info = _first_answer(repository, revision)
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(files),
                etag_timeout=TIMEOUT_S,
                tqdm_class=progress and _reporting(progress, repository, _size(info, files)),
            )
        )
    except GatedRepoError as error:
        reason = "gives its files only to those who accepted its terms: accept them on its page on the Hub, "
        raise ModelUnavailableError(f"{repository} {reason}then run hf auth login.") from error
    except RevisionNotFoundError as error:
        raise ModelUnavailableError(
            f"{repository} has no revision {revision!r} any more; choose another, or none for the newest."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelUnavailableError(
            f"There is no repository {repository!r} on the Hub, or it is private; "
            "check its name, or run hf auth login."
        ) from error
    except OSError as error:
        if error.errno in DISK:
            raise ModelUnavailableError(
                f"{repository} cannot be kept in {cache_directory()}: {os.strerror(error.errno)}; "
                "make room, or let HF_HOME name another place."
            ) from error
        raise _unreachable(repository) from error
    except (HTTPError, RuntimeError) as error:  # the latter of the Hub's own transfer library
        raise _unreachable(repository) from error


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


def _size(info: Any, files: Sequence[str]) -> int:
    """Bytes of what is downloaded of a repository."""
    from huggingface_hub.utils import filter_repo_objects

    chosen = filter_repo_objects(
        info.siblings or (), allow_patterns=list(files), key=lambda file: file.rfilename
    )
    return sum(file.size or 0 for file in chosen)


def _reporting(progress: Progress, repository: str, total: int) -> type:
    """A bar that shows nothing, and tells `progress` of the bytes that have been written."""
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
