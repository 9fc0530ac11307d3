"""SUIM: underwater pictures, eight classes.

Licence: MIT (the repository xahidbuffon/SUIM, which links the data).
Pictures: 1525 for training and validation, 110 for test; RGB JPEG of mixed sizes, 640×480 (width × height) most often.
Masks: RGB BMP, one bit a colour channel: black BW water, blue HD diver, green PF plants, cyan WR wreck, red RO robot,
magenta RI reef, yellow FV fish, white SR sea floor. A channel above 127 counts as on, as in the official script: some
masks of the full set have edges that are not exactly 0 or 255. Label space: `suim8`; `suim5` for the five channels of
the paper (multi-label).
Layout: ROOT/train_val/images/NAME.jpg and ROOT/train_val/masks/NAME.bmp, the same under ROOT/TEST (any case); or
ROOT/images and ROOT/masks alone, which is the split `all`.
Splits: train_val and test. There is no official val: train and val divide train_val by a seeded choice, 1373 and 152
pictures when all are there.
Traps: about 83 pictures of the full set differ in size from their mask, see `on_size_mismatch`. The paper's scores are
of five sigmoid channels at 320×240, averaged picture by picture: not the mean IoU of eight classes.
Source: Islam et al., "Semantic segmentation of underwater imagery: dataset and benchmark", IROS 2020.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, UserError
from segwright.data.pairs import (
    Listing,
    Pair,
    PairedFiles,
    by_key,
    list_pictures,
    matched,
    need_folder,
    need_split,
    side,
)
from segwright.data.reading import read_header, read_mask

ALL = "all"
_PARTS = {"train_val": "train_val", "test": "test"}
_LAYOUT = "train_val/images, train_val/masks, TEST/images and TEST/masks (or images/ and masks/ alone)"
_REMEDY = "Restore the missing files, or remove their partners."
_SIZE_REMEDY = "To leave out the pictures whose mask has another size, set data.args.on_size_mismatch=drop."


class Suim(PairedFiles):
    """One split of SUIM. labels: usually the space `suim8`.

    on_size_mismatch: `refuse` pictures whose mask has another size, or `drop` them: `notes` says how many.
    val_fraction: share of train_val that is val, between 0 and 1; split_seed: another seed, another choice.
    """

    @classmethod
    def splits(cls, root: Path | None, *_: Any, **args: Any) -> tuple[str, ...]:
        found = _parts(need_folder(root, "suim", _LAYOUT))
        if not found:
            return (ALL,) if _has_pairs(Path(root or "")) else ()
        return (*(("train", "val", "train_val") if "train_val" in found else ()), *(s for s in found if s == "test"))

    @classmethod
    def listing(
        cls,
        root: Path | None,
        split: str,
        *_: Any,
        on_size_mismatch: str = "refuse",
        val_fraction: float = 0.1,
        split_seed: int = 0,
    ) -> Listing:
        if on_size_mismatch not in ("refuse", "drop"):
            raise UserError(f"on_size_mismatch is {on_size_mismatch!r}; allowed are refuse and drop.")
        if not 0 < val_fraction < 1:
            raise UserError(f"val_fraction is {val_fraction}; allowed is a share between 0 and 1, such as 0.1.")
        folder = need_folder(root, "suim", _LAYOUT)
        need_split(split, cls.splits(folder), folder, _LAYOUT)
        parts = _parts(folder)
        source = folder if split == ALL else parts["test" if split == "test" else "train_val"]
        images, masks = list_pictures(source / "images"), list_pictures(source / "masks")
        whole = matched(
            by_key(images, [p.stem for p in images]),
            by_key(masks, [p.stem for p in masks]),
            where=source / "images",
            remedy=_REMEDY,
        )
        listing = _same_size(whole, drop=on_size_mismatch == "drop")
        return listing if split not in ("train", "val") else side(listing, split, val_fraction, split_seed)

    @staticmethod
    def read_raw(pair: Pair) -> NDArray[Any]:
        """The mask with every colour channel either 0 or 255: on above 127."""
        raw = read_mask(pair.mask)
        return np.where(raw > 127, np.uint8(255), np.uint8(0)) if raw.ndim == 3 else raw


def _has_pairs(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _parts(folder: Path) -> dict[str, Path]:
    """train_val and test, as far as they are there, by the lower case of their names."""
    inside = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir() and _has_pairs(p)}
    return {part: inside[part] for part in ("train_val", "test") if part in inside}


def _same_size(listing: Listing, *, drop: bool) -> Listing:
    """The listing without pairs of unequal size, which become problems, or one note when they are dropped."""
    differ = [pair for pair in listing.pairs if _differs(pair)]
    if not differ:
        return listing
    kept = tuple(p for p in listing.pairs if p not in differ)
    if drop:
        names = ", ".join(p.name for p in differ[:8]) + (", …" if len(differ) > 8 else "")
        note = f"pictures left out because their mask has another size: {len(differ)} ({names})"
        return replace(listing, pairs=kept, notes=(note,))
    problems = tuple(f"{p.mask}: another size than its picture {p.image}" for p in differ)
    return replace(listing, pairs=kept, problems=listing.problems + problems, remedy=f"{listing.remedy} {_SIZE_REMEDY}")


def _differs(pair: Pair) -> bool:
    try:
        image, mask = read_header(pair.image), read_header(pair.mask)
    except DataError:
        return False  # damaged: named when it is read
    return (image.height, image.width) != (mask.height, mask.width)
