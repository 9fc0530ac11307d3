"""The doctor of data sets as verbs: check one, mend its masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import counting, new_console

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.data.check import CheckResult, FixResult
    from segwright.labels import LabelSpace


def check_data(
    root: str | Path,
    *,
    data: str | None = None,
    labels: LabelSpace | str | None = None,
    splits: Sequence[str] | None = None,
    report: str | Path | None = None,
    workers: int | None = None,
    console: Console | None = None,
) -> CheckResult:
    """Look at every picture and mask of a data set and list everything that is wrong with it, each with its fix.

    data: its reader (`cityscapes`, `paired_folders`, …), recognised by the folders when None. labels: a label space, a
    name or a .yaml file; None means ROOT/labels.yaml, else the data set's usual space, else one made from the masks.
    splits: those to look at, all when None. report: an HTML page to write. workers: threads, one a core when None.
    Faults of the data are findings, not exceptions; UserError for a missing folder, unknown layout, split or space.
    """
    from segwright.data.check import check_data as check

    with counting(console or new_console(), "checking") as progress:
        result = check(Path(root), name=data, labels=labels, splits=splits, workers=workers, progress=progress)
    if report is not None:
        from segwright.report.data_page import write_data_page

        write_data_page(result, Path(report))
    return result


def fix_data(
    root: str | Path,
    out: str | Path,
    *,
    data: str | None = None,
    labels: LabelSpace | str | None = None,
    auto: bool = False,
    mapping: dict[int, int] | None = None,
    steps: Sequence[str] = (),
    resize_masks: str = "never",
    with_images: bool = False,
    console: Console | None = None,
) -> FixResult:
    """Write corrected masks into another folder, in the layout of the first; the originals are never touched.

    mapping: raw value -> raw value. steps: of "palette-to-ids", "colors-to-ids", "grey-to-ids", "reduce-zero",
    "nearest-color". auto: every fix that `check_data` proposes as certain. resize_masks: "never", or "nearest" for
    masks of another size but the picture's shape. with_images: copy pictures and lists too, and check the result.
    Raises UserError when there is nothing to do, or when `out` is inside `root`, the reverse, or not empty.
    """
    from segwright.data.check import Steps
    from segwright.data.check import fix_data as fix

    wanted = Steps.of(mapping or {}, steps, resize=resize_masks)
    with counting(console or new_console(), "mending") as progress:
        return fix(
            Path(root),
            Path(out),
            name=data,
            labels=labels,
            steps=wanted,
            auto=auto,
            with_images=with_images,
            progress=progress,
        )
