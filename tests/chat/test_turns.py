"""What may be asked, and how an answer may be written."""

import math
import pickle

import numpy as np
import pytest
import torch

from compressor.chat.turns import MAX_QUESTION_CHARACTERS, AnswerOptions, TurnStats, check_question
from compressor.errors import InvalidOptionError, InvalidQuestionError


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (None, "must be text, not None"),
        (3, "must be text, not 3 of type int"),
        (["Is it red?"], "of type list"),
        (b"Is it red?", "of type bytes"),
        ("", "empty"),
        (" \n\t", "empty"),
        ("x" * (MAX_QUESTION_CHARACTERS + 1), "4,001 characters; shorten it to 4,000"),
        ("is it \ud83d?", "half of a character"),
    ],
)
def test_what_is_no_question_is_said(question, sentence):
    with pytest.raises(InvalidQuestionError, match=sentence):
        check_question(question)


def test_the_longest_question_and_any_script_can_be_asked():
    check_question("x" * MAX_QUESTION_CHARACTERS)
    check_question("\U0001f436 是红色的吗？ هل هي حمراء؟")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("temperature", 1e-38, "0, or a number from 0.001 to 1,000, not 1e-38"),
        ("temperature", -1, "from 0 to 1,000, not -1"),
        ("temperature", 1001, "from 0 to 1,000, not 1001"),
        ("temperature", math.nan, "from 0 to 1,000, not nan"),
        ("temperature", math.inf, "from 0 to 1,000, not inf"),
        ("temperature", "0", "from 0 to 1,000, not '0' of type str"),
        ("temperature", None, "from 0 to 1,000, not None"),
        ("temperature", True, "from 0 to 1,000, not True of type bool"),
        ("top_p", 0, "above 0 and at most 1, not 0"),
        ("top_p", 1.01, "above 0 and at most 1, not 1.01"),
        ("top_p", "1", "above 0 and at most 1, not '1' of type str"),
        ("top_p", None, "above 0 and at most 1, not None"),
        ("max_new_tokens", 0, "from 1 to 4,096, not 0"),
        ("max_new_tokens", 4097, "from 1 to 4,096, not 4097"),
        ("max_new_tokens", 2.5, "from 1 to 4,096, not 2.5 of type float"),
        ("max_new_tokens", "8", "from 1 to 4,096, not '8' of type str"),
        ("max_new_tokens", None, "from 1 to 4,096, not None"),
        ("seed", 2**70, "from 0 to 9,223,372,036,854,775,807"),
        ("seed", -1, "from 0 to"),
        ("seed", 1.5, "from 0 to"),
        ("seed", "1", "from 0 to .*, not '1' of type str"),
        ("seed", np.arange(2), "from 0 to .* of type ndarray"),
    ],
)
def test_a_bad_option_is_named_with_its_range(option, value, sentence):
    with pytest.raises(InvalidOptionError, match=rf"^{option} must be .*{sentence}"):
        AnswerOptions.of({option: value})


def test_an_unknown_option_is_named_with_those_that_are_known():
    with pytest.raises(InvalidOptionError, match=r"no option 'beams'; it has max_new_tokens, temperature"):
        AnswerOptions.of({"beams": 2})


@pytest.mark.parametrize(
    ("temperature", "top_p", "seed"), [(0, 1, 0), (0.001, 1e-9, 2**63 - 1), (1000, 1, 5)]
)
def test_the_ends_of_the_ranges_can_be_drawn_with(temperature, top_p, seed):
    made = AnswerOptions.of({"temperature": temperature, "top_p": top_p, "seed": seed})
    logits = torch.tensor([-1e30, 3.0, 2.9, 1e30])
    drawn = made.sampling().choose(logits)
    assert drawn == 3 and made.seed == seed


def test_without_a_seed_one_is_drawn_for_every_answer():
    drawn = [AnswerOptions.of(given).seed for given in [{}, {"seed": None}] * 4]
    assert len(set(drawn)) == 8 and all(0 <= seed < 2**32 for seed in drawn)


def test_stats_that_were_stored_without_a_seed_can_be_read():
    stats = TurnStats(8, 20, 4, 0.1, 0.2, 1000, seed=5)
    state = {name: value for name, value in vars(stats).items() if name != "seed"}
    old = TurnStats.__new__(TurnStats)
    vars(old).update(state)
    read = pickle.loads(pickle.dumps(old))
    assert read.seed is None and "seed=None" in repr(read)
    assert read == TurnStats(**state)
