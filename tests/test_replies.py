"""Chats answered side by side say what each would say alone."""

import pytest

from compressor.replies import greedy_replies


@pytest.mark.parametrize("max_new_tokens", [1, 2, 7])
def test_answers_of_different_lengths_end_where_they_would_alone(model, image, max_new_tokens) -> None:
    """The random model seldom ends an answer, the third of these chats does; all go on after it."""
    asked = [["how many cats?", "what color is it?", "is it red?"], ["is it?", "no", "the dog"]]
    asked.append(["yes, no, red, blue", "s", "color is the dog"])
    reduced = [model.encode(image.rotate(40 * i)).embeddings[: 5 + i] for i in range(3)]
    together = greedy_replies(model, reduced, asked, max_new_tokens)
    assert {len(reply) for chat in together for reply in chat} <= set(range(1, max_new_tokens + 1))
    alone = [greedy_replies(model, [r], [q], max_new_tokens)[0] for r, q in zip(reduced, asked, strict=True)]
    assert together == alone
