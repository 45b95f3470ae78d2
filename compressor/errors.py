"""Every error a user can meet: one sentence that says what is wrong and what to do about it."""

import logging
from pathlib import Path
from traceback import extract_tb

logger = logging.getLogger(__name__)


class StudioError(Exception):
    """Base of all errors that are shown to a person as they are."""


class InvalidRateError(StudioError, ValueError):
    """The compression rate, or the budget of tokens, is outside its range."""


class InvalidProjectionError(StudioError, ValueError):
    """A matrix cannot serve as a projection of an image's tokens."""


class ImageError(StudioError, ValueError):
    """A picture cannot be read, or is of a kind that no model can be shown."""


class InvalidQuestionError(StudioError, ValueError):
    """A question is empty or too long."""


class InvalidInputError(StudioError, ValueError):
    """A browser sent a value that its page does not offer."""


class InvalidOptionError(StudioError, ValueError):
    """An option of a method or of the sampling is unknown or out of range."""


class UnknownMethodError(StudioError):
    """No compression method has this name."""


class ModelError(StudioError):
    """Base of everything that keeps a model from being used."""


class UnknownModelError(ModelError):
    """No model has this name, and no local directory either."""


class ModelUnavailableError(ModelError):
    """A known model cannot be loaded here: its files, the network or the memory are missing."""


class NoMemoryLeftError(ModelUnavailableError):
    """A model would fit this machine, but other models or programs hold the memory."""


class ModelMismatchError(ModelError, ValueError):
    """Things made for different models, or for different images, were put together."""


class ContextLengthError(StudioError, ValueError):
    """A chat does not fit into the model's context."""


class DecidedInDecoderError(StudioError, RuntimeError):
    """The language model decides this projection while it reads a question, and has not read one."""


class DivergedError(StudioError, ArithmeticError):
    """An optimisation met numbers that are not finite."""


class NumericalError(StudioError, ArithmeticError):
    """A model computed numbers that are not finite."""


class TrainingError(StudioError):
    """A training run cannot go on in this folder, or lacks what it needs."""


class ResultsError(StudioError, ValueError):
    """Results of an evaluation cannot be read, continued or shown in the requested table."""


class SessionError(StudioError, RuntimeError):
    """The present state of a session does not allow an action."""


class UserSessionError(StudioError):
    """A visitor's place in the page is gone or busy."""


class SessionExpiredError(UserSessionError):
    """The server has no chat for this page, or has removed it."""


class ServerFullError(UserSessionError):
    """Every place for a chat belongs to an active visitor."""


class OutOfMemoryError(StudioError):
    """The memory of the machine ran out during a computation."""


class InternalError(StudioError):
    """An unexpected failure; the server's log has the cause."""


class JudgeError(StudioError):
    """The model that marks answers cannot be reached, or its replies hold no scores."""


class DataError(StudioError, ValueError):
    """The files of a benchmark are missing or malformed, or do not hold what is asked of them."""


class UnknownBenchmarkError(StudioError):
    """No benchmark has this name."""


def log_cause(what: str, error: BaseException) -> None:
    """Log an error whose text no person is shown: one line with its causes, the traceback at debug level.

    Args:
        what: was done, without anything that a visitor wrote or uploaded.
        error: the cause of a sentence, or the sentence itself, of which only the causes are logged.
    """
    cause = error.__cause__ if isinstance(error, StudioError) else error
    if cause is None:
        return
    causes: list[str] = []
    while cause is not None:
        frames = extract_tb(cause.__traceback__)
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        causes.append(f"{type(cause).__name__}: {' '.join(str(cause).split())}{place}")
        cause = cause.__cause__ or cause.__context__
    logger.warning("%s: %s", what, "; ".join(causes))
    logger.debug("%s: the traceback", what, exc_info=error)
