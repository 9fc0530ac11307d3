"""Leaving out what cannot be read, when the user asks for it (`data.skip_bad: true`); each file left out is listed.

Without that wish any such file stops the start. Skipping is for single bad files among many: when more than half of a
split would go, something else is wrong, and it is refused.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.contracts import DataError, Dataset, UserError
from segwright.data.cache import Progress
from segwright.data.pairs import PairedFiles
from segwright.data.splits import Subset
from segwright.labels import LabelSpace

_SHOWN = 3


@dataclass(frozen=True)
class Skipped:
    """name: of the sample, empty for files that never became one; reason: a sentence that names the file."""

    name: str
    reason: str


def open_skipping(
    reader: type[PairedFiles], root: Path | None, split: str, labels: LabelSpace, **args: Any
) -> tuple[PairedFiles, tuple[Skipped, ...]]:
    """The pairs of a split although some files have no partner or collide by name, and those left out.

    Arguments and errors as of the reader itself, but for problems of pairing: they are refused with UserError only when
    they are more than the pairs.
    """
    listing = reader.listing(root, split, **args)
    skipped = tuple(Skipped("", problem) for problem in listing.problems)
    _refuse_many(skipped, len(listing.pairs) + len(skipped), f"split '{split}' of {root}")
    return reader.of(listing, labels), skipped


def without_bad(dataset: Dataset, progress: Progress | None = None) -> tuple[Dataset, tuple[Skipped, ...]]:
    """The samples that can be read, in their order, and the others; every sample is read once, in threads.

    progress: called with (done, total). Returns the data set itself when all is well.
    Raises UserError when more than half of the samples cannot be read.
    """
    total = len(dataset)
    reasons: list[str | None] = []
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="segwright-skip")
    try:
        for reason in pool.map(lambda index: _fault(dataset, index), range(total)):
            reasons.append(reason)
            if progress is not None:
                progress(len(reasons), total)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    skipped = tuple(Skipped(dataset.names[i], reason) for i, reason in enumerate(reasons) if reason is not None)
    if not skipped:
        return dataset, ()
    _refuse_many(skipped, total, "the data set")
    return Subset(dataset, [i for i, reason in enumerate(reasons) if reason is None]), skipped


def _fault(dataset: Dataset, index: int) -> str | None:
    try:
        dataset[index]
    except DataError as error:
        return str(error)
    return None


def _refuse_many(skipped: tuple[Skipped, ...], total: int, what: str) -> None:
    if 2 * len(skipped) <= total:
        return
    shown = "".join(f"\n  {s.reason}" for s in skipped[:_SHOWN])
    more = f"\n  … and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    raise UserError(
        f"{len(skipped)} of {total} entries of {what} are bad, and data.skip_bad leaves out at most half: so many "
        f"point to a common cause, such as a wrong folder or label space. `segwright data check` finds it.{shown}{more}"
    )
