"""The overlap with attention: by hand, against chance, and against a stock forward."""

from functools import partial

import pytest
import torch

from compressor import get_method
from compressor.dialogues import Dialogue, Turn
from compressor.evaluation.overlap import PROMPT_LAYER, attention_overlap, prompt_attention, shared


def test_the_share_by_hand() -> None:
    scores = torch.tensor([0.1, 0.5, 0.2, 0.9, 0.3])
    assert shared(torch.tensor([3, 1]), scores) == 1.0
    assert shared(torch.tensor([0, 1]), scores) == 0.5
    assert shared(torch.tensor([0, 2]), scores) == 0.0


@torch.no_grad()
def test_prompt_attention_is_that_of_an_eager_forward(model, image) -> None:
    tokens, question = model.encode(image), "is it red?"
    found = prompt_attention(model, tokens, question)
    ids = model.prompt_ids(question, first=True)
    start = ids.index(model.image_token_id)
    language = model.hf.model.language_model
    language.set_attn_implementation("eager")
    try:
        embeds = model.embed_ids(ids, tokens.embeddings).embeddings[None]
        output = language(inputs_embeds=embeds, output_attentions=True)
    finally:
        language.set_attn_implementation("sdpa")
    expected = output.attentions[PROMPT_LAYER - 1][0, :, -1].mean(0)[start : start + len(tokens)]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_random_tokens_overlap_as_chance_says(model, image) -> None:
    dialogues = [
        Dialogue(partial(image.rotate, 3 * turn), (Turn("is it red?", "yes"),)) for turn in range(60)
    ]

    class Drawn:
        needs = frozenset()
        count = 0

        def projection(self, tokens, budget):
            self.count += 1
            return get_method("random", seed=self.count).projection(tokens, budget)

    (result,) = attention_overlap(model, Drawn(), dialogues, [0.75])
    assert result.kept == 4 and result.chance == pytest.approx(25)
    assert abs(result.cls - 25) < 4 * result.cls_error
    assert abs(result.prompt - 25) < 4 * result.prompt_error
