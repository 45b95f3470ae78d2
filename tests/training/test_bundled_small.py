"""The recipe of ``small``: true labels, texts as in a chat, chats apart, no loss by a kill."""

import hashlib

import numpy as np
import pytest
import torch

from compressor import load_model
from compressor.training.bundled.model import export
from compressor.training.bundled.schedule import save_weights
from compressor.training.bundled.small import alignment, language, patches, reductions, stages, texts, vision
from compressor.training.bundled.small.model import build_model, build_tokenizer, vocabulary
from compressor.world import dense_scenes
from compressor.world.dense.layout import IMAGE_SIZE, NAMES
from compressor.world.dense.questions import KINDS


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model().eval()


def test_the_vocabulary_is_that_of_the_training_under_way() -> None:
    assert len(set(vocabulary())) == len(vocabulary())
    digest = hashlib.sha256("\n".join(vocabulary()).encode()).hexdigest()
    assert digest.startswith("c20ad4a0f8d47106"), "a new word needs a new training"


def test_texts_of_the_world_survive_the_tokenizer_and_only_strange_words_are_spelt() -> None:
    tokenizer, words = build_tokenizer(), vocabulary()
    spelt = {i for i, word in enumerate(words) if word.startswith("##") and word[2:].isalpha()}
    spelt = {i for i in spelt if words[i][2:].islower()}
    for seed in range(60):
        for short in (False, True):
            for turn in dense_scenes.dialogue(seed, 5, short=short).turns:
                answer = texts.answer_ids(turn.answer)
                assert tokenizer.decode(answer, skip_special_tokens=True).strip() == turn.answer
                ids = {*answer, *(texts.question_ids(turn.question) if turn.kind != "unknown" else ())}
                assert not spelt & ids
                assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("WHAT COLOUR IS THE CAT?", "what color is the cat ?"),
        ("what is in the top left?", "what is in the top ##-left ?"),
        ("Where is it? Please answer with a single word.", "where is it ? briefly ."),
        ("where is k7m", "where is K ##7 ##M"),
        ("a zebra, 日本 é", "a z ##e ##b ##r ##a , ? ? e"),
    ],
)
def test_any_question_is_read(typed: str, read: str) -> None:
    assert build_tokenizer().tokenize(typed) == read.split()


def test_patch_targets_name_what_the_patches_show() -> None:
    for seed in range(30):
        layout = dense_scenes.layout(seed)
        targets = patches.patch_targets(layout)
        shown = set()
        for index, item in enumerate(layout.objects):
            mine = patches.owners(layout) == index
            shown |= {index} if mine.any() else set()
            for group, value in (("class", item.name), ("color", item.color), ("size", item.size)):
                expected = patches.GROUPS[group].index(value) if value else patches.IGNORE
                assert set(targets[group][mine]) <= {expected}
            at = (targets["at"][mine] + 1) * IMAGE_SIZE / 2
            assert np.allclose(at, (item.x, item.y), atol=1e-3)
        assert len(shown) == len(layout.objects)
        ground = targets["class"] == patches.NOTHING
        assert ground.mean() > 0.5
        assert (targets["color"][ground] == patches.IGNORE).all()
        assert (targets["ground"][ground] != patches.IGNORE).all()


def test_the_character_on_a_patch_is_one_of_the_sign_that_lies_there() -> None:
    seen = 0
    for seed in range(30):
        layout = dense_scenes.layout(seed)
        targets, owner = patches.patch_targets(layout), patches.owners(layout)
        for patch in np.flatnonzero(targets["character"] != patches.IGNORE):
            row, column = divmod(patch, patches.SIDE)
            signs = [o for o in layout.objects if o.text]
            nearest = min(signs, key=lambda o: abs(o.x - 14 * column - 7) + abs(o.y - 14 * row - 7))
            assert patches.CHARACTERS[targets["character"][patch]] in nearest.text
            assert owner[patch] in (-2, layout.objects.index(nearest))
            seen += 1
    assert seen > 60


def test_no_label_of_a_patch_tells_of_the_whole_picture() -> None:
    """Only what an object can have, and only on its own patches, and the material of the ground in place."""
    targets = patches.patch_targets(dense_scenes.layout(3))
    per_object = set(targets) - {"class", "ground", "at"}
    ground = targets["class"] == patches.NOTHING
    assert all((targets[name][ground] == patches.IGNORE).all() for name in per_object)


def test_word_sums_say_what_the_patch_shows(model) -> None:
    layout = dense_scenes.layout(4)
    sums, clear = alignment.WordSums(model)(layout)
    targets = patches.patch_targets(layout)
    for group in ("class", "color", "row", "column"):
        table = vision.word_table(model, group)
        asked = torch.from_numpy(targets[group] != patches.IGNORE) & clear
        if group == "class":
            asked &= torch.from_numpy(targets[group] != patches.NOTHING)
        guess = (sums[asked] @ table.T).argmax(-1)
        assert (guess == torch.from_numpy(targets[group])[asked]).float().mean() > 0.9, group


def test_windows_are_the_tower_where_attention_is_within_them(model) -> None:
    """A change outside of a window does not reach it, one inside does."""
    images = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    changed = images.clone()
    changed[..., :14, :14] += 1.0
    with torch.no_grad():
        difference = (vision.read_windows(model, images) - vision.read_windows(model, changed)).abs()
    moved = difference.amax(-1).reshape(patches.SIDE, patches.SIDE) > 1e-6
    assert moved[: vision.WINDOW, : vision.WINDOW].all()
    assert moved.sum() == vision.WINDOW**2


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_reductions_average_their_tokens_and_keep_the_order(progress: float) -> None:
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(60):
        weights, positions = reductions.draw_reduction(rng, progress, 576)
        torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
        assert len(positions) == len(weights)
        assert positions.min() >= 0 and positions.max() < 576
        sizes.add(len(weights))
        if ((weights > 0).sum(1) == 1).all():
            assert torch.equal(weights.argmax(1), positions)
            assert (positions.diff() > 0).all()
    assert (576 in sizes) == (progress > 0.5)
    assert min(sizes) >= 96 if progress < 0.15 else min(sizes) < 58


def test_packed_chats_are_what_a_chat_reads() -> None:
    tokenizer, layout = build_tokenizer(), dense_scenes.layout(5)
    scene = dense_scenes.scene(5)
    packed = texts.pack(layout, np.random.default_rng(0), 400)
    assert len(packed.ids) == len(packed.labels) == len(packed.segments) == len(packed.positions)
    for segment in range(1, max(packed.segments) + 1):
        where = [i for i, number in enumerate(packed.segments) if number == segment]
        assert [packed.positions[i] for i in where] == list(range(len(where)))
        text = tokenizer.decode([packed.ids[i] for i in where])
        history = []
        for part in text.removesuffix("</s>").split("</s> user: "):
            question, answer = (piece.strip() for piece in part.split("assistant:"))
            question = question.replace("briefly", "answer in one word")
            assert scene.answer(question, history) == answer
            history.append(question)
    for kind, first, last in packed.answers:
        assert kind in KINDS
        assert packed.labels[first : last + 1] == packed.ids[first + 1 : last + 2]
    asked = sum(last + 1 - first for _, first, last in packed.answers)
    assert sum(label != texts.IGNORE for label in packed.labels) == asked


def test_the_checkpoint_is_small_and_the_library_reads_it_as_it_was_trained(model, tmp_path) -> None:
    export(build_model(), build_tokenizer(), tmp_path)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert max(sizes) < 10e6 and sum(sizes) < 24e6
    loaded = load_model(tmp_path)
    question = "What is in the top left? Answer in one word."
    first, later = (loaded.prompt_ids(question, first=first) for first in (True, False))
    assert first == [*language.PREFIX, loaded.image_token_id, *texts.question_ids(question)]
    assert later == [language.PREFIX[1], *texts.question_ids(question)]
    tokens = loaded.encode(dense_scenes.picture(0))
    assert tokens.embeddings.shape == (576, 192)


def test_the_heads_ask_at_the_words_on_which_questions_turn() -> None:
    layout = dense_scenes.layout(7)
    packed = texts.pack(layout, np.random.default_rng(1), 3000)
    words = vocabulary()
    for at, target in packed.heads["color"].items():
        word = words[packed.ids[at]]
        item = layout.unique[next(name for name, plural in NAMES.items() if word in (name, plural))]
        assert patches.GROUPS["color"][target] == item.color
    assert {words[packed.ids[at]] for at in packed.heads["it row"]} <= {"it", "them"}
    assert {words[packed.ids[at]] for at in packed.heads["lead x"]} <= set(NAMES)
    for at, classes in packed.inside.items():
        assert words[packed.ids[at]].removeprefix("##-") in ("left", "center", "right", "top", "bottom")
        names = {patches.GROUPS["class"][index] for index in classes}
        assert names <= {item.name for item in layout.objects} or names == {"nothing"}
    assert all(
        packed.heads[name] for name in ("row", "count", "color count", "it class", "nearest", "ground")
    )


def test_chats_see_the_picture_and_themselves_only(model) -> None:
    packed = texts.pack(dense_scenes.layout(1), np.random.default_rng(0), 200)
    batch = texts.collate([packed])
    last = max(packed.segments)
    assert last > 1
    tokens, where = torch.randn(1, 6, 192), torch.tensor([0, 5, 9, 10, 30, 31])
    first = language.forward(model, tokens, batch, where, 40)[-1]
    mine = batch.segments[0] == last
    alone = texts.collate([packed])
    for name in ("ids", "labels", "segments", "positions"):
        setattr(alone, name, getattr(batch, name)[:, mine])
    torch.testing.assert_close(
        language.forward(model, tokens, alone, where, 40)[-1][0], first[0, mine], atol=1e-4, rtol=1e-4
    )
    other = language.forward(model, tokens + 1.0, batch, where, 40)[-1]
    assert (other - first).abs().amax(-1).min() > 1e-5


def _train(folder, stage: str) -> dict[str, torch.Tensor]:
    if stage == "crowds":
        stages.train_crowds(folder, 2, 1)
    elif stage == "vision":
        stages.train_vision(folder, 2, 1)
    elif stage == "alignment":
        stages.train_alignment(folder, 2, 2, pictures=16)
    elif stage == "words":
        stages.train_words(folder, 2, 1, length=60)
    else:
        stages.train_language(folder, 2, 2, pictures=16, length=60)
    return torch.load(folder / f"{stage}.pt", weights_only=True)["model"]


def test_a_run_goes_on_from_weights_without_the_optimizer(tmp_path) -> None:
    stages.train_crowds(tmp_path, 1, 1)
    save_weights(tmp_path / "crowds.pt", tmp_path / "handed" / "crowds.pt")
    assert (tmp_path / "handed" / "crowds.pt").stat().st_size < 10_000_000
    stages.train_crowds(tmp_path / "handed", 2, 1)
    before, after = (torch.load(p / "crowds.pt", weights_only=True) for p in (tmp_path, tmp_path / "handed"))
    assert (before["step"], after["step"]) == (1, 2)
    near = max((after["model"][n] - w).abs().max().item() for n, w in before["model"].items())
    assert 0 < near < 0.02


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(stages, "SAVED_EVERY", 1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    update = stages.Run.update
    for stage in ("crowds", "vision", "alignment", "words", "language"):
        expected = _train(whole, stage)

        def fail_in_the_second_step(run, loss, steps):
            if run.step == 1:
                raise KeyboardInterrupt
            update(run, loss, steps)

        monkeypatch.setattr(stages.Run, "update", fail_in_the_second_step)
        with pytest.raises(KeyboardInterrupt):
            _train(killed, stage)
        monkeypatch.setattr(stages.Run, "update", update)
        resumed = _train(killed, stage)
        assert all(torch.equal(resumed[name], weight) for name, weight in expected.items()), stage
    assert any(not torch.equal(expected[name], weight) for name, weight in build_model().state_dict().items())
