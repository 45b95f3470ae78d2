"""ConvBench: the published workbook, the same rows as JSON, and every fault named."""

from xml.sax.saxutils import escape

import pytest

from compressor.data.benchmarks import get_benchmark
from compressor.errors import DataError
from tests.workbooks import save_workbook

COLUMNS = (
    "ID",
    "instruction_category",
    "image_id",
    "instruction-conditioned-caption",
    "The_first_turn_instruction",
    "First_turn_instruction_category",
    "first_turn_answer",
    "The_second_turn_instruction",
    "Second_turn_instruction_category",
    "second_turn_answer",
    "The_third_turn_instruction",
    "Third_turn_instruction_category",
    "third_turn_answer",
    "third_turn_demands",
)


def row(number, **changes):
    """A conversation with all the published columns."""
    values = {column: f"{column} of {number}, 2 < 3 & more" for column in COLUMNS}
    return {**values, "ID": number, "image_id": f"{number}_tested_skill_{number}.png", **changes}


def write_workbook(path, rows, shared=True):
    """An .xlsx file of one sheet; numbers are number cells, texts shared strings or inline ones."""
    texts: list[str] = []

    def cell(name, value):
        if isinstance(value, int):
            return f'<c r="{name}"><v>{value}</v></c>'
        if not shared:
            runs = "".join(f"<r><t>{escape(part)}</t></r>" for part in (value[:3], value[3:]))
            return f'<c r="{name}" t="inlineStr"><is>{runs}</is></c>'
        texts.append(value)
        return f'<c r="{name}" t="s"><v>{len(texts) - 1}</v></c>'

    lines = [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]
    body = ""
    for number, values in enumerate(lines, 1):
        cells = "".join(
            cell(f"{chr(65 + index)}{number}", values[column])
            for index, column in enumerate(COLUMNS)
            if column in values
        )
        body += f'<row r="{number}">{cells}</row>'
    items = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
    sheet = f'<sheetData>{body}<row r="9999"/></sheetData>'
    save_workbook(path, {"sheet1": sheet}, items if shared else None)


@pytest.fixture
def folder(tmp_path, picture):
    rows = [row(number) for number in (1, 2, 130, 131)]
    write_workbook(tmp_path / "ConvBench.xlsx", rows)
    for number in (1, 2, 130):
        picture(tmp_path / "visit_bench_images" / f"{number}_tested_skill_{number}.png")
    return tmp_path


def read(folder, **options):
    return get_benchmark("convbench").dialogues("validation", folder=folder, **options)


def test_conversations_of_the_published_workbook(folder):
    found = read(folder)
    assert sorted(dialogue.id for dialogue in found) == [
        "1",
        "130",
        "2",
    ]  # 131 was published without its picture
    for dialogue in found:
        of = f"of {dialogue.id}, 2 < 3 & more"
        assert [(turn.question, turn.answer, turn.kind) for turn in dialogue.turns] == [
            (f"The_first_turn_instruction {of}", f"first_turn_answer {of}", "perception"),
            (f"The_second_turn_instruction {of}", f"second_turn_answer {of}", "reasoning"),
            (f"The_third_turn_instruction {of}", f"third_turn_answer {of}", "creation"),
        ]
        assert dialogue.image.size == (40, 30)


@pytest.mark.parametrize("order", [1, -1])
def test_json_and_inline_texts_hold_the_same(folder, write_json, order):
    expected = [(dialogue.id, dialogue.turns) for dialogue in read(folder)]
    rows = [row(number) for number in (1, 2, 130, 131)][::order]
    write_workbook(folder / "ConvBench.xlsx", rows, shared=False)
    assert [(dialogue.id, dialogue.turns) for dialogue in read(folder)] == expected
    (folder / "ConvBench.xlsx").unlink()
    write_json(folder / "ConvBench.json", rows)
    assert [(dialogue.id, dialogue.turns) for dialogue in read(folder)] == expected


def test_count_turns_and_a_number_as_an_answer(folder):
    write_workbook(folder / "ConvBench.xlsx", [row(1, first_turn_answer=4), row(2)])
    assert len(read(folder, count=1)) == 1
    assert {dialogue.turns[0].answer for dialogue in read(folder, turns=1) if dialogue.id == "1"} == {"4"}
    assert [turn.kind for turn in read(folder, turns=2)[0].turns] == ["perception", "reasoning"]
    with pytest.raises(DataError, match="3 turns per conversation, not 4"):
        read(folder, turns=4)


def test_another_missing_picture_is_an_error(folder):
    (folder / "visit_bench_images" / "2_tested_skill_2.png").unlink()
    with pytest.raises(DataError, match=r"no file 2_tested_skill_2\.png"):
        read(folder)


def test_rows_without_their_picture_are_left_out_on_demand_and_named(folder):
    (folder / "visit_bench_images" / "2_tested_skill_2.png").unlink()
    rows = [row(1), row(2), row(130), row(131), row(7, image_id="")]
    write_workbook(folder / "ConvBench.xlsx", rows)
    names = []
    assert sorted(dialogue.id for dialogue in read(folder, left_out=names.append)) == ["1", "130"]
    assert sorted(names) == ["131", "2", "7"]
    names.clear()
    assert len(read(folder, left_out=names.append, count=1)) == 1
    assert len(names) < 3  # no row after the last dialogue is looked at


def test_a_folder_without_any_picture_is_an_error_even_then(folder):
    for path in (folder / "visit_bench_images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="holds no picture of ConvBench; put them into visit_bench_images"):
        read(folder, left_out=[].append)


def test_a_missing_cell_is_named_with_its_row(folder, write_json):
    rows = [row(1), row(2)]
    del rows[1]["second_turn_answer"]
    write_workbook(folder / "ConvBench.xlsx", rows)
    with pytest.raises(DataError, match=r"ConvBench\.xlsx, row 3: the field 'second_turn_answer' is missing"):
        read(folder)
    (folder / "ConvBench.xlsx").unlink()
    rows[1]["second_turn_answer"] = " "
    write_json(folder / "ConvBench.json", rows)
    with pytest.raises(
        DataError, match="conversation 2 of 2, line 18: the field 'second_turn_answer' is empty"
    ):
        read(folder)


def test_damaged_files_are_named(folder):
    path = folder / "ConvBench.xlsx"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"ConvBench\.xlsx is not a workbook"):
        read(folder)
    save_workbook(path, {})
    with pytest.raises(DataError, match="has no sheet"):
        read(folder)
    save_workbook(path, {"sheet1": ""})
    with pytest.raises(DataError, match="no dialogue of 3 turns"):
        read(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"no file ConvBench\.xlsx or ConvBench\.json"):
        read(folder)
