"""Data sets, and everything between files and batches.

One file a data set, each opening with its data sheet. `reading.py` is the one decoder. What trains goes through
`augment.py` and `loading.py`; the latter needs torch and is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable

from segwright.contracts import Dataset
from segwright.data.camvid import CamVid
from segwright.data.cityscapes import Cityscapes
from segwright.data.paired_folders import PairedFolders
from segwright.data.street_scenes import open_streets

DATASETS: dict[str, Callable[..., Dataset]] = {
    "camvid": CamVid,
    "cityscapes": Cityscapes,
    "paired_folders": PairedFolders,
    "streets": open_streets,
}
"""Name -> factory(root: Path | None, split: str, labels: LabelSpace, **args)."""

__all__ = ["DATASETS", "CamVid", "Cityscapes", "PairedFolders", "open_streets"]
