"""A visit on the tiny random model: everything of the page but Gradio."""

import pytest

from app.handlers import choices
from app.model_pool import Shelf
from app.user_session import Visit
from compressor.models.loading import memory


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch):
    """Every model fits as it is, whatever runs the tests."""
    monkeypatch.setattr(memory, "memory", lambda *_: (10**12, 10**12))


@pytest.fixture
def shelf(model):
    """A shelf on which every name is the random model."""
    return Shelf(lambda name, progress: model)


@pytest.fixture
def visit(shelf):
    """A visitor who looks at a generated scene."""
    visit = Visit()
    choices.new_scene(visit, shelf, seed=7)
    return visit
