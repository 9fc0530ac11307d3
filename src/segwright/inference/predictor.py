"""Predicting a user's pictures: class ids in memory, or masks and overlays as files.

Letters: H W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from segwright.build import pick_device
from segwright.contracts import IGNORE, DataError, UserError
from segwright.data.reading import SUFFIXES, read_image
from segwright.data.safe_palette import PALETTES
from segwright.files import atomic_path
from segwright.inference.drawing import class_shares, hatch_void, overlay, palette_picture, with_legend
from segwright.inference.running import FORMATS, Progress, as_image, check_mode, computing, read_ahead
from segwright.labels import LabelSpace
from segwright.metrics.calibration import confidence_map
from segwright.models.converted import Converted

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter

KINDS = ("overlay", "color", "ids")
SHOWN = 20
"""How many unreadable pictures an error message lists."""


class Predictor:
    """A segmenter ready to predict: moved to the device, in evaluation mode, in the wanted precision.

    device: `auto`, `cpu`, `cuda`, ... precision: fp32, bf16 or fp16. memory_format: contiguous or channels_last.
    abstain_below: pixels of less confidence (the largest class probability, 0..1) get no class but IGNORE; this takes the
    memory of one picture's scores.
    The segmenter itself is moved and switched, not a copy.
    Raises UserError for a multi-label space, and for abstaining in another label space than the model's.
    """

    def __init__(
        self,
        segmenter: Segmenter | Converted,
        *,
        device: str = "auto",
        precision: str = "fp32",
        memory_format: str = "contiguous",
        abstain_below: float | None = None,
    ) -> None:
        check_mode(precision, memory_format)
        if abstain_below is not None:
            _check_abstaining(segmenter, abstain_below)
        if not segmenter.labels.exclusive:
            raise UserError(
                f"label space '{segmenter.labels.name}' is multi-label; only exclusive spaces can be drawn."
            )
        self.device = pick_device(device)
        self.precision = precision
        self.memory_format = memory_format
        self.abstain_below = abstain_below
        self.segmenter = segmenter.to(self.device).to(memory_format=FORMATS[memory_format]).eval()

    @property
    def labels(self) -> LabelSpace:
        return self.segmenter.labels

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] in RGB order, any size from 1×1 -> uint8 [H, W] class ids, 0..K-1, or IGNORE where it abstains.

        Raises DataError for another dtype or shape.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise DataError(
                f"a picture to predict is uint8 [H, W, 3] in RGB order; found {image.dtype} {list(image.shape)}. "
                "Convert it (16-bit and float to 0..255, grey to three channels), or read the file with `read_image`."
            )
        with computing(self.device, self.precision):
            picture = as_image(image, self.device, self.memory_format)
            if self.abstain_below is None:
                ids_HW = self.segmenter.ids(picture)[0]
            else:
                logits_KHW = self.segmenter(picture)[0]
                ids_HW = logits_KHW.max(0).indices.to(torch.uint8)
                ids_HW[confidence_map(logits_KHW) < self.abstain_below] = IGNORE
        return np.asarray(ids_HW.cpu().numpy(), np.uint8)


def _check_abstaining(segmenter: Segmenter | Converted, below: float) -> None:
    if not 0 < below <= 1:
        raise UserError(f"abstain_below is {below}; allowed are confidences above 0 and up to 1, such as 0.6.")
    if isinstance(segmenter, Converted):
        raise UserError(
            f"the model is confident of its own classes, not of those of label space '{segmenter.labels.name}'. Leave out "
            "either the label space or abstaining."
        )


@dataclass(frozen=True, kw_only=True)
class PredictedFile:
    """What was written for one picture.

    outputs: `overlay`, `color`, `ids` -> file. height, width: of the picture, pixels.
    shares: class name -> share of its pixels that have a class, 0..1, the largest first. abstained: share of all its
    pixels that got none, 0..1.
    """

    source: Path
    outputs: Mapping[str, Path]
    height: int
    width: int
    shares: Mapping[str, float]
    abstained: float = 0.0


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


def predict_paths(
    predictor: Predictor,
    source: Path,
    out: Path,
    *,
    write: Sequence[str] = KINDS,
    opacity: float = 0.5,
    legend: bool = True,
    overlay_format: str = "png",
    palette: str = "official",
    skip: Path | None = None,
    progress: Progress | None = None,
) -> list[PredictedFile]:
    """Predict one picture, or every picture in a folder and its subfolders, and write the results into folder `out`.

    - `STEM_overlay.png`: the picture under class colours at `opacity` (0..1), with a legend strip below it (`legend`;
      without it the overlay has the picture's size). overlay_format: png or jpg.
    - `STEM_color.png`: a palette PNG whose indices are the class ids and whose palette holds the class colours.
    - `STEM_ids.png`: an 8-bit grey PNG of class ids 0..K-1 (not the raw values of the masks trained on: these are
      `labels.decode(ids)`).

    Where the predictor abstains, the overlay is hatched, and both masks hold IGNORE (255; black in `color`).
    palette: of overlays and colour masks: `official`, the label space's own colours, or `safe`, which colour-blind people
    can tell apart (with stripes beyond eight classes).
    write: which of `overlay`, `color`, `ids`. skip: a folder of results that is not searched for pictures, besides `out`.
    Subfolders are kept; where two pictures share a stem (a.jpg, a.png) their
    full names take its place. Existing results are replaced, each atomically. Pictures turned by EXIF come out upright.
    Raises UserError for wrong arguments before anything is written. Unreadable pictures are collected: the others are
    written, then DataError lists them.
    """
    _check_options(write, opacity, overlay_format, palette)
    pictures = find_pictures(source, skip or out)
    stems = _stems(pictures, source)
    _make_folder(out)
    suffix = {"overlay": overlay_format, "color": "png", "ids": "png"}
    done: list[PredictedFile] = []
    bad: list[DataError] = []
    reading = read_ahead(lambda index: _try_read(pictures[index]), len(pictures))
    with ThreadPoolExecutor(1, thread_name_prefix="write-results") as writer, closing(reading):
        writing: Future[None] | None = None
        for index, image in enumerate(reading):
            if isinstance(image, DataError):
                bad.append(image)
            else:
                ids = predictor.predict(image)
                shares = class_shares(ids, predictor.labels)
                outputs = {k: out / f"{stems[index]}_{k}.{suffix[k]}" for k in KINDS if k in write}
                if writing is not None:
                    writing.result()
                writing = writer.submit(
                    _write,
                    image,
                    ids,
                    predictor.labels,
                    outputs,
                    opacity,
                    shares if legend else None,
                    palette == "safe",
                )
                height, width = ids.shape
                done.append(
                    PredictedFile(
                        source=pictures[index],
                        outputs=outputs,
                        height=height,
                        width=width,
                        shares=shares,
                        abstained=float((ids == IGNORE).mean()),
                    )
                )
            if progress is not None:
                progress(index + 1, len(pictures))
        if writing is not None:
            writing.result()
    if bad:
        raise DataError(_report(bad, len(done), out))
    return done


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


def _check_options(write: Sequence[str], opacity: float, overlay_format: str, palette: str) -> None:
    if palette not in PALETTES:
        raise UserError(f"palette is {palette!r}; allowed are {' or '.join(PALETTES)}.")
    if unknown := [kind for kind in write if kind not in KINDS]:
        raise UserError(f"write holds {unknown[0]!r}; allowed are {', '.join(KINDS)}.")
    if not write:
        raise UserError(f"write is empty: nothing would be written. Allowed are {', '.join(KINDS)}.")
    if not 0 <= opacity <= 1:
        raise UserError(f"opacity is {opacity}; allowed are 0 (picture only) to 1 (colours only).")
    if overlay_format not in ("png", "jpg"):
        raise UserError(f"overlay_format is {overlay_format!r}; allowed are png, jpg.")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file of that name is in the way" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(f"the folder {out} for the results cannot be made: {reason}. Choose another.") from error


def _try_read(path: Path) -> NDArray[np.uint8] | DataError:
    try:
        return read_image(path)
    except DataError as error:
        return error


def _write(
    image: NDArray[np.uint8],
    ids: NDArray[np.uint8],
    space: LabelSpace,
    outputs: Mapping[str, Path],
    opacity: float,
    legend: Mapping[str, float] | None,
    safe: bool,
) -> None:
    for kind, path in outputs.items():
        if kind == "overlay":
            drawn = hatch_void(overlay(image, ids, space, opacity=opacity, safe=safe), ids)
            picture = Image.fromarray(drawn if legend is None else with_legend(drawn, legend, space, safe=safe))
        else:
            picture = palette_picture(ids, space, safe=safe) if kind == "color" else Image.fromarray(ids)
        _save(picture, path)


def _save(picture: Image.Image, path: Path) -> None:
    try:
        with atomic_path(path) as temporary:
            if path.suffix == ".jpg":
                picture.save(temporary, format="JPEG", quality=92, subsampling=0)
            else:  # level 1: a photo packs four times faster, and hardly larger
                picture.save(temporary, format="PNG", compress_level=1 if picture.mode == "RGB" else 6)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}. Results before it are complete."
        ) from error


def _report(bad: list[DataError], written: int, out: Path) -> str:
    total = written + len(bad)
    if total == 1:
        return str(bad[0])
    listed = "\n".join(f"  {error}" for error in bad[:SHOWN])
    more = f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    head = f"{len(bad)} of {total} pictures could not be read; the results of the other {written} are in {out}."
    return f"{head}\n{listed}{more}"
