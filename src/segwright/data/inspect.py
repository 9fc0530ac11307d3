"""A look at a user's folder of pictures and masks before anything is trained: what is there, and what is wrong.

Every picture and mask is decoded once, in threads, and only counts are kept. All faults of all files come in one
DataError; a folder without faults gives `FolderFacts`, from which `segwright train DIR` decides a recipe.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, UserError
from segwright.data.check.values import count_values, encoding_of, implausible
from segwright.data.paired_folders import ALL, complete_splits, find_layout, find_pairs
from segwright.data.pairs import Pair, refuse
from segwright.data.proposal import Encoding, ValueFacts, propose, read_class_names
from segwright.data.reading import check_sizes, read_image, read_mask
from segwright.data.statistics import fingerprint
from segwright.labels import LabelSpace, load_label_space

__all__ = ["FolderFacts", "ValueFacts", "fingerprint", "inspect_folder"]


@dataclass(frozen=True, kw_only=True)
class FolderFacts:
    """What a folder of pictures and masks holds.

    layout: one phrase. splits: train, val and test (as found, or as they will be divided) -> pictures.
    sizes: (H, W) in pixels -> pictures, the most frequent first. values: raw mask value (packed 0xRRGGBB for `rgb`).
    labels: the space read from labels.yaml, or proposed; names_from: the file that gave names, None for generic ones.
    notes: what was decided or noticed, one sentence each.
    class_pixels, class_images: per class; class_image_pixels: all pixels of the pictures that show it.
    """

    root: Path
    layout: str
    splits: Mapping[str, int]
    pictures: int
    sizes: Mapping[tuple[int, int], int]
    encoding: Encoding
    values: Mapping[int, ValueFacts]
    labels: LabelSpace
    names_from: Path | None
    notes: tuple[str, ...]
    class_pixels: tuple[int, ...]
    class_images: tuple[int, ...]
    class_image_pixels: tuple[int, ...]
    ignored_pixels: int


@dataclass(frozen=True, kw_only=True)
class _MaskFacts:
    """One decoded pair: its size, the raw values of its mask with their pixels, or what is wrong with it."""

    pair: Pair
    size: tuple[int, int] = (0, 0)
    encoding: Encoding = "index"
    values: NDArray[np.int64] | None = None
    counts: NDArray[np.int64] | None = None
    problems: tuple[str, ...] = ()


def inspect_folder(
    root: Path, *, skip_bad: bool = False, progress: Callable[[int, int], None] | None = None
) -> FolderFacts:
    """Look at every picture and mask of a folder in one of the layouts of `paired_folders`.

    The label space is read from ROOT/labels.yaml where it exists, else proposed from the mask values and the names in
    ROOT/classes.txt. skip_bad: leave out files with faults instead of refusing them.
    progress: called with (done, total) pictures.
    Raises UserError for an unknown layout; one DataError that lists every unpaired, damaged, mis-sized or implausible
    file; DataError with the likely cause when the values of all masks together are no class ids.
    """
    layout = find_layout(root)
    found, problems = find_pairs(layout)
    given = _given_space(root)
    names_file = next((root / n for n in ("classes.txt",) if (root / n).is_file()), None)
    named = read_class_names(names_file) if names_file is not None and given is None else []
    masks = _scan([p for pairs in found.values() for p in pairs], given, progress)
    problems += [problem for mask in masks for problem in mask.problems]
    good = [mask for mask in masks if not mask.problems]
    encodings = Counter(mask.encoding for mask in good)
    encoding: Encoding = "rgb" if encodings["rgb"] > encodings["index"] else "index"
    if len(encodings) > 1:
        odd = [m for m in good if m.encoding != encoding]
        here, there = ("colours", "one number a pixel") if encoding == "index" else ("one number a pixel", "colours")
        problems += [f"{m.pair.mask}: holds {here}, while most masks hold {there}" for m in odd]
    if not skip_bad:
        refuse(root, problems, "Correct, replace or remove these files (each with its partner), then try again.")
    good = [mask for mask in good if mask.encoding == encoding]
    kept = {mask.pair.image for mask in good}
    found = {split: tuple(p for p in pairs if p.image in kept) for split, pairs in found.items()}
    values = _values(good)
    if given is not None:
        space, notes = given, [f"label space '{given.name}' comes from {_space_file(root)}"]
    else:
        name = root.resolve().name or "own"
        space, notes = propose(name, encoding, values, named, root)
    splits = complete_splits(found)
    if ALL in found or "val" not in found:
        notes.append(
            f"no val folder: {len(splits.get('val', ()))} of the pictures, chosen by a seed, are kept for validation"
        )
    pixels_K, images_K, image_pixels_K = _class_counts(good, space)
    total = sum(h * w * n for (h, w), n in Counter(m.size for m in good).items())
    return FolderFacts(
        root=root,
        layout=layout.description,
        splits={split: len(pairs) for split, pairs in splits.items() if split != ALL},
        pictures=len(good),
        sizes=dict(Counter(m.size for m in good).most_common()),
        encoding=encoding,
        values=values,
        labels=space,
        names_from=_space_file(root) if given is not None else names_file,
        notes=tuple(notes),
        class_pixels=tuple(pixels_K),
        class_images=tuple(images_K),
        class_image_pixels=tuple(image_pixels_K),
        ignored_pixels=total - sum(pixels_K),
    )


def _space_file(root: Path) -> Path | None:
    return next((root / n for n in ("labels.yaml", "labels.yml") if (root / n).is_file()), None)


def _given_space(root: Path) -> LabelSpace | None:
    file = _space_file(root)
    if file is None:
        return None
    space = load_label_space(str(file))
    if not space.exclusive:
        raise UserError(f"{file}: the space is multi-label; training takes exclusive spaces. Set `exclusive: true`.")
    return space


def _scan(
    pairs: Sequence[Pair], space: LabelSpace | None, progress: Callable[[int, int], None] | None
) -> list[_MaskFacts]:
    """Facts of every pair, in order; decoded a few at a time."""
    facts: list[_MaskFacts] = []
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="segwright-inspect")
    try:
        for mask in pool.map(lambda pair: _look(pair, space), pairs):
            facts.append(mask)
            if progress is not None:
                progress(len(facts), len(pairs))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return facts


def _look(pair: Pair, space: LabelSpace | None) -> _MaskFacts:
    """Decode one picture and its mask; every fault of either is a problem, not an exception."""
    problems: list[str] = []
    image_size: tuple[int, ...] | None = None
    try:
        image_size = read_image(pair.image).shape[:2]
    except DataError as error:
        problems.append(str(error))
    try:
        raw = read_mask(pair.mask)
    except DataError as error:
        return _MaskFacts(pair=pair, problems=(*problems, str(error)))
    size = (raw.shape[0], raw.shape[1])
    encoding = encoding_of(raw)
    values, counts = count_values(raw)
    try:
        if image_size is not None:
            check_sizes(pair.image, (image_size[0], image_size[1]), pair.mask, size)
        if space is not None:
            space.encode(raw, source=pair.mask)
        elif wrong := implausible(encoding, values, counts, len(values)):
            raise DataError(f"{pair.mask}: {wrong[1]}")
    except DataError as error:
        problems.append(str(error))
    if problems:
        return _MaskFacts(pair=pair, problems=tuple(problems))
    return _MaskFacts(pair=pair, size=size, encoding=encoding, values=values, counts=counts)


def _values(masks: Iterable[_MaskFacts]) -> dict[int, ValueFacts]:
    pixels: Counter[int] = Counter()
    pictures: Counter[int] = Counter()
    examples: dict[int, Path] = {}
    for mask in masks:
        for value, count in _items(mask):
            pixels[value] += count
            pictures[value] += 1
            examples.setdefault(value, mask.pair.mask)
    return {v: ValueFacts(pixels=pixels[v], pictures=pictures[v], example=examples[v]) for v in sorted(pixels)}


def _items(mask: _MaskFacts) -> list[tuple[int, int]]:
    if mask.values is None or mask.counts is None:
        return []
    return list(zip(mask.values.tolist(), mask.counts.tolist(), strict=True))


def _class_counts(masks: Sequence[_MaskFacts], space: LabelSpace) -> tuple[list[int], list[int], list[int]]:
    """Pixels, pictures, and pixels of these pictures, for every class."""
    class_of = {v: k for k, item in enumerate(space.classes) for v in item.values}
    pixels_K, images_K, image_pixels_K = ([0] * space.num_classes for _ in range(3))
    for mask in masks:
        here: Counter[int] = Counter()
        for value, count in _items(mask):
            if value in class_of:
                here[class_of[value]] += count
        for k, count in here.items():
            pixels_K[k] += count
            images_K[k] += 1
            image_pixels_K[k] += mask.size[0] * mask.size[1]
    return pixels_K, images_K, image_pixels_K
