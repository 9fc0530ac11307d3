"""What a search for label errors leaves: regions.json for the machine, regions.csv for a spreadsheet, and marks of people.

Marks are what the review page exports: {"format": …, "regions": the fingerprint of regions.json, "marks": [{"rank": 1,
"mark": "wrong", "label": "road"}, …]}; `label` is the class that the region should have, null to leave it out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.contracts import DataError, UserError
from segwright.evaluation.label_errors import LabelRegion
from segwright.files import write_json, write_text
from segwright.labels import LabelSpace
from segwright.names import did_you_mean

FORMAT = "segwright label errors 1"
MARKS_FORMAT = "segwright label marks 1"
FOLDER = "label-errors"
"""Where a search writes, in the run or cross-validation, unless told otherwise."""
REGIONS = "regions.json"
TABLE = "regions.csv"
MARKS = ("wrong", "right", "unsure")
COLUMNS = (
    *("rank", "picture", "part", "top", "left", "bottom", "right", "pixels", "core"),
    *("truth", "predicted", "confidence", "given", "score"),
)


@dataclass(frozen=True, kw_only=True)
class Review:
    """The content of regions.json. about: what was searched (`label_sources.Sources.kept`) and how much was found."""

    regions: tuple[LabelRegion, ...]
    space: LabelSpace
    about: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the regions."""
        text = json.dumps([region.to_dict() for region in self.regions], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def row(self, region: LabelRegion) -> dict[str, Any]:
        """A region as a row of a table: classes by name, without its pixels."""
        names = self.space.class_names
        found = region.to_dict() | region.box._asdict()
        found |= {"truth": names[region.truth], "predicted": names[region.predicted]}
        return {key: found[key] for key in COLUMNS}


def write_review(review: Review, folder: Path) -> None:
    """Write regions.json and regions.csv, atomically. Columns are those of `COLUMNS`."""
    content = {"format": FORMAT, "fingerprint": review.fingerprint, **review.about}
    write_json(folder / REGIONS, content | {"regions": [region.to_dict() for region in review.regions]})
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for region in review.regions:
        row = review.row(region)
        writer.writerow(
            row | {key: f"{row[key]:.4f}" for key in ("confidence", "given")} | {"score": f"{row['score']:.2f}"}
        )
    write_text(folder / TABLE, stream.getvalue())


def read_review(folder: Path) -> Review:
    """Read regions.json. Raises UserError where there is none, DataError where it is damaged."""
    path = folder / REGIONS
    content = _read_json(path, "`segwright data errors` writes it. Name the folder that holds it.")
    if content.get("format") != FORMAT:
        raise DataError(f"{path}: found format {content.get('format')!r}, expected {FORMAT!r}. Search again.")
    try:
        regions = tuple(LabelRegion.from_dict(item) for item in content["regions"])
        space = LabelSpace.from_dict(content["labels"], where=f"{path}, labels")
        about = {key: content[key] for key in ("source", "data", "splits", "searched", "labels", "seen", "notes")}
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise DataError(f"{path} is damaged ({error}). Search again.") from error
    found = Review(regions=regions, space=space, about=about)
    if found.fingerprint != content.get("fingerprint"):
        raise DataError(f"{path} is damaged: its regions do not have its fingerprint. Search again.")
    return found


def read_marks(path: Path, review: Review, *, unsure: bool) -> dict[int, str | None]:
    """Rank of each region to change -> name of the class that it gets, or None to leave it out.

    unsure: leave those out, too, that were marked unsure. Raises UserError for marks of another search and for marks
    that name what does not exist, all of them at once.
    """
    content = _read_json(path, "The review page exports it.")
    if content.get("format") != MARKS_FORMAT:
        raise UserError(f"{path}: found format {content.get('format')!r}, expected {MARKS_FORMAT!r}.")
    if content.get("regions") != review.fingerprint:
        raise UserError(
            f"{path}: these marks belong to other regions ({content.get('regions')}, not {review.fingerprint}). Name the "
            "folder of the review that was marked; a new search needs new marks."
        )
    marks = content.get("marks")
    if not isinstance(marks, list):
        raise UserError(f"{path}: `marks` is {type(marks).__name__}; expected a list.")
    problems = [f"mark {place}: {fault}" for place, mark in enumerate(marks, 1) for fault in _faults(mark, review)]
    ranks = Counter(
        mark.get("rank") for mark in marks if isinstance(mark, Mapping) and isinstance(mark.get("rank"), int)
    )
    problems += [f"region {rank} is marked {count} times" for rank, count in ranks.items() if count > 1]
    if problems:
        shown = "\n  ".join(problems[:20]) + ("\n  …" if len(problems) > 20 else "")
        raise UserError(f"{path}: {len(problems)} wrong:\n  {shown}")
    wanted = {"wrong"} | ({"unsure"} if unsure else set())
    return {m["rank"]: m.get("label") if m["mark"] == "wrong" else None for m in marks if m["mark"] in wanted}


def _faults(mark: Any, review: Review) -> Sequence[str]:
    if not isinstance(mark, Mapping):
        return [f'expected an object such as {{"rank": 1, "mark": "wrong"}}, found {mark!r}']
    found = []
    if mark.get("rank") not in {region.rank for region in review.regions} or isinstance(mark.get("rank"), bool):
        found.append(f"there is no region of rank {mark.get('rank')!r}; there are {len(review.regions)}")
    if mark.get("mark") not in MARKS:
        found.append(f"the mark is {mark.get('mark')!r}; allowed are {', '.join(MARKS)}")
    names = review.space.class_names
    label = mark.get("label")
    if label is not None and label not in names:
        hint = did_you_mean(str(label), names)
        found.append(f"there is no class {label!r}.{hint} Allowed: {', '.join(names)}, or null to leave the region out")
    return found


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist. {remedy}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}). {remedy}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(content).__name__}. {remedy}")
    return content
