"""Building a method by name: every option is checked, and an error names it, its range and what was given."""

import math

import numpy as np
import pytest
import torch

from compressor import ChatSession, get_method
from compressor.errors import InvalidOptionError, UnknownMethodError
from compressor.methods.registry import METHODS


@pytest.mark.parametrize("name", ["nope", None, 3, ["sample"], METHODS["sample"]])
def test_what_is_no_name_of_a_method_is_refused(model, image, name):
    with pytest.raises(UnknownMethodError, match="choose one of none, random"):
        get_method(name)
    with pytest.raises(UnknownMethodError):
        ChatSession(model, image, method=name)


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_option_is_named_with_those_that_are_known(model, name):
    given = {"weights": torch.eye(16)} if name == "fixed" else {}
    with pytest.raises(InvalidOptionError, match=r"has no option 'colour'; it has ") as error:
        get_method(name, model, colour=1, **given)
    having = str(error.value).rpartition("it has ")[2].rstrip(".")
    known = METHODS[name].option_names()
    assert having == (", ".join(known) or "none") and not {"self", "d", "cls"} & set(known)


def test_the_known_options_are_those_of_the_constructors():
    assert METHODS["fastv"].option_names() == ["layer", "reselect"]
    assert METHODS["sample"].option_names() == METHODS["none"].option_names() == []
    assert METHODS["metacompress"].option_names()[:3] == ["d_c", "pool", "positions"]
    with pytest.raises(InvalidOptionError, match="no option 'd'"):
        get_method("metacompress", _Model, d=8)


class _Model:
    """What the constructor of a learned method asks of a model."""

    name, width, token_norm, device = "no such model", 8, 2.0, torch.device("cpu")


BAD = [
    ("fastv", "layer", "3", "a whole number of at least 1, not '3' of type str"),
    ("fastv", "layer", 2.0, "a whole number of at least 1, not 2.0 of type float"),
    ("fastv", "layer", 0, "a whole number of at least 1, not 0"),
    ("fastv", "layer", None, "a whole number of at least 1, not None"),
    ("fastv", "reselect", "no", "True or False, not 'no' of type str"),
    ("random", "seed", 2**70, "a whole number from 0 to 9,223,372,036,854,775,807, not "),
    ("random", "seed", -5, "a whole number from 0 to"),
    ("random", "seed", 1e20, "a whole number from 0 to"),
    ("random", "seed", None, "a whole number from 0 to"),
    ("visionzip", "per_view", 0, "a whole number of at least 1, not 0"),
    ("visionzip", "per_view", "64", "a whole number of at least 1, not '64' of type str"),
    ("visionzip", "class_token", 1, "True or False, not 1 of type int"),
    ("prumerge", "adaptive", "yes", "True or False, not 'yes' of type str"),
    ("prumerge+", "adaptive", None, "True or False, not None"),
    ("prumerge+", "ratio", 0, "a number above 0 and at most 0.3333, not 0"),
    ("prumerge+", "ratio", 0.5, "a number above 0 and at most 0.3333, not 0.5"),
    ("prumerge+", "ratio", math.nan, "a number above 0 and at most 0.3333, not nan"),
    ("prumerge+", "ratio", "0.1", "a number above 0 and at most 0.3333, not '0.1' of type str"),
    ("tome", "metric", "colours", "one of keys, features, not 'colours'"),
    ("tome", "metric", ["keys"], "one of keys, features, not .* of type list"),
    ("metacompress", "d_c", 0, "a whole number of at least 1, not 0"),
    ("metacompress", "d_c", "64", "a whole number of at least 1, not '64' of type str"),
    ("metacompress", "pool", "mean", "one of max, average, not 'mean'"),
    ("metacompress", "positions", None, "one of sinusoidal, none, not None"),
    ("metacompress", "token_norm", 0, "a number above 0, not 0"),
    ("metacompress", "position_scale", math.inf, "a number of at least 0, not inf"),
    ("metacompress", "sigma_w", "1", "a number of at least 0, not '1' of type str"),
    ("metacompress", "seed", 2**64, "a whole number from 0 to"),
]


@pytest.mark.parametrize(("method", "option", "value", "sentence"), BAD)
def test_a_bad_value_is_named_with_its_range(method, option, value, sentence):
    title = METHODS[method].title.replace("+", r"\+")
    with pytest.raises(InvalidOptionError, match=rf"^{option} of {title} must be {sentence}"):
        get_method(method, _Model if method == "metacompress" else None, **{option: value})


@pytest.mark.parametrize("value", ["no", None, True, ["reinsert"]])
def test_separators_are_compressed_or_reinserted(value):
    with pytest.raises(InvalidOptionError, match=r"^separators must be one of compress, reinsert, not "):
        get_method("sample", separators=value)


def test_numbers_of_numpy_are_numbers():
    assert get_method("fastv", layer=np.int64(3)).layer == 3
    assert get_method("prumerge+", ratio=np.float32(0.25)).ratio == 0.25
    assert get_method("random", seed=np.uint32(7)).seed == 7
    assert get_method("prumerge+", ratio=1 / 3).ratio == 1 / 3


def test_an_error_inside_a_constructor_is_not_taken_for_an_unknown_option(monkeypatch):
    monkeypatch.setattr(METHODS["fastv"], "__init__", lambda self, layer=2: len(layer))
    with pytest.raises(TypeError, match="has no len"):
        get_method("fastv", layer=3)
