"""One pack on disk: three files in a folder whose name begins with the key.

index.json  what the pack was made from, and where every sample lies:
            `source`: format, decoder, reader, fit, label_space, and for each sample names, groups, weights, digests
            (SHA-256 of its picture and mask file); the key is the SHA-256 of `source`
            `sizes`: [H, W] of each sample; `checks`: CRC-32 of its pixels and of its labels
            `of`: data set, split and folder in words; `made`: date
images.bin  uint8 RGB pixels, H × W × 3 a sample, one sample after the other
labels.bin  uint8 class ids or 255, H × W a sample (K × H × W of 0 and 1 in a multi-label space)

Nothing is compressed, so a crop reads only the rows that it needs.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import Sample, UserError
from segwright.labels import LabelSpace

FORMAT = 1
"""Raised whenever the files, or what `data.reading` makes of a picture, change."""

PROBES = 16
"""Samples whose checksums are compared when a pack is opened."""

INDEX, IMAGES, LABELS = "index.json", "images.bin", "labels.bin"
Progress = Callable[[int, int], None]


class PackFault(Exception):
    """Why a folder is not a whole pack; whoever opens packs builds it again, so users see it as a message."""


def key_of(source: dict[str, Any]) -> str:
    """64 hexadecimal digits, equal for equal contents, names, label space, size and decoder, wherever the files lie."""
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()


class Pack:
    """A Dataset mapped from a pack folder. Samples are views that nobody can write to; they hold no instance maps.

    names, groups: as in the data set that was packed. labels: the label space of the ids.
    Only the pages that are touched are read. Processes may share a pack: pickling keeps the path and opens it again.
    probes: samples whose checksums are compared now; 0 compares none.
    Raises PackFault when the folder is no whole pack, as far as lengths and these checksums tell.
    """

    def __init__(self, path: Path, *, probes: int = PROBES) -> None:
        self.path = path
        index = _read_index(path)
        try:
            source = index["source"]
            self.source: dict[str, Any] = source
            self.of, self.made = str(index["of"]), str(index["made"])
            self.names: Sequence[str] = source["names"]
            self.groups: Sequence[str] = source["groups"]
            self.labels = LabelSpace.from_dict(source["label_space"], where=str(path / INDEX))
            self._sizes = np.array(index["sizes"], np.int64).reshape(-1, 2)
            self._checks: list[list[int]] = index["checks"]
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise PackFault(f"{INDEX} is incomplete ({type(error).__name__}: {error})") from error
        counts = {len(part) for part in (self.names, self.groups, self._sizes, self._checks)}
        if source.get("format") != FORMAT:
            raise PackFault(f"it has format {source.get('format')}; this version of Segwright reads {FORMAT}")
        if len(counts) != 1 or not path.name.startswith(key_of(source)[:16]):
            raise PackFault(f"{INDEX} does not belong to this pack")
        self._planes = 1 if self.labels.exclusive else self.labels.num_classes
        pixels = self._sizes.prod(axis=1)
        self._starts = np.concatenate([[0], pixels.cumsum()])
        self._images = _mapped(path / IMAGES, 3 * int(self._starts[-1]))
        self._labels = _mapped(path / LABELS, self._planes * int(self._starts[-1]))
        step = -(-len(self) // max(1, probes))
        if probes and (bad := self.damaged(range(0, len(self), step))):
            raise PackFault(f"the checksum of '{self.names[bad[0]]}' differs")

    def __reduce__(self) -> tuple[type[Pack], tuple[Path]]:
        return Pack, (self.path,)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def nbytes(self) -> int:
        """Size of pixels and labels."""
        return int(self._images.nbytes + self._labels.nbytes)

    def __getitem__(self, index: int) -> Sample:
        image, labels = self._views(index)
        weight = float(self.source["weights"][index])
        return Sample(name=self.names[index], planes={"rgb": image}, labels=labels, weight=weight)

    def crop(self, index: int, window: tuple[int, int, int, int]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Copies of a part of sample `index`: image uint8 [h, w, 3] and labels [h, w]; reads only the rows concerned.

        window: (top, left, height, width) in pixels, inside the picture. Raises UserError for any other.
        """
        image, labels = self._views(index)
        top, left, height, width = window
        limit = image.shape[:2]
        if min(top, left) < 0 or min(height, width) < 1 or top + height > limit[0] or left + width > limit[1]:
            raise UserError(f"window {window} (top, left, height, width) leaves picture {limit[0]}×{limit[1]}.")
        part = np.s_[..., top : top + height, left : left + width]
        return image[part[1:]].copy(), labels[part].copy()

    def damaged(self, only: Iterable[int] | None = None, progress: Progress | None = None) -> list[int]:
        """Samples (of `only`, or all) whose bytes do not have the checksum that they were written with."""
        chosen = range(len(self)) if only is None else list(only)
        bad = []
        for done, index in enumerate(chosen, start=1):
            if list(map(_check, self._views(index))) != self._checks[index]:
                bad.append(index)
            if progress is not None:
                progress(done, len(chosen))
        return bad

    def _views(self, index: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        height, width = self._sizes[index].tolist()
        first, last = int(self._starts[index]), int(self._starts[index + 1])
        image = self._images[3 * first : 3 * last].reshape(height, width, 3)
        labels = self._labels[self._planes * first : self._planes * last]
        if self.labels.exclusive:
            return image, labels.reshape(height, width)
        return image, labels.reshape(-1, height, width).view(np.bool_)


class PackWriter:
    """Writes the three files of a pack into an empty folder. The index comes last: without it nothing is a pack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = (folder / IMAGES).open("xb")
        self._labels = (folder / LABELS).open("xb")
        self._sizes: list[list[int]] = []
        self._checks: list[list[int]] = []

    def add(self, sample: Sample) -> None:
        """Append a sample. Raises OSError when the disk is full, UserError for one without mask or with more planes."""
        if sample.labels is None or set(sample.planes) != {"rgb"}:
            found = "no mask" if sample.labels is None else f"the planes {', '.join(sorted(sample.planes))}"
            raise UserError(f"{sample.name} has {found}; packs hold RGB pictures with a mask. Use data.cache=memory.")
        parts = (sample.rgb, sample.labels)
        for file, part in zip((self._images, self._labels), parts, strict=True):
            file.write(_bytes(part))
        self._sizes.append([int(n) for n in sample.rgb.shape[:2]])
        self._checks.append([_check(part) for part in parts])

    def finish(self, source: dict[str, Any], *, of: str, made: str) -> None:
        """Bring everything to disk, then write the index. Raises OSError."""
        self.close(sync=True)
        content = {"of": of, "made": made, "source": source, "sizes": self._sizes, "checks": self._checks}
        with (self.folder / INDEX).open("x", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())

    def close(self, *, sync: bool = False) -> None:
        for file in (self._images, self._labels):
            _close(file, sync=sync)


def _close(file: BinaryIO, *, sync: bool) -> None:
    if sync and not file.closed:
        file.flush()
        os.fsync(file.fileno())
    file.close()


def _read_index(path: Path) -> dict[str, Any]:
    try:
        content = json.loads((path / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PackFault(f"it has no {INDEX}") from error
    except (OSError, ValueError) as error:
        raise PackFault(f"{INDEX} cannot be read ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("source"), dict):
        raise PackFault(f"{INDEX} is incomplete")
    return content


def _mapped(path: Path, length: int) -> NDArray[np.uint8]:
    try:
        found = path.stat().st_size
        if found != length:
            raise PackFault(f"{path.name} has {found} bytes instead of {length}")
        return np.asarray(np.memmap(path, np.uint8, "r"))
    except (OSError, ValueError) as error:
        raise PackFault(f"{path.name} cannot be mapped ({error})") from error


def _bytes(part: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(part).view(np.uint8).reshape(-1).data


def _check(part: NDArray[Any]) -> int:
    return zlib.crc32(_bytes(part))
