"""InternLM-XComposer-2.5 with the published numbers' weights."""

import pytest


@pytest.fixture(scope="session")
def published(published_config, published_tensors):
    """The model that the published numbers were computed with."""
    from compressor.models.families.xcomposer.model import from_checkpoint

    return from_checkpoint(published_config, published_tensors)
