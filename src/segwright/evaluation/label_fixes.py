"""Marks of people become new masks: doubted regions are left out, or get the right class. Originals are only read.

OUT/masks/…      masks that changed, in the coding of the originals
    list.csv     every picture of the recipe's splits with its new or its old mask: data set `list_file`
    labels.yaml  what the masks are read with: the label space, with a value to ignore where it had none
    changes.csv  what was changed
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from segwright.build import build_dataset, build_space
from segwright.contracts import DataError, UserError
from segwright.data import DATASETS
from segwright.data.pairs import Pair, PairedFiles
from segwright.data.reading import read_mask
from segwright.evaluation.label_errors import LabelRegion
from segwright.evaluation.label_files import Review
from segwright.evaluation.label_sources import pairs_of
from segwright.files import atomic_path, write_text
from segwright.inference.ahead import Progress
from segwright.labels import LabelSpace
from segwright.labels.mapping import map_labels
from segwright.labels.space import LabelClass
from segwright.recipe import Data

LIST = "list.csv"
SPACE = "labels.yaml"
CHANGES = "changes.csv"
EVERYTHING = "everything"
"""What the list calls the split `all`, a name that is taken there."""


@dataclass(frozen=True, kw_only=True)
class AppliedMarks:
    """out: the new folder. masks: that changed. ignored, corrected: pixels. pictures: lines of the list. splits: its."""

    out: Path
    masks: int
    ignored: int
    corrected: int
    pictures: int
    splits: tuple[str, ...]

    @property
    def list_file(self) -> Path:
        return self.out / LIST

    @property
    def labels_file(self) -> Path:
        return self.out / SPACE

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "out": str(self.out),
            "list": str(self.list_file),
            "labels": str(self.labels_file),
            "masks": self.masks,
            "ignored_pixels": self.ignored,
            "corrected_pixels": self.corrected,
            "pictures": self.pictures,
            "splits": list(self.splits),
        }


@dataclass(frozen=True)
class _Change:
    """A region that gets a class of the review's space by name, or None: no class."""

    region: LabelRegion
    label: str | None


def apply_marks(
    review: Review, wanted: Mapping[int, str | None], out: Path, *, progress: Progress | None = None
) -> AppliedMarks:
    """Write new masks and the list. wanted: as `label_files.read_marks` gives it.

    Raises UserError for nothing to change, an `out` that is not a new or empty folder, a data set without mask files, and
    a class that the data's own space cannot name; DataError where a mask does not hold the region any more.
    """
    if not wanted:
        raise UserError("no region is marked wrong, so there is nothing to change. Mark some on the review page.")
    if out.exists() and (not out.is_dir() or next(out.iterdir(), None) is not None):
        raise UserError(f"-o {out} exists and is not empty. Give a new folder.")
    data = Data.model_validate(review.about["data"])
    own, splits = build_space(data.labels), _open_splits(data, review.about["splits"])
    changes = _by_mask(review, wanted, splits)
    space = _with_void(own)
    writer = _MaskWriter(review, own, space, _reads_itself(data))
    masks: dict[Path, Path] = {}
    pairs = {pair.mask: pair for found in splits.values() for pair in found}
    names = _file_names(pairs.values())
    for done, (mask, pair) in enumerate(pairs.items(), start=1):
        if mask in changes or writer.all_masks:
            masks[mask] = out / "masks" / f"{names[mask]}.png"
            writer.write(pair, changes.get(mask, ()), masks[mask])
        if progress is not None:
            progress(done, len(pairs))
    write_text(out / SPACE, yaml.safe_dump(space.to_dict(), sort_keys=False, allow_unicode=True))
    write_text(out / CHANGES, _changes_table(review, changes))
    write_text(out / LIST, _list(splits, {mask: file.relative_to(out) for mask, file in masks.items()}))
    return AppliedMarks(
        out=out,
        masks=len(changes),
        ignored=writer.ignored,
        corrected=writer.corrected,
        pictures=sum(len(found) for found in splits.values()),
        splits=tuple(_listed(split) for split in splits),
    )


def _listed(split: str) -> str:
    return EVERYTHING if split == "all" else split


def _open_splits(data: Data, splits: Sequence[str]) -> dict[str, tuple[Pair, ...]]:
    space = build_space(data.labels)
    found = {}
    for split in splits:
        dataset = build_dataset(data, split, space)
        pairs = pairs_of(dataset)
        if pairs is None:
            raise UserError(
                f"the masks of '{data.name}' are drawn when they are read, so there are no files to correct. Write them "
                "(segwright data streets DIR), train on that folder, and search there."
            )
        found[split] = tuple(replace(p, name=name) for p, name in zip(pairs, dataset.names, strict=True))
    return found


def _by_mask(
    review: Review, wanted: Mapping[int, str | None], splits: Mapping[str, Sequence[Pair]]
) -> dict[Path, list[_Change]]:
    """The changes of each mask file, best rank first."""
    by_name: dict[str, list[tuple[str, Pair]]] = defaultdict(list)
    for split, pairs in splits.items():
        for pair in pairs:
            by_name[pair.name].append((split, pair))
    found: dict[Path, list[_Change]] = defaultdict(list)
    for region in review.regions:
        if region.rank not in wanted:
            continue
        train = next(iter(splits))  # folds are parts of it
        part = region.part if region.part in splits else train
        pairs = [pair for split, pair in by_name[region.picture] if split == part]
        if not pairs:
            raise DataError(
                f"{region.picture} is not in split '{part}' any more, but region {region.rank} lies in it. The data has "
                "changed since the search: search again."
            )
        found[pairs[0].mask].append(_Change(region, wanted[region.rank]))
    return dict(found)


def _reads_itself(data: Data) -> type[PairedFiles] | None:
    """The reader, where it turns mask files into numbers in a way of its own."""
    reader = DATASETS[data.name]
    own = isinstance(reader, type) and issubclass(reader, PairedFiles) and reader.read_raw is not PairedFiles.read_raw
    return reader if own and isinstance(reader, type) else None


class _MaskWriter:
    """Writes masks in the coding of their label space and counts changed pixels.

    all_masks: whether unchanged masks have to be written too, because `list_file` would not read the originals.
    """

    def __init__(self, review: Review, own: LabelSpace, space: LabelSpace, reader: type[PairedFiles] | None) -> None:
        self.review, self.space = review, space
        self.reader, self.all_masks = reader, reader is not None
        self.to_review = map_labels(own, review.space)
        self.ignored = self.corrected = 0

    def write(self, pair: Pair, changes: Iterable[_Change], path: Path) -> None:
        raw = read_mask(pair.mask) if self.reader is None else self.reader.read_raw(pair)
        told = self.to_review.ids(self.space.encode(raw, source=pair.mask))
        for change in changes:
            region = change.region
            box = region.box
            rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
            mask = region.mask
            if told[rows, columns].shape != mask.shape or (told[rows, columns][mask] != region.truth).any():
                raise DataError(
                    f"{pair.mask}: region {region.rank} is not all {self.review.space.class_names[region.truth]} any more. "
                    "The mask has changed since the search: search again."
                )
            value = self._raw_value(change.label)
            if raw.ndim == 2 and value > np.iinfo(raw.dtype).max:
                raw = raw.astype(np.uint16)
            raw[rows, columns][mask] = [value >> 16, value >> 8 & 255, value & 255] if raw.ndim == 3 else value
            if change.label is None:
                self.ignored += int(mask.sum())
            else:
                self.corrected += int(mask.sum())
        _save(raw, self.space, path)

    def _raw_value(self, label: str | None) -> int:
        """The value in mask files that stands for a class of the review's space, or for none."""
        if label is None:
            return self.space.ignored[0].values[0]
        sources = [name for name, found in self.to_review.rows.items() if found == (label,)]
        if len(sources) != 1:
            found = f"it is {', '.join(sources)}" if sources else "none of its classes is that"
            raise UserError(
                f"'{label}' is no single class of the masks' own label space '{self.space.name}': {found}. Leave such "
                'regions out instead ("label": null).'
            )
        return self.space.classes[self.space.class_names.index(sources[0])].values[0]


def _with_void(space: LabelSpace) -> LabelSpace:
    """The space with a raw value that counts nowhere: its own, or the highest free one, 255 where that is free."""
    if space.ignored:
        return space
    used = {value for item in space.classes for value in item.values}
    free = next(v for v in range(255, -1, -1) if v not in used) if space.encoding == "index" else None
    if free is None:  # a dark grey that no class has, packed
        free = next(v for v in (n * 0x010101 for n in range(256)) if v not in used)
    void = LabelClass(name="void", values=(free,), color=(0, 0, 0))
    return replace(space, name=f"{space.name}-void", ignored=(void,))


def _save(raw: NDArray[Any], space: LabelSpace, path: Path) -> None:
    """8-bit numbers as a palette PNG in the class colours, larger ones as 16 bit, colours as they are; read back."""
    image = Image.fromarray(raw)
    if raw.dtype == np.uint8 and raw.ndim == 2:
        table = np.zeros((256, 3), np.uint8)
        for item in (*space.ignored, *space.classes):
            table[[value for value in item.values if value < 256]] = item.color
        image.putpalette(table.ravel().tolist())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")
    if not np.array_equal(read_mask(path), raw):
        raise DataError(f"{path}: what was written reads back differently. Check the disk.")


def _file_names(pairs: Iterable[Pair]) -> dict[Path, str]:
    """A file name for each mask, without its ending: the picture's name, numbered where two would be the same."""
    found: dict[Path, str] = {}
    used: Counter[str] = Counter()
    for pair in pairs:
        plain = "/".join(part for part in pair.name.replace("\\", "/").split("/") if part not in ("", ".", ".."))
        used[plain.casefold()] += 1
        count = used[plain.casefold()]
        found[pair.mask] = plain if count == 1 else f"{plain}~{count}"
    return found


def _list(splits: Mapping[str, Sequence[Pair]], new: Mapping[Path, Path]) -> str:
    """The lines of list.csv: absolute paths of what stayed, relative ones of what is new."""
    names = Counter(pair.name for pairs in splits.values() for pair in pairs)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("image", "mask", "weight", "name", "group", "split"))
    for split, pairs in splits.items():
        for pair in pairs:
            mask = new[pair.mask].as_posix() if pair.mask in new else str(pair.mask.resolve())
            name = pair.name if names[pair.name] == 1 else f"{split}/{pair.name}"
            writer.writerow((str(pair.image.resolve()), mask, f"{pair.weight:g}", name, pair.group, _listed(split)))
    return stream.getvalue()


def _changes_table(review: Review, changes: Mapping[Path, Sequence[_Change]]) -> str:
    names = review.space.class_names
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("rank", "picture", "mask", "was", "is", "pixels"))
    for mask, found in changes.items():
        for change in found:
            region = change.region
            row = (names[region.truth], change.label or "left out", region.pixels)
            writer.writerow((region.rank, region.picture, str(mask), *row))
    return stream.getvalue()
