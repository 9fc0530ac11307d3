"""Fixtures of every test folder."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line does, before torch loads

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data (CamVid, SUIM, street pictures); skips where it is missing."""
    folder = Path(os.environ.get("SEGWRIGHT_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"real data is not here ({folder}); set SEGWRIGHT_SHARED_DATA to the folder that holds camvid/ and suim/"
        )
    return folder


@pytest.fixture(scope="session")
def camvid(shared_data: Path) -> Path:
    folder = shared_data / "camvid"
    if not (folder / "train").is_dir():
        pytest.skip(f"CamVid is not in {shared_data}")
    return folder
