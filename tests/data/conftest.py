"""CamVid's train split, counted once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segwright.contracts import IGNORE, Sample
from segwright.data import CamVid
from segwright.data.statistics import Tally
from segwright.labels import load_label_space


@pytest.fixture(scope="session")
def camvid_tally(camvid: Path) -> Tally:
    """All 367 train pictures; void is counted as a twelfth class."""
    dataset = CamVid(camvid, "train", load_label_space("camvid11"))
    tally = Tally(12)
    for index in range(len(dataset)):
        one = dataset[index]
        assert one.labels is not None
        labels = np.where(one.labels == IGNORE, np.uint8(11), one.labels)
        tally.add(Sample(name=one.name, planes=one.planes, labels=labels))
    return tally
