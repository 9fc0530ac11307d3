"""Predicting files: a picture or a folder of them, read, predicted and written at the same time.

Letters: H W pixels.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, UserError
from segwright.data.reading import SUFFIXES, read_image
from segwright.files import remove_leftovers
from segwright.inference.ahead import Progress, read_ahead
from segwright.inference.drawing import class_shares
from segwright.inference.geotiff import Place, read_place
from segwright.inference.maps import Maps, Predicts
from segwright.inference.outputs import Output, write_outputs
from segwright.inference.resuming import RECORD, PredictedFile, Record, stamp
from segwright.labels import LabelSpace

SHOWN = 20
"""How many unreadable pictures an error message lists."""
LARGEST_BATCH = 64
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A decoded picture, uint8 [H, W, 3], and what is to be written of it. stamp: of its file, before it was read."""

    source: Path
    stamp: Sequence[int]
    files: Mapping[str, Path]
    rgb: NDArray[np.uint8]
    place: Place


@dataclass(frozen=True)
class _Fault:
    """A picture that cannot be read or predicted."""

    source: Path
    error: DataError


@dataclass
class _Results:
    """What has become of `total` pictures so far."""

    record: Record
    total: int
    progress: Progress | None
    done: dict[Path, PredictedFile] = field(default_factory=dict)
    bad: list[_Fault] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.done) + len(self.bad)

    def knows(self, path: Path, files: Mapping[str, Path]) -> bool:
        """Whether the record calls a picture finished; then it counts as done."""
        known = self.record.finished(path, files)
        if known is not None:
            self.done[path] = known
            self.tell()
        return known is not None

    def add(self, found: PredictedFile | _Fault) -> None:
        if isinstance(found, _Fault):
            self.record.add_fault(found.source, str(found.error))
            self.bad.append(found)
        else:
            self.done[found.source] = found

    def tell(self, writing: int = 0) -> None:
        """Report progress. writing: pictures that are predicted and not yet written."""
        if self.progress is not None:
            self.progress(self.count + writing, self.total)


def predict_paths(
    predictor: Predicts,
    source: Path,
    out: Path,
    output: Output | None = None,
    *,
    batch: int = 1,
    resume: bool = False,
    model: Mapping[str, Any] | None = None,
    skip: Path | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> list[PredictedFile]:
    """Predict one picture, or every picture in a folder and its subfolders, and write the results into folder `out`.

    - `STEM_overlay.png`: the picture under class colours, with a legend strip below it.
    - `STEM_color.png`: a palette PNG whose indices are the class ids and whose palette holds the class colours.
    - `STEM_ids.png`: an 8-bit grey PNG of class ids 0..K-1 (not the raw values of the masks trained on: these are
      `labels.decode(ids)`).
    - `STEM_confidence.png`, `STEM_entropy.png`: 8-bit grey, 255 for 1 (`predictor.Maps` says what they are).
    - `STEM_probabilities.npy`: float16 or uint8 [K, H, W].
    - `predictions.jsonl`: what became of each picture.

    Of color, ids, confidence and entropy a TIFF can be written instead, with the place on the Earth of a picture that has
    one, of ids, confidence and entropy a .npy (`Output.format`).
    Where the predictor abstains, and where a GeoTIFF says that there is no data, the overlay is hatched, and both masks hold
    IGNORE (255; black in `color`).
    batch: how many pictures of one size in a row are predicted together. resume: leave out what the record of `out` calls
    finished with the same model and options, if its files are whole. model: plain data that tells the model and its
    options from others. skip: a folder of results that is not searched for pictures, besides `out`.
    say: told where an earlier record does not fit.
    Subfolders are kept; where two pictures share a stem (a.jpg, a.png) their full names take its place. Existing results
    are replaced, each atomically. Pictures turned by EXIF come out upright.
    Raises UserError for wrong arguments before anything is written, and where results cannot be written; what was written
    stays. Pictures that cannot be read, are too large for the memory, or whose name is too long for results, are collected:
    the others are written, then DataError lists them. DataError at once where the source vanishes on the way.
    """
    output = output or Output()
    if not 1 <= batch <= LARGEST_BATCH:
        raise UserError(f"--batch is {batch}; allowed are 1 to {LARGEST_BATCH} pictures.")
    predictor.check_kinds(output.sureness)
    pictures = find_pictures(source, skip or out)
    files = {p: output.files(out / stem) for p, stem in zip(pictures, _stems(pictures, source), strict=True)}
    _make_folder(out)
    if resume:
        for folder in {path.parent for each in files.values() for path in each.values()} | {out}:
            remove_leftovers(folder)
    root = source if source.is_dir() else source.parent
    identity = {"model": dict(model or {}), "classes": list(predictor.labels.class_names), "output": asdict(output)}
    record = Record(out, root, identity, resume=resume)
    if record.differs and say is not None:
        say(f"{record.path} is of another model or other options: every picture is predicted again.")
    results = _Results(record, len(pictures), progress)
    waiting = [path for path in pictures if not (resume and results.knows(path, files[path]))]
    reading = read_ahead(lambda index: _read(waiting[index], files[waiting[index]]), len(waiting), depth=batch)
    with closing(reading):
        _predict_all(predictor, _grouped(reading, batch), output, results, source=source, most=batch)
    if results.bad:
        raise DataError(_report([fault.error for fault in results.bad], len(results.done), out))
    return [results.done[path] for path in pictures]


def _predict_all(
    predictor: Predicts,
    groups: Iterator[list[_Picture] | _Fault],
    output: Output,
    results: _Results,
    *,
    source: Path,
    most: int,
) -> None:
    """Predict here while a thread writes what was predicted before, `most` pictures behind at the most."""
    with ThreadPoolExecutor(1, thread_name_prefix="write-results") as writer:
        writing: deque[Future[PredictedFile | _Fault]] = deque()
        for group in groups:
            for found in _predicted(predictor, group, output):
                if isinstance(found, _Fault):
                    if not source.exists():
                        raise DataError(
                            f"{source} is gone after {results.count + len(writing)} of {results.total} pictures; their results are "
                            f"in {results.record.out}. Bring it back, and go on with --resume."
                        )
                    results.add(found)
                else:
                    writing.append(writer.submit(_write, *found, output, predictor.labels, results.record))
                while len(writing) > most:
                    results.add(writing.popleft().result())
                results.tell(len(writing))
        while writing:
            results.add(writing.popleft().result())


def mean_shares(files: Sequence[PredictedFile]) -> dict[str, float]:
    """Class name -> share of the pixels of all pictures together that have a class, 0..1, the largest first."""
    pixels: Counter[str] = Counter()
    for file in files:
        answered = file.height * file.width * (1 - file.abstained)
        for name, share in file.shares.items():
            pixels[name] += round(share * answered)
    total = max(1, pixels.total())
    return {name: count / total for name, count in pixels.most_common()}


def mean_abstained(files: Sequence[PredictedFile]) -> float:
    """Share of all pixels of all pictures that got no class, 0..1; 0 without pictures."""
    total = sum(f.height * f.width for f in files)
    return sum(f.abstained * f.height * f.width for f in files) / max(1, total)


def find_pictures(source: Path, out: Path | None = None) -> list[Path]:
    """The picture itself, or the pictures in a folder and its subfolders, sorted; hidden files and `out` are skipped.

    Raises UserError when `source` is missing, holds no picture, or is the folder that results would go to.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source} does not exist. Give a picture or a folder of pictures.")
    if out is not None and out.resolve() == source.resolve():
        raise UserError(
            f"{out} holds the pictures: results there would be taken for pictures later. Choose another folder."
        )
    root = source.resolve()
    results = None if out is None else out.resolve()
    found = []
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        hidden = any(part.startswith(".") for part in relative.parts)
        if (
            path.suffix.lower() in SUFFIXES
            and not hidden
            and results not in (root / relative).parents
            and path.is_file()
        ):
            found.append(path)
    if not found:
        raise UserError(f"{source} holds no pictures. Known are {', '.join(SUFFIXES)}.")
    return found


def _stems(pictures: list[Path], source: Path) -> list[Path]:
    """Path of each picture's results below the output folder, without `_overlay.png`; unique, also ignoring case."""
    root = source if source.is_dir() else source.parent
    relative = [p.relative_to(root) for p in pictures]
    seen = Counter(str(p.with_suffix("")).casefold() for p in relative)
    stems = [p.with_suffix("") if seen[str(p.with_suffix("")).casefold()] == 1 else p for p in relative]
    return stems if len({str(s).casefold() for s in stems}) == len(stems) else relative


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file of that name is in the way" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(f"the folder {out} for the results cannot be made: {reason}. Choose another.") from error


def _read(path: Path, files: Mapping[str, Path]) -> _Picture | _Fault:
    try:
        before = stamp(path) if path.exists() else ()  # of a missing file, read_image says so
        return _Picture(source=path, stamp=before, files=files, rgb=read_image(path), place=read_place(path))
    except DataError as error:
        return _Fault(path, error)


def _grouped(items: Iterable[_Picture | _Fault], most: int) -> Iterator[list[_Picture] | _Fault]:
    """Pictures of one size that follow each other, `most` at a time; faults in between."""
    group: list[_Picture] = []
    for item in items:
        if group and (isinstance(item, _Fault) or item.rgb.shape != group[0].rgb.shape or len(group) == most):
            yield group
            group = []
        if isinstance(item, _Fault):
            yield item
        else:
            group.append(item)
    if group:
        yield group


def _predicted(
    predictor: Predicts, group: list[_Picture] | _Fault, output: Output
) -> Iterator[tuple[_Picture, Maps] | _Fault]:
    if isinstance(group, _Fault):
        yield group
        return
    try:
        found = predictor.maps([p.rgb for p in group], output.sureness, depth=output.probabilities)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        height, width = group[0].rgb.shape[:2]
        size = f"{height}×{width} pixels" + (f" ({len(group)} at once)" if len(group) > 1 else "")
        for picture in group:
            yield _Fault(
                picture.source,
                DataError(
                    f"{picture.source}: the memory does not suffice for {size}. Predict in pieces, such as --window 512x1024, or "
                    "with a smaller --batch."
                ),
            )
        return
    yield from zip(group, found, strict=True)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY)


def _write(picture: _Picture, maps: Maps, output: Output, space: LabelSpace, record: Record) -> PredictedFile | _Fault:
    if (missing := picture.place.missing(picture.rgb)) is not None:
        maps.ids[missing] = IGNORE
    shares = class_shares(maps.ids, space)
    try:
        write_outputs(output, picture.files, picture.rgb, maps, space, shares, picture.place)
    except DataError as error:
        return _Fault(picture.source, error)
    height, width = maps.ids.shape
    file = PredictedFile(
        source=picture.source,
        outputs=picture.files,
        height=height,
        width=width,
        shares=shares,
        abstained=float((maps.ids == IGNORE).mean()),
    )
    record.add(file, picture.stamp)
    return file


def _report(bad: list[DataError], written: int, out: Path) -> str:
    total = written + len(bad)
    if total == 1:
        return str(bad[0])
    listed = "\n".join(f"  {error}" for error in bad[:SHOWN])
    more = f"\n  and {len(bad) - SHOWN} more: all are in {out / RECORD}" if len(bad) > SHOWN else ""
    head = f"{len(bad)} of {total} pictures could not be predicted; the results of the other {written} are in {out}."
    return f"{head}\n{listed}{more}"
