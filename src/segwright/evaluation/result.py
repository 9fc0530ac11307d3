"""The result of an evaluation: counts per picture, from which every score follows. No tensors; saves as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, UserError
from segwright.files import atomic_path, write_text
from segwright.labels import LabelSpace
from segwright.metrics.protocols import Protocol, find_protocol
from segwright.metrics.scores import Floats, Scores, scores

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "segwright evaluation 1"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Pixel counts of one model on one split, and how they were made.

    counts_NKK: int64 [N, K, K], one matrix [truth, predicted] a picture; pixels whose truth is IGNORE count nowhere.
    ignored_N: int64 [N], the pixels left out in each picture.
    protocol: the scoring definition that goes with every number, such as "pooled".
    seconds: wall time of decoding, prediction and counting together.
    missed_NK: int64 [N, K], true pixels for which a prediction file names no class; None where there are none, as always
    with a model.
    at: where scores were not taken at the original size, the size, such as "512×1024" (height × width).
    applied: what was done to the model's answers: `tta` and `window` in words, `crf` its parameters; empty for nothing.
    measures: what else was measured, by name of the measure. arrays: its rows, "measure.array" -> [N, ...].
    """

    run: str
    checkpoint: str
    split: str
    protocol: str
    space: LabelSpace
    names: tuple[str, ...]
    groups: tuple[str, ...]
    counts_NKK: NDArray[np.int64]
    ignored_N: NDArray[np.int64]
    seconds: float
    missed_NK: NDArray[np.int64] | None = None
    at: str | None = None
    applied: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def counts_KK(self) -> NDArray[np.int64]:
        """int64 [K, K]: the counts summed over the set."""
        counts_KK: NDArray[np.int64] = self.counts_NKK.sum(0)
        return counts_KK

    @cached_property
    def scores(self) -> Scores:
        """Every score of the pooled counts."""
        return scores(self.counts_KK, None if self.missed_NK is None else self.missed_NK.sum(0))

    @cached_property
    def rule(self) -> Protocol:
        """The definition behind `protocol`, for these classes."""
        return find_protocol(self.protocol).for_space(self.space)

    @property
    def definition(self) -> str:
        """What its mIoU means, in one sentence: also at which size where that is not the original one, and what was applied."""
        sentence = self.rule.sentence
        if self.at is not None:
            sentence = sentence.replace("at original size", f"at {self.at}, not the original size")
        return f"{sentence} Predicted {applied_words(self.applied)}." if self.applied else sentence

    @property
    def official(self) -> Mapping[str, Any]:
        """What the protocol's own measure found: `classes`, maybe `categories`, and `averages`; empty for none."""
        return self.measures.get(self.rule.measure, {}) if self.rule.measure else {}

    @property
    def miou(self) -> float:
        """mIoU under the protocol, 0..1; NaN when no pixel is labelled."""
        if self.rule.counted:
            return self.rule.mean_iou(self.scores)
        return _number(self.official.get("averages", {}).get("iou"))

    @property
    def iou_K(self) -> Floats:
        """IoU of each class under the protocol, float64 [K]; NaN for a class that counts in no mean."""
        if self.rule.counted:
            return self.rule.iou(self.scores)
        own = self.official.get("classes", {})
        return np.array([_number(own.get(name, {}).get("iou")) for name in self.space.class_names])

    @property
    def accuracy(self) -> float:
        """Share of labelled pixels that are right, 0..1; NaN when no pixel is labelled."""
        return self.scores.accuracy

    @property
    def iou(self) -> dict[str, float | None]:
        """IoU by class name under the protocol, 0..1; None for a class that counts in no mean."""
        values = self.iou_K.tolist()
        return {n: None if np.isnan(v) else v for n, v in zip(self.space.class_names, values, strict=True)}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the classes that the mean does not count."""
        return tuple(self.space.class_names[k] for k in np.flatnonzero(np.isnan(self.iou_K)))

    @cached_property
    def images_K(self) -> NDArray[np.int64]:
        """int64 [K]: in how many pictures each class has true pixels."""
        truth_NK = self.counts_NKK.sum(2) + (0 if self.missed_NK is None else self.missed_NK)
        images_K: NDArray[np.int64] = (truth_NK > 0).sum(0)
        return images_K

    def table(self) -> Table:
        """The scores of each class as a table for terminals: `rich.print(evaluation.table())`."""
        from segwright.evaluation.table import score_table

        return score_table(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` turns back into an equal result, with headline scores for readers of the file.

        Counts are sparse: for each picture a list of [truth, predicted, pixels].
        """
        return {
            "format": FORMAT,
            "run": self.run,
            "checkpoint": self.checkpoint,
            "split": self.split,
            "protocol": self.protocol,
            "definition": self.definition,
            **({} if self.at is None else {"at": self.at}),
            **({"applied": dict(self.applied)} if self.applied else {}),
            "miou": None if np.isnan(self.miou) else self.miou,
            "iou": self.iou,
            "headline": {n: None if np.isnan(v) else v for n, v in self.rule.numbers(self.scores).items()},
            "scores": self.scores.summary(),
            "seconds": self.seconds,
            "measures": self.measures,
            "labels": self.space.to_dict(),
            "pictures": [self._picture(index) for index in range(len(self.names))],
        }

    def _picture(self, index: int) -> dict[str, Any]:
        found = {
            "name": self.names[index],
            "group": self.groups[index],
            "ignored": int(self.ignored_N[index]),
            "counts": _sparse(self.counts_NKK[index]),
        }
        return found if self.missed_NK is None else found | {"missed": self.missed_NK[index].tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, where: str = "evaluation") -> Evaluation:
        """An evaluation from plain data. Raises DataError naming `where` when something is missing or wrong."""
        if (found := content.get("format")) != FORMAT:
            raise DataError(f"{where}: found format {found!r}, expected {FORMAT!r}. Evaluate the run again.")
        try:
            space = LabelSpace.from_dict(content["labels"], where=f"{where}, labels")
            pictures = content["pictures"]
            return cls(
                run=str(content["run"]),
                checkpoint=str(content["checkpoint"]),
                split=str(content["split"]),
                protocol=find_protocol(content["protocol"]).name,
                space=space,
                names=tuple(str(p["name"]) for p in pictures),
                groups=tuple(str(p["group"]) for p in pictures),
                counts_NKK=_dense([p["counts"] for p in pictures], space.num_classes),
                ignored_N=np.array([p["ignored"] for p in pictures], np.int64),
                seconds=float(content["seconds"]),
                missed_NK=_missed(pictures, space.num_classes),
                at=None if content.get("at") is None else str(content["at"]),
                applied=dict(content.get("applied", {})),
                measures=dict(content.get("measures", {})),
            )
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, UserError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{where} is damaged: {reason}. Evaluate the run again.") from error

    def save(self, path: Path) -> Path:
        """Write as JSON, one line a picture, atomically. Rows of measures go beside it, into a .npz file."""
        rows = path.with_suffix(".npz")
        if self.arrays:
            with atomic_path(rows) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **dict(self.arrays))
        else:
            rows.unlink(missing_ok=True)  # of an evaluation before this one
        content = self.to_dict()
        pictures = ",\n  ".join(_json(picture) for picture in content.pop("pictures"))
        head = _json(content, indent=1).removesuffix("\n}")
        return write_text(path, f'{head},\n "pictures": [\n  {pictures}\n ]\n}}\n')

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Read what `save` wrote. Raises UserError when the file is missing, DataError when it is damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist. `segwright evaluate` writes it.") from error
        except (ValueError, OSError) as error:
            raise DataError(f"{path} is not a readable evaluation: {error}. Evaluate the run again.") from error
        if not isinstance(content, Mapping):
            raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}. Evaluate the run again.")
        found = cls.from_dict(content, where=str(path))
        rows = path.with_suffix(".npz")
        if not rows.is_file():
            return found
        try:
            with np.load(rows, allow_pickle=False) as arrays:
                return replace(found, arrays={name: arrays[name] for name in arrays.files})
        except (ValueError, OSError, EOFError, BadZipFile) as error:
            raise DataError(f"{rows} is damaged: {error}. Evaluate the run again.") from error


def applied_to(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What was put around a model, from its provenance, where it is noted: `tta`, `window`, `crf`."""
    return {key: provenance[key] for key in ("tta", "window", "crf") if key in provenance}


def applied_words(applied: Mapping[str, Any]) -> str:
    """What was done to a model's answers, such as `with --tta flip, windows of 512×1024, overlap 0.5`."""
    found = [f"--tta {applied['tta']}"] if "tta" in applied else []
    found += [str(applied["window"])] if "window" in applied else []
    return "with " + ", ".join(found + (["a fully connected CRF"] if "crf" in applied else []))


def _json(content: Any, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, allow_nan=False, ensure_ascii=False)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _missed(pictures: list[dict[str, Any]], num_classes: int) -> NDArray[np.int64] | None:
    if not any("missed" in p for p in pictures):
        return None
    missed = np.array([p["missed"] for p in pictures], np.int64)
    if missed.shape != (len(pictures), num_classes) or missed.min() < 0:
        raise ValueError("the missed pixels are not one count for each class")
    return missed


def _sparse(counts_KK: NDArray[np.int64]) -> list[list[int]]:
    return [[t, p, int(counts_KK[t, p])] for t, p in np.argwhere(counts_KK).tolist()]


def _dense(pictures: list[list[list[int]]], num_classes: int) -> NDArray[np.int64]:
    counts_NKK = np.zeros((len(pictures), num_classes, num_classes), np.int64)
    for counts_KK, triples in zip(counts_NKK, pictures, strict=True):
        for truth, predicted, pixels in triples:
            if min(truth, predicted, pixels) < 0:
                raise ValueError(f"the count {[truth, predicted, pixels]} is negative")
            counts_KK[truth, predicted] = pixels
    return counts_NKK
