"""Labels that are probably wrong: found by models that have not seen them, marked by people, taken out of new masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.scoring import is_crossval
from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from segwright.evaluation.label_errors import LabelRegion
    from segwright.evaluation.label_files import Review
    from segwright.evaluation.label_fixes import AppliedMarks

MOST = 5000
"""Regions of one search: the page holds pictures of each."""


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """A finished search. path: its folder, with regions.json, regions.csv and review.html."""

    path: Path
    review: Review

    @property
    def regions(self) -> tuple[LabelRegion, ...]:
        """The highest score first."""
        return self.review.regions

    @property
    def page(self) -> Path:
        return self.path / "review.html"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: regions as in regions.csv."""
        about = {key: self.review.about[key] for key in ("source", "searched", "pictures", "found", "seen", "notes")}
        return {"path": str(self.path), **about, "regions": [self.review.row(region) for region in self.regions]}

    def table(self, most: int = 20) -> Table:
        """The first regions for a terminal, and what has to be known about them."""
        from rich.markup import escape
        from rich.table import Table

        about = self.review.about
        count = f"{about['found']:,} regions in {about['pictures']:,} pictures"
        shown = f", the best {most} of {len(self.regions)} kept" if len(self.regions) > most else ""
        table = Table(
            title=escape(f"Doubted labels of {about['source']}: {count}{shown}"),
            caption=escape("\n".join(f"· {text}" for text in about["notes"])),
            title_justify="left",
            title_style="bold",
            caption_justify="left",
            caption_style="dim",
        )
        for heading in ("#", "picture", "label", "model"):
            table.add_column(heading, justify="right" if heading == "#" else "left")
        for heading in ("sure %", "label's %", "pixels", "score"):
            table.add_column(heading, justify="right")
        for region in self.regions[:most]:
            row = self.review.row(region)
            numbers = (f"{100 * region.confidence:.0f}", f"{100 * region.given:.0f}", f"{region.pixels:,}")
            names = (escape(str(row[key])) for key in ("picture", "truth", "predicted"))
            table.add_row(str(region.rank), *names, *numbers, f"{region.score:.1f}")
        return table


def find_label_errors(
    source: str | Path,
    out: str | Path | None = None,
    *,
    splits: Sequence[str] = (),
    top: int = 100,
    seen: bool = False,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> LabelErrors:
    """Find regions whose label a model doubts that was not trained on it, and write a page to review them.

    source: a cross-validation, each picture then looked at by the fold that held it out, or a run.
    splits: to search; by default the training pictures of a cross-validation, the validation split of a run.
    out: the folder to write, label-errors in the source by default. top: how many regions to keep, 1 to 5000.
    seen: let a run judge pictures that it was trained on. Raises UserError for that without `seen`, for folds that are
    not trained, and for a source that is neither.
    """
    from segwright.build import pick_device
    from segwright.evaluation.label_errors import looked_at, search
    from segwright.evaluation.label_files import FOLDER, Review, write_review
    from segwright.evaluation.label_sources import crossval_sources, run_sources
    from segwright.report.errors_page import write_review_page
    from segwright.runs import find_run
    from segwright.training.folds import open_crossvalidation

    if not 1 <= top <= MOST:
        raise UserError(f"top is {top}; allowed are 1 to {MOST} regions.")
    console, runs = console or new_console(), Path(runs)
    if is_crossval(source, runs):
        if seen:
            raise UserError("--seen is for runs: the folds of a cross-validation have not seen what they judge.")
        crossval = open_crossvalidation(source, processes=None, runs=runs)
        sources, folder = crossval_sources(crossval, splits), crossval.path
    else:
        run = find_run(source, runs=runs)
        sources, folder = run_sources(run, splits, seen=seen), run.path
    path, chosen = Path(out) if out is not None else folder / FOLDER, pick_device(device)
    with counting(console, "searching") as progress:
        found = search(sources.parts, top=top, device=chosen, progress=progress)
    about = sources.kept | {
        "pictures": found.pictures,
        "found": found.found,
        "labelled": found.labelled,
        "wrong_share": found.wrong / found.labelled if found.labelled else None,
    }
    review = Review(regions=found.regions, space=sources.space, about=about)
    write_review(review, path)
    with counting(console, "drawing") as progress:
        looks = looked_at(sources.parts, found.regions, device=chosen, progress=progress)
        write_review_page(review, looks, path)
    return LabelErrors(path=path, review=review)


def apply_label_marks(
    marks: str | Path,
    out: str | Path,
    *,
    review: str | Path | None = None,
    unsure: bool = False,
    runs: Path = RUNS,
    console: Console | None = None,
) -> AppliedMarks:
    """Write new masks without the regions that are marked wrong, and a list of all pictures for a recipe.

    marks: the file that the review page exports. review: the folder of the search, or the run or cross-validation that
    holds it; where the marks lie by default. unsure: leave out what was marked unsure, too. out: a new folder.
    Originals are only read. Raises UserError for marks of another search and nothing to change, DataError where masks
    have changed since the search.
    """
    from segwright.evaluation.label_files import FOLDER, REGIONS, read_marks, read_review
    from segwright.evaluation.label_fixes import apply_marks

    file = Path(marks)
    folder = file.parent if review is None else Path(review)
    places = (folder, folder / FOLDER, *(() if review is None else (Path(runs) / folder / FOLDER,)))
    found = read_review(next((place for place in places if (place / REGIONS).is_file()), folder))
    wanted = read_marks(file, found, unsure=unsure)
    with counting(console or new_console(), "writing masks") as progress:
        return apply_marks(found, wanted, Path(out), progress=progress)
