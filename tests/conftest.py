"""Fixtures of every test folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line does, before torch loads

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    """One browser for all tests: a second Playwright in the same process would refuse to start."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the PATH (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()
