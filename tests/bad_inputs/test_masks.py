"""B2: every odd mask gives exactly the stored numbers, or is refused with what was found and its likely cause."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from segwright.contracts import DataError
from segwright.data import PairedFolders
from segwright.data.reading import read_mask

from .case import Case, space_of
from .masks import MASKS


@pytest.mark.parametrize("case", [c for c in MASKS if c.expect == "refused"], ids=lambda c: c.name)
def test_refused_with_values_and_cause(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    dataset = PairedFolders(tmp_path, "train", space_of(case))
    with pytest.raises(DataError) as caught:
        dataset[dataset.names.index("odd")]
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert re.search(case.words, message), message


@pytest.mark.parametrize("case", [c for c in MASKS if c.expect == "accepted"], ids=lambda c: c.name)
def test_accepted_masks_are_read_exactly(case: Case, tmp_path: Path) -> None:
    assert case.truth is not None
    path, truth = case.make(tmp_path), case.truth()
    raw = read_mask(path)
    assert raw.dtype in (np.uint8, np.uint16)
    np.testing.assert_array_equal(raw, truth)
    dataset = PairedFolders(tmp_path, "train", space_of(case))
    sample = dataset[dataset.names.index("odd")]
    assert sample.labels is not None
    np.testing.assert_array_equal(sample.labels, space_of(case).encode(truth.astype(raw.dtype), source="truth"))
