"""A visit on the tiny random model: everything of the page but Gradio."""

import pytest

from app import choices
from app.loading import Shelf
from app.visits import Visit


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
