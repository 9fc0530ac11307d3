"""B3 and B4 without the doctor: opening a data set names every wrong pair at once, and odd paths work or are named."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from segwright.contracts import DataError
from segwright.data import PairedFolders
from segwright.data.reading import read_image

from .case import Case, space_of
from .pairing import NAMES
from .paths import CLOSED, PATHS


@pytest.mark.parametrize("case", NAMES, ids=lambda c: c.name)
def test_opening_lists_all_wrong_names(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path)
    if case.expect == "accepted":
        assert len(PairedFolders(tmp_path, "train", space_of(case))) >= 2
        return
    with pytest.raises(DataError) as caught:
        PairedFolders(tmp_path, "all", space_of(case))
    assert re.search(case.words, str(caught.value)), caught.value


@pytest.mark.parametrize("case", [c for c in PATHS if c.expect == "accepted"], ids=lambda c: c.name)
def test_odd_paths_work(case: Case, tmp_path: Path) -> None:
    assert case.truth is not None
    path = case.make(tmp_path)
    dataset = PairedFolders(tmp_path, "train", space_of(case))
    assert len(dataset) == 3
    index = [p.image.samefile(path) for p in dataset.pairs].index(True)
    np.testing.assert_array_equal(dataset[index].rgb, case.truth())


@pytest.mark.parametrize("case", [c for c in PATHS if c.expect == "refused"], ids=lambda c: c.name)
@pytest.mark.timeout(20)
def test_bad_paths_are_named(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path)
    with pytest.raises(DataError) as caught:
        list(PairedFolders(tmp_path, "train", space_of(case)))  # type: ignore[call-overload]
    assert re.search(case.words, str(caught.value)), caught.value
    str(caught.value).encode()  # can be printed


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every file")
def test_files_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    path = CLOSED.make(tmp_path)
    with pytest.raises(DataError, match=CLOSED.words):
        read_image(path)
