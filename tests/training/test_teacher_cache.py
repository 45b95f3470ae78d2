"""What is kept of the frozen model is what it computes, and it is computed once."""

from dataclasses import replace

import pytest
import torch

from compressor import ChatSession
from compressor.training import teacher_cache
from compressor.training.teacher_forcing import response_states
from compressor.world import scenes


def test_the_teacher_is_the_uncompressed_chat(tiny, dialogues, samples) -> None:
    session = ChatSession(tiny, dialogues[0].image, method="none", rate=0.0)
    "".join(session.ask(dialogues[0].turns[0].question, max_new_tokens=1))
    assert int(tiny.decoder.head(samples[0].teacher)[0].argmax()) == session.turns[0].answer_ids[0]


def test_a_sample_is_what_the_model_computes(tiny, dialogues, samples) -> None:
    sample = samples[17]  # in the second file
    image = tiny.encode(dialogues[17].image).embeddings
    assert torch.allclose(sample.image, image, atol=1e-5)
    (states,) = response_states(tiny, [image], [sample.text])
    assert torch.allclose(sample.teacher, states, atol=1e-4)
    assert len(samples) == len(dialogues)
    with pytest.raises(IndexError):
        samples[len(dialogues)]


def test_it_is_computed_once_and_anew_for_other_questions_or_options(tiny, dialogues, tmp_path) -> None:
    teacher_cache.build_teacher_cache(tiny, dialogues[:3], tmp_path)
    (folder,) = tmp_path.iterdir()
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    teacher_cache.build_teacher_cache(tiny, dialogues[:3], tmp_path)
    assert file.stat().st_mtime_ns == written
    teacher_cache.build_teacher_cache(tiny, [scenes.dialogue(i, turns=2) for i in range(3)], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    teacher_cache.build_teacher_cache(tiny.variant(crop=True), dialogues[:3], tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_other_numbers_or_pictures_have_another_name(small_llava, dialogues) -> None:
    before = teacher_cache.depends_on(small_llava, dialogues[:2], "data")
    number = small_llava.decoder.layers[0].mlp.up_proj.weight.view(-1)[64]  # behind the first 64
    was = number.clone()
    number += 1
    assert teacher_cache.depends_on(small_llava, dialogues[:2], "data") != before
    number.copy_(was)
    assert teacher_cache.depends_on(small_llava, dialogues[:2], "data") == before
    assert teacher_cache.depends_on(small_llava, dialogues[:2], "model") != before
    redrawn = [dialogues[0], replace(dialogues[1], load=dialogues[2].load)]
    assert teacher_cache.depends_on(small_llava, redrawn, "data") != before


def test_processes_share_the_files(tiny, dialogues, samples, tmp_path) -> None:
    seen = []
    for process in range(2):
        parts = teacher_cache.build_teacher_cache(tiny, dialogues, tmp_path, "data", process, 2, seen.append)
    assert seen == [16, 4]
    assert torch.equal(parts[18].image, samples[18].image)


def test_the_models_own_answers_are_those_of_its_chat(tiny, dialogues, tmp_path) -> None:
    (sample,) = teacher_cache.build_teacher_cache(tiny, dialogues[:1], tmp_path, "model")
    session = ChatSession(tiny, dialogues[0].image, method="none", rate=0.0)
    answers = ["".join(session.ask(turn.question)) for turn in dialogues[0].turns]
    responses = sample.text.after[1:][sample.text.response[:-1]].tolist()
    assert tiny.decode(responses) == " ".join(answers)
