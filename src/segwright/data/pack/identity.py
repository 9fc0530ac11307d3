"""What a pack is made from: the SHA-256 of every file's bytes, computed once and remembered by size and times.

Hashing the bytes makes the key exact and independent of paths, but costs a second for each gigabyte or two. So a file
whose size, modification time and change time are those of the last look counts as unchanged. A program that sets the
change time back as well would fool this; copying, restoring and editing files does not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import PIL

from segwright.contracts import DataError, Dataset, UserError
from segwright.data.mixing import Together
from segwright.data.pack.fit import Fit
from segwright.data.pack.format import FORMAT, Progress
from segwright.data.pairs import Pair, PairedFiles, refuse_unreadable
from segwright.data.splits import Subset
from segwright.files import write_json
from segwright.labels import LabelSpace

Stamp = list[int]
"""Size in bytes, modification and change time in nanoseconds."""


def pairs_of(dataset: Dataset) -> tuple[Sequence[Pair], LabelSpace, str]:
    """Files, label space and reader of a data set, of a part of one, or of several of the same kind together.

    Raises UserError for one that is not read from files, or that mixes readers or label spaces.
    """
    if isinstance(dataset, PairedFiles):
        return dataset.pairs, dataset.labels, type(dataset).__name__
    if isinstance(dataset, Subset):
        pairs, labels, reader = pairs_of(dataset.source)
        return [pairs[i] for i in dataset.indices], labels, reader
    if isinstance(dataset, Together):
        parts = [pairs_of(source) for source in dataset.sources]
        if all(part[1:] == parts[0][1:] for part in parts):
            return [pair for part in parts for pair in part[0]], *parts[0][1:]
        raise UserError("data sets of different readers or label spaces cannot share a pack: pack each one by itself.")
    raise UserError(
        f"a {type(dataset).__name__} data set is not read from picture files, so it cannot be packed. Generated scenes "
        "can be written with `segwright data streets DIR` and read from there; or use data.cache=memory."
    )


def describe(dataset: Dataset, fit: Fit, memory: Path, progress: Progress | None = None) -> dict[str, Any]:
    """The `source` of a pack's index: all that decides its content. memory: the folder where digests are remembered.

    Raises one DataError for all files that cannot be read.
    """
    pairs, labels, reader = pairs_of(dataset)
    return {
        "format": FORMAT,
        "decoder": f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}",
        "reader": reader,
        "fit": fit.to_dict(),
        "label_space": labels.to_dict(),
        "names": list(dataset.names),
        "groups": list(dataset.groups),
        "weights": [p.weight for p in pairs],
        "digests": _digests(pairs, memory, progress),
    }


def _digests(pairs: Sequence[Pair], memory: Path, progress: Progress | None) -> list[str]:
    root = os.path.commonpath([f.absolute() for p in pairs for f in (p.image.parent, p.mask.parent)])
    file = memory / f"digests-{hashlib.sha256(root.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.json"
    known = _recall(file)
    fresh: dict[str, tuple[Stamp, str]] = {}

    def digest(path: Path) -> str:
        name = os.path.relpath(path.absolute(), root)
        stamp = _stamp(path)
        before = known.get(name)
        if before is not None and before[0] == stamp:
            return before[1]
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        fresh[name] = (stamp, found)
        return found

    def both(pair: Pair) -> str | DataError:
        try:
            return hashlib.sha256(f"{digest(pair.image)} {digest(pair.mask)}".encode()).hexdigest()
        except OSError as error:
            return DataError(f"{error.filename}: the file cannot be read ({error.strerror}). Restore or remove it.")

    found: list[str] = []
    problems: list[str] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="segwright-digest") as pool:
        for done, one in enumerate(pool.map(both, pairs), start=1):
            if isinstance(one, DataError):
                problems.append(str(one))
            else:
                found.append(one)
            if progress is not None:
                progress(done, len(pairs))
    refuse_unreadable(problems, len(pairs))
    if fresh:
        _remember(file, known | fresh)
    return found


def _stamp(path: Path) -> Stamp:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _recall(file: Path) -> dict[str, tuple[Stamp, str]]:
    """Path below the common folder -> (stamp, digest); empty when nothing usable was remembered."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): (list(stamp), str(digest)) for name, (stamp, digest) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(file: Path, known: dict[str, tuple[Stamp, str]]) -> None:
    """Keep what was found. Where nothing can be written, files are hashed again next time: slower, never wrong."""
    try:
        write_json(file, known)
    except (OSError, UnicodeEncodeError):
        return
