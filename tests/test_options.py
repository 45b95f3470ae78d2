"""Values of options: what is allowed comes back as it is, all else is one error that names the range."""

import math

import numpy as np
import pytest
import torch

from compressor import options
from compressor.errors import InvalidOptionError


def test_what_is_allowed_comes_back_as_plain_python():
    for given in (2, np.int64(2), np.uint8(2)):
        assert type(options.whole_number("k", given, 1, 2)) is int
        assert options.whole_number("k", given, 1, 2) == options.whole_number("k", given, 2) == 2
    for given in (0.5, np.float32(0.5), np.float64(0.5)):
        assert type(options.number("p", given, 0, 1)) is float and options.number("p", given, 0, 1) == 0.5
    assert options.number("p", 1, 0, 1, above=True) == 1.0 and options.number("p", 0, 0) == 0.0
    assert options.flag("f", True) is True and options.flag("f", False) is False
    assert options.choice("c", "one", ("one", "two")) == "one"
    assert [options.seed("s", each) for each in (0, 2**63 - 1)] == [0, 2**63 - 1]


@pytest.mark.parametrize("value", ["3", None, 2.0, True, math.nan, [3], torch.tensor(3), 1 + 0j])
def test_what_is_no_whole_number_is_named_as_what_it_is(value):
    with pytest.raises(InvalidOptionError, match=r"^k must be a whole number from 1 to 9, not ") as error:
        options.whole_number("k", value, 1, 9)
    assert options.describe(value) in str(error.value)


@pytest.mark.parametrize("value", [0, 10, -1, 2**70, 10**400])
def test_whole_numbers_outside_of_the_range_are_refused(value):
    with pytest.raises(InvalidOptionError, match=r"^k must be a whole number from 1 to 9, not "):
        options.whole_number("k", value, 1, 9)
    with pytest.raises(InvalidOptionError, match="from 0 to 9,223,372,036,854,775,807"):
        options.seed("seed", value if abs(value) > 10 else -1)


@pytest.mark.parametrize(
    "value", ["0.5", None, False, math.nan, math.inf, -math.inf, -0.1, 10**400, [0.5], 1 + 0j]
)
def test_what_is_no_number_in_the_range_is_refused(value):
    with pytest.raises(InvalidOptionError, match=r"^p must be a number from 0 to 1, not "):
        options.number("p", value, 0, 1)
    if value != 10**400:
        with pytest.raises(InvalidOptionError, match=r"^p must be a number of at least 0, not "):
            options.number("p", value, 0)


def test_a_bound_may_be_left_out():
    for value in (0, -1):
        with pytest.raises(InvalidOptionError, match=r"^p must be a number above 0 and at most 1, not "):
            options.number("p", value, 0, 1, above=True)
        with pytest.raises(InvalidOptionError, match=r"^p must be a number above 0, not "):
            options.number("p", value, 0, above=True)


@pytest.mark.parametrize("value", [1, 0, None, "True"])
def test_flags_are_true_or_false(value):
    with pytest.raises(InvalidOptionError, match=r"^f must be True or False, not "):
        options.flag("f", value)


@pytest.mark.parametrize("value", ["three", None, 1, ["one"], b"one"])
def test_words_are_among_the_known(value):
    with pytest.raises(InvalidOptionError, match=r"^c must be one of one, two, not ") as error:
        options.choice("c", value, ("one", "two"))
    assert ("of type" in str(error.value)) == (value not in ("three", None))


def test_a_value_is_shown_short_and_with_its_type():
    assert options.describe("3") == "'3' of type str" and options.describe(None) == "None"
    assert options.describe([1]) == "[1] of type list" and options.describe(2.0) == "2.0 of type float"
    assert len(options.describe("x" * 1000)) < 60 and len(options.describe(torch.zeros(99, 99))) < 60
