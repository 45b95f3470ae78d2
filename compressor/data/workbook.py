"""The first sheet of an Excel workbook as records, read with the standard library alone."""

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from compressor.data.records import Records
from compressor.errors import DataError

_XML = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
_STRINGS, _SHEET = "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml"


def first_sheet(path: Path) -> Records:
    """The rows below the first one, by the number that Excel shows; the first row names the fields.

    All values are text, as the file spells them; an empty cell is a missing field.

    Args:
        path: of an .xlsx file (Office Open XML).

    Raises:
        DataError: it is not such a file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            shared = archive.read(_STRINGS) if _STRINGS in archive.namelist() else b"<none/>"
            strings = [_text(item) for item in ElementTree.fromstring(shared).iterfind("x:si", _XML)]
            sheet = ElementTree.fromstring(archive.read(_SHEET))
        rows = {
            int(row.attrib["r"]): {
                _column(cell): value
                for cell in row.iterfind("x:c", _XML)
                if (value := _value(cell, strings)).strip()
            }
            for row in sheet.iterfind(".//x:row", _XML)
        }
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, KeyError, ValueError, IndexError):
        raise DataError(f"{path} is not a workbook that can be read; download it again.") from None
    filled = {number: row for number, row in rows.items() if row}
    names = filled.pop(min(filled)) if filled else {}
    entries = {
        number: {names[column]: value for column, value in row.items() if column in names}
        for number, row in filled.items()
    }
    return Records(path, entries, lambda number: f"row {number}")


def _column(cell: ElementTree.Element) -> str:
    """The letters of a cell's name, such as AB of AB12."""
    return re.sub(r"\d", "", cell.attrib["r"])


def _value(cell: ElementTree.Element, strings: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return _text(cell)
    value = cell.findtext("x:v", "", _XML)
    return strings[int(value)] if cell.get("t") == "s" else value


def _text(item: ElementTree.Element) -> str:
    return "".join(run.text or "" for run in item.iterfind(".//x:t", _XML))
