"""The reference points keep as many tokens as they should, and the oracle those that it knows of."""

import pytest

from compressor.evaluation import baselines


@pytest.fixture(scope="module")
def dialogue(dialogues):
    return dialogues[0]


@pytest.fixture(scope="module")
def tokens(tiny, dialogue):
    return tiny.encode(dialogue.image)


@pytest.mark.parametrize("m", [1, 2, 5, 13, 26, 100, 200, 256])
def test_references_keep_m_different_tokens_in_raster_order(tokens, dialogue, m: int) -> None:
    for reference in (baselines.grid_sample, baselines.oracle):
        weights = reference(tokens, m, dialogue).weights
        assert weights.shape == (m, 256)
        assert weights.sum(0).max() == 1
        kept = weights.argmax(1)
        assert (kept[1:] > kept[:-1]).all()


def test_the_oracle_keeps_the_middle_of_every_object(tokens, dialogue) -> None:
    kept = baselines.oracle(tokens, 13, dialogue).weights.sum(0) > 0
    for item in dialogue.objects:
        assert kept[int(item.y // 14) * 16 + int(item.x // 14)]
