"""A small model and one real server that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segwright.models.weights import save_segmenter
from tests.export.models import small_model
from tests.web.served import Served, serving


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four classes with random weights, in a file."""
    path = tmp_path_factory.mktemp("served") / "model.safetensors"
    save_segmenter(small_model(licence="MIT", provenance={"made_by": "a test", "where": str(path)}), path)
    return path


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that leave it as it was. It may connect to no other machine."""
    with serving(model, tmp_path_factory.mktemp("server"), limits={"pixels": 1_000_000}) as served:
        served.wait_ready()
        yield served
