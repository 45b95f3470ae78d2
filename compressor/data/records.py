"""Files of records, checked field by field, with an error that names the file, the field and the line."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.errors import DataError

Key = str | int


@dataclass(frozen=True)
class Records:
    """The records of one file.

    Args:
        path: of the file.
        entries: the records; a JSON object has its own keys, a list the positions from 0, a table its rows.
        where: names the record with a key, and its line where the file has lines; called for errors only.
    """

    path: Path
    entries: Mapping[Key, Any]
    where: Callable[[Key], str]

    def error(self, key: Key, problem: str) -> DataError:
        """What to raise about the record with this key."""
        return DataError(f"{self.path}, {self.where(key)}: {problem}; use the file as it was published.")

    def field(self, key: Key, name: str, *kinds: type) -> Any:
        """The value of a field.

        Args:
            key: of the record.
            name: of the field.
            kinds: the types that the value may have; text where none is given.

        Raises:
            DataError: the field is missing or of another type.
        """
        record = self.entries[key]
        if not isinstance(record, dict):
            raise self.error(key, "the record is not an object with named fields")
        if name not in record:
            raise self.error(key, f"the field {name!r} is missing")
        if type(record[name]) not in (kinds or (str,)):  # exact, because a bool is an int to isinstance
            expected = " or ".join(kind.__name__ for kind in kinds or (str,))
            raise self.error(key, f"the field {name!r} is {record[name]!r:.80}, not {expected}")
        return record[name]

    def by(self, name: str, *kinds: type) -> dict[Any, Key]:
        """From the value of a field that identifies a record to its key.

        Raises:
            DataError: two records have the same value, or as for ``field``.
        """
        found: dict[Any, Key] = {}
        for key in self.entries:
            value = self.field(key, name, *kinds)
            if value in found:
                raise self.error(key, f"the field {name!r} repeats {value!r}")
            found[value] = key
        return found


def json_object(path: Path, noun: str) -> Records:
    """The records of a file that is one JSON object of them.

    Args:
        path: of the file.
        noun: what a record is, for errors.

    Raises:
        DataError: it cannot be read, is not JSON, is not an object, or names a record twice.
    """
    pairs: list[tuple[Key, Any]] = []

    def made_of(found: list[tuple[Key, Any]]) -> dict[Key, Any]:
        nonlocal pairs
        pairs = found  # in the end those of the outermost object, which is completed last
        return dict(found)

    data = _read_json(path, made_of)
    if not isinstance(data, dict):
        raise DataError(f"{path}, line 1: the file is not a JSON object of {noun}s by their ids.")

    def where(key: Key) -> str:
        text = path.read_text(encoding="utf-8-sig")
        found = re.search(rf"{re.escape(json.dumps(key))}\s*:", text)
        return f"{noun} {key!r}" + (f", line {_line(text, found.start())}" if found else "")

    records = Records(path, data, where)
    if len(data) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise records.error(twice, "the id occurs twice")
    return records


def json_list(path: Path, noun: str, under: str | None = None) -> Records:
    """The records of a file that is a JSON list of them, or an object with such a list under a name.

    Args:
        path: of the file.
        noun: what a record is, for errors.
        under: the name of the list inside the object.

    Raises:
        DataError: it cannot be read, is not JSON, or has no such list.
    """
    data = _read_json(path)
    if under is not None:
        if not isinstance(data, dict) or under not in data:
            raise DataError(f"{path}, line 1: the field {under!r}, a list of {noun}s, is missing.")
        data = data[under]
    if not isinstance(data, list):
        what = f"field {under!r}" if under else "file"
        raise DataError(f"{path}, line 1: the {what} is not a list of {noun}s.")

    def where(key: Key) -> str:
        text = path.read_text(encoding="utf-8-sig")
        opening = re.search(rf"{re.escape(json.dumps(under))}\s*:\s*\[" if under else r"\[", text)
        line = _line(text, _start_of_item(text, opening.end(), key))
        return f"{noun} {key + 1} of {len(data)}, line {line}"

    return Records(path, dict(enumerate(data)), where)


def _read_json(path: Path, made_of: Callable[[list[tuple[Key, Any]]], Any] | None = None) -> Any:
    """The data of a file, each object of it as ``made_of`` makes it of its pairs."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=made_of)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: this is not JSON ({error.msg}); download the file again."
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; download the file again.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _start_of_item(text: str, position: int, index: int) -> int:
    """Where item ``index`` of the JSON list whose items begin at ``position`` begins."""
    decoder, gap = json.JSONDecoder(), re.compile(r"[\s,]*")
    for _ in range(index):
        _, position = decoder.raw_decode(text, gap.match(text, position).end())
    return gap.match(text, position).end()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
