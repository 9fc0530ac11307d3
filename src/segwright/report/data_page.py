"""The page of a data set: the doctor's verdict, findings with pictures of the offenders, and what the data looks like.

Letters: K classes, H W pixels, h w cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError
from segwright.data import DATASETS
from segwright.data.check import CheckResult, SplitFacts
from segwright.data.check.findings import SEVERITIES, Group, printable
from segwright.data.check.looking import ReadRaw
from segwright.data.check.values import packed
from segwright.data.colors import distinct_colors
from segwright.data.pairs import Pair, PairedFiles
from segwright.data.reading import read_image, read_mask
from segwright.inference.drawing import overlay
from segwright.labels import LabelSpace
from segwright.report.page import render_page, static, write_page
from segwright.report.pictures import Embedded, class_picture, embed
from segwright.report.wording import NONE, count, percent

SECTIONS = {
    "verdict": "Verdict",
    "findings": "Findings",
    "pictures": "Pictures",
    "classes": "Classes",
    "places": "Places",
    "splits": "Splits",
}
SHOWN_GROUPS = 24
"""Kinds of findings that are shown with pictures; further ones are listed in words."""
SHOWN_FILES = 12
SHEET_WIDTH, OFFENDER_WIDTH = 480, 300
UNKNOWN_RGB = (255, 0, 200)
_HEAT = ((13, 14, 38), (62, 22, 104), (146, 43, 98), (216, 84, 58), (249, 180, 70), (252, 250, 205))


@dataclass(frozen=True)
class Shown:
    """A picture with its caption."""

    picture: Embedded
    caption: str


@dataclass(frozen=True)
class Row:
    """One kind of finding. said: its first message. files: names of the first ones; more: how many others there are."""

    group: Group
    said: str
    files: tuple[str, ...]
    more: int
    pictures: tuple[Shown, ...]


@dataclass(frozen=True)
class Cell:
    """A class in a split. share: of labelled pixels; bar: 0..1 of the largest share; unlike: far below the others."""

    share: str
    bar: float
    images: str
    unlike: bool


def write_data_page(result: CheckResult, path: Path) -> Path:
    """Write the page of one checked data set to `path`, atomically; reads some of its pictures again.

    Returns the path. Raises UserError when it cannot be written.
    """
    return write_page(render_data_page(result), path)


def render_data_page(result: CheckResult) -> str:
    """The page as text, one file that loads nothing."""
    space = result.space
    swatches = "".join(
        f".k{k}{{background:#{r:02x}{g:02x}{b:02x}}}" for k, (r, g, b) in enumerate(c.color for c in _classes(space))
    )
    reader = DATASETS["cityscapes" if result.data == "streets" else result.data]
    read_raw = reader.read_raw if isinstance(reader, type) and issubclass(reader, PairedFiles) else _read_mask
    splits = {split: result.splits[split] for split in result.separate}
    aspect = _aspect(splits)
    rows = [_row(group, result, read_raw, shown=index < SHOWN_GROUPS) for index, group in enumerate(result.groups)]
    return render_page(
        "data.html",
        style=static("report.css") + static("viewer.css") + static("data.css") + swatches,
        sections=[(key, name) for key, name in SECTIONS.items() if key != "places" or result.heat_KHW is not None],
        result=result,
        name=printable(result.root.resolve().name),
        pictures=result.files // 2,
        splits=splits,
        counts=[(severity, len(result.of(severity))) for severity in SEVERITIES],
        labelled=_labelled(splits),
        rows=rows,
        has_strip=any(row.pictures for row in rows),
        sheet=_sheet(result, read_raw),
        classes=_class_rows(result.space, splits),
        heat=_heat_pictures(result, aspect),
        ramp=[f"rgb({r} {g} {b})" for r, g, b in _HEAT],
        means=[
            Shown(embed(_stretched(facts.mean_picture, 320, aspect)), split)
            for split, facts in splits.items()
            if facts.mean_picture is not None
        ],
        sizes=[
            (", ".join(f"{h}×{w} ({count(n)})" for (h, w), n in list(facts.sizes.items())[:8]), len(facts.sizes) - 8)
            for facts in splits.values()
        ],
    )


def _classes(space: LabelSpace | None) -> Sequence[Any]:
    return space.classes if space is not None else ()


def _aspect(splits: Mapping[str, SplitFacts]) -> float:
    """Height over width of the most frequent size."""
    sizes = sum((Counter(facts.sizes) for facts in splits.values()), Counter[tuple[int, int]]())
    height, width = sizes.most_common(1)[0][0] if sizes else (3, 4)
    return height / width


def _labelled(splits: Mapping[str, SplitFacts]) -> str:
    """Share of the pixels that count, over the splits together."""
    labelled = sum(sum(f.class_pixels) for f in splits.values())
    total = labelled + sum(f.ignored_pixels for f in splits.values())
    return percent(labelled / total) if total else NONE


def _row(group: Group, result: CheckResult, read_raw: ReadRaw, *, shown: bool) -> Row:
    files = [result.shown(file) for file in group.files]
    pictures: list[Shown] = []
    for finding in group.findings[:3] if shown else ():
        most = 2 if group.count > 1 else 4
        pictures += [s for f in finding.files[:most] if (s := _offender(f, result, read_raw)) is not None]
    said = group.first.message.replace(f"{result.root}/", "")
    said = said if {"/", "."} & set(said.split()[0]) else said[:1].upper() + said[1:]
    return Row(group, said, tuple(files[:SHOWN_FILES]), max(0, len(files) - SHOWN_FILES), tuple(pictures))


def _offender(file: Path, result: CheckResult, read_raw: ReadRaw) -> Shown | None:
    """A small picture of a file: a mask in class colours, unknown values in magenta; None when it cannot be read."""
    try:
        if file in _mask_files(result):
            pixels = mask_picture(read_raw(Pair(name="", group="", image=file, mask=file)), result.space)
        else:
            pixels = read_image(file)
    except DataError:
        return None
    return Shown(embed(_small(pixels, OFFENDER_WIDTH)), file.name)


def _mask_files(result: CheckResult) -> frozenset[Path]:
    """Files that findings name as masks."""
    masks = (f.files for f in result.findings if "mask" in f.code or f.code in _ABOUT_MASKS)
    return frozenset(file for files in masks for file in files[: max(1, len(files) // 2)])


_ABOUT_MASKS = {
    *("size-mismatch", "swapped-size", "exif-size", "no-picture", "unknown-values", "black-and-white", "off-by-one"),
    *("unlisted-255", "grey-levels", "palette-order", "train-ids"),
}


def mask_picture(raw: NDArray[Any], space: LabelSpace | None) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: a mask in its classes' colours; values outside the space are magenta, ignored ones hatched."""
    if raw.ndim == 3:
        return np.asarray(raw, np.uint8)
    if space is None or space.encoding == "rgb" or not space.exclusive:
        colors = np.array([(0, 0, 0), *distinct_colors(250), *[(90, 90, 90)] * 5], np.uint8)
        return np.asarray(colors[np.minimum(raw, 255)], np.uint8)
    table: NDArray[np.uint8] = np.full(65536, 254, np.uint8)
    for item in space.ignored:
        table[list(item.values)] = IGNORE
    for index, item in enumerate(space.classes):
        table[list(item.values)] = index
    ids = table[packed(raw)]
    picture = class_picture(ids, space)
    picture[ids == 254] = UNKNOWN_RGB
    return picture


def _sheet(result: CheckResult, read_raw: ReadRaw) -> list[Shown]:
    """Pictures with their classes laid over them."""
    shown = []
    for split, pair in result.examples:
        try:
            rgb, raw = read_image(pair.image), read_raw(pair)
            ids = result.space.encode(raw, source=pair.mask) if result.space is not None else None
        except DataError:
            continue
        if ids is None or ids.ndim == 3:
            pixels = rgb
        elif result.space is not None and rgb.shape[:2] == ids.shape:
            pixels = overlay(rgb, ids, result.space, opacity=0.55)
        else:
            continue
        shown.append(Shown(embed(_small(pixels, SHEET_WIDTH)), f"{split} · {pair.name}"))
    return shown


def _class_rows(space: LabelSpace | None, facts_of: Mapping[str, SplitFacts]) -> list[tuple[int, str, list[Cell]]]:
    """(class id, name, one Cell a split)."""
    splits = list(facts_of.values())
    totals = [max(1, sum(f.class_pixels)) for f in splits]
    shares_SK = [[p / total for p in f.class_pixels] for f, total in zip(splits, totals, strict=True)]
    largest = max((s for shares in shares_SK for s in shares), default=0) or 1
    rows = []
    for k, name in enumerate(space.class_names if space else ()):
        own = [shares[k] for shares in shares_SK]
        cells = []
        for facts, share in zip(splits, own, strict=True):
            unlike = max(own) > 0.001 and (share == 0 or max(own) > 5 * share)
            images = percent(facts.class_images[k] / facts.looked, 0) if facts.looked else NONE
            cells.append(Cell(percent(share, 2), share / largest, f"{count(facts.class_images[k])} ({images})", unlike))
        rows.append((k, name, cells))
    return rows


def _heat_pictures(result: CheckResult, aspect: float) -> list[tuple[int, str, Shown]]:
    """(class id, name, where it lies), for the classes that any mask shows."""
    if result.heat_KHW is None or result.space is None:
        return []
    found = []
    for k, name in enumerate(result.space.class_names):
        heat_hw = result.heat_KHW[k]
        if (peak := float(heat_hw.max(initial=0))) > 0:
            heat = _stretched(_colored(heat_hw / peak), 256, aspect)
            found.append((k, name, Shown(embed(heat), f"up to {percent(peak, 0)}")))
    return found


def _colored(heat_HW: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: 0..1 on a scale from dark to bright."""
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(heat_HW, stops, [c[i] for c in _HEAT]) for i in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def _small(rgb: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The picture, no wider than `width` and no higher."""
    scale = width / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _stretched(rgb: NDArray[np.uint8], width: int, aspect: float) -> NDArray[np.uint8]:
    """A small picture drawn large: `width` pixels wide, `aspect` times as high, smoothly."""
    height = min(2 * width, max(1, round(width * aspect)))
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _read_mask(pair: Pair) -> NDArray[Any]:
    return read_mask(pair.mask)
