"""B1: every odd picture is read with the right pixels, or refused by path; three decoders agree on what is read."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from segwright.contracts import DataError
from segwright.data.reading import read_header, read_image

from .case import Case
from .damage import DAMAGES
from .kinds import KINDS

IMAGES = (*DAMAGES, *KINDS)
REFUSED = [c for c in IMAGES if c.expect == "refused"]
ACCEPTED = [c for c in IMAGES if c.expect == "accepted"]
OPENCV_CANNOT = {"tiff-exif-6", "ppm-text"}
TORCHVISION_TURNS = (".jpg", ".png")


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.name)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_refused_by_path_and_cause(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert re.search(case.words, str(caught.value)), caught.value


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda c: c.name)
def test_accepted_pictures_have_their_pixels(case: Case, tmp_path: Path) -> None:
    assert case.truth is not None
    path, truth = case.make(tmp_path), case.truth()
    read = read_image(path)
    assert read.shape == truth.shape
    assert np.abs(read.astype(int) - truth).max() <= case.tolerance
    header = read_header(path)
    assert (header.height, header.width) == truth.shape[:2]


@pytest.mark.parametrize("case", [c for c in ACCEPTED if c.name not in OPENCV_CANNOT], ids=lambda c: c.name)
def test_opencv_agrees(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    ours, theirs = read_image(path), cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert theirs is not None
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs[..., ::-1]).max() <= max(1, case.tolerance)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchvision_agrees(tmp_path: Path) -> None:
    from torchvision.io import ImageReadMode, decode_image

    compared = 0
    for case in ACCEPTED:
        path = case.make(tmp_path / case.name)
        if path.suffix in TORCHVISION_TURNS and "16" not in case.name:
            theirs = decode_image(str(path), mode=ImageReadMode.RGB, apply_exif_orientation=True)
            ours = read_image(path)
            assert ours.shape == (*theirs.shape[1:], 3), case.name
            assert np.abs(ours.astype(int) - theirs.numpy().transpose(1, 2, 0)).max() <= max(1, case.tolerance)
            compared += 1
    assert compared >= 30
