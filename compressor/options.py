"""The values of options, checked before anything is computed: an error names the option and its range."""

import math
import reprlib
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from compressor.errors import InvalidOptionError

MAX_SEED = 2**63 - 1


def whole_number(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """The value of an option that counts.

    Args:
        name: of the option, as the error shows it.
        value: given for it.
        least: smallest allowed value.
        most: largest allowed value.
    Raises:
        InvalidOptionError: the value is not a whole number, or outside of this range.
    """
    kind = f"a whole number {_span(least, most)}"
    _require(_is_a(Integral, value), name, kind, describe(value))
    _require(least <= value <= most, name, kind, reprlib.repr(value))
    return int(value)


def number(name: str, value: Any, least: float, most: float = math.inf, *, above: bool = False) -> float:
    """The value of an option that measures.

    Args:
        name: of the option, as the error shows it.
        value: given for it.
        least: smallest allowed value.
        most: largest allowed value.
        above: whether `least` itself is not allowed.
    Raises:
        InvalidOptionError: the value is not a finite number, or outside of this range.
    """
    kind = f"a number {_span(least, most, above)}"
    _require(_is_a(Real, value), name, kind, describe(value))
    inside = least <= value <= most and value < math.inf and not (above and value == least)
    _require(inside, name, kind, reprlib.repr(value))
    return float(value)


def seed(name: str, value: Any) -> int:
    """The seed of a random draw: a whole number from 0 to `MAX_SEED`.

    Args:
        name: of the option, as the error shows it.
        value: given for it.
    Raises:
        InvalidOptionError: it is not such a number.
    """
    return whole_number(name, value, 0, MAX_SEED)


def flag(name: str, value: Any) -> bool:
    """The value of an option that is True or False.

    Args:
        name: of the option, as the error shows it.
        value: given for it.
    Raises:
        InvalidOptionError: it is neither.
    """
    _require(isinstance(value, bool), name, "True or False", describe(value))
    return value


def choice(name: str, value: Any, words: Sequence[str]) -> str:
    """The value of an option that is one of a few words.

    Args:
        name: of the option, as the error shows it.
        value: given for it.
        words: these words.
    Raises:
        InvalidOptionError: it is none of them.
    """
    kind = f"one of {', '.join(words)}"
    _require(isinstance(value, str), name, kind, describe(value))
    _require(value in words, name, kind, reprlib.repr(value))
    return value


def describe(value: Any) -> str:
    """A value of a wrong type as an error shows it: cut where it is long, and with its type.

    Args:
        value: any object.
    """
    text = reprlib.repr(value)
    return text if value is None else f"{text} of type {type(value).__name__}"


def _is_a(kind: type, value: Any) -> bool:
    """Whether a value is a number of a kind; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _require(valid: bool, name: str, kind: str, text: str) -> None:
    if not valid:
        raise InvalidOptionError(f"{name} must be {kind}, not {text}.")


def _span(least: float, most: float, above: bool = False) -> str:
    if above:
        return f"above {least:,}" + ("" if most == math.inf else f" and at most {most:,.4g}")
    return f"of at least {least:,}" if most == math.inf else f"from {least:,} to {most:,}"
