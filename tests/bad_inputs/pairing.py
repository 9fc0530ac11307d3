"""B3: names, lists, splits and leaks. Everything that is wrong is told in one pass, not only the first of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from ..data.files import mask, photo, save
from .case import HEIGHT, WIDTH, Case, companions, put

Change = Callable[[Path], None]
"""Does something wrong to a data set of four healthy pairs: good0 and good1 in train, good2 and good3 in val."""

TRAIN_IMAGES, TRAIN_MASKS, VAL_IMAGES, VAL_MASKS = (
    f"{split}/{kind}" for split in ("train", "val") for kind in ("images", "masks")
)


def every(*parts: str) -> str:
    """A regular expression for a text that has all of these, in any order."""
    return "(?s)" + "".join(f"(?=.*{part})" for part in parts)


def _made(change: Change, root: Path) -> Path:
    companions(root)
    change(root)
    return root


def wrong(name: str, change: Change, words: str, *codes: str) -> Case:
    return Case(name=name, group="B3", make=partial(_made, change), expect="refused", words=words, codes=codes)


def odd(name: str, change: Change, words: str, *codes: str) -> Case:
    """Worth a word, but no fault that stops anybody."""
    return Case(name=name, group="B3", make=partial(_made, change), expect="accepted", words=words, codes=codes)


def other(name: str, make: Callable[[Path], Path], words: str, *codes: str) -> Case:
    """A data set of another layout, written whole."""
    return Case(name=name, group="B3", make=make, expect="refused", words=words, codes=codes)


def image(root: Path, name: str, seed: int = 0, folder: str = TRAIN_IMAGES) -> None:
    save(root / folder / name, photo(HEIGHT, WIDTH, seed=seed))


def truth(
    root: Path, name: str, values: Sequence[int] = (0, 1, 2, 3), seed: int = 0, folder: str = TRAIN_MASKS
) -> None:
    save(root / folder / name, mask(HEIGHT, WIDTH, values, seed=seed))


def pair(root: Path, image_name: str, mask_name: str, seed: int = 0) -> None:
    image(root, image_name, seed)
    truth(root, mask_name, seed=seed)


def removed(*names: str) -> Change:
    def change(root: Path) -> None:
        for name in names:
            (root / name).unlink()

    return change


def emptied(*folders: str) -> Change:
    def change(root: Path) -> None:
        for folder in folders:
            for file in (root / folder).iterdir():
                file.unlink()

    return change


def many_missing(root: Path) -> None:
    for index in range(3):
        image(root, f"lonely{index}.png", index)
        truth(root, f"single{index}.png", seed=index)
    image(root, "far.png", 5, VAL_IMAGES)


def copied(source: str, target: str) -> Change:
    """The same file under another name, with a mask of its own (`-`: with the mask of the source)."""

    def change(root: Path) -> None:
        shutil.copy(root / source, root / target.removeprefix("-"))
        new = Path(target.removeprefix("-"))
        if target.startswith("-"):
            shutil.copy(root / source.replace("images", "masks"), root / str(new).replace("images", "masks"))
        else:
            truth(root, new.name, seed=50, folder=str(new.parent).replace("images", "masks"))

    return change


def large(root: Path) -> Image.Image:
    """A picture with structure in train, so that one much like it can be made."""
    rows, columns = np.mgrid[:120, :200]
    waves = np.stack([np.sin(rows / 9 + k) * np.cos(columns / (7 + k)) * 100 + 120 for k in range(3)], -1)
    picture = Image.fromarray(waves.astype(np.uint8))
    picture.save(root / TRAIN_IMAGES / "wave.png")
    save(root / TRAIN_MASKS / "wave.png", mask(120, 200))
    save(root / VAL_MASKS / "again.png", mask(120, 200, seed=1))
    return picture


def saved_again(root: Path) -> None:
    large(root).save(root / VAL_IMAGES / "again.jpg", quality=90)


def brightened(root: Path) -> None:
    ImageEnhance.Brightness(large(root)).enhance(1.03).save(root / VAL_IMAGES / "again.png")


def stored_again(root: Path) -> None:
    Image.open(root / TRAIN_IMAGES / "good0.png").save(root / VAL_IMAGES / "again.bmp")
    truth(root, "again.png", seed=50, folder=VAL_MASKS)


def without(values: Sequence[int], *folders: str) -> Change:
    """Masks of these folders that hold `values` only, and so many pairs in both splits that it is no chance."""

    def change(root: Path) -> None:
        for index in range(16):
            split = "train" if index % 2 else "val"
            image(root, f"more{index}.png", 200 + index, f"{split}/images")
            truth(root, f"more{index}.png", seed=200 + index, folder=f"{split}/masks")
        for index, file in enumerate(f for folder in folders for f in sorted((root / folder).iterdir())):
            truth(root, file.name, values, seed=70 + index, folder=str(file.parent.relative_to(root)))

    return change


def same_masks(root: Path) -> None:
    shutil.copy(root / TRAIN_MASKS / "good0.png", root / TRAIN_MASKS / "good1.png")


def half_in_colours(root: Path) -> None:
    colours = np.repeat(mask(HEIGHT, WIDTH)[..., None] * np.uint8(60), 3, axis=2)
    save(root / TRAIN_MASKS / "good0.png", colours)


def pictures_as_masks(root: Path) -> None:
    for file in (root / TRAIN_IMAGES).iterdir():
        shutil.copy(file, root / TRAIN_MASKS / file.name)


def subfolders(root: Path) -> None:
    pair(root, "city/a.png", "a.png", 3)


def leftovers(root: Path) -> None:
    """What operating systems and version control leave in folders."""
    for name in (".DS_Store", "Thumbs.db", "._good0.png", "desktop.ini", "readme.txt"):
        put(root / TRAIN_IMAGES / name, b"not a picture")
    put(root / TRAIN_MASKS / ".ipynb_checkpoints" / "good0-checkpoint.png", b"not a picture")


def usual_endings(root: Path) -> None:
    for index, end in enumerate(("_mask", "_label", "_gt", "_seg")):
        pair(root, f"p{index}.png", f"p{index}{end}.png", 20 + index)


def group_in_both(root: Path) -> None:
    for index, split in enumerate(("train", "train", "val", "val")):
        save(root / split / "images" / "town" / f"t{index}.png", photo(HEIGHT, WIDTH, seed=40 + index))
        save(root / split / "masks" / "town" / f"t{index}.png", mask(HEIGHT, WIDTH, seed=40 + index))


def camvid(change: Change, root: Path) -> Path:
    """CamVid in SegNet's form, two pairs in train and val each."""
    for index, split in enumerate(("train", "train", "val", "val")):
        name = f"0001TP_{index:06d}.png"
        save(root / split / name, photo(HEIGHT, WIDTH, seed=60 + index))
        save(root / f"{split}annot" / name, mask(HEIGHT, WIDTH, range(12), seed=60 + index))
    change(root)
    return root


def lines(*texts: str, split: str = "train") -> Change:
    return lambda root: root.joinpath(f"{split}.txt").write_text("".join(f"{t}\n" for t in texts)) and None


def entry(index: int, split: str = "train") -> str:
    name = f"0001TP_{index:06d}.png"
    return f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}"


def cityscapes(change: Change, root: Path) -> Path:
    for index, split in enumerate(("train", "train", "val", "val")):
        name = f"aachen_{index:06d}_000019"
        save(root / "leftImg8bit" / split / "aachen" / f"{name}_leftImg8bit.png", photo(HEIGHT, WIDTH, seed=index))
        save(
            root / "gtFine" / split / "aachen" / f"{name}_gtFine_labelIds.png",
            mask(HEIGHT, WIDTH, range(34), seed=index),
        )
    change(root)
    return root


def csv(text: str, root: Path) -> Path:
    for index in range(6):
        image(root, f"{index}.png", index, "i")
        truth(root, f"{index}.png", seed=index, folder="m")
    put(root / "list.csv", text.encode())
    return root


def rows(*more: str, count: int = 6) -> str:
    """A list with a split column, then further rows."""
    good = [f"i/{k}.png,m/{k}.png,{'val' if k > 3 else 'train'}" for k in range(count)]
    return "\n".join(["image,mask,split", *good, *more]) + "\n"


NAMES = (
    wrong("mask-missing", removed(f"{TRAIN_MASKS}/good1.png"), "good1.png: the picture has no mask", "no-mask"),
    wrong("picture-missing", removed(f"{TRAIN_IMAGES}/good1.png"), "good1.png: the mask has no picture", "no-picture"),
    wrong("many-missing-everywhere", many_missing, every("lonely0", "lonely2", "single0", "single2", "far.png"),
          "no-mask", "no-picture"),
    wrong("two-pictures-one-name", lambda root: save(root / TRAIN_IMAGES / "good0.jpg", photo()) and None,
          "good0.*2 pictures for one name", "duplicate-name"),
    wrong("two-masks-one-name", lambda root: truth(root, "good0.bmp"), "good0.*2 masks for one name", "duplicate-name"),
    wrong("two-masks-by-ending", lambda root: truth(root, "good0_mask.png"), "good0_mask.png: the mask has no picture|2 masks",
          "duplicate-name|no-picture"),
    wrong("names-differ-in-case", lambda root: pair(root, "GOOD0.png", "GOOD0.png"), "differ only in case",
          "case-collision"),
    wrong("picture-and-mask-differ-in-case", lambda root: pair(root, "Odd.png", "odd.png"),
          every("Odd.png: the picture has no mask", "odd.png: the mask has no picture"), "no-mask", "no-picture"),
    wrong("composed-and-decomposed", lambda root: (image(root, "\u00fc.png", 1), pair(root, "u\u0308.png", "\u00fc.png", 2))[0],
          "2 pictures for one name", "duplicate-name"),
    wrong("unknown-ending", lambda root: put(root / TRAIN_IMAGES / "odd.heic", b"x") and truth(root, "odd.png"),
          "odd.png: the mask has no picture", "no-picture"),
    wrong("zeros-in-front", lambda root: pair(root, "7.png", "007.png"), every("7.png: the picture", "007.png: the mask"),
          "no-mask", "no-picture"),
    wrong("space-at-the-end", lambda root: pair(root, "odd .png", "odd.png"), "odd .png: the picture has no mask",
          "no-mask"),
    wrong("ending-kept-in-mask-name", lambda root: pair(root, "odd.jpg", "odd.jpg.png"), "odd.jpg: the picture has no mask",
          "no-mask"),
    wrong("sub-folder-on-one-side", subfolders, "city/a.png: the picture has no mask", "no-mask"),
    odd("leftovers", leftovers, "hidden files and other kinds are left out"),
    odd("usual-endings", usual_endings, "the mask may add _mask, _label, _gt or _seg"),
)  # fmt: skip

SPLITS = (
    wrong("empty-train", emptied(TRAIN_IMAGES, TRAIN_MASKS), "holds no pictures", "empty-split"),
    wrong("empty-val", emptied(VAL_IMAGES, VAL_MASKS), "holds no pictures", "empty-split"),
    wrong("no-masks-at-all", emptied(TRAIN_MASKS), every("good0.png: the picture has no mask", "good1"), "no-mask"),
    odd("one-picture-in-val", removed(f"{VAL_IMAGES}/good3.png", f"{VAL_MASKS}/good3.png"), "the only picture is good2",
        "one-picture-split"),
    wrong("class-not-in-train", without((0, 1, 2), TRAIN_MASKS), "no mask of train shows c3", "class-not-in-train"),
    odd("class-not-in-val", without((0, 1, 3), VAL_MASKS), "no mask of val shows c2", "class-not-in-val"),
    odd("class-nowhere", without((0, 1, 3), TRAIN_MASKS, VAL_MASKS), "no mask shows c2", "class-nowhere"),
    odd("val-all-void", without((255,), VAL_MASKS), "masks are void", "void-split"),
    wrong("everything-in-colours", half_in_colours, "colours", "color-mask"),
    wrong("pictures-as-masks", pictures_as_masks, "colours", "color-mask|smoothed-mask"),
    odd("group-in-both", group_in_both, "town.*several splits", "group-straddles"),
)  # fmt: skip

REPEATS = (
    wrong("same-file-in-two-splits", copied(f"{TRAIN_IMAGES}/good0.png", f"{VAL_IMAGES}/odd.png"),
          every("good0", "odd", "in train and val"), "leak"),
    wrong("same-pair-in-two-splits", copied(f"{TRAIN_IMAGES}/good0.png", f"-{VAL_IMAGES}/odd.png"),
          every("good0", "odd", "in train and val"), "leak"),
    wrong("same-pixels-in-two-splits", stored_again, every("good0", "again", "in train and val"), "leak"),
    odd("saved-again-as-jpeg", saved_again, every("wave", "again", "nearly"), "near-leak"),
    odd("brightened-copy", brightened, every("wave", "again", "nearly"), "near-leak"),
    odd("same-pair-twice", copied(f"{TRAIN_IMAGES}/good0.png", f"-{TRAIN_IMAGES}/odd.png"), every("good0", "odd", "2 times"),
        "duplicate-image"),
    wrong("same-picture-other-mask", copied(f"{TRAIN_IMAGES}/good0.png", f"{TRAIN_IMAGES}/odd.png"),
          every("good0", "odd", "2 different masks"), "different-masks"),
    odd("same-mask-other-picture", same_masks, every("good0", "good1", "same mask"), "duplicate-mask"),
)  # fmt: skip

LISTS = (
    other("camvid-mask-missing", partial(camvid, removed("trainannot/0001TP_000001.png")),
          "0001TP_000001.png: the picture has no mask", "no-mask"),
    other("camvid-list-names-nothing", partial(camvid, lines(entry(0), entry(8), entry(9))),
          every("000008.png: does not exist", "000009.png: does not exist"), "listing"),
    other("camvid-list-of-one-column", partial(camvid, lines(entry(0), "train/0001TP_000001.png")),
          "expected two paths", "listing"),
    other("camvid-listed-twice", partial(camvid, lines(entry(0), entry(1), entry(0))), "is listed 2 times",
          "duplicate-name"),
    other("camvid-empty-list", partial(camvid, lines("")), "the list is empty", "empty-split"),
    other("camvid-list-not-text", partial(camvid, lambda root: put(root / "train.txt", b"\xff\xfe\0") and None),
          "cannot be read", "listing|empty-split"),
    other("cityscapes-mask-missing", partial(cityscapes, removed(
          "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png")), "aachen_000001_000019.*no mask", "no-mask"),
    other("cityscapes-picture-missing", partial(cityscapes, removed(
          "leftImg8bit/val/aachen/aachen_000002_000019_leftImg8bit.png")), "aachen_000002_000019.*no picture",
          "no-picture"),
    other("csv-files-missing", partial(csv, rows("i/8.png,m/8.png,train", "i/9.png,m/5.png,val")),
          every("list.csv:8: .*8.png", "list.csv:9: .*9.png"), "listing"),
    other("csv-name-twice", partial(csv, rows("i/0.png,m/0.png,train")), "list.csv:8: .*line 2", "listing|duplicate-name"),
    other("csv-leak", partial(csv, rows("i/0.png,m/0.png,val")), "train|val", "leak"),
    other("csv-cell-missing", partial(csv, rows("i/0.png")), "list.csv:8", "listing"),
)  # fmt: skip

PAIRING: tuple[Case, ...] = (*NAMES, *SPLITS, *REPEATS, *LISTS)
