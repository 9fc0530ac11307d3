"""Segmentation nets of torchvision: DeepLabV3, FCN and Lite R-ASPP.

Source: TorchVision maintainers, "TorchVision: PyTorch's Computer Vision library", BSD-3-Clause. DeepLabV3 is Chen et al.
2017 (arXiv 1706.05587), FCN Long et al. 2015 (arXiv 1411.4038) on dilated ResNets, Lite R-ASPP Howard et al. 2019 (arXiv
1905.02244).

Letters: B batch, C channels, H W pixels, K classes, h w reduced sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.card import Entry, ModelCard
from segwright.models.external.fitting import first_line, never_used
from segwright.models.foreign import read_foreign
from segwright.models.layouts import match_tensors
from segwright.names import did_you_mean


class Choice(NamedTuple):
    """One architecture: stride of its deepest layer, and names of torchvision's weights of it and its backbone."""

    stride: int
    whole: str
    backbone: str


ARCHITECTURES = {
    "deeplabv3_resnet50": Choice(8, "DeepLabV3_ResNet50_Weights", "ResNet50_Weights"),
    "deeplabv3_resnet101": Choice(8, "DeepLabV3_ResNet101_Weights", "ResNet101_Weights"),
    "deeplabv3_mobilenet_v3_large": Choice(16, "DeepLabV3_MobileNet_V3_Large_Weights", "MobileNet_V3_Large_Weights"),
    "fcn_resnet50": Choice(8, "FCN_ResNet50_Weights", "ResNet50_Weights"),
    "fcn_resnet101": Choice(8, "FCN_ResNet101_Weights", "ResNet101_Weights"),
    "lraspp_mobilenet_v3_large": Choice(16, "LRASPP_MobileNet_V3_Large_Weights", "MobileNet_V3_Large_Weights"),
}
SHORT = {"imagenet": "IMAGENET1K_V1", "coco": "COCO_WITH_VOC_LABELS_V1"}


class TorchvisionNet(nn.Module):
    """A segmentation net of torchvision.

    architecture: deeplabv3_resnet50, deeplabv3_resnet101, deeplabv3_mobilenet_v3_large, fcn_resnet50, fcn_resnet101 or
    lraspp_mobilenet_v3_large.
    auxiliary: in training, a further classifier on the last but one stage; not for lraspp.
    weights: None for random ones; "imagenet" (IMAGENET1K_V1) or IMAGENET1K_V2 for the backbone; "coco"
    (COCO_WITH_VOC_LABELS_V1) for the whole net, trained on COCO for the 21 classes of Pascal VOC. Layers with a row a
    class come along for 21 classes, in VOC's order, and start anew for any other number.
    Input: float [B, 3, H, W], normalised, H and W multiples of `stride`. Output: logits [B, K, h, w] at 1/8 (1/16 for
    deeplabv3_mobilenet_v3_large), as torchvision has them before its last enlargement.
    Training takes batches of two or more: DeepLabV3 normalises means over whole pictures.
    Raises UserError for unknown names, and for weights that cannot be had.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        architecture: str = "deeplabv3_resnet50",
        auxiliary: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        from torchvision.models import segmentation

        if architecture not in ARCHITECTURES:
            hint = did_you_mean(architecture, ARCHITECTURES)
            raise UserError(
                f"torchvision: there is no architecture '{architecture}'.{hint} There are: {', '.join(ARCHITECTURES)}."
            )
        given: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": num_classes}
        if not architecture.startswith("lraspp"):
            given["aux_loss"] = auxiliary
        elif auxiliary:
            raise UserError(f"torchvision: {architecture} has no auxiliary head; set auxiliary to false.")
        file = None if weights is None else weights_file(architecture, weights)
        build: Callable[..., nn.Module] = getattr(segmentation, architecture)
        self.net = build(**given)
        self.stride = ARCHITECTURES[architecture].stride
        if file is not None:
            _load(self.net, file, num_classes)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        features: Mapping[str, Tensor] = self.net.backbone(image_BCHW)  # type: ignore[operator]
        classify: Callable[[Any], Tensor] = self.net.classifier  # type: ignore[assignment]
        if "out" not in features:
            return Outputs(classify(features))
        head = getattr(self.net, "aux_classifier", None)
        further = (head(features["aux"]),) if self.training and head is not None else ()
        return Outputs(classify(features["out"]), further)

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """Parameters that no output depends on. The auxiliary head learns in training."""
        never = never_used(self, 2 * self.stride)
        return tuple(name for name in never if not name.startswith("net.aux_classifier."))


def weights_file(architecture: str, weights: str) -> Path:
    """The file of torchvision's weights: from torch.hub's cache, where they are, or from torchvision's server.

    Raises UserError for an unknown name, and where the file cannot be had, saying where to put it.
    """
    from torchvision.models import get_weight

    choice = ARCHITECTURES[architecture]
    known = {w.name: w for name in (choice.backbone, choice.whole) for w in _members(name)}
    name = SHORT.get(weights, weights)
    if name not in known:
        hint = did_you_mean(weights, [*SHORT, *known])
        raise UserError(
            f"torchvision: {architecture} has no weights '{weights}'.{hint} There are: {', '.join([*SHORT, *known])}; "
            "or null to train from scratch."
        )
    owner = choice.backbone if name in {w.name for w in _members(choice.backbone)} else choice.whole
    url = str(get_weight(f"{owner}.{name}").url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        _fetch(url, file, f"{owner}.{name}")
    return file


def _members(name: str) -> list[Any]:
    from torchvision import models
    from torchvision.models import segmentation

    return list(getattr(segmentation if hasattr(segmentation, name) else models, name))


def _fetch(url: str, file: Path, what: str) -> None:
    import urllib.request

    digest = file.stem.rpartition("-")[2]
    try:
        urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=5
        ).close()  # the download waits forever
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), hash_prefix=digest, progress=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"torchvision's {what} cannot be had: {file} does not exist, and {url} does not answer "
            f"({first_line(error)}). Connect, or get that file on another machine and put it there (TORCH_HOME moves "
            "the folder), or train from scratch (weights: null)."
        ) from error


def _load(net: nn.Module, file: Path, num_classes: int) -> None:
    """Put the file's tensors into the net or its backbone. Only layers with a row a class may stay as they are."""
    found = read_foreign(file).tensors
    whole = any(name.startswith("backbone.") for name in found)
    part: nn.Module = net if whole else net.backbone  # type: ignore[assignment]
    if not whole:  # a classifier of pictures: torchvision keeps the layers that the features need
        names = part.state_dict().keys()
        found = {new: t for name, t in found.items() if (new := name.removeprefix("features.")) in names}
    elif getattr(net, "aux_classifier", None) is None:
        found = {name: t for name, t in found.items() if not name.startswith("aux_classifier.")}
    state, report = match_tensors(part.state_dict(), found)
    others = [n for n, (_, shape) in report.mismatched.items() if shape[0] != num_classes]
    if report.missing or report.unexpected or others:
        raise UserError(f"{file} does not fit {type(net).__name__}. Is it the file of these weights?\n{report.table()}")
    part.load_state_dict(state, strict=False)


ENTRIES = {
    "torchvision": Entry(
        TorchvisionNet,
        ModelCard(
            description="torchvision's DeepLabV3, FCN and Lite R-ASPP (args: architecture, weights)",
            paper="Chen et al. 2017, arXiv 1706.05587; Howard et al. 2019, arXiv 1905.02244",
            licence="BSD-3-Clause",
            published=(
                "COCO val in VOC's classes 67.4 (deeplabv3_resnet101, torchvision)",
                "COCO val in VOC's classes 66.4 (deeplabv3_resnet50, torchvision)",
                "COCO val in VOC's classes 57.9 (lraspp_mobilenet_v3_large, torchvision)",
            ),
            initial_weights=("weights",),
            fixed=False,
        ),
    )
}
