"""The LLaVA-NeXT family against the stock model, and every method on images of several tiles."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from compressor import ChatSession, get_method, list_methods, token_budget
from compressor.errors import ImageError
from compressor.geometry import CLASS, PATCH, ROW_SEPARATOR
from compressor.models.families.llava_next.model import LlavaNext

QUESTIONS = ("How many cats are there?", "What color is the dog?", "Is it red?")
SIZES = [(160, 120), (90, 200), (300, 70)]
VISION = ("tome", "prumerge", "prumerge+", "visionzip")
NEEDS = frozenset({"cls_attention", "keys", "queries"})


def picture(size):
    """Colours that tell the place, and a texture that does not repeat."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    colours = [x * 255 / size[0], y * 255 / size[1], (x * 7 + y * 13) % 97 * 2.6]
    return Image.fromarray(np.stack(colours, axis=-1).astype(np.uint8))


def stock_inputs(model, image):
    """What the checkpoint's own processor makes of an image."""
    return model.processor(images=[image], return_tensors="pt")


def stock_logits(model, image, ids):
    """Logits (L, vocabulary) of the stock forward on ids with all image tokens written out."""
    with torch.no_grad():
        return model.hf(input_ids=torch.tensor([ids]), **stock_inputs(model, image)).logits[0]


def read_ids(session):
    """The ids that the last token was chosen after, with the image written out as n placeholders."""
    ended = session.turns[-1].answer_ids[-1] == session.model.eos_id
    ids = session._transcript(len(session.turns), [])[: -1 if ended else -2]
    at = ids.index(session.model.image_token_id)
    return ids[:at] + [session.model.image_token_id] * session.projection.m + ids[at + 1 :]


@pytest.mark.parametrize("size", SIZES)
def test_tokens_are_what_the_stock_model_reads(next_model, size):
    tokens, inputs = next_model.encode(picture(size)), stock_inputs(next_model, picture(size))
    with torch.no_grad():
        stock = next_model.hf.get_image_features(**inputs)
        tower = next_model.hf.model.vision_tower(inputs["pixel_values"][0], output_hidden_states=True)
    torch.testing.assert_close(tokens.embeddings, stock.pooler_output[0], atol=0, rtol=0)
    views = torch.stack([tile.features for tile in tokens.tiles])
    torch.testing.assert_close(views, tower.hidden_states[-2][:, 1:], atol=1e-6, rtol=0)
    newlines = torch.from_numpy(tokens.layout.kinds == ROW_SEPARATOR)
    assert newlines.any() and bool((tokens.embeddings[newlines] == next_model.hf.model.image_newline).all())
    assert not tokens.features[newlines].any()
    projected = next_model.hf.model.multi_modal_projector(tokens.features[~newlines])
    torch.testing.assert_close(projected, tokens.embeddings[~newlines], atol=1e-5, rtol=0)
    assert not tokens.embeddings.requires_grad and not tokens.embeddings.is_inference()


def test_a_batch_equals_single_images(next_model):
    images = [picture(size) for size in SIZES]
    assert len({len(next_model.encode(image).tiles) for image in images}) > 1
    for image, batched in zip(images, next_model.encode_batch(images, NEEDS), strict=True):
        alone = next_model.encode(image, NEEDS)
        torch.testing.assert_close(batched.embeddings, alone.embeddings, atol=1e-5, rtol=0)
        assert batched.layout == alone.layout
        for tile, other in zip(batched.tiles, alone.tiles, strict=True):
            torch.testing.assert_close(tile.cls_attention, other.cls_attention, atol=1e-5, rtol=0)
            assert tile.layout == other.layout


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["metacompress", "fastv", "visionzip"])
def test_three_cached_turns_at_rate_0_equal_one_stock_forward(next_model, size, method):
    session = ChatSession(next_model, picture(size), method=method, rate=0)
    for question in QUESTIONS:
        list(session.ask(question, max_new_tokens=4))
    assert session.reduced is session.tokens.embeddings
    logits = stock_logits(next_model, picture(size), read_ids(session))
    torch.testing.assert_close(session.prefix_cache.request.logits, logits[-1], atol=1e-5, rtol=0)


def test_a_compressed_chat_equals_the_language_model_on_the_reduced_tokens(next_model):
    session = ChatSession(next_model, picture(SIZES[0]), method="visionzip", rate=0.7)
    for question in QUESTIONS:
        list(session.ask(question, max_new_tokens=4))
    embeds = next_model.embed_ids(session.prefix_cache.ids, session.reduced).embeddings[None]
    with torch.no_grad():
        states = next_model.hf.model.language_model(inputs_embeds=embeds).last_hidden_state
    logits = next_model.hf.lm_head(states)
    torch.testing.assert_close(session.prefix_cache.request.logits, logits[0, -1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", [info.name for info in list_methods()])
def test_every_method_answers_at_every_rate(next_model, method, size, rate):
    session = ChatSession(next_model, picture(size), method=method, rate=rate)
    for question in QUESTIONS[:2]:
        list(session.ask(question, max_new_tokens=2))
    n, p = len(session.tokens), session.projection
    assert p.m == (n if method == "none" else token_budget(n, rate)) == session.turns[0].stats.image_tokens
    assert len(session.reduced) == (n if method == "fastv" else p.m)
    if method in VISION and rate:
        tokens = sum(map(len, session.tokens.tiles))
        assert p.n == tokens + len(session.tokens.tiles) * (method == "visionzip")
    else:
        assert p.n == n


@pytest.mark.parametrize("method", VISION)
def test_vision_stage_acts_on_each_tile_before_the_projector(next_model, method):
    made = get_method(method)
    tokens = next_model.encode(picture(SIZES[0]), made.needs)
    p = made.projection(tokens, 60)
    rows, columns = [], []
    for number, tile in enumerate(tokens.tiles):
        features = tile.features
        if method == "visionzip":
            features = torch.cat([tile.cls_feature[None], features])
        rows.append(features)
        columns += [number] * len(features)
    seen = [set(np.array(columns)[row > 0]) for row in p.weights.numpy()]
    assert all(len(views) == 1 for views in seen)
    assert [sum(view in views for views in seen) for view in range(5)] == [12] * 5
    expected = next_model.hf.model.multi_modal_projector(p.weights @ torch.cat(rows))
    torch.testing.assert_close(next_model.compress(tokens, p), expected)
    assert (p.layout.kinds == CLASS).sum() == (5 if method == "visionzip" else 0)
    boxes = np.vstack([tile.layout.boxes for tile in tokens.tiles])
    assert np.array_equal(p.layout.boxes[p.layout.kinds == PATCH], boxes, equal_nan=True)


def test_a_tiny_rate_leaves_all_that_the_encoder_saw(next_model):
    tokens = next_model.encode(picture((160, 160)), NEEDS)
    assert len(tokens) == 36 + 12 * 13
    for method in VISION:
        p = get_method(method).projection(tokens, len(tokens) - 1)
        assert p.m == 5 * 36 and len(next_model.compress(tokens, p)) == p.m


@pytest.mark.parametrize("size", SIZES)
def test_patch_centres_agree_with_the_real_processor_and_packing(next_model, size):
    """Red and green say x / W and y / H, blue that it is image; what is packed are the patches' means."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    colours = [(x + 0.5) / size[0] * 255, (y + 0.5) / size[1] * 255, np.full(x.shape, 255.0)]
    probe = Image.fromarray(np.rint(np.stack(colours, axis=-1)).astype(np.uint8))
    inputs, processor = stock_inputs(next_model, probe), next_model.processor
    pixels = inputs["pixel_values"][0].permute(0, 2, 3, 1)  # (views, 84, 84, 3)
    pixels = pixels * torch.tensor(processor.image_std) + torch.tensor(processor.image_mean)
    patches = pixels.reshape(-1, 6, 14, 6, 14, 3).mean((2, 4)).reshape(-1, 36, 3)
    packed, _ = next_model.hf.model.pack_image_features(
        [patches], inputs["image_sizes"], "default", image_newline=torch.full((3,), torch.nan)
    )
    seen, layout = packed[0].numpy(), next_model.encode(probe).layout
    assert np.array_equal(np.isnan(seen[:, 0]), layout.kinds == ROW_SEPARATOR)
    inside = seen[:, 2] > 0.995  # wholly image
    assert inside[:36].all() and inside.sum() > 60
    centres = (layout.boxes[:, :2] + layout.boxes[:, 2:]) / 2 / np.array(size)
    assert np.abs(centres - seen[:, :2])[inside].max() < 0.01
    padding = seen[:, 2] < 0.005
    assert np.isnan(layout.boxes[padding]).all() and not np.isnan(layout.boxes[inside]).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 13), (1300, 7), (7, 1300)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_odd_pictures_are_read(next_model, size, mode):
    image = Image.new(mode, size)
    tokens = next_model.encode(image)
    assert tokens.embeddings.isfinite().all() and tokens.layout.size == size and len(tokens) >= 36
    for info in list_methods():
        session = ChatSession(next_model, image, method=info.name, rate=0.9)
        assert list(session.ask(QUESTIONS[0], max_new_tokens=1)) is not None


def test_a_strip_that_no_tile_can_show_is_refused(next_model):
    with pytest.raises(ImageError, match="too thin"):
        next_model.encode(Image.new("RGB", (5000, 3)))


def test_a_chat_is_resumed_from_its_state(next_model):
    session = ChatSession(next_model, picture(SIZES[1]), method="tome", rate=0.8)
    list(session.ask(QUESTIONS[0], max_new_tokens=4))
    state = pickle.loads(pickle.dumps(session.state))
    list(session.ask(QUESTIONS[1], max_new_tokens=4))
    resumed = ChatSession.resume(next_model, state)
    list(resumed.ask(QUESTIONS[1], max_new_tokens=4))
    assert resumed.turns[1].answer_ids == session.turns[1].answer_ids
    assert resumed.projection.layout == session.projection.layout


def test_the_system_sentence_opens_the_chat_once(next_model):
    tok = next_model.tokenizer
    system = tok(LlavaNext.system, add_special_tokens=False)["input_ids"]
    first = next_model.prompt_ids("Is it red?", first=True)
    assert first[: len(system) + 1] == [tok.bos_token_id, *system]
    rest = ["user", ":", "<image>", "is", "it", "red", "?", "assistant", ":"]
    assert tok.convert_ids_to_tokens(first[len(system) + 1 :]) == rest
    rest.remove("<image>")
    assert tok.convert_ids_to_tokens(next_model.prompt_ids("Is it red?", first=False)) == rest
