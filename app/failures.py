"""What the page says of an error without a sentence of its own; its cause goes to the server's log."""

import logging

from compressor.errors import InternalError, OutOfMemoryError, StudioError

_log = logging.getLogger(__name__)
_MEMORY = ("out of memory", "not enough memory", "DefaultCPUAllocator", "ALLOC_FAILED")


def as_user_error(error: Exception) -> StudioError:
    """An error in one sentence with a remedy; one that has none yet is logged with its traceback.

    Args:
        error: what a handler met; a `StudioError` stays as it is.
    """
    if isinstance(error, StudioError):
        return error
    _log.error("A request of the page failed.", exc_info=error)
    if _is_out_of_memory(error):
        return OutOfMemoryError(
            "The memory of this machine ran out: raise the compression rate or choose a smaller model."
        )
    return InternalError(
        "Something went wrong on the server, and nothing was changed; try again. "
        "The details are in the server's log."
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Of the graphics card or of the machine; PyTorch has no common class for the two."""
    import torch  # a model that can run out of memory has loaded it

    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY))
