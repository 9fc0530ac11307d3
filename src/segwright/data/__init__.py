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

WEIGHTS_LICENCES: dict[str, str] = {
    "camvid": "CC BY-NC 4.0 (trained on CamVid): research and personal use",
    "cityscapes": "non-commercial (trained on data under the Cityscapes terms, unless the scenes are generated)",
    "paired_folders": "that of the pictures it was trained on",
    "streets": "MIT (trained on generated scenes)",
}
"""Name -> licence of weights trained on the data set."""

__all__ = ["DATASETS", "WEIGHTS_LICENCES", "CamVid", "Cityscapes", "PairedFolders", "open_streets"]
