"""Which state of a part a message shows: the part's version, and a number that no other message has.

Without the number, a browser that applies a new message and then an old one in one go would see the version
that it had before, and would not notice that anything has arrived.
"""

from itertools import count

_NUMBERS = count(1)
_SEPARATOR = " #"


def stamp(version: int | str) -> str:
    """The text that a message carries.

    Args:
        version: of the part of the page that the message fills.
    """
    return f"{version}{_SEPARATOR}{next(_NUMBERS)}"


def is_present(text: str, version: int | str) -> bool:
    """Whether a message showed this version.

    Args:
        text: that it carried, as the browser sends it back.
        version: the present one.
    """
    return text.rpartition(_SEPARATOR)[0] == str(version)
