"""Small made-up files in the layout in which the benchmarks are published."""

import json

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def picture():
    """Writes a picture of one colour to a path, and the folders above it."""

    def write(path, color=(200, 30, 30), size=(40, 30)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, color).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def write_json():
    """Writes data as JSON to a path, a record per line, and the folders above it."""

    def write(path, data, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, **{"indent": 0, **options}), encoding="utf-8")
        return path

    return write
