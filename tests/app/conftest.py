"""A user session on the tiny random model: everything of the page but Gradio."""

import pytest

from app.handlers import choices
from app.model_pool import ModelPool
from app.user_session import UserSession
from compressor.models.loading import memory


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch):
    """Every model fits as it is, whatever runs the tests."""
    monkeypatch.setattr(memory, "memory", lambda *_: (10**12, 10**12))


@pytest.fixture
def pool(model):
    """A model pool on which every name is the random model."""
    return ModelPool(lambda name, progress: model)


@pytest.fixture
def user(pool):
    """A visitor who looks at a generated scene."""
    user = UserSession()
    choices.new_scene(user, pool, seed=7)
    return user
