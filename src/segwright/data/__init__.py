"""Data sets, and everything between files and batches.

One file a data set, each opening with its data sheet. `reading.py` is the one decoder. What trains goes through
`augment.py` and `loading.py`; the latter needs torch and is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable

from segwright.contracts import Dataset
from segwright.data.ade20k import Ade20k
from segwright.data.camvid import CamVid
from segwright.data.cityscapes import Cityscapes
from segwright.data.cocostuff import CocoStuff
from segwright.data.kitti import Kitti
from segwright.data.list_file import ListFile
from segwright.data.paired_folders import PairedFolders
from segwright.data.street_scenes import open_streets
from segwright.data.suim import Suim
from segwright.data.voc import Voc

DATASETS: dict[str, Callable[..., Dataset]] = {
    "camvid": CamVid,
    "cityscapes": Cityscapes,
    "paired_folders": PairedFolders,
    "streets": open_streets,
    "suim": Suim,
    "voc": Voc,
    "ade20k": Ade20k,
    "kitti": Kitti,
    "cocostuff": CocoStuff,
    "list_file": ListFile,
}
"""Name -> factory(root: Path | None, split: str, labels: LabelSpace, **args)."""

WEIGHTS_LICENCES: dict[str, str] = {
    "camvid": "CC BY-NC 4.0 (trained on CamVid): research and personal use",
    "cityscapes": "non-commercial (trained on data under the Cityscapes terms, unless the scenes are generated)",
    "paired_folders": "that of the pictures it was trained on",
    "list_file": "that of the pictures it was trained on",
    "streets": "MIT (trained on generated scenes)",
    "suim": "MIT (trained on SUIM)",
    "voc": "not stated (trained on PASCAL VOC 2012, whose Flickr pictures are for research)",
    "ade20k": "non-commercial research and education (trained on ADE20K)",
    "kitti": "CC BY-NC-SA 3.0 (trained on KITTI): non-commercial, share alike",
    "cocostuff": "not stated (trained on COCO-Stuff: annotations CC BY 4.0, pictures under Flickr terms)",
}
"""Name -> licence of weights trained on the data set."""

__all__ = [
    "DATASETS",
    "WEIGHTS_LICENCES",
    "Ade20k",
    "CamVid",
    "Cityscapes",
    "CocoStuff",
    "Kitti",
    "ListFile",
    "PairedFolders",
    "Suim",
    "Voc",
    "open_streets",
]
