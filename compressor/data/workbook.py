"""The first sheet of an Excel workbook as records, read by openpyxl."""

import io
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

from compressor.data.records import Records
from compressor.errors import DataError

LAST_ROW = 1_048_576  # of Excel; a damaged number would otherwise be counted up to

_TRANSITIONAL, _STRICT = b"http://schemas.openxmlformats.org/", b"http://purl.oclc.org/ooxml/"
_REWRITTEN = {
    # strict Office Open XML has names of its own, in which openpyxl silently finds no sheet
    _STRICT + b"spreadsheetml/main": _TRANSITIONAL + b"spreadsheetml/2006/main",
    _STRICT + b"officeDocument/relationships": _TRANSITIONAL + b"officeDocument/2006/relationships",
    # openpyxl decodes no escape and drops these letters, which makes a line break of "_x005F_x000D_"
    b"_x005F_": b"_x005f_",
    b"x005F_": b"_x0078_005F_",
}
_ESCAPE = re.compile(r"_x([0-9a-fA-F]{4})_")

_log = logging.getLogger(__name__)


def first_sheet(path: Path) -> Records:
    """The rows below the first one, by the number that Excel shows; the first row names the fields.

    All values are text, numbers with the 15 digits of Excel; an empty cell is a missing field. The names of
    fields are stripped.

    Args:
        path: of an .xlsx file (Office Open XML, transitional or strict).

    Raises:
        DataError: openpyxl or defusedxml is missing, the file is not such a workbook, or it has no sheet.
    """
    rows = _rows(path)
    names = {column: name.strip() for column, name in (rows.pop(min(rows)) if rows else {}).items()}
    entries = {
        number: {names[column]: value for column, value in row.items() if column in names}
        for number, row in rows.items()
    }
    return Records(path, entries, lambda number: f"row {number}")


def _rows(path: Path) -> dict[int, dict[int, str]]:
    """The cells that are not empty, by row and column."""
    try:
        import defusedxml  # noqa: F401  without it openpyxl would read hostile XML
        import openpyxl
    except ImportError:
        raise DataError(
            "Workbooks are read by openpyxl and defusedxml, which are missing: "
            "pip install -r requirements-research.txt."
        ) from None
    try:
        workbook = openpyxl.load_workbook(_plain_copy(path), read_only=True, data_only=True)
        if not workbook.worksheets:
            raise DataError(f"{path} has no sheet; save it with the table on its first sheet.")
        sheet = workbook.worksheets[0]
        sheet.reset_dimensions()  # those that a file states may be too small
        rows = {
            number: {column: text for column, value in enumerate(row) if (text := _text(value)).strip()}
            for number, row in enumerate(sheet.iter_rows(max_row=LAST_ROW, values_only=True), 1)
        }
    except DataError:
        raise
    except Exception as cause:  # noqa: BLE001 - openpyxl raises whatever its parsers meet in a damaged file
        _log.info("%s could not be read as a workbook", path, exc_info=cause)
        raise DataError(f"{path} is not a workbook that can be read; download it again.") from None
    return {number: row for number, row in rows.items() if row}


def _plain_copy(path: Path) -> io.BytesIO:
    """The parts of a workbook that hold text, in the names and escapes that openpyxl understands."""
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            if name.endswith((".xml", ".rels")):
                part = source.read(name)
                for stored, understood in _REWRITTEN.items():
                    part = part.replace(stored, understood)
                target.writestr(name, part)
    copy.seek(0)
    return copy


def _text(value: Any) -> str:
    """A cell as Excel shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return f"{value:.15g}"
    decoded = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), str(value))
    whole = decoded.encode("utf-16-le", "surrogatepass").decode(
        "utf-16-le", "replace"
    )  # halves of one character
    return whole.replace("\r\n", "\n")
