"""Corrected masks in another folder. The originals are read, never written."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import DataError, UserError
from segwright.data.check.examine import Source, check_data, find_source, list_all
from segwright.data.check.looking import is_lossy, peek
from segwright.data.check.mending import Mended, Steps, class_ids_space, mend
from segwright.data.check.result import CheckResult
from segwright.data.colors import distinct_colors
from segwright.data.pairs import Pair
from segwright.data.reading import SUFFIXES, read_header, read_image, read_mask
from segwright.files import atomic_path, write_text
from segwright.labels import LabelSpace

if TYPE_CHECKING:
    from rich.console import RenderableType

_LISTS = (".txt", ".csv", ".json", ".jsonl", ".yaml", ".yml")
_TO_IDS = {"palette-to-ids", "colors-to-ids", "nearest-color"}


@dataclass(frozen=True, kw_only=True)
class FixResult:
    """What `fix_data` wrote.

    written: masks; changed: those whose pixels or form changed; done: step -> (masks, pixels). ambiguous: pixels that
    `nearest-color` had to guess. failed: masks that were not written, one sentence each. left: masks that still hold
    values outside the label space. space: what the new masks are read with. check: of the result, with pictures only.
    """

    root: Path
    out: Path
    written: int
    changed: int
    done: dict[str, tuple[int, int]]
    ambiguous: int
    failed: tuple[str, ...]
    left: tuple[str, ...]
    space: LabelSpace | None
    check: CheckResult | None

    @property
    def exit_code(self) -> int:
        """3 when masks could not be mended, else 0."""
        return DataError.exit_code if self.failed or self.left or (self.check and self.check.errors) else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "root": str(self.root),
            "out": str(self.out),
            "written": self.written,
            "changed": self.changed,
            "steps": {name: {"masks": masks, "pixels": pixels} for name, (masks, pixels) in self.done.items()},
            "ambiguous_pixels": self.ambiguous,
            "failed": list(self.failed),
            "left": list(self.left),
            "check": self.check.to_dict() if self.check else None,
        }

    def table(self) -> RenderableType:
        """For a terminal: what changed, what could not be mended, and the verdict on the result."""
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        steps = Table("step", "masks", "pixels changed")
        for name, (masks, pixels) in self.done.items():
            steps.add_row(name, f"{masks:,}", f"{pixels:,}")
        parts: list[RenderableType] = [steps] if self.done else []
        parts.append(escape(f"{self.written:,} masks in {self.out}, {self.changed:,} of them changed."))
        if self.ambiguous:
            parts.append(f"[yellow]{self.ambiguous:,} pixels lay between two class colours and were guessed.[/]")
        for title, lines in (("not written", self.failed), ("still outside the label space", self.left)):
            if lines:
                shown = "".join(f"\n  {line}" for line in lines[:10]) + ("\n  …" if len(lines) > 10 else "")
                parts.append(f"[red]{len(lines):,} masks {title}:[/]{escape(shown)}")
        if self.check is not None:
            parts.append(escape(f"The result, checked again: {self.check.verdict}"))
        return Group(*parts)


def fix_data(
    root: Path,
    out: Path,
    *,
    steps: Steps,
    name: str | None = None,
    labels: LabelSpace | str | None = None,
    auto: bool = False,
    with_images: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FixResult:
    """Write every mask of `root`, mended, into `out`: the same layout, 8-bit PNG with the colours of the label space.

    steps: what to do; auto: also what `check_data` proposes as certain. with_images: copy pictures and list files as
    well. Every mask is read back and compared; with pictures the whole result is checked again.
    Raises UserError for nothing to do, for an `out` that is not a new or empty folder outside `root`, and for masks
    that are no picture files or lie outside `root`.
    """
    _check_out(root, out)
    source = find_source(root, name=name, labels=labels)
    if auto or source.space is None:
        checked = check_data(root, name=source.name, labels=source.space, progress=progress)
        source = replace(source, space=checked.space)
        steps = steps.with_options(checked.fix_options) if auto else steps
    if not steps:
        proposal = "nothing that can be mended with certainty was found" if auto else "no step was chosen"
        raise UserError(f"{root}: {proposal}, so nothing was written. See: segwright data check {root}")
    pairs = _pairs(source)
    to_ids = source.space is not None and source.space.encoding == "rgb" and bool(steps.names & _TO_IDS)
    target = class_ids_space(source.space) if source.space is not None and to_ids else source.space
    if to_ids:
        steps = replace(steps, names=steps.names | {"colors-to-ids"})
    work = _Work(source=source, out=out, steps=steps, target=target)
    for index, pair in enumerate(pairs):
        work.write(pair)
        if progress is not None:
            progress(index + 1, len(pairs))
    if to_ids and target is not None:
        write_text(out / "labels.yaml", yaml.safe_dump(target.to_dict(), sort_keys=False, allow_unicode=True))
    check = None
    if with_images:
        _copy_rest(root, out, pairs)
        check = check_data(out, name=source.name, labels=target, progress=progress)
    return FixResult(
        root=root,
        out=out,
        written=work.written,
        changed=work.changed,
        done={name: (work.masks[name], work.pixels[name]) for name in work.masks},
        ambiguous=work.ambiguous,
        failed=tuple(work.failed),
        left=tuple(work.left),
        space=target,
        check=check,
    )


class _Work:
    """Mends and writes one mask after the other, and counts."""

    def __init__(self, *, source: Source, out: Path, steps: Steps, target: LabelSpace | None) -> None:
        self.source, self.out, self.steps, self.target = source, out, steps, target
        self.palette = _palette(target)
        self.written = self.changed = self.ambiguous = 0
        self.masks: Counter[str] = Counter()
        self.pixels: Counter[str] = Counter()
        self.failed: list[str] = []
        self.left: list[str] = []

    def write(self, pair: Pair) -> None:
        path = (self.out / pair.mask.relative_to(self.source.root)).with_suffix(".png")
        try:
            raw, palette = self._read(pair)
            mended = mend(raw, palette, self.steps, self.source.space)
            if (size := self._size(pair, raw)) is not None:
                mended = _resized(mended, size)
        except DataError as error:
            text = str(error)
            self.failed.append(text if text.startswith(str(pair.mask)) else f"{pair.mask}: {text}")
            return
        with atomic_path(path) as temporary:
            image = Image.fromarray(mended.raw)
            if mended.raw.ndim == 2:
                image.putpalette(self.palette)
            image.save(temporary, format="PNG")
        if not np.array_equal(read_mask(path), mended.raw):
            raise DataError(f"{path}: what was written reads back differently. Check the disk.")
        self._count(pair, mended, path)

    def _read(self, pair: Pair) -> tuple[NDArray[Any], tuple[int, ...]]:
        if "nearest-color" in self.steps.names and is_lossy(pair.mask):
            rgb = read_image(pair.mask)
            if (rgb == rgb[..., :1]).all():
                raise DataError("a lossy picture of grey levels: class numbers cannot be told apart. Export it again.")
            return rgb, ()
        raw = self.source.read_raw(pair)
        return raw, peek(pair.mask).palette if raw.ndim == 2 else ()

    def _size(self, pair: Pair, raw: NDArray[Any]) -> tuple[int, int] | None:
        """The size to give the mask, or None to keep its own."""
        if self.steps.resize == "never":
            return None
        head = read_header(pair.image)
        height, width = raw.shape[:2]
        if (head.height, head.width) == (height, width):
            return None
        if abs(head.height * width - head.width * height) > 0.01 * head.width * height:
            raise DataError(
                f"the mask is {height}×{width} and its picture {head.height}×{head.width}: another shape, so resizing "
                "would distort it. Look for the right mask."
            )
        return head.height, head.width

    def _count(self, pair: Pair, mended: Mended, path: Path) -> None:
        self.written += 1
        self.changed += bool(mended.done)
        self.ambiguous += mended.ambiguous
        for name, pixels in mended.done.items():
            self.masks[name] += 1
            self.pixels[name] += pixels
        if self.target is not None:
            try:
                self.target.encode(mended.raw, source=path)
            except DataError as error:
                self.left.append(str(error))


def _resized(mended: Mended, size: tuple[int, int]) -> Mended:
    raw = np.asarray(cv2.resize(mended.raw, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    return replace(mended, raw=raw, done={**mended.done, "resize-masks nearest": size[0] * size[1]})


def _check_out(root: Path, out: Path) -> None:
    here, there = root.resolve(), out.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UserError(f"--out {out}: the corrected masks must go outside {root}, so that nothing is overwritten.")
    if out.exists() and (not out.is_dir() or next(out.iterdir(), None) is not None):
        raise UserError(f"--out {out} exists and is not empty. Give a new folder.")


def _pairs(source: Source) -> list[Pair]:
    """Every pair of every split once. Raises UserError for masks that cannot be written in the same layout."""
    pairs = {pair.mask: pair for listing in list_all(source).values() for pair in listing.pairs}
    for mask in pairs:
        if mask.suffix.lower() not in SUFFIXES:
            raise UserError(f"{mask}: only picture files can be mended, found '{mask.suffix}'.")
        if not mask.is_relative_to(source.root):
            raise UserError(f"{mask}: lies outside {source.root}. Give the folder that holds all masks.")
    return list(pairs.values())


def _palette(space: LabelSpace | None) -> list[int]:
    """256 colours in a row: of the class that each raw value means, distinct ones without a space."""
    table = np.zeros((256, 3), np.uint8)
    if space is None:
        table[:250] = distinct_colors(250)
    elif space.encoding == "index":
        for item in (*space.ignored, *space.classes):
            for value in item.values:
                if value < 256:
                    table[value] = item.color
    return [int(v) for v in table.ravel()]


def _copy_rest(root: Path, out: Path, pairs: Sequence[Pair]) -> None:
    """Pictures, instance maps and list files, at their places; a file that is there already stays."""
    files = [f for pair in pairs for f in (pair.image, pair.instances) if f is not None]
    for parent, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        files += [Path(parent, n) for n in names if Path(n).suffix.lower() in _LISTS]
    for file in files:
        target = out / file.relative_to(root)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
