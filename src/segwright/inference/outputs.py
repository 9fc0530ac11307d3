"""What is written for a predicted picture: overlays, colour masks, and maps of ids, confidence, entropy and probabilities.

Letters: H W pixels, K classes.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import IGNORE, DataError, UserError
from segwright.data.safe_palette import PALETTES
from segwright.files import atomic_path
from segwright.inference.drawing import hatch_void, overlay, palette_picture, with_legend
from segwright.inference.geotiff import NOWHERE, Place
from segwright.inference.maps import SURENESS, Maps
from segwright.labels import LabelSpace
from segwright.names import did_you_mean

USUAL = ("overlay", "color", "ids")
KINDS = (*USUAL, *SURENESS)
FORMATS = ("png", "npy", "tif")
DEPTHS = ("fp16", "uint8")
DEFLATE = "tiff_adobe_deflate"


@dataclass(frozen=True, kw_only=True)
class Output:
    """What is written for each picture, and how.

    write: of `overlay`, `color`, `ids`, `probabilities`, `confidence`, `entropy`. format: of maps, png, npy or tif.
    probabilities: how they are stored, fp16 or uint8. opacity: of the overlay's colours, 0..1. legend: a strip below the overlay.
    overlay_format: png or jpg. palette: `official`, the label space's own colours, or `safe`.
    """

    write: tuple[str, ...] = USUAL
    format: str = "png"
    probabilities: str = "fp16"
    opacity: float = 0.5
    legend: bool = True
    overlay_format: str = "png"
    palette: str = "official"

    def __post_init__(self) -> None:
        allowed = (
            ("format", self.format, FORMATS),
            ("probabilities", self.probabilities, DEPTHS),
            ("overlay_format", self.overlay_format, ("png", "jpg")),
            ("palette", self.palette, PALETTES),
        )
        for key, value, known in allowed:
            if value not in known:
                raise UserError(f"{key} is {value!r}; allowed are {', '.join(known)}.")
        if unknown := [kind for kind in self.write if kind not in KINDS]:
            raise UserError(
                f"write holds {unknown[0]!r}; allowed are {', '.join(KINDS)}.{did_you_mean(unknown[0], KINDS)}"
            )
        if not self.write:
            raise UserError(f"write is empty: nothing would be written. Allowed are {', '.join(KINDS)}.")
        if not 0 <= self.opacity <= 1:
            raise UserError(f"opacity is {self.opacity}; allowed are 0 (picture only) to 1 (colours only).")

    @property
    def sureness(self) -> tuple[str, ...]:
        """What `Predictor.maps` has to give beside the ids."""
        return tuple(kind for kind in SURENESS if kind in self.write)

    def files(self, stem: Path) -> dict[str, Path]:
        """Kind -> file, for a picture whose files begin with `stem`."""
        endings = {
            "overlay": self.overlay_format,
            "color": "tif" if self.format == "tif" else "png",
            "probabilities": "npy",
        }
        return {
            kind: stem.with_name(f"{stem.name}_{kind}.{endings.get(kind, self.format)}")
            for kind in KINDS
            if kind in self.write
        }


def write_outputs(
    output: Output,
    files: Mapping[str, Path],
    rgb_HWC: NDArray[np.uint8],
    maps: Maps,
    space: LabelSpace,
    shares: Mapping[str, float],
    place: Place = NOWHERE,
) -> None:
    """Write one picture's files, each atomically. files: as `Output.files` gives them. shares: for the legend.

    Raises UserError where a file cannot be written, DataError where its name is too long; those before it are complete.
    """
    missing = place.missing(rgb_HWC)
    for kind, path in files.items():
        if kind == "overlay":
            safe = output.palette == "safe"
            drawn = hatch_void(overlay(rgb_HWC, maps.ids, space, opacity=output.opacity, safe=safe), maps.ids)
            _save(Image.fromarray(with_legend(drawn, shares, space, safe=safe) if output.legend else drawn), path)
        elif kind == "color":
            _save(palette_picture(maps.ids, space, safe=output.palette == "safe"), path, place, IGNORE)
        elif kind == "ids":
            _write_map(maps.ids, path, place, IGNORE)
        else:
            values = getattr(maps, kind)
            if path.suffix == ".tif" and missing is not None:
                values = np.where(missing, np.float32(math.nan), values)
            _write_map(values, path, place, math.nan)


def _write_map(values: NDArray[Any], path: Path, place: Place, no_data: float) -> None:
    """A map as it is (npy; floats at half precision), as a TIFF, or as an 8-bit grey PNG, 255 for 1 (off by 1/510 at most)."""
    if path.suffix == ".npy":
        _save(values.astype(np.float16) if values.dtype == np.float32 else values, path)
    elif path.suffix == ".tif" or values.dtype == np.uint8:
        _save(Image.fromarray(values), path, place, no_data)
    else:
        _save(Image.fromarray((values * 255).round().astype(np.uint8)), path)


def _save(content: Image.Image | NDArray[Any], path: Path, place: Place = NOWHERE, no_data: float = IGNORE) -> None:
    try:
        with atomic_path(path) as temporary:
            if isinstance(content, np.ndarray):
                with temporary.open("wb") as file:
                    np.save(file, content, allow_pickle=False)
            elif path.suffix == ".jpg":
                content.save(temporary, format="JPEG", quality=92, subsampling=0)
            elif path.suffix == ".tif":
                content.save(temporary, format="TIFF", compression=DEFLATE, tiffinfo=place.info(no_data))
            else:  # level 1: a photo packs four times faster, and hardly larger
                content.save(temporary, format="PNG", compress_level=1 if content.mode == "RGB" else 6)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(
                f"the name {path.name!r} is too long for a file. Give the picture a shorter one."
            ) from error
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}. What was written before stays. Free space or mend the "
            "folder, then go on with --resume."
        ) from error
