"""Tiny fake data laid out as the real data sets are, and label spaces that read it.

Run `python -m tests.data.layouts NAME FOLDER` to look at one. Every mask holds the first and the last class and, where
the data set has it, void, so that an id off by one or a wrong void shows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.labels import LabelClass, LabelSpace, load_label_space

from .files import FOUR, mask, photo, save, write_pairs

CITYSCAPES_IDS = (0, 7, 26, 33)


def index_space(name: str, values: Sequence[int], void: Sequence[int] = (255,)) -> LabelSpace:
    """A space whose class k is the k-th of `values`."""
    return LabelSpace(
        name=name,
        title=name,
        classes=tuple(LabelClass(name=f"c{v}", values=(v,), color=(v, 0, 0)) for v in values),
        ignored=tuple(LabelClass(name=f"void{v}", values=(v,), color=(0, 0, 0)) for v in void),
    )


def rgb_space(name: str, colors: Sequence[tuple[int, int, int]], void: Sequence[tuple[int, int, int]]) -> LabelSpace:
    def item(color: tuple[int, int, int], kind: str) -> LabelClass:
        red, green, blue = color
        return LabelClass(name=f"{kind}_{red}_{green}_{blue}", values=(red << 16 | green << 8 | blue,), color=color)

    return LabelSpace(
        name=name,
        title=name,
        classes=tuple(item(c, "color") for c in colors),
        ignored=tuple(item(c, "void") for c in void),
        encoding="rgb",
    )


SUIM_COLORS = [(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)]
CAMVID_COLORS = [(64, 128, 64), (128, 64, 128), (64, 192, 0)]


def color_mask(colors: Sequence[tuple[int, int, int]], *, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [12, 20, 3] with every colour of `colors`."""
    return np.array(colors, np.uint8)[mask(values=range(len(colors)), seed=seed)]


def save_palette(path: Path, ids: NDArray[np.uint8]) -> Path:
    """A palette PNG whose colours are VOC's, so that the colour or its grey is never the number."""
    colors = [[sum((i >> (3 * j + c) & 1) << (7 - j) for j in range(8)) for c in range(3)] for i in range(256)]
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    image.putpalette([v for color in colors for v in color])
    image.save(path)
    return path


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def camvid(root: Path) -> Path:
    for split, names in (("train", ("0001TP_006690", "0006R0_f00930")), ("val", ("0016E5_07959",))):
        for name in names:
            save(root / split / f"{name}.png", photo())
            save(root / f"{split}annot" / f"{name}.png", mask(values=range(12)))
    return root


def camvid_original(root: Path, *, full: str = "_full") -> Path:
    for seed, name in enumerate(("0001TP_006690", "0006R0_f00930", "Seq05VD_f00000")):
        save(root / f"701_StillsRaw{full}" / f"{name}.png", photo(seed=seed))
        save(root / f"LabeledApproved{full}" / f"{name}_L.png", color_mask([(0, 0, 0), *CAMVID_COLORS], seed=seed))
    return root


def cityscapes(root: Path, *, truth: str = "gtFine", extra: str = "") -> Path:
    places = [("train", "alpha"), ("train", "beta"), ("val", "gamma")]
    for split, city in [*places, *([(extra, "delta")] if extra else [])]:
        for frame in range(2):
            name = f"{city}_000000_{frame:06d}"
            save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", photo(seed=frame))
            ids = mask(values=CITYSCAPES_IDS, seed=frame)
            folder = root / truth / split / city
            save(folder / f"{name}_{truth}_labelIds.png", ids)
            save(folder / f"{name}_{truth}_labelTrainIds.png", mask(values=(0, 18, 255), seed=frame))
            save(folder / f"{name}_{truth}_color.png", photo())
            instances = np.where(ids >= 26, ids.astype(np.uint16) * 1000 + 1, ids).astype(np.uint16)
            save(folder / f"{name}_{truth}_instanceIds.png", instances)
    return root


def cityscapes_coarse(root: Path) -> Path:
    return cityscapes(root, truth="gtCoarse", extra="train_extra")


def suim(root: Path, *, count: int = 6) -> Path:
    for part, names in (("train_val", [f"d_r_{i}_" for i in range(count)]), ("TEST", ["n_l_1_"])):
        for seed, name in enumerate(names):
            save(root / part / "images" / f"{name}.jpg", photo(seed=seed))
            save(root / part / "masks" / f"{name}.bmp", color_mask(SUIM_COLORS, seed=seed))
    return root


def suim_plain(root: Path) -> Path:
    save(root / "images" / "w_r_1_.jpg", photo())
    save(root / "masks" / "w_r_1_.bmp", color_mask(SUIM_COLORS))
    return root


VOC_TRAIN, VOC_VAL, SBD_MORE = ("2007_000032", "2008_000008"), ("2007_000033",), ("2009_000001", "2010_000002")


def voc(root: Path) -> Path:
    folder = root / "VOCdevkit" / "VOC2012"
    for seed, name in enumerate((*VOC_TRAIN, *VOC_VAL)):
        save(folder / "JPEGImages" / f"{name}.jpg", photo(seed=seed))
        save_palette(folder / "SegmentationClass" / f"{name}.png", mask(values=(0, 20, 255), seed=seed))
        save_palette(folder / "SegmentationObject" / f"{name}.png", mask(values=(0, 1, 2, 255), seed=seed))
    lists = folder / "ImageSets" / "Segmentation"
    write_lines(lists / "train.txt", VOC_TRAIN)
    write_lines(lists / "val.txt", VOC_VAL)
    write_lines(lists / "trainval.txt", sorted((*VOC_TRAIN, *VOC_VAL)))
    return root


def voc_sbd(root: Path) -> Path:
    """VOC with SBD beside it, whose lists mix VOC's train and val with pictures of its own."""
    from scipy.io import savemat

    voc(root)
    sbd = root / "benchmark_RELEASE" / "dataset"
    (sbd / "cls").mkdir(parents=True)
    for seed, name in enumerate((*VOC_TRAIN[:1], *VOC_VAL, *SBD_MORE)):
        truth = {
            "Segmentation": mask(values=(0, 20), seed=seed),
            "Boundaries": np.zeros((20, 1)),
            "CategoriesPresent": 20,
        }
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": truth})
        save(root / "VOCdevkit" / "VOC2012" / "JPEGImages" / f"{name}.jpg", photo(seed=seed))
    write_lines(sbd / "train.txt", (*VOC_TRAIN[:1], SBD_MORE[1]))
    write_lines(sbd / "val.txt", (*VOC_VAL, SBD_MORE[0]))
    return root


def ade20k(root: Path) -> Path:
    folder = root / "ADEChallengeData2016"
    for part, names in (
        ("training", ("ADE_train_00000001", "ADE_train_00000002")),
        ("validation", ("ADE_val_00000001",)),
    ):
        for seed, name in enumerate(names):
            save(folder / "images" / part / f"{name}.jpg", photo(seed=seed))
            save(folder / "annotations" / part / f"{name}.png", mask(values=(0, 1, 150), seed=seed))
    write_lines(folder / "objectInfo150.txt", ["Idx Ratio Train Val Stuff Name"])
    return root


def kitti(root: Path) -> Path:
    for index in range(8):
        name = f"{index:06d}_10.png"
        ids = mask(values=CITYSCAPES_IDS, seed=index)
        save(root / "training" / "image_2" / name, photo(seed=index))
        save(root / "training" / "semantic" / name, ids)
        save(root / "training" / "semantic_rgb" / name, photo(seed=index))
        save(root / "training" / "instance" / name, (ids.astype(np.uint16) * 256 + (ids >= 26)).astype(np.uint16))
        save(root / "testing" / "image_2" / name, photo(seed=100 + index))
    return root


def kitti_ros(root: Path) -> Path:
    for part, names in (("Training_00", ("000000", "000010")), ("Validation_07", ("000005",))):
        for seed, name in enumerate(names):
            save(root / part / "RGB" / f"{name}.png", photo(seed=seed))
            save(root / part / "GT_ind" / f"{name}.png", mask(values=range(12), seed=seed))
    return root


def cocostuff(root: Path) -> Path:
    for part, names in (("train2017", ("000000000009", "000000000025")), ("val2017", ("000000000139",))):
        for seed, name in enumerate(names):
            save(root / "images" / part / f"{name}.jpg", photo(seed=seed))
            save(root / "stuffthingmaps" / part / f"{name}.png", mask(values=(0, 181, 255), seed=seed))
            save(root / "stuffthingmaps" / part / f"{name}_labelTrainIds.png", mask(values=(0, 170, 255), seed=seed))
    return root


def cocostuff10k(root: Path, *, classes: int = 183) -> Path:
    from scipy.io import savemat

    (root / "annotations").mkdir(parents=True)
    for split, names in (("train", ("COCO_train2014_000000000077",)), ("test", ("COCO_train2014_000000000149",))):
        write_lines(root / "imageLists" / f"{split}.txt", names)
        for seed, name in enumerate(names):
            save(root / "images" / f"{name}.jpg", photo(seed=seed))
            content = {
                "S": mask(values=(0, 1, 182), seed=seed).astype(np.uint16),
                "names": np.array([["x"]] * classes, object),
            }
            savemat(root / "annotations" / f"{name}.mat", content)
    return root


def paired_folders(root: Path) -> Path:
    return write_pairs(root, [f"p{i}" for i in range(5)])


@dataclass(frozen=True, kw_only=True)
class Fake:
    """A fake data set. counts: split -> pictures."""

    name: str
    write: Callable[[Path], Path]
    space: LabelSpace
    counts: Mapping[str, int]
    args: Mapping[str, Any] = field(default_factory=dict)


_CITY = load_label_space("cityscapes19")
_STUFF = index_space("stuff", (0, 181))
FAKES: dict[str, Fake] = {
    "camvid": Fake(name="camvid", write=camvid, space=load_label_space("camvid11"), counts={"train": 2, "val": 1}),
    "camvid, original": Fake(
        name="camvid", write=camvid_original, space=rgb_space("camvid", CAMVID_COLORS, [(0, 0, 0)]), counts={"all": 3}
    ),
    "cityscapes": Fake(
        name="cityscapes", write=cityscapes, space=_CITY, counts={"train": 4, "val": 2}, args={"instances": True}
    ),
    "cityscapes, coarse": Fake(
        name="cityscapes",
        write=cityscapes_coarse,
        space=_CITY,
        counts={"train": 4, "train_extra": 2, "val": 2},
        args={"annotations": "coarse", "instances": True},
    ),
    "suim": Fake(
        name="suim",
        write=suim,
        space=rgb_space("suim", SUIM_COLORS, []),
        counts={"train": 5, "val": 1, "train_val": 6, "test": 1},
    ),
    "suim, plain": Fake(name="suim", write=suim_plain, space=rgb_space("suim", SUIM_COLORS, []), counts={"all": 1}),
    "voc": Fake(
        name="voc",
        write=voc,
        space=index_space("voc", range(21)),
        counts={"train": 2, "val": 1, "trainval": 3},
        args={"instances": True},
    ),
    "voc with sbd": Fake(
        name="voc",
        write=voc_sbd,
        space=index_space("voc", range(21)),
        counts={"train": 2, "val": 1, "trainval": 3, "train_aug": 4},
    ),
    "ade20k": Fake(
        name="ade20k", write=ade20k, space=index_space("ade", range(1, 151), [0]), counts={"train": 2, "val": 1}
    ),
    "kitti": Fake(
        name="kitti", write=kitti, space=_CITY, counts={"train": 6, "val": 2, "all": 8}, args={"instances": True}
    ),
    "kitti, ros": Fake(
        name="kitti",
        write=kitti_ros,
        space=index_space("ros", range(11), [11]),
        counts={"train": 2, "val": 1},
        args={"form": "ros"},
    ),
    "cocostuff": Fake(name="cocostuff", write=cocostuff, space=_STUFF, counts={"train": 2, "val": 1}),
    "cocostuff, 10k": Fake(
        name="cocostuff", write=cocostuff10k, space=index_space("mat", (1, 182), [0]), counts={"train": 1, "test": 1}
    ),
    "paired_folders": Fake(
        name="paired_folders", write=paired_folders, space=FOUR, counts={"train": 4, "val": 1, "all": 5}
    ),
    "streets on disk": Fake(name="streets", write=cityscapes, space=_CITY, counts={"train": 4, "val": 2}),
}

if __name__ == "__main__":
    FAKES[sys.argv[1]].write(Path(sys.argv[2]))
