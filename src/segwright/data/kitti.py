"""KITTI, street scenes of Karlsruhe: the semantic benchmark of today, and the older annotations with 11 classes.

Licence: CC BY-NC-SA 3.0 (the KITTI pictures); the older annotations for research.

Benchmark (`form: benchmark`): 200 pictures with masks, 200 test pictures without; RGB PNG of about 1242×375 (width ×
height). Masks: 8-bit grey PNG with Cityscapes label ids; label space `kitti19`. Instances: 16-bit PNG, label id × 256 +
number, 0 for no instance; they are handed on in Cityscapes' code, label id × 1000 + number.
Layout: ROOT/training/image_2/NAME.png, training/semantic/NAME.png, training/instance/NAME.png; ROOT/testing/image_2.
Splits: `all` is the 200; there is no official val. train and val divide them, by a seeded choice or with the last
quarter as val (`val_from`).
Traps: annotations were corrected on 12 April 2018, so download them again when yours are older. Instances are not
coded as in Cityscapes' own files.

Older annotations (`form: ros`): 146 pictures of the odometry sequences, 00 for training and 07 for validation. Masks:
8-bit PNG, 0 sky, 1 building, 2 road, 3 sidewalk, 4 fence, 5 vegetation, 6 pole, 7 car, 8 sign, 9 pedestrian, 10
cyclist; 11 is void and ignored; label space `kitti11`.
Layout: ROOT/Training_00/RGB/NAME.png and ROOT/Training_00/GT_ind/NAME.png (or GT_GRAY), the same under Validation_07.
Others (Zhang 2015, Kundu 2014, Xu 2016) annotated more frames with other classes, in MATLAB files or colours of their
own: bring those into folders or a list file, with a label space of your own.
Source: Geiger et al., "Are we ready for autonomous driving?", CVPR 2012, cvlibs.net/datasets/kitti; Alhaija et al.,
"Augmented reality meets computer vision", IJCV 2018; Ros et al., "Vision-based offline-online perception paradigm for
autonomous driving", WACV 2015.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.data.pairs import (
    Listing,
    PairedFiles,
    by_key,
    list_pictures,
    matched,
    need_folder,
    need_split,
    side,
)
from segwright.data.reading import read_mask

ALL = "all"
_LAYOUTS = {
    "benchmark": "training/image_2 and training/semantic",
    "ros": "Training_00/RGB, Training_00/GT_ind, Validation_07/RGB and Validation_07/GT_ind",
}
_ROS = {"train": "Training_00", "val": "Validation_07"}
_ROS_MASKS = ("GT_ind", "GT_GRAY")
_REMEDY = "Unpack the archive again; a picture and its mask carry the same name."


class Kitti(PairedFiles):
    """One split of KITTI: train, val or, in the benchmark form, all. labels: usually `kitti19`, for ros `kitti11`.

    form: `benchmark` or `ros`. The other arguments are for the benchmark form. instances: also read instance maps.
    val_from: val is a seeded choice (`hash`) or the `last` pictures in the order of their names. val_fraction: share
    of the pictures that is val, between 0 and 1; split_seed: another seed, another choice.
    """

    @classmethod
    def splits(cls, root: Path | None, *_: Any, form: str = "benchmark", **args: Any) -> tuple[str, ...]:
        folder = _folder(root, form)
        if form == "ros":
            return tuple(
                s for s, name in _ROS.items() if (folder / name / "RGB").is_dir() and _ros_masks(folder / name)
            )
        return ("train", "val", ALL)

    @classmethod
    def listing(
        cls,
        root: Path | None,
        split: str,
        *_: Any,
        form: str = "benchmark",
        instances: bool = False,
        val_from: str = "hash",
        val_fraction: float = 0.25,
        split_seed: int = 0,
    ) -> Listing:
        folder = _folder(root, form)
        if form == "ros":
            if instances:
                raise UserError("the annotations of form ros have no instances: set data.args.instances=false.")
            need_split(split, cls.splits(root, form=form), folder, _LAYOUTS[form])
            part = folder / _ROS[split]
            return _listed(part / "RGB", _ros_masks(part) or part)
        if val_from not in ("hash", "last"):
            raise UserError(f"val_from is {val_from!r}; allowed are hash and last.")
        if not 0 < val_fraction < 1:
            raise UserError(f"val_fraction is {val_fraction}; allowed is a share between 0 and 1, such as 0.25.")
        if split == "test":
            raise UserError(
                f"{folder / 'testing'} has pictures without masks, because the benchmark keeps them: it is no split to "
                "train on or score. `segwright submit --format kitti` predicts them for its server; or use val."
            )
        need_split(split, cls.splits(root, form=form), folder, _LAYOUTS[form])
        part = folder / "training"
        whole = _listed(part / "image_2", part / "semantic", part / "instance" if instances else None)
        if split == ALL:
            return whole
        chosen = side(whole, split, val_fraction, split_seed)
        if val_from == "hash":
            return chosen
        count, total = len(chosen.pairs), len(whole.pairs)
        return replace(chosen, pairs=whole.pairs[:count] if split == "train" else whole.pairs[total - count :])

    @staticmethod
    def read_instances(path: Path) -> NDArray[np.int32]:
        """int32 [H, W]: label id × 1000 + number as in Cityscapes, or the label id alone where there is no instance."""
        code = read_mask(path).astype(np.int32)
        label, number = code // 256, code % 256
        return np.where(number > 0, label * 1000 + number, label)


def _folder(root: Path | None, form: str) -> Path:
    if form not in _LAYOUTS:
        raise UserError(f"form is {form!r}; allowed are {' and '.join(_LAYOUTS)}.")
    folder = need_folder(root, "kitti", _LAYOUTS[form])
    if form == "benchmark":
        for part in ("image_2", "semantic"):
            need_folder(folder / "training" / part, "kitti", _LAYOUTS[form])
    return folder


def _ros_masks(part: Path) -> Path | None:
    return next((part / name for name in _ROS_MASKS if (part / name).is_dir()), None)


def _listed(pictures: Path, truth: Path, instances: Path | None = None) -> Listing:
    images, masks = list_pictures(pictures), list_pictures(truth)
    maps = None if instances is None else list_pictures(need_folder(instances, "kitti", "one PNG a picture"))
    return matched(
        by_key(images, [p.stem for p in images]),
        by_key(masks, [p.stem for p in masks]),
        where=pictures,
        remedy=_REMEDY,
        instances=None if maps is None else by_key(maps, [p.stem for p in maps]),
    )
