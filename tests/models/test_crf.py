"""The fully connected CRF: exact sums against two plain loops, the lattice against exact sums, and the layer that learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segwright.contracts import UserError
from segwright.data.streets import render_scene
from segwright.models.crf import CrfLayer, CrfSettings, bilateral_kernel, gaussian_kernel, refine
from segwright.models.deeplab_v1 import DeepLabV1

EXACT = CrfSettings(method="exact")


def street(height: int, width: int, classes: int = 11) -> tuple[Tensor, Tensor]:
    """A drawn street, uint8 [3, H, W], and scores as a coarse network gives them: float [K, H, W]."""
    scene = render_scene(3, height, width)
    truth = torch.from_numpy(scene.label_ids).long() % classes
    seeded = torch.Generator().manual_seed(0)
    coarse = F.avg_pool2d(F.one_hot(truth, classes).permute(2, 0, 1)[None].float(), 8) * 5
    coarse = coarse + torch.randn(coarse.shape, generator=seeded)
    logits = F.interpolate(coarse, size=(height, width), mode="bilinear")[0]
    return torch.from_numpy(scene.image).permute(2, 0, 1).contiguous(), logits + 0.5 * torch.randn(
        logits.shape, generator=seeded
    )


def by_loops(logits: NDArray[np.float64], image: NDArray[np.uint8], settings: CrfSettings) -> NDArray[np.float64]:
    """The mean field as the paper writes it, pair by pair of pixels, in double precision."""
    classes, height, width = logits.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    kernels = np.zeros((2, len(pixels), len(pixels)))
    for i, (row, column) in enumerate(pixels):
        for j, (other, beside) in enumerate(pixels):
            apart = (row - other) ** 2 + (column - beside) ** 2
            color = ((image[:, row, column].astype(float) - image[:, other, beside]) ** 2).sum()
            kernels[0, i, j] = np.exp(-apart / (2 * settings.sigma_xy**2) - color / (2 * settings.sigma_rgb**2))
            kernels[1, i, j] = np.exp(-apart / (2 * settings.sigma_gaussian**2))
    for kernel in kernels:
        roots = np.sqrt(kernel.sum(1))
        kernel /= roots[:, None] * roots
    matrix = 1 - np.eye(classes) if settings.compatibility is None else np.array(settings.compatibility)
    unary = logits.reshape(classes, -1)

    def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        exps = np.exp(scores - scores.max(0))
        return np.asarray(exps / exps.sum(0))

    probs = softmax(unary)
    for _ in range(settings.iterations):
        heard = settings.w_bilateral * probs @ kernels[0] + settings.w_gaussian * probs @ kernels[1]
        probs = softmax(unary - matrix @ heard)
    return probs.reshape(logits.shape)


@pytest.mark.parametrize("compatibility", [None, ((0.0, 1.0, 0.2), (0.5, 0.0, 2.0), (1.0, 0.3, 0.1))])
def test_exact_sums_are_those_of_two_plain_loops(compatibility: tuple[tuple[float, ...], ...] | None) -> None:
    rng = np.random.default_rng(0)
    logits, image = rng.normal(0, 2, (3, 7, 9)), rng.integers(0, 256, (3, 7, 9)).astype(np.uint8)
    settings = replace(
        EXACT, sigma_xy=4.0, sigma_rgb=60.0, sigma_gaussian=1.5, iterations=5, compatibility=compatibility
    )
    found = refine(torch.from_numpy(logits), torch.from_numpy(image), settings)
    np.testing.assert_allclose(found.numpy(), by_loops(logits, image, settings), atol=2e-5)


@pytest.mark.parametrize("change", [{}, {"sigma_rgb": 3.0}, {"sigma_xy": 20.0, "sigma_rgb": 20.0}])
def test_the_lattice_gives_nearly_every_pixel_the_exact_class(change: dict[str, float]) -> None:
    image, logits = street(64, 64)
    settings = CrfSettings(**change)  # type: ignore[arg-type]
    fast, exact = refine(logits, image, settings), refine(logits, image, replace(settings, method="exact"))
    changed = (exact.argmax(0) != logits.argmax(0)).float().mean()
    assert changed > 0.02  # there was something to decide
    assert (fast.argmax(0) == exact.argmax(0)).float().mean() >= 0.99
    assert (fast - exact).abs().mean() < 0.003
    values = logits.flatten(1).T.softmax(1).contiguous()
    kernels = [bilateral_kernel(image, replace(settings, method=method))(values) for method in ("fast", "exact")]
    assert (kernels[0] - kernels[1]).norm() < 0.08 * kernels[1].norm()


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0, 7.0])
def test_the_grid_is_near_the_exact_gaussian_for_any_width(sigma: float) -> None:
    image, values = torch.zeros(3, 23, 31), torch.randn(23 * 31, 4, generator=torch.Generator().manual_seed(1))
    fast, exact = (
        gaussian_kernel(image, CrfSettings(sigma_gaussian=sigma, method=method))(values) for method in ("fast", "exact")
    )
    assert (fast - exact).norm() < 0.06 * exact.norm()


def test_without_weights_the_probabilities_stay() -> None:
    image, logits = street(64, 64)
    for method in ("fast", "exact"):
        found = refine(logits, image, CrfSettings(w_bilateral=0, w_gaussian=0, method=method))
        assert torch.equal(found, logits.flatten(1).T.contiguous().softmax(1).T.reshape(logits.shape))


def test_noisy_scores_of_two_regions_become_two_regions() -> None:
    truth = torch.zeros(60, 80, dtype=torch.int64)
    truth[10:40, 30:70] = 1
    seeded = torch.Generator().manual_seed(0)
    image = torch.tensor([60.0, 180.0])[truth] + 4 * torch.randn(3, 60, 80, generator=seeded)
    logits = F.one_hot(truth, 2).permute(2, 0, 1) + 1.5 * torch.randn(2, 60, 80, generator=seeded)
    before = (logits.argmax(0) == truth).float().mean()
    assert before < 0.75
    for picture in (image, image.clamp(0, 255).to(torch.uint8)):
        found = refine(logits, picture, CrfSettings())
        assert (found.argmax(0) == truth).float().mean() > 0.995
        assert torch.allclose(found.sum(0), torch.ones(60, 80), atol=1e-5)


def test_any_size_and_one_colour_work() -> None:
    for height, width in ((1, 1), (1, 9), (5, 1), (2, 3)):
        image, logits = torch.full((3, height, width), 255, dtype=torch.uint8), torch.randn(3, height, width)
        assert refine(logits, image, CrfSettings()).isfinite().all()
        assert refine(logits, image, CrfSettings(sigma_xy=0.5, sigma_rgb=0.5, sigma_gaussian=0.5)).isfinite().all()


def test_the_numbers_do_not_depend_on_the_count_of_threads() -> None:
    image, logits = street(64, 96)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(refine(logits, image, CrfSettings(iterations=3)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("method", ["fast", "exact"])
def test_gradients_of_the_layer_are_those_of_finite_differences(method: str) -> None:
    seeded = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, 3, 3), generator=seeded)
    start = CrfSettings(iterations=2, sigma_xy=3.0, sigma_rgb=80.0, sigma_gaussian=3.0, method=method)
    layer = CrfLayer(3, settings=start).double()
    names = [name for name, _ in layer.named_parameters()]

    def run(logits: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, given, (logits, image))

    logits = torch.randn(1, 3, 3, 3, generator=seeded, dtype=torch.float64, requires_grad=True)
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, (logits, *parameters), atol=1e-5, fast_mode=method == "fast")


def test_a_new_layer_does_what_refine_does() -> None:
    image, logits = street(64, 64)
    found = CrfLayer(11)(logits[None], image[None])[0].softmax(0)
    assert torch.allclose(found, refine(logits, image, CrfSettings(iterations=5)), atol=1e-4)


def test_a_network_with_the_layer_trains_at_full_size() -> None:
    torch.manual_seed(0)
    network = DeepLabV1(4, width=4, crf=True)
    outputs = network(torch.randn(2, 3, 32, 40))
    assert outputs.logits_BKhw.shape == (2, 4, 32, 40)
    F.cross_entropy(outputs.logits_BKhw, torch.randint(0, 4, (2, 32, 40))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"sigma_rg": 3}, "Did you mean 'sigma_rgb'"),
        ({"sigma_rgb": 0}, "0.5 to 10000"),
        ({"w_gaussian": float("nan")}, "0 to 1000"),
        ({"iterations": 2.5}, "whole number"),
        ({"method": "slow"}, "fast or exact"),
        ({"compatibility": [[0, 1], [1]]}, "K rows"),
        ({"compatibility": 3}, "K rows"),
    ],
)
def test_wrong_parameters_are_named(content: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        CrfSettings.from_dict(content)


def test_what_does_not_fit_is_refused() -> None:
    image, logits = torch.zeros(3, 200, 200), torch.zeros(3, 200, 200)
    with pytest.raises(UserError, match="at most 12288"):
        refine(logits, image, EXACT)
    with pytest.raises(UserError, match="2 rows and the model 3 classes"):
        refine(logits, image, CrfSettings(compatibility=((0.0, 1.0), (1.0, 0.0))))
