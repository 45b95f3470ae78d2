"""InternLM-XComposer-2.5 against numbers computed with the published modelling code on random weights."""

import pytest
import torch
from PIL import Image

from compressor.decoding import Request, prefill
from compressor.errors import InvalidOptionError, ModelUnavailableError
from tests.models.published import arrays, picture

CASES = ("landscape", "portrait")
IDS = ("ids_before", "ids_turn1", "ids_turn2")
LOGITS = {"atol": 2e-4, "rtol": 0}  # published with the numbers, several times their rounding


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return arrays(request.param)


def test_image_embeddings(published, case):
    embeds = published.embed_image(picture(case), hd_num=int(case["hd_num"]))
    assert embeds.shape == (int(case["n_tokens"]), published.width) and not embeds.requires_grad
    torch.testing.assert_close(embeds, case["image_embeds"], atol=5e-4, rtol=0)


@torch.no_grad()
def test_logits_of_one_pass(published, case):
    before, turn1, turn2 = (case[key] for key in IDS)
    logits = published.logits([before, case["image_embeds"], turn1, turn2])
    start, length = len(before) + len(case["image_embeds"]), len(turn1)
    torch.testing.assert_close(logits[: len(before)], case["logits_before"], **LOGITS)
    image = logits[len(before) + case["logits_image_index"]]
    torch.testing.assert_close(image, case["logits_image"], **LOGITS)
    torch.testing.assert_close(logits[start : start + length], case["logits_turn1"], **LOGITS)
    torch.testing.assert_close(logits[start + length :], case["logits_turn2"], **LOGITS)


@torch.no_grad()
def test_logits_of_one_pass_over_a_compressed_image(published, case):
    before, turn1, turn2 = (case[key] for key in IDS)
    kept = case["image_embeds"][case["kept_index"]]
    after = published.logits([before, kept, turn1, turn2])[len(before) + len(kept) :]
    expected = torch.cat([case["kept_logits_turn1"], case["kept_logits_turn2"]])
    torch.testing.assert_close(after, expected, **LOGITS)


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "kept_"], ids=["full", "compressed"])
def test_logits_of_two_cached_turns(published, case, prefix):
    before, turn1, turn2 = (case[key] for key in IDS)
    image = case["image_embeds"][case["kept_index"]] if prefix else case["image_embeds"]
    request, rows = Request(), []
    prompts = [published.embed_pieces([before, image, turn1[:1]])]
    prompts += [published.embed_pieces([one]) for one in turn1[1:].split(1)]
    for prompt in prompts:
        prefill(published.decoder, [request], [prompt])
        rows.append(request.logits)
    torch.testing.assert_close(torch.stack(rows), case[f"{prefix}logits_turn1"], **LOGITS)
    prefill(published.decoder, [request], [published.embed_pieces([turn2])])
    torch.testing.assert_close(request.logits, case[f"{prefix}logits_turn2"][-1], **LOGITS)


@torch.no_grad()
def test_a_batch_of_a_first_turn_and_a_later_one(published):
    cases = [arrays(name) for name in CASES]
    first, second = Request(), Request()
    kept = [case["image_embeds"][case["kept_index"]] for case in cases]
    opening = [
        published.embed_pieces([case["ids_before"], image, case["ids_turn1"]])
        for case, image in zip(cases, kept, strict=True)
    ]
    prefill(published.decoder, [first], [opening[0]])
    prefill(
        published.decoder,
        [first, second],
        [published.embed_pieces([cases[0]["ids_turn2"]]), opening[1]],
    )
    torch.testing.assert_close(first.logits, cases[0]["kept_logits_turn2"][-1], **LOGITS)
    torch.testing.assert_close(second.logits, cases[1]["kept_logits_turn1"][-1], **LOGITS)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1"])
@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 900), (2000, 7)])
def test_odd_pictures_are_read(xcomposer, size, mode):
    tokens = xcomposer.encode(Image.new(mode, size))
    assert tokens.embeddings.isfinite().all() and tokens.layout.size == size
    torch.testing.assert_close(tokens.embeddings, xcomposer.embed_image(Image.new(mode, size)))


def test_a_large_picture_of_video_frames_is_read(xcomposer):
    """Twelve frames above one another are one long picture."""
    strip = Image.new("RGB", (160, 12 * 90), "navy")
    tiles = xcomposer.encode(strip).layout.grids[1]
    assert (tiles.rows, tiles.columns) == (7 * 6, 2 * 6)


def test_no_room_for_a_tile(xcomposer):
    with pytest.raises(InvalidOptionError):
        xcomposer.embed_image(Image.new("RGB", (30, 20)), hd_num=0)


def test_without_a_tokenizer_there_is_no_chat(published):
    with pytest.raises(ModelUnavailableError, match="tokenizer"):
        published.prompt_ids("Is it red?", first=True)


def test_token_norm_is_that_of_the_models_tokens(xcomposer):
    tokens = xcomposer.encode(Image.effect_noise((300, 200), 90).convert("RGB"))
    assert 0.5 < xcomposer.token_norm / float(tokens.embeddings.norm(dim=1).median()) < 2
