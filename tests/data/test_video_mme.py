"""Video-MME: three questions and eight frames of a video become a dialogue about one picture."""

import struct
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from compressor.data.benchmarks import get_benchmark
from compressor.data.video import frame_grid, grid, sample_frames
from compressor.errors import DataError, ImageError

FILES = Path(__file__).resolve().parents[1] / "fixtures" / "files"


def write_video(path, grays, size=(64, 48)):
    """A video of one gray per frame, a key frame only every sixth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("vp8" if path.suffix == ".webm" else "mpeg4", rate=8)
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size = "yuv420p", 6
        for gray in grays:
            picture = np.full((size[1], size[0], 3), gray, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def gray(image):
    return float(np.asarray(image, dtype=float).mean())


def rows(*videos):
    """Rows with all the published columns, three per video."""
    return [
        {
            "video_id": f"{number + 1:03}",
            "duration": "short",
            "domain": "Knowledge",
            "sub_category": "Humanity & History",
            "url": "none",
            "videoID": video,
            "question_id": f"{number + 1:03}-{index + 1}",
            "task_type": ("Counting Problem", "Action Recognition", "OCR Problems")[index],
            "question": f"Question {index + 1} about {video}?",
            "options": ["A. Apples.", "B. Candles.", "C. Berries.", "D. U.S.A."],
            "answer": "ABC"[index],
        }
        for number, video in enumerate(videos)
        for index in range(3)
    ]


def write_rows(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(data), path)


@pytest.fixture
def folder(tmp_path):
    write_rows(tmp_path / "videomme" / "test-00000-of-00001.parquet", rows("fFjv93ACGo8", "-slow"))
    write_video(tmp_path / "data" / "fFjv93ACGo8.mp4", range(10, 250, 10))
    write_video(tmp_path / "videos" / "-slow.mp4", [128] * 3)
    return tmp_path


def read(folder, **options):
    return get_benchmark("video-mme").dialogues("validation", folder=folder, **options)


def test_dialogues_of_the_published_table(folder):
    found = {dialogue.id: dialogue for dialogue in read(folder)}
    assert set(found) == {"fFjv93ACGo8-1", "-slow-1"}
    dialogue = found["fFjv93ACGo8-1"]
    assert {(turn.answer, turn.kind) for turn in dialogue.turns} == {
        ("A", "Counting Problem"),
        ("B", "Action Recognition"),
        ("C", "OCR Problems"),
    }
    for index, turn in enumerate(dialogue.turns):
        number = "ABC".index(turn.answer) + 1
        introduction = "The picture shows 8 frames of a video in reading order.\n" if index == 0 else ""
        assert turn.question == (
            f"{introduction}Question {number} about fFjv93ACGo8?"
            "\nA. Apples.\nB. Candles.\nC. Berries.\nD. U.S.A."
            "\nAnswer with the option's letter from the given choices directly."
        )
        assert turn.options == ("Apples.", "Candles.", "Berries.", "U.S.A.")


def test_the_picture_holds_eight_equidistant_frames_in_reading_order(folder):
    dialogue = next(d for d in read(folder) if d.id == "fFjv93ACGo8-1")
    picture = dialogue.image
    assert (picture.mode, picture.size) == ("RGB", (2 * 64, 4 * 48))
    cells = [picture.crop((x, y, x + 64, y + 48)) for y in range(0, 192, 48) for x in (0, 64)]
    # 24 frames of gray 10, 20, ... in eight parts of three: the middle of each
    assert [gray(cell) for cell in cells] == pytest.approx([20 + 30 * part for part in range(8)], abs=4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("amount", [1, 3, 8, 50])
def test_a_video_of_any_length_gives_its_frames(tmp_path, suffix, amount):
    grays = np.linspace(20, 230, amount).round()
    path = write_video(tmp_path / f"video{suffix}", grays)
    shown = [gray(frame) for frame in sample_frames(path, 8)]
    expected = grays[[int((2 * part + 1) * amount / 16) for part in range(8)]]
    assert shown == pytest.approx(list(expected), abs=4)


def test_frames_are_scaled_down_and_the_grid_is_nearly_square():
    wide, tall = Image.new("RGB", (160, 90)), Image.new("RGB", (90, 160))
    assert grid([wide] * 8).size == (2 * 160, 4 * 90)
    assert grid([tall] * 8).size == (4 * 90, 2 * 160)
    assert grid([tall, wide]).size == (180, 160)


def test_large_frames_become_smaller(tmp_path):
    path = write_video(tmp_path / "large.mp4", [100] * 4, size=(1280, 720))
    assert frame_grid(path).size == (2 * 560, 4 * 315)


# a, b, c, d of the matrix that takes (x, y) of a stored frame to (a x + c y, b x + d y) of the shown one
TURNS = {
    (1, 0, 0, 1): ("left", (160, 96)),
    (0, 1, -1, 0): ("top", (96, 160)),
    (-1, 0, 0, -1): ("right", (160, 96)),
    (0, -1, 1, 0): ("bottom", (96, 160)),
}


@pytest.mark.parametrize("matrix", TURNS)
def test_frames_stand_as_their_metadata_says(tmp_path, matrix):
    """The left half of every stored frame is white; ISO/IEC 14496-12 section 6.2.2 has the matrix."""
    side, size = TURNS[matrix]
    data = bytearray((FILES / "plain.mp4").read_bytes())
    begin = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, begin, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = tmp_path / "video.mp4"
    path.write_bytes(data)
    width, height = size
    white = {
        "left": (0, 0, width // 2, height),
        "right": (width // 2, 0, width, height),
        "top": (0, 0, width, height // 2),
        "bottom": (0, height // 2, width, height),
    }
    for frame in sample_frames(path, 3):
        assert frame.size == size
        assert gray(frame.crop(white[side])) > 200
        assert gray(frame) < 150


def test_turned_frames_make_a_grid_of_their_own_form():
    assert sample_frames(FILES / "turned.mp4", 1)[0].size == (96, 160)
    assert frame_grid(FILES / "turned.mp4").size == (4 * 96, 2 * 160)
    assert frame_grid(FILES / "plain.mp4").size == (2 * 160, 4 * 96)


def test_json_holds_the_same(folder, write_json):
    expected = [(dialogue.id, dialogue.turns) for dialogue in read(folder)]
    (folder / "videomme" / "test-00000-of-00001.parquet").unlink()
    data = rows("fFjv93ACGo8", "-slow")[::-1]
    for record in data:
        record["options"] = [option[3:] for option in record["options"]]  # letters are put there all the same
    write_json(folder / "videomme.json", data)
    assert [(dialogue.id, dialogue.turns) for dialogue in read(folder)] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("videoID"), "the field 'videoID' is missing"),
        (lambda r: r.pop("options"), "the field 'options' is missing"),
        (lambda r: r.update(options=["A. Apples."]), "the field 'options' is not a list of 2 to 8 texts"),
        (lambda r: r.update(options=["A.", 7]), "the field 'options' is not a list of 2 to 8 texts"),
        (lambda r: r.update(answer="E"), "the field 'answer' is 'E', not one of the letters ABCD"),
        (lambda r: r.update(answer=""), "the field 'answer' is '', not one of the letters ABCD"),
        (lambda r: r.update(question_id="001-1"), "the field 'question_id' repeats '001-1'"),
    ],
)
def test_a_malformed_record_is_named_with_its_line(folder, write_json, change, message):
    data = rows("fFjv93ACGo8")
    change(data[1])
    (folder / "videomme" / "test-00000-of-00001.parquet").unlink()
    path = write_json(folder / "videomme.json", data, indent=None, separators=(",\n", ":"))
    line = path.read_text(encoding="utf-8").splitlines().index('{"video_id":"001",', 1) + 1
    with pytest.raises(DataError, match="question 2 of 3") as caught:
        read(folder, turns=1)
    assert str(caught.value).startswith(f"{path}, question 2 of 3, line {line}: {message}")


def test_a_malformed_row_of_the_table_is_named(folder):
    data = rows("fFjv93ACGo8")
    data[1]["task_type"] = None
    write_rows(folder / "videomme" / "test-00000-of-00001.parquet", data)
    with pytest.raises(DataError, match=r"parquet, row 2: the field 'task_type' is None, not str"):
        read(folder)


def test_missing_and_damaged_files_are_named(folder):
    dialogue = next(d for d in read(folder) if d.id == "-slow-1")
    path = folder / "videos" / "-slow.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(ImageError, match=r"-slow\.mp4 cannot be decoded"):
        _ = dialogue.image
    path.unlink()
    with pytest.raises(ImageError, match=r"-slow\.mp4 cannot be decoded"):
        _ = dialogue.image
    with pytest.raises(DataError, match=r"-slow\.mp4 or -slow\.MP4"):
        read(folder)
    table = folder / "videomme" / "test-00000-of-00001.parquet"
    table.write_bytes(b"no table")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(folder)
    table.unlink()
    with pytest.raises(DataError, match=r"no file test-00000-of-00001\.parquet"):
        read(folder)


def test_a_file_without_pictures_in_it(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ImageError, match="has no video in it"):
        frame_grid(path)


def test_what_is_not_installed_is_named(folder, monkeypatch):
    dialogue = read(folder)[0]
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"PyAV, which is missing: pip install -r requirements-research\.txt"):
        _ = dialogue.image
    with pytest.raises(DataError, match="pyarrow, which is missing"):
        read(folder)
