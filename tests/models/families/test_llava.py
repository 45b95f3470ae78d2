"""The LLaVA family against the stock model."""

import pytest
import torch
from PIL import Image

from compressor import Projection
from compressor.errors import ImageError, ModelMismatchError


def test_tokens_are_what_the_stock_model_reads(model, image):
    tokens = model.encode(image)
    pixels = model.processor(images=[model._view(image)], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        stock = model.hf.get_image_features(pixel_values=pixels)
        tower = model.hf.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(tokens.embeddings, stock.pooler_output[0], atol=0, rtol=0)
    torch.testing.assert_close(tokens.features, tower[-2][0, 1:], atol=1e-6, rtol=0)
    assert len(tokens) == 16 and tokens.layout.size == (80, 60)
    assert not tokens.embeddings.requires_grad and not tokens.embeddings.is_inference()


def test_a_batch_equals_single_images(model, image):
    other = image.rotate(90, expand=True)
    for single, batched in zip((image, other), model.encode_batch([image, other]), strict=True):
        alone = model.encode(single)
        torch.testing.assert_close(batched.embeddings, alone.embeddings, atol=1e-5, rtol=0)
        assert batched.layout == alone.layout


def test_vision_stage_acts_before_the_projector(model, image):
    tokens = model.encode(image)
    p = torch.rand(3, 16)
    early = model.compress(tokens, Projection(p, tokens.layout, "vision"))
    expected = model.hf.model.multi_modal_projector(p @ tokens.features)
    torch.testing.assert_close(early, expected)
    late = model.compress(tokens, Projection(p, tokens.layout, "embedding"))
    torch.testing.assert_close(late, p @ tokens.embeddings)
    for stage in ("vision", "embedding"):
        assert model.compress(tokens, Projection.identity(tokens.layout, stage)) is tokens.embeddings


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 5000), (6000, 40)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "P", "1"])
def test_odd_pictures_are_read(model, size, mode):
    tokens = model.encode(Image.new(mode, size))
    assert tokens.embeddings.isfinite().all() and tokens.layout.size == size


def test_an_endless_strip_cannot_be_cropped(model):
    with pytest.raises(ImageError):
        model.variant(crop=True).encode(Image.new("RGB", (5000, 3)))


def test_what_the_model_lacks_is_refused(model, image):
    with pytest.raises(ModelMismatchError):
        model.encode(image, frozenset({"heat"}))


def test_prompts_follow_the_template(model):
    tok = model.tokenizer
    first = tok.convert_ids_to_tokens(model.prompt_ids("Is it red?", first=True))
    assert first == ["<s>", "user", ":", "<image>", "is", "it", "red", "?", "assistant", ":"]
    later = tok.convert_ids_to_tokens(model.prompt_ids("Is it red?", first=False))
    assert later == ["user", ":", "is", "it", "red", "?", "assistant", ":"]


def test_unknown_words_are_named_once_and_in_order(model):
    assert model.unknown_words("Is the Zebra near the giraffe, zebra or Zebra?") == [
        "Zebra",
        "near",
        "giraffe",
        "zebra",
        "or",
    ]
    assert model.unknown_words("How many cats?") == []


def test_punctuation_is_no_unknown_word(model):
    assert model.unknown_words("(“how; many!”) – … <cats> / * $ _") == []
    assert model.unknown_words("«zebra», don't हिंदी, 🐱!") == ["zebra", "don", "t", "हिंदी", "🐱"]


def test_token_norm_is_that_of_the_models_tokens(model, image):
    typical = model.encode(image).embeddings.norm(dim=1).median()
    assert 0.5 < model.token_norm / float(typical) < 2
