"""Excel workbooks part by part, so that a test says what each part holds."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
STRICT = {MAIN: "http://purl.oclc.org/ooxml/spreadsheetml/main"}
STRICT[RELATIONS] = "http://purl.oclc.org/ooxml/officeDocument/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def save_workbook(
    path: Path, sheets: Mapping[str, str], strings: str | None = None, strict: bool = False
) -> Path:
    """Writes an .xlsx file.

    Args:
        path: of the file.
        sheets: by the name of its part, such as "sheet1", what is inside <worksheet>; in their order.
        strings: the items of the shared strings, if any.
        strict: whether it is in the names of strict Office Open XML.
    """
    types = {f"worksheets/{name}.xml": "worksheet" for name in sheets} | {"workbook.xml": "sheet.main"}
    parts = {
        f"xl/worksheets/{name}.xml": f'<worksheet xmlns="{MAIN}">{body}</worksheet>'
        for name, body in sheets.items()
    }
    listed = "".join(
        f'<sheet name="{name}" sheetId="{index}" r:id="{name}"/>' for index, name in enumerate(sheets, 1)
    )
    parts["xl/workbook.xml"] = (
        f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{listed}</sheets></workbook>'
    )
    links = [(name, "worksheet", f"worksheets/{name}.xml") for name in sheets]
    if strings is not None:
        types["sharedStrings.xml"] = "sharedStrings"
        parts["xl/sharedStrings.xml"] = f'<sst xmlns="{MAIN}">{strings}</sst>'
        links.append(("strings", "sharedStrings", "sharedStrings.xml"))
    parts["xl/_rels/workbook.xml.rels"] = _relations(links)
    parts["_rels/.rels"] = _relations([("workbook", "officeDocument", "xl/workbook.xml")])
    overrides = "".join(
        f'<Override PartName="/xl/{part}" ContentType="{_TYPE}.{kind}+xml"/>' for part, kind in types.items()
    )
    parts["[Content_Types].xml"] = f'<Types xmlns="{_PACKAGE}/content-types">{overrides}</Types>'
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            for usual, named in STRICT.items() if strict else ():
                text = text.replace(usual, named)
            archive.writestr(name, text)
    return path


def table(*rows: tuple[str, ...]) -> str:
    """The inside of a worksheet whose cells are inline texts, as XML."""
    lines = (
        "".join(f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>' for text in row)
        for row in rows
    )
    return "<sheetData>" + "".join(f"<row>{line}</row>" for line in lines) + "</sheetData>"


def _relations(links: list[tuple[str, str, str]]) -> str:
    inside = "".join(
        f'<Relationship Id="{name}" Type="{RELATIONS}/{kind}" Target="{target}"/>'
        for name, kind, target in links
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{inside}</Relationships>'
