"""Bytes changed or added at random: a PNG is then refused or unchanged, a JPEG never a sample of another size."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.contracts import DataError, Sample
from segwright.data import PairedFolders

from ..data.files import FOUR, mask, photo
from .case import put
from .encoding import encoded

PLACES = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4)
"""Where a byte is changed, as a share of the file, and by how much."""
TAIL = st.binary(max_size=40)


@cache
def original(kind: str) -> bytes:
    return encoded(mask(40, 60) if kind == "mask" else photo(40, 60), "JPEG" if kind == "JPEG" else "PNG")


def changed(content: bytes, places: list[tuple[float, int]], tail: bytes) -> bytes:
    edited = bytearray(content)
    for place, step in places:
        at = int(place * (len(edited) - 1))
        edited[at] = (edited[at] + step) % 256
    return bytes(edited) + tail


def sample(folder: Path, picture: bytes, truth: bytes) -> Sample | None:
    """The one sample of a data set; None when it is refused."""
    put(folder / "images" / "a.png", picture)
    put(folder / "masks" / "a.png", truth)
    with contextlib.suppress(DataError):
        return PairedFolders(folder, "all", FOUR)[0]
    return None


@settings(max_examples=80, deadline=None)
@given(places=PLACES, tail=TAIL)
def test_a_changed_png_is_refused(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[float, int]], tail: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed"
    for kind in ("picture", "mask"):
        edited = changed(original(kind), places, tail)
        files = (edited, original("mask")) if kind == "picture" else (original("picture"), edited)
        found = sample(folder, *files)
        if not edited.startswith(original(kind)):
            assert found is None
            continue
        assert found is not None
        assert found.labels is not None
        np.testing.assert_array_equal(found.rgb, photo(40, 60))
        np.testing.assert_array_equal(found.labels, mask(40, 60))


@settings(max_examples=80, deadline=None)
@given(places=PLACES, tail=TAIL)
@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_a_changed_jpeg_never_has_another_size(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[float, int]], tail: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed"
    found = sample(folder, changed(original("JPEG"), places, tail), original("mask"))
    assert found is None or found.rgb.shape == (40, 60, 3)


READ_ALL = """
import resource, sys, warnings
from pathlib import Path
limit = 2 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
warnings.simplefilter("ignore")
from segwright.contracts import DataError
from segwright.data.reading import read_image, read_mask
read = 0
for path in map(Path, sys.argv[1:]):
    for reader in (read_image, read_mask):
        try:
            reader(path)
            read += 1
        except DataError:
            pass
print(read)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on memory is enforced by Linux only")
def test_two_gigabytes_are_enough_for_every_bad_picture(tmp_path: Path) -> None:
    from .damage import DAMAGES

    paths = [str(case.make(tmp_path / case.name)) for case in DAMAGES]
    command = [sys.executable, "-c", READ_ALL, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= sum(c.expect == "accepted" for c in DAMAGES)
