"""The recipe of the bundled model: the chat's texts, blind reductions, and no loss by a kill."""

import numpy as np
import pytest
import torch

from compressor.training.bundled import language, vision
from compressor.training.bundled.model import build_model, build_tokenizer, vocabulary
from compressor.training.bundled.stages import train_vision
from compressor.world import questions, scenes


def test_every_question_and_answer_of_the_world_is_in_the_vocabulary() -> None:
    words = set(vocabulary())
    for seed in range(300):
        for turn in scenes.draw_turns(scenes.layout(seed), np.random.default_rng(seed), 6):
            assert set(turn.question.removesuffix("?").split()) | {turn.answer} <= words


def test_packed_texts_are_what_a_chat_reads(tiny) -> None:
    model, layout = tiny, scenes.layout(5)
    text = language.pack(layout, np.random.default_rng(0), 8, questions.KINDS)
    decoded = build_tokenizer().decode(text.ids)
    ids, history = [], []
    for index, part in enumerate(decoded.split("</s>")[:8]):
        question, answer = part.removeprefix(" user : ").split(" assistant : ")
        prompt = model.prompt_ids(question, first=not index)
        ids += [*prompt, model.tokenizer.convert_tokens_to_ids(answer.strip()), model.eos_id]
        assert questions.answer(layout, question, history) == answer.strip()
        history.append(question)
    assert ids[ids.index(model.image_token_id) + 1 :] == text.ids
    asked = [at for at, label in enumerate(text.labels) if label != language.IGNORE]
    assert [text.labels[at] for at in asked] == [text.ids[at + 1] for at in asked]
    assert len(text.labels) == len(text.ids)


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.9])
def test_reductions_average_their_tokens_and_keep_the_order(progress: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        weights, positions = language.draw_reduction(rng, progress, 256)
        torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
        assert len(positions) == len(weights) <= 256
        assert positions.min() >= 0 and positions.max() < 256
        single = (weights > 0).sum(1) == 1
        if single.all():
            assert torch.equal(weights.argmax(1), positions)
            assert (positions.diff() > 0).all()


def test_patch_targets_name_what_the_patches_show() -> None:
    shown = scenes.scene(3)
    targets = vision.patch_targets(shown.layout)
    for item in shown.objects:
        patch = int(item.y // 14) * 16 + int(item.x // 14)
        assert vision.GROUPS["class"][targets["class"][patch]] == item.name
        assert vision.GROUPS["color"][targets["color"][patch]] == item.color
        assert targets["cell"][patch] == item.cell
    assert (targets["class"] == len(vision.GROUPS["class"]) - 1).sum() > 100
    assert set(targets["total"]) == {len(shown.objects)}


def test_gaps_between_positions_are_not_read_as_borders_of_sequences() -> None:
    torch.manual_seed(0)
    model = build_model().eval()
    tokens, ids = torch.randn(1, 6, 192), torch.tensor([[20, 30, 40]])
    first = language.forward(model, tokens, ids, torch.tensor([0, 5, 9, 10, 30, 31]), 40)[-1]
    changed = tokens.clone()
    changed[0, 0] += 1.0
    second = language.forward(model, changed, ids, torch.tensor([0, 5, 9, 10, 30, 31]), 40)[-1]
    assert (first - second).abs().amax() > 1e-4  # the text still sees the first image token


def test_a_killed_stage_goes_on_as_if_it_had_not_been(tmp_path) -> None:
    train_vision(tmp_path / "whole", 3, 2)
    train_vision(tmp_path / "parts", 2, 2, of=3)
    train_vision(tmp_path / "parts", 3, 2)
    whole, parts = (
        torch.load(tmp_path / name / "vision.pt", weights_only=True)["model"] for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
