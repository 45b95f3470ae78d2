"""A layout says the same of a token in every form it is given."""

import numpy as np
import pytest

from compressor.errors import ModelMismatchError
from compressor.geometry import TokenLayout, llava_layout


def test_the_grid_is_in_raster_order():
    layout = llava_layout((336, 336))
    cells = layout.grids[0].indices()
    assert cells.shape == (24, 24) and (cells.reshape(-1) == np.arange(576)).all()


def test_layouts_compare_by_value_and_refuse_nonsense():
    assert llava_layout((640, 480)) == llava_layout((640, 480)) != llava_layout((480, 640))
    with pytest.raises(ModelMismatchError):
        TokenLayout(np.zeros((3, 4)), np.zeros(2), (1, 1), ())


def test_a_layout_is_no_key():
    with pytest.raises(TypeError, match="unhashable"):
        hash(llava_layout((640, 480)))
