"""Fully connected CRF: class probabilities that follow the edges of the picture, by mean field.

Every pixel talks to every other one: two pixels that are near and of like colour, or simply near, should have one class.
The mean field starts at the network's probabilities; each iteration filters them with both Gaussians, charges each class
what the other classes around cost it, and normalises.

Source: Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011
(arXiv 1210.5644); as the layer, Zheng et al., "Conditional Random Fields as Recurrent Neural Networks", ICCV 2015 (arXiv
1502.03240). As in the authors' code, kernels are normalised symmetrically, by the square root of each pixel's own sum,
and the sums hold the pixel itself. Chosen here: the defaults, within the ranges that DeepLab v1 searched.

Letters: B batch, K classes, H W pixels, N = H·W.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.models.lattice import DenseFilter, GridFilter, LatticeFilter, PixelFilter, SeparableFilter
from segwright.names import did_you_mean

METHODS = ("fast", "exact")
EXACT_PIXELS = 12_288
"""The largest picture for `exact`: 96×128. It holds N² numbers, 600 MB."""
NARROWEST = 0.5
WIDEST = 1e4
HEAVIEST = 1e3


@dataclass(frozen=True, kw_only=True)
class CrfSettings:
    """Parameters of the CRF. Raises UserError for one that is out of range.

    w_bilateral: weight of the appearance kernel, 0..1000. sigma_xy: its deviation in pixels, sigma_rgb: in grey levels of
    0..255; both 0.5 to 10 000. w_gaussian: weight of the smoothness kernel. sigma_gaussian: its deviation in pixels.
    iterations: of the mean field, 1..100. compatibility: K rows of K numbers, what class k pays for class l beside it;
    None for Potts's, 1 for any other class. method: `fast`, or `exact` for pictures of at most EXACT_PIXELS.
    """

    w_bilateral: float = 5.0
    sigma_xy: float = 60.0
    sigma_rgb: float = 10.0
    w_gaussian: float = 3.0
    sigma_gaussian: float = 3.0
    iterations: int = 10
    compatibility: tuple[tuple[float, ...], ...] | None = None
    method: str = "fast"

    def __post_init__(self) -> None:
        for key, low, high in (
            *((f"w_{name}", 0.0, HEAVIEST) for name in ("bilateral", "gaussian")),
            *((f"sigma_{name}", NARROWEST, WIDEST) for name in ("xy", "rgb", "gaussian")),
            ("iterations", 1, 100),
        ):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise UserError(f"crf: {key} is {value!r}; allowed are numbers from {low:g} to {high:g}.")
        if not isinstance(self.iterations, int):
            raise UserError(f"crf: iterations is {self.iterations!r}; it takes a whole number, such as 10.")
        if self.method not in METHODS:
            raise UserError(f"crf: method is {self.method!r}; allowed are {' or '.join(METHODS)}.")
        if self.compatibility is not None:
            _check_matrix(self.compatibility)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` takes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CrfSettings:
        """Settings of plain data, such as a crf.json's. Raises UserError for an unknown key or a wrong value."""
        known = [field.name for field in fields(cls)]
        for key in content:
            if key not in known:
                raise UserError(
                    f"crf: '{key}' is no parameter{did_you_mean(key, known)} Allowed are {', '.join(known)}."
                )
        given = dict(content)
        if (rows := given.get("compatibility")) is not None:
            if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) for row in rows):
                raise UserError(f"crf: compatibility is {rows!r}; it takes K rows of K numbers, or null.")
            given["compatibility"] = tuple(tuple(row) for row in rows)
        return cls(**given)

    def __str__(self) -> str:
        parts = [f"{key} {getattr(self, key):g}" for key in ("w_bilateral", "sigma_xy", "sigma_rgb")]
        parts += [f"{key} {getattr(self, key):g}" for key in ("w_gaussian", "sigma_gaussian")]
        parts += [f"{self.iterations} iterations"] + ["own compatibility"] * (self.compatibility is not None)
        return ", ".join(parts + ["exact"] * (self.method == "exact"))


def bilateral_kernel(image_3HW: Tensor, settings: CrfSettings) -> PixelFilter:
    """Near and of like colour. image_3HW: uint8, or float in 0..255, RGB. Raises UserError where `exact` is too large."""
    _, height, width = image_3HW.shape
    device = image_3HW.device
    if settings.method == "exact" and height * width > EXACT_PIXELS:
        raise UserError(
            f"crf: exact sums are for pictures of at most {EXACT_PIXELS} pixels; this one is {height}×{width}. Take "
            "method fast."
        )
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    place_N2 = torch.stack([columns, rows], -1).reshape(-1, 2).float() / settings.sigma_xy
    color_N3 = image_3HW.detach().reshape(3, -1).T.float() / settings.sigma_rgb
    features_N5 = torch.cat([place_N2, color_N3], 1)
    return (DenseFilter if settings.method == "exact" else LatticeFilter)(features_N5).normalise()


def gaussian_kernel(image_3HW: Tensor, settings: CrfSettings) -> PixelFilter:
    """Near, whatever the colour."""
    _, height, width = image_3HW.shape
    kind = SeparableFilter if settings.method == "exact" else GridFilter
    return kind(height, width, settings.sigma_gaussian, image_3HW.device).normalise()


def refine(logits_KHW: Tensor, image_3HW: Tensor, settings: CrfSettings) -> Tensor:
    """The mean field's class probabilities: float32 [K, H, W], 1 in sum; those of the scores where both weights are 0.

    logits_KHW: float, unnormalised scores; image_3HW: uint8, or float in 0..255, RGB, of the same size. The
    same numbers for any count of threads.
    Raises UserError for a compatibility matrix of another number of classes, and for a picture too large for `exact`.
    """
    with torch.no_grad(), torch.autocast(logits_KHW.device.type, enabled=False):
        return _mean_field(logits_KHW, image_3HW, settings)


def _mean_field(logits_KHW: Tensor, image_3HW: Tensor, settings: CrfSettings) -> Tensor:
    classes, height, width = logits_KHW.shape
    compatibility = None if settings.compatibility is None else _matrix(settings.compatibility, classes, logits_KHW)
    kernels = [
        (weight, make(image_3HW, settings))
        for weight, make in ((settings.w_bilateral, bilateral_kernel), (settings.w_gaussian, gaussian_kernel))
        if weight
    ]
    unary_NK = logits_KHW.float().reshape(classes, -1).T.contiguous()
    probs_NK = unary_NK.softmax(1)
    scores_NK = torch.empty_like(unary_NK)  # fresh memory in each iteration would take a tenth of the time
    for _ in range(settings.iterations if kernels else 0):
        if compatibility is None:
            # Potts: to pay for all other classes is, but for a number common to all, to be paid for one's own.
            scores_NK.copy_(unary_NK)
            for weight, kernel in kernels:
                scores_NK.add_(kernel(probs_NK), alpha=weight)
        else:
            message_NK = sum((weight * kernel(probs_NK) for weight, kernel in kernels), torch.zeros(()))
            torch.sub(unary_NK, message_NK @ compatibility.T, out=scores_NK)
        torch.softmax(scores_NK, 1, out=probs_NK)
    return probs_NK.T.reshape(classes, height, width)


class CrfLayer(nn.Module):
    """The mean field as a layer that learns (CRF-RNN): the weights of both kernels by class, and the compatibility.

    settings: where it starts, with 5 iterations as its authors trained it. The deviations stay as they are.
    Works on CPU and GPU; gradients flow to the scores and the parameters, not to the picture.
    Raises UserError for a compatibility matrix of another number of classes.
    """

    def __init__(self, num_classes: int, *, settings: CrfSettings | None = None) -> None:
        super().__init__()
        self.settings = CrfSettings(iterations=5) if settings is None else settings
        self.bilateral_K = nn.Parameter(torch.full((num_classes,), float(self.settings.w_bilateral)))
        self.gaussian_K = nn.Parameter(torch.full((num_classes,), float(self.settings.w_gaussian)))
        start = self.settings.compatibility
        like = self.bilateral_K.detach()
        potts = 1 - torch.eye(num_classes)
        self.compatibility_KK = nn.Parameter(potts if start is None else _matrix(start, num_classes, like))

    def forward(self, logits_BKHW: Tensor, image_B3HW: Tensor) -> Tensor:
        """Scores after the mean field, float32 [B, K, H, W]: their softmax are its probabilities.

        logits_BKHW: float [B, K, H, W]. image_B3HW: [B, 3, H, W] of the same size, RGB in 0..255.
        """
        return torch.stack([self._one(*pair) for pair in zip(logits_BKHW, image_B3HW, strict=True)])

    def _one(self, logits_KHW: Tensor, image_3HW: Tensor) -> Tensor:
        kernels = [make(image_3HW, self.settings) for make in (bilateral_kernel, gaussian_kernel)]
        unary_NK = logits_KHW.flatten(1).T
        unary_NK = unary_NK if unary_NK.dtype == torch.float64 else unary_NK.float()
        scores_NK = unary_NK
        with torch.autocast(logits_KHW.device.type, enabled=False):
            for _ in range(self.settings.iterations):
                probs_NK = scores_NK.softmax(1)
                messages = [kernel(probs_NK) for kernel in kernels]
                message_NK = messages[0] * self.bilateral_K + messages[1] * self.gaussian_K
                scores_NK = unary_NK - message_NK @ self.compatibility_KK.T
        return scores_NK.T.reshape(logits_KHW.shape)


class CrfHead(nn.Module):
    """A CrfLayer behind a network: its scores brought to the picture's size, and the picture to 0..255.

    The picture it gets is normalised; colours are only compared, so ImageNet's deviations stand for the model's own.
    """

    levels: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.crf = CrfLayer(num_classes)
        self.register_buffer("levels", 255 * torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, logits_BKhw: Tensor, image_BCHW: Tensor) -> Tensor:
        """float [B, K, h, w] and normalised [B, 3, H, W] -> float32 [B, K, H, W]."""
        scores = F.interpolate(logits_BKhw.float(), size=image_BCHW.shape[-2:], mode="bilinear", align_corners=False)
        found: Tensor = self.crf(scores, image_BCHW.float() * self.levels)
        return found


def _matrix(rows: tuple[tuple[float, ...], ...], classes: int, like: Tensor) -> Tensor:
    if len(rows) != classes:
        raise UserError(f"crf: compatibility has {len(rows)} rows and the model {classes} classes. Give a row a class.")
    return torch.tensor(rows, dtype=torch.float32, device=like.device)


def _check_matrix(rows: tuple[tuple[float, ...], ...]) -> None:
    numbers = [value for row in rows for value in row]
    if any(len(row) != len(rows) for row in rows) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers
    ):
        raise UserError("crf: compatibility is not K rows of K finite numbers.")
