"""A few dialogues as the bundled model reads them."""

import pytest
from accelerate import Accelerator

from compressor.training import teacher_cache
from compressor.world import scenes


@pytest.fixture(scope="package")
def dialogues():
    return [scenes.dialogue(i, turns=3) for i in range(20)]


@pytest.fixture(scope="package")
def samples(tiny, dialogues, tmp_path_factory):
    return teacher_cache.build_teacher_cache(tiny, dialogues, tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="package")
def accelerator():
    return Accelerator(cpu=True)
