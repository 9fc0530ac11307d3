"""Gaussian filters over the pixels of a picture: the sums that a fully connected CRF needs, in linear time.

`LatticeFilter` weighs pixels by place and colour on a permutohedral lattice: each pixel is spread over the six corners of
the simplex that its five features lie in, the corners are blurred along the lattice's six directions, and read back.
`GridFilter` weighs by place alone, on a grid that is coarser than the pixels where the Gaussian is wide. `DenseFilter`
and `SeparableFilter` are the exact sums of the two, for small pictures.
Each is a linear map of values [N, C], differentiable in them; none has anything to learn.

Source: Adams, Baek & Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010; the
sums as in Krähenbühl & Koltun 2011 (arXiv 1210.5644), a pixel's own value included.
Letters: N pixels, C channels of values, D features, M corners, E spread weights, A directions, H W pixels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

TAILS = 4.0
"""Deviations at which the Gaussian of a grid ends: less than 0.01 % lies beyond."""
COARSE = 1.5
"""Deviation of the Gaussian on a grid, in its cells, at least; finer cells are taken for narrower ones."""


class PixelFilter(ABC):
    """A linear map of values at pixels whose kernel is Gaussian: float [N, C] -> [N, C]."""

    pixels: int
    device: torch.device

    @abstractmethod
    def apply(self, values_NC: Tensor) -> Tensor:
        """The filtered values."""

    @abstractmethod
    def apply_transposed(self, values_NC: Tensor) -> Tensor:
        """The map of gradients."""

    @abstractmethod
    def scale(self, factor_N1: Tensor) -> None:
        """Multiply what goes in and what comes out by these from now on."""

    def normalise(self) -> PixelFilter:
        """Divide the kernel of each pair by the square roots of both pixels' sums; returns itself."""
        ones_N1 = torch.ones(self.pixels, 1, device=self.device)
        self.scale(self.apply(ones_N1).clamp_min(1e-20).rsqrt())
        return self

    def __call__(self, values_NC: Tensor) -> Tensor:
        """The filtered values; gradients flow back to the values."""
        return cast(Tensor, _Filtering.apply(values_NC, self))


class _Filtering(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values_NC: Tensor, one: PixelFilter) -> Tensor:
        ctx.one = one
        return one.apply(values_NC)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.one.apply_transposed(grads[0].contiguous()), None


class DenseFilter(PixelFilter):
    """The exact sum over all pairs of pixels, N² numbers: exp(-|f_i - f_j|² / 2) for features [N, D]."""

    def __init__(self, features_ND: Tensor) -> None:
        self.pixels, self.device = len(features_ND), features_ND.device
        squares_NN = torch.cdist(features_ND, features_ND, compute_mode="donot_use_mm_for_euclid_dist").square_()
        self.kernel_NN = squares_NN.mul_(-0.5).exp_()

    def apply(self, values_NC: Tensor) -> Tensor:
        return self.kernel_NN.to(values_NC.dtype) @ values_NC

    apply_transposed = apply

    def scale(self, factor_N1: Tensor) -> None:
        self.kernel_NN.mul_(factor_N1).mul_(factor_N1.T)


class SeparableFilter(PixelFilter):
    """The exact sum of a Gaussian of the place alone, rows and then columns, without an end. sigma: in pixels."""

    def __init__(self, height: int, width: int, sigma: float, device: torch.device) -> None:
        self.size, self.pixels, self.device = (height, width), height * width, device
        self.factor_N1: Tensor | None = None
        self.kernels = [_gaussian_matrix(side, sigma, device) for side in self.size]

    def apply(self, values_NC: Tensor) -> Tensor:
        rows, columns = (kernel.to(values_NC.dtype) for kernel in self.kernels)
        planes_HWC = _times(values_NC, self.factor_N1).view(*self.size, -1)
        found_HWC = torch.einsum("ab,bwc,wd->adc", rows, planes_HWC, columns)
        return _times(found_HWC.reshape(values_NC.shape), self.factor_N1)

    apply_transposed = apply

    def scale(self, factor_N1: Tensor) -> None:
        self.factor_N1 = factor_N1


class Spread:
    """A sparse matrix [M, N] of E weights, as two tables: by corner, for spreading, and by pixel, for reading back."""

    def __init__(self, corner_NA: Tensor, weight_NA: Tensor, corners: int, order_E: Tensor | None = None) -> None:
        per_pixel = corner_NA.shape[1]
        self.corner_NA, self.weight_NA = corner_NA.int(), weight_NA.contiguous()
        if order_E is None:
            order_E = corner_NA.reshape(-1).argsort(stable=True)
        self.pixel_E = torch.div(order_E.int(), per_pixel, rounding_mode="floor")
        self.weight_E = weight_NA.reshape(-1)[order_E]
        counts_M = torch.bincount(corner_NA.reshape(-1), minlength=corners)
        self.start_M = F.pad(counts_M.cumsum(0)[:-1], (1, 0)).int()

    def scale(self, factor_N1: Tensor) -> None:
        """Multiply every pixel's weights by its factor."""
        self.weight_NA = self.weight_NA * factor_N1
        self.weight_E = self.weight_E * factor_N1[self.pixel_E, 0]

    def spread(self, values_NC: Tensor) -> Tensor:
        """[N, C] -> [M, C]."""
        return F.embedding_bag(
            self.pixel_E,
            values_NC,
            self.start_M,
            mode="sum",
            per_sample_weights=self.weight_E.to(values_NC.dtype),
        )

    def read(self, values_MC: Tensor) -> Tensor:
        """[M, C] -> [N, C]."""
        return F.embedding_bag(
            self.corner_NA, values_MC, mode="sum", per_sample_weights=self.weight_NA.to(values_MC.dtype)
        )


class GridFilter(PixelFilter):
    """A Gaussian of the place on a grid: pixels are spread over the nearest cells, blurred there, and read back.

    sigma: in pixels. Spreading and reading widen the Gaussian; the blur is narrower by as much.
    """

    def __init__(self, height: int, width: int, sigma: float, device: torch.device) -> None:
        self.pixels, self.device = height * width, device
        self.factor_N1: Tensor | None = None  # where there is no spreading that could hold it
        self.step = max(1, int(sigma / COARSE))
        # A hat of half-width s has the variance s²/6 in continuous space, (s² - 1)/6 on whole pixels.
        variance = sigma**2 - 2 * (self.step**2 - 1) / 6
        self.sigma = math.sqrt(variance) / self.step
        self.cells = (-(-(height - 1) // self.step) + 1, -(-(width - 1) // self.step) + 1)
        radius = math.ceil(TAILS * self.sigma)
        self.taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=device) / self.sigma) ** 2)
        self.spreading = None if self.step == 1 else self._spread(height, width, device)

    def _spread(self, height: int, width: int, device: torch.device) -> Spread:
        low, share = [], []
        for side in (height, width):
            place = torch.arange(side, device=device)
            low.append(torch.div(place, self.step, rounding_mode="floor"))
            share.append((place % self.step) / self.step)
        corners, weights = [], []
        for down in (0, 1):
            for right in (0, 1):
                rows = (low[0] + down).clamp_max(self.cells[0] - 1)  # beyond the last cell the share is 0
                columns = (low[1] + right).clamp_max(self.cells[1] - 1)
                corners.append(rows[:, None] * self.cells[1] + columns)
                weights.append((share[0] if down else 1 - share[0])[:, None] * (share[1] if right else 1 - share[1]))
        corner_NA, weight_NA = (torch.stack(parts, -1).reshape(height * width, 4) for parts in (corners, weights))
        return Spread(corner_NA, weight_NA, self.cells[0] * self.cells[1])

    def apply(self, values_NC: Tensor) -> Tensor:
        if self.spreading is None:
            return _times(self._blur(_times(values_NC, self.factor_N1)), self.factor_N1)
        return self.spreading.read(self._blur(self.spreading.spread(values_NC)))

    apply_transposed = apply

    def scale(self, factor_N1: Tensor) -> None:
        if self.spreading is None:
            self.factor_N1 = factor_N1
        else:
            self.spreading.scale(factor_N1)

    def _blur(self, cells_MC: Tensor) -> Tensor:
        channels = cells_MC.shape[1]
        planes = cells_MC.view(1, *self.cells, channels).permute(0, 3, 1, 2)  # channels last in memory
        taps = self.taps.to(cells_MC.dtype)
        half = len(taps) // 2
        planes = F.conv2d(planes, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), padding=(half, 0), groups=channels)
        planes = F.conv2d(planes, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), padding=(0, half), groups=channels)
        return planes.permute(0, 2, 3, 1).reshape(-1, channels)


class LatticeFilter(PixelFilter):
    """A Gaussian of the features [N, D], each in units of its own deviation, on a permutohedral lattice.

    corners: how many of the lattice's corners the pixels touch; time and memory follow it.
    """

    def __init__(self, features_ND: Tensor) -> None:
        self.pixels, self.device = len(features_ND), features_ND.device
        with torch.no_grad():
            code_NA, weight_NA, strides = _simplex(features_ND.float())
            sorted_E, order_E = code_NA.reshape(-1).sort(stable=True)
            fresh_E = F.pad(sorted_E[1:] != sorted_E[:-1], (1, 0), value=True)
            touched_M = sorted_E[fresh_E]
            code_M = _with_surroundings(touched_M, strides)
            self.corners = len(code_M)
            corner_E = torch.empty_like(sorted_E)
            corner_E[order_E] = torch.searchsorted(code_M, touched_M)[fresh_E.cumsum(0) - 1]
            self.spreading = Spread(corner_E.view_as(code_NA), weight_NA, self.corners, order_E)
            self.neighbours = _neighbours(code_M, strides)

    def apply(self, values_NC: Tensor) -> Tensor:
        return self.spreading.read(self._blur(self.spreading.spread(values_NC), self.neighbours))

    def apply_transposed(self, values_NC: Tensor) -> Tensor:
        return self.spreading.read(self._blur(self.spreading.spread(values_NC), self.neighbours[::-1]))

    def scale(self, factor_N1: Tensor) -> None:
        self.spreading.scale(factor_N1)

    def _blur(self, values_MC: Tensor, neighbours: list[Tensor]) -> Tensor:
        """A quarter, a half, a quarter along each direction in turn; corners that no pixel touches hold nothing."""
        weights = values_MC.new_tensor([0.5, 0.25, 0.25]).expand(self.corners, 3)
        for near_M3 in neighbours:
            padded = F.pad(values_MC, (0, 0, 0, 1))
            values_MC = F.embedding_bag(near_M3, padded, mode="sum", per_sample_weights=weights)
        return values_MC


def _simplex(features_ND: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """The D+1 corners around each point: their codes int64 [N, D+1], their weights [N, D+1], and the codes' strides.

    A corner is its remainder r = 0..D and whole coordinates q; its code is r + (D+1)·Σ strides[i]·q[i] over the first D.
    """
    size, count = features_ND.shape
    axes, device = count + 1, features_ND.device
    place_D1 = torch.arange(1, axes, device=device, dtype=features_ND.dtype)[:, None]
    # Blurring by ¼ ½ ¼, spreading and reading together have the deviation sqrt(3/2)/(D+1) of the lattice's cells.
    scaled_DN = features_ND.T * (axes * math.sqrt(2 / 3) / (place_D1 * (place_D1 + 1)).sqrt())
    lifted_AN = F.pad(scaled_DN.flip(0).cumsum(0).flip(0), (0, 0, 0, 1))
    lifted_AN[1:] -= place_D1 * scaled_DN
    base_AN = (lifted_AN / axes).round().int()
    rest_AN = lifted_AN - axes * base_AN
    rank_AN = base_AN.sum(0, dtype=torch.int32).repeat(axes, 1)
    for i in range(axes):
        for j in range(i + 1, axes):
            smaller_N = rest_AN[i] < rest_AN[j]
            rank_AN[i] += smaller_N
            rank_AN[j] += ~smaller_N
    shift_AN = (rank_AN < 0).int() - (rank_AN > count).int()
    base_AN += shift_AN
    rank_AN += axes * shift_AN
    share_AN = (lifted_AN - axes * base_AN) / axes
    weights = torch.zeros(axes + 1, size, device=device)
    weights.scatter_add_(0, (count - rank_AN).long(), share_AN).scatter_add_(0, (axes - rank_AN).long(), -share_AN)
    weights[0] += 1 + weights[axes]
    base_DN, rank_DN = base_AN[:count], rank_AN[:count]
    lowest_D1 = base_DN.amin(1, keepdim=True) - 4  # room for the neighbours of the outermost corners
    spans = (base_DN.amax(1) - lowest_D1[:, 0] + 5).tolist()
    strides = [math.prod(spans[:i]) for i in range(count)]
    code_AN = torch.empty(axes, size, dtype=torch.int64, device=device)
    code_AN[0] = sum(axes * strides[i] * (base_DN[i] - lowest_D1[i]).long() for i in range(count))
    for r in range(1, axes):  # a corner lowers the coordinates of one more axis than the corner before it
        code_AN[r] = code_AN[r - 1] + 1
        for i in range(count):
            code_AN[r] -= axes * strides[i] * (rank_DN[i] == count - r + 1)
    return code_AN.T.contiguous(), weights[:axes].clamp_min_(0).T.contiguous(), strides


def _with_surroundings(code_M: Tensor, strides: list[int]) -> Tensor:
    """The corners and those next to them, sorted: without these, a blur loses what would pass through them."""
    around = [_next(code_M, strides, axis, back) for axis in range(len(strides) + 1) for back in (True, False)]
    return torch.cat([code_M, *around]).unique()


def _next(code_M: Tensor, strides: list[int], axis: int, back: bool) -> Tensor:
    """The codes of the corners before (or after) these in one direction."""
    axes = len(strides) + 1
    own = strides[axis] if axis < len(strides) else 0
    if back:  # every coordinate one less but one that is D more; remainder 0 becomes D
        return torch.where(code_M % axes == 0, code_M + axes - 1 + axes * (own - sum(strides)), code_M - 1 + axes * own)
    return torch.where(
        code_M % axes == axes - 1, code_M + 1 - axes + axes * (sum(strides) - own), code_M + 1 - axes * own
    )


def _neighbours(code_M: Tensor, strides: list[int]) -> list[Tensor]:
    """For each direction int32 [M, 3]: a corner, the one before it and the one after it; M where nothing is."""
    corners = len(code_M)
    own_M = torch.arange(corners, device=code_M.device)
    found = []
    for axis in range(len(strides) + 1):
        wanted_M = _next(code_M, strides, axis, back=True)
        place_M = torch.searchsorted(code_M, wanted_M).clamp_max(corners - 1)
        hit_M = code_M[place_M] == wanted_M
        before_M = place_M.where(hit_M, corners)
        after_M = torch.full_like(own_M, corners)
        after_M[place_M[hit_M]] = own_M[hit_M]
        found.append(torch.stack([own_M, before_M, after_M], 1).int())
    return found


def _times(values_NC: Tensor, factor_N1: Tensor | None) -> Tensor:
    return values_NC if factor_N1 is None else values_NC * factor_N1.to(values_NC.dtype)


def _gaussian_matrix(side: int, sigma: float, device: torch.device) -> Tensor:
    place = torch.arange(side, device=device, dtype=torch.float32)
    return torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
