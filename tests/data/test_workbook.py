"""A workbook is read as Excel shows it, whatever program wrote it."""

import sys
import zipfile
from pathlib import Path

import openpyxl
import pytest

from compressor.data.workbook import first_sheet
from compressor.errors import DataError
from tests.workbooks import save_workbook, table

FILES = Path(__file__).resolve().parents[1] / "fixtures" / "files"


def read(path) -> dict:
    return dict(first_sheet(path).entries)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("escapes.xlsx", {2: {"ID": "Name the animal.\nThen count them."}}),
        ("phonetic.xlsx", {2: {"ID": "東京"}}),
        ("no_references.xlsx", {2: {"ID": "7", "q": "what?"}}),
        ("order.xlsx", {2: {"ID": "7"}}),
    ],
)
def test_workbooks_of_other_programs(name, expected):
    assert read(FILES / name) == expected


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("a_x000D_\nb", "a\nb"),
        ("a_x000d_\nb", "a\nb"),
        ("a_x0009_b", "a\tb"),
        ("_x0041__x0042_", "AB"),
        ("_x005F_x000D_", "_x000D_"),  # an escaped underscore: the text is spelled so
        ("_x005f_x000D_", "_x000D_"),
        ("a_x005F_b", "a_b"),
        ("x005F_", "x005F_"),
        ("_x00_ _xyz_ _x000D", "_x00_ _xyz_ _x000D"),
        ("_xD83D__xDE00_", "\U0001f600"),
        ("_xD83D_", "�"),
        (" what? ", " what? "),
    ],
)
def test_escapes_are_what_they_stand_for(tmp_path, stored, text, shared):
    path = tmp_path / "a.xlsx"
    if shared:
        rows = '<row r="1"><c t="s"><v>0</v></c></row><row r="2"><c t="s"><v>1</v></c></row>'
        strings = f'<si><t>q</t></si><si><t xml:space="preserve">{stored}</t></si>'
        save_workbook(path, {"sheet1": f"<sheetData>{rows}</sheetData>"}, strings)
    else:
        save_workbook(path, {"sheet1": table(("q",), (stored,))})
    assert read(path) == {2: {"q": text}}


@pytest.mark.parametrize("strict", [False, True])
def test_the_first_sheet_is_that_of_the_workbook_in_both_dialects(tmp_path, strict):
    strings = "<si><t>ID</t></si><si><r><t>rich </t></r><r><t>text</t></r></si>"
    rows = '<row r="1"><c r="B1" t="s"><v>0</v></c></row><row r="3"><c r="B3" t="s"><v>1</v></c></row>'
    sheets = {"sheet7": f"<sheetData>{rows}</sheetData>", "sheet1": table(("other",), ("1",))}
    path = save_workbook(tmp_path / "a.xlsx", sheets, strings, strict=strict)
    assert read(path) == {3: {"ID": "rich text"}}


def test_a_stated_extent_that_is_too_small_hides_nothing(tmp_path):
    body = '<dimension ref="A1"/>' + table(("ID", "q"), ("1", "what?"))
    assert read(save_workbook(tmp_path / "a.xlsx", {"sheet1": body})) == {2: {"ID": "1", "q": "what?"}}


def test_a_row_beyond_the_last_of_excel_does_not_hang(tmp_path):
    rows = '<row r="1"><c><v>1</v></c></row><row r="2"><c><v>2</v></c></row><row r="999999999999999"/>'
    path = save_workbook(tmp_path / "a.xlsx", {"sheet1": f"<sheetData>{rows}</sheetData>"})
    assert read(path) == {2: {"1": "2"}}


def test_headers_are_stripped_and_what_has_no_header_or_no_text_is_left_out(tmp_path):
    body = table(("", ""), (" ID\n", "", "q"), ("1", "no header", " "), ("", "", ""), ("2", "", "what?"))
    assert read(save_workbook(tmp_path / "a.xlsx", {"sheet1": body})) == {
        3: {"ID": "1"},
        5: {"ID": "2", "q": "what?"},
    }


def test_every_value_is_text(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["whole", "half", "long", "switch", "formula"])
    book.active.append([7.0, 0.5, 0.1 + 0.2, True, "=1+1"])
    book.save(tmp_path / "a.xlsx")
    # a formula has no value before Excel has computed it
    assert read(tmp_path / "a.xlsx") == {2: {"whole": "7", "half": "0.5", "long": "0.3", "switch": "TRUE"}}


def test_a_workbook_without_a_sheet_is_an_error_and_an_empty_sheet_an_empty_table(tmp_path):
    assert read(save_workbook(tmp_path / "empty.xlsx", {"sheet1": ""})) == {}
    with pytest.raises(DataError, match=r"none\.xlsx has no sheet; save it with the table on its first"):
        first_sheet(save_workbook(tmp_path / "none.xlsx", {}))


def test_what_is_no_workbook_is_an_error(tmp_path):
    path = save_workbook(tmp_path / "a.xlsx", {"sheet1": table(("ID",), ("1",))})
    whole = path.read_bytes()
    for data in (b"", b"no workbook", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.xlsx is not a workbook that can be read; download it again"):
            first_sheet(path)
    save_workbook(path, {"sheet1": "<sheetData><row>"})
    with pytest.raises(DataError, match="not a workbook"):
        first_sheet(path)
    save_workbook(
        path, {"sheet1": '<sheetData><row><c t="s"><v>9</v></c></row></sheetData>'}, "<si><t/></si>"
    )
    with pytest.raises(DataError, match="not a workbook"):
        first_sheet(path)
    with pytest.raises(DataError, match="not a workbook"):
        first_sheet(tmp_path / "missing.xlsx")


def test_xml_that_swells_is_refused(tmp_path):
    path = save_workbook(tmp_path / "a.xlsx", {"sheet1": table(("ID",), ("1",))})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    entity = b'<!DOCTYPE a [<!ENTITY e "1">]>'
    parts["xl/worksheets/sheet1.xml"] = entity + parts["xl/worksheets/sheet1.xml"].replace(b">1<", b">&e;<")
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    with pytest.raises(DataError, match="not a workbook"):
        first_sheet(path)


@pytest.mark.parametrize("name", ["openpyxl", "defusedxml"])
def test_what_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"are missing: pip install -r requirements-research\.txt"):
        first_sheet(FILES / "order.xlsx")
