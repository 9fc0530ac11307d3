"""Named scoring definitions: the same predictions give different "mIoU" under each, so every number names its own.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.labels import LabelSpace, load_label_space
from segwright.metrics.scores import Floats, Scores, mean_defined, mean_in_order
from segwright.names import did_you_mean

MeanOver = Literal["union", "truth", "all"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How scores are made of pooled counts, and what else an official script measures.

    sentence: the definition in one sentence, printed beside every number. source: where it comes from.
    mean_over: which classes the mean counts: `union`, those in truth or prediction; `truth`, those with true pixels;
    `all`, every class, and one without true pixels counts 0.
    headline: the numbers that this protocol reports of pooled counts, by name.
    spaces: shipped label spaces whose classes it scores; empty when any will do.
    measure: the Measure that gives what counts alone cannot say. instances: that measure wants instance maps.
    counted: False when no score of this protocol is a function of pooled counts: its measure says them all.
    in_order: whether the mean adds class by class, as scripts in plain Python do; NumPy's last bits differ from theirs.
    void: ids of the classes that count nowhere, see `for_space`.
    """

    name: str
    title: str
    sentence: str
    source: str
    mean_over: MeanOver = "union"
    headline: Mapping[str, Callable[[Protocol, Scores], float]] = field(
        default_factory=lambda: {"mIoU": Protocol.mean_iou}
    )
    spaces: tuple[str, ...] = ()
    measure: str | None = None
    instances: bool = False
    counted: bool = True
    in_order: bool = False
    void: tuple[int, ...] = ()

    @property
    def all_classes(self) -> bool:
        """Whether the mean divides by the number of classes."""
        return self.mean_over == "all"

    def check(self, space: LabelSpace) -> None:
        """Raises UserError when this protocol does not score the classes of a label space."""
        if self.spaces and not any(set(space.class_names) == _names(name) for name in self.spaces):
            raise UserError(
                f"protocol '{self.name}' scores the classes of {_either(self.spaces)}, but label space '{space.name}' "
                f"has others ({', '.join(space.class_names[:4])}, …). Choose another protocol, such as pooled, or a "
                f"space that fits: --labels {self.spaces[0]} in `segwright evaluate`, score_labels in a recipe."
            )

    def for_space(self, space: LabelSpace) -> Protocol:
        """This protocol for the classes of a space: classes that the official script ignores are then `void`."""
        if not self.spaces or not _names(self.spaces[0]) < set(space.class_names):
            return self
        scored = _names(self.spaces[0])
        return replace(self, void=tuple(k for k, name in enumerate(space.class_names) if name not in scored))

    def without_void(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts [..., K, K] without the pixels whose truth is void here; the same array where no class is void."""
        if not self.void:
            return counts
        kept = counts.copy()
        kept[..., list(self.void), :] = 0
        return kept

    def counting(self, iou: Floats, truth: NDArray[Any]) -> Floats:
        """IoU and true pixels [..., K] -> IoU of the classes that the mean counts, NaN for the others."""
        if not self.counted:
            return np.full_like(iou, np.nan)
        if self.mean_over != "union":
            iou = np.where(truth > 0, iou, 0.0 if self.all_classes else np.nan)
        if self.void:
            iou = iou.copy()
            iou[..., list(self.void)] = np.nan
        return iou

    def iou(self, scores: Scores) -> Floats:
        """IoU of each class under this protocol, float64 [K]; NaN where a class counts in no mean."""
        return self.counting(scores.iou, scores.support)

    def mean_iou(self, scores: Scores) -> float:
        """mIoU, 0..1; NaN when no pixel is labelled, and where counts do not say it (`counted`)."""
        return self._mean(self.iou(scores)) if scores.pixels else float("nan")

    def mean_accuracy(self, scores: Scores) -> float:
        """Class-average accuracy, 0..1; NaN when no pixel is labelled."""
        if not scores.pixels:
            return float("nan")
        return self._mean(np.nan_to_num(scores.recall) if self.all_classes else scores.recall)

    def left_out(self, scores: Scores) -> tuple[int, ...]:
        """Ids of the classes that the mean does not count."""
        return tuple(np.flatnonzero(np.isnan(self.iou(scores))).tolist())

    def numbers(self, scores: Scores) -> dict[str, float]:
        """The headline numbers by name, 0..1; NaN where undefined."""
        return {name: number(self, scores) for name, number in self.headline.items()}

    def _mean(self, values: Floats) -> float:
        return mean_in_order(values) if self.in_order else mean_defined(values)


@cache
def _names(space: str) -> frozenset[str]:
    return frozenset(load_label_space(space).class_names)


def _either(names: tuple[str, ...]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _accuracy(rule: Protocol, scores: Scores) -> float:
    return scores.accuracy


def _weighted(rule: Protocol, scores: Scores) -> float:
    return scores.weighted_iou


def _challenge(rule: Protocol, scores: Scores) -> float:
    return (scores.accuracy + rule.mean_iou(scores)) / 2


_STREETS = (
    "the pixels of all pictures are counted together at original size on label ids 0 to 33; pixels whose truth is "
    "ignored count nowhere, a prediction of an ignored id is a miss; mIoU is the mean over the evaluated classes (or "
    "categories, in cityscapes7) in truth or prediction; iIoU weighs each true instance by average size ÷ own size"
)

_ALL = (
    Protocol(
        name="pooled",
        title="pooled mIoU",
        sentence=(
            "pooled: the pixels of all pictures are counted together at original size, void pixels are ignored, and "
            "mIoU is the mean over the classes present in truth or prediction."
        ),
        source="the usual definition; class IoU as in cityscapesScripts, evalPixelLevelSemanticLabeling.py",
    ),
    Protocol(
        name="camvid",
        title="mIoU of SegNet's CamVid script",
        sentence=(
            "camvid: the pixels of all pictures are counted together at original size, void pixels are ignored, and "
            "mIoU divides by the number of all classes: one without true pixels counts 0. The script's boundary F, at "
            "0.0075 of the diagonal, is in the measure boundary."
        ),
        source="SegNet-Tutorial, compute_test_results.m",
        mean_over="all",
        headline={"global accuracy": _accuracy, "class average": Protocol.mean_accuracy, "mIoU": Protocol.mean_iou},
    ),
    Protocol(
        name="cityscapes",
        title="Cityscapes: IoU, iIoU, category IoU and iIoU",
        sentence=f"cityscapes: {_STREETS}.",
        source="cityscapesScripts, evalPixelLevelSemanticLabeling.py",
        spaces=("cityscapes19", "cityscapes34", "cityscapes7"),
        measure="cityscapes",
        instances=True,
        in_order=True,
    ),
    Protocol(
        name="kitti",
        title="KITTI semantic benchmark: as Cityscapes",
        sentence=f"kitti: as cityscapes, {_STREETS}.",
        source="cvlibs.net, semantic segmentation benchmark: metrics conform with Cityscapes",
        spaces=("kitti19", "cityscapes34", "cityscapes7"),
        measure="cityscapes",
        instances=True,
        in_order=True,
    ),
    Protocol(
        name="voc",
        title="PASCAL VOC mean IoU",
        sentence=(
            "voc: the pixels of all pictures are counted together at original size, border pixels (255) are ignored, "
            "and mIoU is the mean over the 21 classes, background included, that are in truth or prediction."
        ),
        source="PASCAL VOC 2012 development kit, VOCevalseg.m",
        spaces=("voc21",),
    ),
    Protocol(
        name="ade20k",
        title="ADE20K scene parsing: pixel accuracy, mean IoU and their mean",
        sentence=(
            "ade20k: the pixels of all pictures are counted together at original size, unlabelled pixels are ignored, "
            "mIoU divides by all 150 classes (one without true pixels counts 0), and the challenge's score is the mean "
            "of pixel accuracy and mIoU."
        ),
        source="CSAILVision/sceneparsing, evaluationCode (utils_eval.py, demoEvaluation.m)",
        mean_over="all",
        headline={"pixel accuracy": _accuracy, "mIoU": Protocol.mean_iou, "score": _challenge},
        spaces=("ade150",),
    ),
    Protocol(
        name="cocostuff",
        title="COCO-Stuff: mean IoU, frequency-weighted IoU, accuracies",
        sentence=(
            "cocostuff: the pixels of all pictures are counted together at original size, unlabelled pixels are "
            "ignored, and means are over the classes with true pixels only."
        ),
        source="nightrome/cocostuff, README and evaluation code",
        mean_over="truth",
        headline={
            "mIoU": Protocol.mean_iou,
            "frequency-weighted IoU": _weighted,
            "mean accuracy": Protocol.mean_accuracy,
            "pixel accuracy": _accuracy,
        },
        spaces=("cocostuff171",),
    ),
    Protocol(
        name="suim-8",
        title="SUIM, pooled mIoU over 8 classes",
        sentence=(
            "suim-8: the pixels of all pictures are counted together at original size, and mIoU is the mean over those "
            "of the 8 exclusive classes that are in truth or prediction. Not the paper's number, which is suim-paper."
        ),
        source="eight classes as in Islam et al., IROS 2020; pooled as is usual",
        spaces=("suim8",),
    ),
    Protocol(
        name="suim-paper",
        title="SUIM as its paper scores: 5 masks at 320×240, mean over pictures",
        sentence=(
            "suim-paper: truth and prediction of robot, fish, diver, reef and wreck are resized to 320×240 as binary "
            "masks; IoU and boundary F (0.008 of the diagonal) are means over the pictures whose truth holds the class, "
            "and mIoU is the mean of the five."
        ),
        source="xahidbuffon/SUIM, get_f1_iou.py and utils/measure_utils.py (Islam et al., IROS 2020)",
        headline={},
        spaces=("suim8",),
        measure="suim-paper",
        counted=False,
    ),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({p.name: p for p in _ALL})


def find_protocol(name: str) -> Protocol:
    """A protocol by name. Raises UserError with the nearest name."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    raise UserError(f"unknown protocol '{name}'.{did_you_mean(name, PROTOCOLS)} Known: {', '.join(PROTOCOLS)}.")


def validation_protocol(name: str, space: LabelSpace) -> Protocol:
    """The protocol that a recipe names, for its scored classes. Raises UserError when a training cannot be judged by it."""
    rule = find_protocol(name)
    rule.check(space)
    if not rule.counted:
        raise UserError(
            f"protocol is {name}, which is no function of pixel counts, so validation cannot choose the best model by it. "
            f"Train with protocol=pooled, then: segwright evaluate runs/latest --protocol {name}"
        )
    return rule.for_space(space)
