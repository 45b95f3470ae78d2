"""A fingerprint changes with whatever could change a result, and a refusal names what differs."""

import os
import shutil

import pytest
import torch
from PIL import Image

from compressor import fingerprint, load_model
from compressor.dialogues import Dialogue, PictureFile, Turn
from compressor.errors import DataError
from compressor.world import scenes

RUN = {
    "model": "tiny",
    "model files": "sha256:1",
    "dtype": "float32",
    "crop": False,
    "settings": {"lr": 1e-3, "rates": [0.9]},
}


@pytest.fixture
def copied(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / checkpoint.name)


def changed_fields(first: dict, second: dict) -> set[str]:
    return {name for name in first | second if first.get(name) != second.get(name)}


def flip_last_byte(path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_loaded_model_is_told_by_the_content_of_all_its_files(model, copied, file) -> None:
    before = fingerprint.of_model(model)
    assert fingerprint.of_model(load_model(copied, device="cpu")) == before
    if file.endswith(".json"):
        with (copied / file).open("a") as text:
            text.write(" ")
    else:
        flip_last_byte(copied / file)  # of one number of one weight
    after = fingerprint.of_model(load_model(copied, device="cpu"))
    assert changed_fields(before, after) == {"model files"}


def test_dtype_and_options_have_fields_of_their_own(model, checkpoint) -> None:
    before = fingerprint.of_model(model)
    assert before["four-bit weights"] is False
    other = load_model(checkpoint, device="cpu", dtype=torch.bfloat16, crop=True)
    after = fingerprint.of_model(other)
    assert changed_fields(before, after) == {"dtype", "crop"}
    assert (before["dtype"], after["dtype"], after["crop"]) == ("float32", "bfloat16", True)


def test_quantisation_has_a_field_of_its_own(wide_checkpoint) -> None:
    before, after = (
        fingerprint.of_model(load_model(wide_checkpoint, device="cpu", four_bit=four_bit))
        for four_bit in (False, True)
    )
    assert changed_fields(before, after) == {"four-bit weights"}


def test_a_model_without_files_is_told_by_every_number_it_has(small_llava) -> None:
    before = fingerprint.of_model(small_llava)
    assert fingerprint.of_model(small_llava) == before
    weight = small_llava.decoder.layers[0].mlp.up_proj.weight
    for place in (0, 65, -1):
        value = weight.view(-1)[place].clone()
        weight.view(-1)[place] += 1
        assert changed_fields(before, fingerprint.of_model(small_llava)) == {"model files"}
        weight.view(-1)[place] = value
    assert fingerprint.of_model(small_llava) == before


def test_a_file_is_read_again_only_after_a_change(tmp_path, monkeypatch) -> None:
    read, real = [], fingerprint.hashlib.file_digest

    def counted(file, kind):
        read.append(file.name)
        return real(file, kind)

    monkeypatch.setattr(fingerprint.hashlib, "file_digest", counted)
    file = tmp_path / "weights.bin"
    file.write_bytes(b"0" * 100)
    first = fingerprint.of_file(file)
    assert fingerprint.of_file(file) == first
    assert len(read) == 1
    flip_last_byte(file)
    os.utime(file, ns=(1, 1))
    assert fingerprint.of_file(file) != first
    assert len(read) == 2
    with pytest.raises(DataError, match="cannot be read"):
        fingerprint.of_file(tmp_path / "gone.bin")


TURNS = (Turn("is it red?", "yes"), Turn("how many?", "2"))
OTHERS = {
    "question": (Turn("is it red?", "yes"), Turn("how many dogs?", "2")),
    "answer": (Turn("is it red?", "yes"), Turn("how many?", "3")),
    "order": TURNS[::-1],
}


@pytest.mark.parametrize("turns", OTHERS.values(), ids=OTHERS)
def test_dialogues_of_the_same_number_are_told_by_what_they_ask(turns) -> None:
    def dialogue(asked):
        return Dialogue(lambda: Image.new("RGB", (8, 8)), asked, id="a")

    assert fingerprint.of_dialogues([dialogue(TURNS)]) == fingerprint.of_dialogues([dialogue(TURNS)])
    assert fingerprint.of_dialogues([dialogue(TURNS)]) != fingerprint.of_dialogues([dialogue(turns)])


def test_dialogues_are_told_by_every_pixel_they_show() -> None:
    image = Image.new("RGB", (8, 8))
    asked = [Dialogue(lambda: image, TURNS, id="a")]
    before = fingerprint.of_dialogues(asked)
    image.putpixel((7, 7), (0, 0, 1))
    assert fingerprint.of_dialogues(asked) != before
    scene = scenes.dialogue(5)
    assert fingerprint.of_dialogues([scene]) == fingerprint.of_dialogues([scenes.dialogue(5)])
    drawn = Dialogue(scenes.dialogue(6).load, scene.turns, scene.objects, scene.id)
    assert fingerprint.of_dialogues([scene]) != fingerprint.of_dialogues([drawn])


def test_the_bytes_of_a_picture_or_video_tell_it_without_decoding(tmp_path) -> None:
    def decoded(path):
        raise AssertionError("a fingerprint decodes no file")

    asked = [Dialogue(PictureFile(decoded, tmp_path / "video.mp4"), TURNS, id="a")]
    (tmp_path / "video.mp4").write_bytes(b"0" * 64)
    before = fingerprint.of_dialogues(asked)
    flip_last_byte(tmp_path / "video.mp4")
    os.utime(tmp_path / "video.mp4", ns=(1, 1))
    assert fingerprint.of_dialogues(asked) != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "float16"}, "a run with dtype float32, not float16; give"),
        ({"crop": True}, "a run with crop False, not True; give"),
        ({"model files": "sha256:2"}, "a run with other model files; give"),
        ({"settings": {"lr": 0.5, "rates": [0.9]}}, "a run with lr 0.001, not 0.5; give"),
        ({"dtype": "x", "model files": "sha256:2"}, "with other model files, and dtype float32, not x; give"),
        ({"pool": "max"}, "of an older version, which did not write down pool; give another folder."),
    ],
)
def test_a_refusal_names_what_differs(change, said, tmp_path) -> None:
    refusal = fingerprint.refusal(tmp_path, RUN, {**RUN, **change})
    assert refusal.startswith(f"{tmp_path} holds")
    assert said in refusal
    assert refusal.endswith(".")


def test_the_same_run_is_not_refused_whatever_kind_of_sequence_holds_its_numbers(tmp_path) -> None:
    again = {**RUN, "settings": {"lr": 1e-3, "rates": (0.9,)}}
    assert fingerprint.refusal(tmp_path, RUN, again) == ""
    assert fingerprint.refusal(tmp_path, again, RUN) == ""
    assert "holds" in fingerprint.refusal(tmp_path, "no run", RUN)
