"""A few dialogues that no shipped weights were trained on."""

import pytest

from compressor.world import scenes


@pytest.fixture(scope="package")
def dialogues():
    return [scenes.dialogue(scenes.HELD_OUT + 500_000 + i) for i in range(6)]
