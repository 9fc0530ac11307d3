"""Submissions to benchmark servers: writing and checking them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.backends import open_backend
from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.data.unlabelled import Unlabelled
    from segwright.evaluation.submission import Form, Submission
    from segwright.evaluation.submission_check import Check
    from segwright.runs import Run


def submit(
    source: str | Path,
    out: str | Path,
    overrides: Sequence[str] = (),
    *,
    form: str,
    split: str = "test",
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> Submission:
    """Predict a benchmark's pictures and write them as its server takes them, with the archive to upload.

    source: a run or a .safetensors file. out: a new or empty folder. form: a name of `evaluation.submission.FORMS`.
    overrides: `data.root=DIR`, where the benchmark's data lies; by default where the run found it.
    Raises UserError for an unknown form or split, a folder in use, and a model without the benchmark's classes.
    """
    from segwright.build import pick_device
    from segwright.evaluation.submission import find_form, write_submission

    console = console or new_console()
    wanted = find_form(form)
    segmenter, _, run = open_backend(source, Path(runs))
    pictures = _pictures(wanted, overrides, split, run)
    with counting(console, f"predicting {split}") as progress:
        return write_submission(segmenter, pictures, wanted, Path(out), device=pick_device(device), progress=progress)


def check_submission(
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    form: str,
    split: str = "test",
    console: Console | None = None,
) -> Check:
    """Look for every fault of a folder of predictions, before a server does.

    overrides: `data.root=DIR`; without it, names, sizes and completeness are not checked.
    Raises one DataError that lists all faults.
    """
    from segwright.data.pairs import refuse
    from segwright.evaluation.submission import find_form
    from segwright.evaluation.submission_check import check_submission as look

    wanted = find_form(form)
    pictures = _pictures(wanted, overrides, split, None) if overrides else None
    with counting(console or new_console(), "checking") as progress:
        found = look(Path(folder), wanted, pictures, progress=progress)
    refuse(
        found.folder,
        found.problems,
        f"{wanted.title} takes one 8-bit PNG a picture, of its name and size, with the numbers {wanted.values[0]} to "
        f"{wanted.values[-1]}. `segwright submit` writes such files.",
    )
    return found


def _pictures(form: Form, overrides: Sequence[str], split: str, run: Run | None) -> tuple[Unlabelled, ...]:
    from segwright.data.unlabelled import unlabelled_pictures
    from segwright.recipe import load_recipe

    root: Path | None = None
    if run is not None:
        data = load_recipe(run.recipe_file).recipe.data
        same = data.name == form.data_set or (data.name, form.data_set) == ("streets", "cityscapes")
        root = Path(data.root) if same and data.root is not None else None
    for override in overrides:
        key, _, value = override.partition("=")
        if key not in ("data.root", "root") or not value:
            raise UserError(f"'{override}': submit takes data.root=DIR alone, the folder of {form.data_set}.")
        root = Path(value)
    return unlabelled_pictures(form.data_set, None if root is None else root.expanduser(), split)
