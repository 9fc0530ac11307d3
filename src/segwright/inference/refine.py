"""A segmenter whose answers a fully connected CRF refines, and the file that keeps its parameters beside the model.

Letters: B batch, H W pixels, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segwright.contracts import DataError, UserError
from segwright.files import write_json
from segwright.inference.wrapping import Wrapping
from segwright.models.crf import CrfSettings, refine
from segwright.models.segmenter import Segmenter, likeliest
from segwright.runs import Run, home

FORMAT = "segwright crf 1"


class Refined(Wrapping):
    """Predicts what a CRF makes of another segmenter's scores, at the picture's own size; it is not trained or saved.

    Takes the memory of one picture's scores, some eight times over. Raises UserError for a multi-label space.
    """

    def __init__(self, segmenter: Segmenter, settings: CrfSettings) -> None:
        super().__init__(segmenter, "--crf", settings.to_dict())
        self.settings = settings

    def forward(self, image: Tensor) -> Tensor:
        """Scores whose softmax are the CRF's probabilities: float32 [B, K, H, W]. image: as for Segmenter."""
        return self._probabilities(image).clamp_min(torch.finfo(torch.float32).tiny).log()

    @torch.no_grad()
    def ids(self, image: Tensor, among: Sequence[int] | None = None) -> Tensor:
        """The class of every pixel that the CRF finds likeliest: uint8 [B, H, W]. Arguments as for Segmenter."""
        return likeliest(self._probabilities(image), among, self._name)

    def _probabilities(self, image: Tensor) -> Tensor:
        scores = self.architecture(image)
        return torch.stack([refine(*pair, self.settings) for pair in zip(scores, image, strict=True)])


def crf_file(model: Path, run: Run | None) -> Path:
    """Where a model's CRF parameters are kept: crf.json in its run, or NAME.crf.json in the `home` of a bare file."""
    return home(model, run) / (f"{model.stem}.crf.json" if run is None else "crf.json")


def save_crf(path: Path, settings: CrfSettings, judged: Mapping[str, Any]) -> Path:
    """Write the parameters, and how they were judged, atomically."""
    return write_json(path, {"format": FORMAT, "settings": settings.to_dict(), "judged": dict(judged)})


def load_crf(path: Path) -> CrfSettings | None:
    """The parameters of a file; None where it is missing. Raises DataError when it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        return CrfSettings.from_dict(content["settings"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        raise DataError(
            f"{path} is no readable file of CRF parameters: {error}. Remove it, or run `segwright tune-crf` again."
        ) from error


def with_crf(segmenter: Segmenter, file: Path | None, changes: Mapping[str, Any] | None = None) -> tuple[Refined, str]:
    """A segmenter refined with the parameters of `file`, or the usual ones where it is missing, and what was done, in words.

    changes: parameters to replace. Raises UserError for a wrong one, and for a multi-label space.
    """
    kept = None if file is None else load_crf(file)
    start, origin = (CrfSettings(), "the usual parameters") if kept is None else (kept, str(file))
    settings = CrfSettings.from_dict(start.to_dict() | dict(changes or {}))
    origin += f", changed: {', '.join(changes)}" if changes else ""
    return Refined(segmenter, settings), f"refined by a fully connected CRF ({settings}; {origin})"
