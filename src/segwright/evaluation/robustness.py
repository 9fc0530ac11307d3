"""How a model's score falls when the pictures get worse: blur, noise, weather, night, in five strengths.

Every corrupted set is scored as `evaluate` scores the clean one, on the same pictures, so differences are paired.

Letters: N pictures, K classes, R resamples (row 0 is the set itself).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError, Dataset, UserError
from segwright.data.corruptions import SEVERITIES, Corrupted, find_corruption
from segwright.files import atomic_path, write_json
from segwright.inference.measure import measure
from segwright.metrics.intervals import Interval, Resampled
from segwright.metrics.protocols import Protocol
from segwright.metrics.scores import Floats
from segwright.models.converted import Converted

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter

FORMAT = "segwright robustness 1"
ROBUSTNESS = "robustness.json"
"""File in the folder `evaluation` of a run."""
CLEAN = "clean"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Counts of one model on the same pictures, clean and corrupted.

    identity: what the counts belong to (run, checkpoint and its SHA-256, split, space, seed, names of the pictures).
    rule: the protocol of the scores. groups: one a picture. counts: "clean" and "blur.3" -> int64 [N, K, K].
    """

    identity: Mapping[str, Any]
    rule: Protocol
    groups: tuple[str, ...]
    counts: Mapping[str, NDArray[np.int64]]
    _scored: dict[str, Floats] = field(default_factory=dict)

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names, in the order in which they were scored."""
        return tuple(dict.fromkeys(key.partition(".")[0] for key in self.counts if key != CLEAN))

    def severities(self, name: str) -> tuple[int, ...]:
        return tuple(s for s in SEVERITIES if f"{name}.{s}" in self.counts)

    @cached_property
    def _clean(self) -> Resampled:
        return self._drawn(CLEAN)

    def _drawn(self, key: str) -> Resampled:
        return Resampled(self.rule.without_void(self.counts[key]), self.groups)

    def _miou_R(self, key: str) -> Floats:
        if key not in self._scored:
            drawn = self._clean if key == CLEAN else self._drawn(key)
            self._scored[key] = drawn.miou_R(self.rule)
        return self._scored[key]

    @property
    def clean(self) -> float:
        """mIoU of the clean pictures, 0..1."""
        return float(self._miou_R(CLEAN)[0])

    def miou(self, name: str, severity: int) -> float:
        """mIoU, 0..1; NaN where this was not scored."""
        key = f"{name}.{severity}"
        return float(self._miou_R(key)[0]) if key in self.counts else float("nan")

    def difference(self, name: str, severity: int | None = None) -> Interval:
        """mIoU minus that of the clean pictures, paired; without a severity the mean over those that were scored."""
        chosen = self.severities(name) if severity is None else (severity,)
        mean_R = np.mean([self._miou_R(f"{name}.{s}") for s in chosen], axis=0)
        return self._clean.interval(mean_R - self._miou_R(CLEAN))

    def kept(self, name: str) -> float:
        """Mean mIoU over the severities as a share of the clean one; NaN where that is 0."""
        return 1 + self.difference(name).value / self.clean if self.clean else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain data."""
        return {
            "format": FORMAT,
            **self.identity,
            "protocol": self.rule.name,
            "definition": self.rule.sentence,
            "pictures": len(self.groups),
            "clean_miou": self.clean,
            "conditions": self.difference(self.corruptions[0]).conditions if self.corruptions else "",
            "corruptions": {name: self._told(name) for name in self.corruptions},
        }

    def _told(self, name: str) -> dict[str, Any]:
        kind, mean = find_corruption(name), self.difference(name)
        rows = []
        for severity in self.severities(name):
            apart = self.difference(name, severity)
            rows.append(
                {
                    "severity": severity,
                    "value": kind.values[severity - 1],
                    "miou": self.miou(name, severity),
                    "difference": [apart.value, apart.low, apart.high],
                }
            )
        return {
            "meaning": kind.meaning,
            "parameter": kind.parameter,
            "severities": rows,
            "mean_difference": [mean.value, mean.low, mean.high],
            "kept": self.kept(name),
        }

    def save(self, path: Path) -> Path:
        """The scores as JSON, and the counts, from which a run can go on, in a .npz file beside it."""
        with atomic_path(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **dict(self.counts))
        return write_json(path, {**self.to_dict(), "names_of_groups": list(self.groups)})


def load_robustness(path: Path, rule: Protocol) -> Robustness:
    """What `save` wrote, under a protocol. Raises DataError when it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            counts = {name: arrays[name] for name in arrays.files}
        identity = {key: content[key] for key in ("run", "checkpoint", "sha256", "split", "space", "seed", "names")}
        groups = tuple(content["names_of_groups"])
        if CLEAN not in counts or any(len(rows) != len(groups) for rows in counts.values()):
            raise ValueError("counts and pictures do not fit")
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}). Remove it and run `segwright robustness` again.") from error
    return Robustness(identity=identity, rule=rule, groups=groups, counts=counts)


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` indices, evenly spread; all of them when there are no more."""
    if wanted >= count:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def score_robustness(
    segmenter: Segmenter | Converted,
    dataset: Dataset,
    *,
    rule: Protocol,
    identity: Mapping[str, Any],
    chosen: Sequence[int],
    names: Sequence[str],
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    device: str = "cpu",
    before: Robustness | None = None,
    keep: Callable[[Robustness], object] = lambda found: None,
    progress: Progress | None = None,
) -> Robustness:
    """Score chosen pictures clean and under each corruption and severity.

    before: an earlier, maybe interrupted result; what it has of the same identity is not scored again. keep: called
    after each set with what there is so far. The rest as in `inference.measure.measure`.
    Raises UserError for a protocol that pooled counts cannot answer, and for nothing to do.
    """
    if not rule.counted:
        raise UserError(
            f"protocol '{rule.name}' does not score pooled counts; choose another, such as --protocol pooled."
        )
    if not chosen or not names or not severities:
        raise UserError("nothing to score: at least one picture, one corruption and one severity are needed.")
    groups = tuple(dataset.groups[i] for i in chosen)
    counts = dict(before.counts) if before is not None and before.identity == identity else {}
    wanted = [CLEAN, *(f"{name}.{severity}" for name in dict.fromkeys(names) for severity in sorted(set(severities)))]
    missing = [key for key in wanted if key not in counts]
    total = len(missing) * len(chosen)
    for number, key in enumerate(missing):
        name, _, severity = key.partition(".")
        found = measure(
            segmenter,
            _Chosen(dataset, chosen)
            if key == CLEAN
            else Corrupted(dataset, chosen, name=name, severity=int(severity), seed=seed),
            device=device,
            memory_format="channels_last",
            progress=_shifted(progress, number * len(chosen), total),
        )
        counts[key] = found.counts_NKK
        if key == CLEAN and not rule.without_void(counts[key]).any():
            raise DataError(
                "the chosen pictures have no labelled pixel. Take more with --pictures, or another --split."
            )
        keep(Robustness(identity=identity, rule=rule, groups=groups, counts=counts))
    if not missing:
        keep(Robustness(identity=identity, rule=rule, groups=groups, counts=counts))  # maybe under another protocol
    return Robustness(identity=identity, rule=rule, groups=groups, counts={key: counts[key] for key in wanted})


def _shifted(progress: Progress | None, start: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(start + done, total)


class _Chosen:
    """Some pictures of a data set as they are."""

    def __init__(self, source: Dataset, chosen: Sequence[int]) -> None:
        self.source, self.chosen = source, tuple(chosen)
        self.names: Sequence[str] = tuple(source.names[i] for i in self.chosen)
        self.groups: Sequence[str] = tuple(source.groups[i] for i in self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Any:
        return self.source[self.chosen[index]]
