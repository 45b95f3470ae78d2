"""Questions about a picture from the command line."""

import pytest

from compressor import ChatSession, Projection, load_model
from compressor.cli import main
from compressor.world import scenes


def test_it_answers_as_a_chat_does_and_saves_p(tmp_path, capsys):
    picture, out = tmp_path / "scene.png", tmp_path / "P.npz"
    image = scenes.scene(1_000_000_004).image
    image.save(picture)
    questions = ["what color is the cat?", "where is it?"]
    arguments = ["--method", "sample", "--rate", "0.8", "--save-projection", str(out)]
    assert main(["ask", str(picture), *(f"--question={text}" for text in questions), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    session = ChatSession(load_model("tiny"), image, "sample", 0.8)
    for place, question in enumerate(questions):
        answer = "".join(session.ask(question))
        assert lines[3 * place : 3 * place + 2] == [f"> {question}", answer]
        assert "[51 of 256 image tokens, " in lines[3 * place + 2]
    assert (Projection.load(out).weights == session.projection.weights).all()


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("nothing.png", "'nothing.png' cannot be read as a picture; check the path and the file."),
        ("scene:four", "A generated scene is written scene:NUMBER, not 'scene:four'."),
    ],
)
def test_a_picture_that_is_none_is_one_sentence(image, sentence, capsys):
    assert main(["ask", image, "--question", "what is it?"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {sentence}"
