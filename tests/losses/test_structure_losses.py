"""Boundary and region mutual information losses against their papers' formulas, written out with SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from segwright.contracts import IGNORE, UserError
from segwright.losses.boundary import signed_distances

from .examples import K, blobs, build, example, one_hot


def test_signed_distances_are_the_papers() -> None:
    """Kervadec et al. 2019: outside +d to the class, inside -(d to the rest - 1); 0 for a class that is not there."""
    labels = blobs(4, size=(33, 27), batch=1)[0]
    labels[labels == 3] = 0
    found = signed_distances(labels.numpy(), K)
    for k in range(K):
        inside = (labels == k).numpy()
        expected = np.zeros(inside.shape)
        if inside.any():
            expected = distance_transform_edt(~inside) * ~inside - (distance_transform_edt(inside) - 1) * inside
        np.testing.assert_allclose(found[k], expected, atol=1e-5)


def test_void_is_neither_inside_nor_outside() -> None:
    """Class 0 | void | class 1 in columns: distances are to known pixels, and void itself has none."""
    labels = np.array([[0, 0, IGNORE, IGNORE, 1, 1]])
    found = signed_distances(labels, 2)
    assert found[0].tolist() == [[-3, -2, 0, 0, 3, 4]]
    assert found[1].tolist() == [[4, 3, 0, 0, -2, -3]]


def test_a_class_that_fills_the_picture_has_no_border() -> None:
    assert not signed_distances(np.full((4, 5), 2), K).any()


@pytest.mark.parametrize("max_distance", [None, 3.0])
def test_boundary_loss_is_a_mean_of_distance_times_probability(max_distance: float | None) -> None:
    logits, labels = example(size=(24, 20))[0], blobs(2)
    labels[1, :, :3] = IGNORE
    p = logits.detach().softmax(1).double().numpy()
    phi = np.stack([signed_distances(of_picture.numpy(), K) for of_picture in labels])
    if max_distance is not None:
        phi = phi.clip(-max_distance, max_distance)
    valid = (labels != IGNORE).numpy()
    weights = np.array([1.0, 2.0])[:, None, None] * valid
    expected = ((p * phi).mean(1) * weights).sum() / weights.sum()
    found = build("boundary", max_distance=max_distance)(logits, labels, torch.tensor([1.0, 2.0]))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def regions(picture: np.ndarray, radius: int, pool: int) -> np.ndarray:
    """Averages over pool × pool squares (fewer pixels at the border), then every region as a column: [D, N]."""
    height, width = picture.shape
    rows, columns = range(0, height, pool), range(0, width, pool)
    pooled = np.array([[picture[y : y + pool, x : x + pool].mean() for x in columns] for y in rows])
    places = [(y, x) for y in range(pooled.shape[0] - radius + 1) for x in range(pooled.shape[1] - radius + 1)]
    return np.array([pooled[y : y + radius, x : x + radius].ravel() for y, x in places]).T


@pytest.mark.parametrize(("radius", "pool"), [(3, 1), (3, 3), (2, 4)])
def test_rmi_is_its_formula(radius: int, pool: int) -> None:
    """Zhao et al. 2019, from np.cov of truth and prediction together."""
    logits, labels = example(size=(24, 20))[0], blobs(2)
    labels[0][labels[0] == 4] = 0
    labels[1, :4] = IGNORE
    valid = (labels != IGNORE).numpy()
    p, t = logits.detach().double().softmax(1).numpy() * valid[:, None], one_hot(labels).numpy()
    size, epsilon, of_pictures = radius**2, 0.0005, []
    for b in range(2):
        values = []
        for k in range(K):
            if not t[b, k].any():
                continue
            joint = np.cov(np.concatenate([regions(t[b, k], radius, pool), regions(p[b, k], radius, pool)]), bias=True)
            of_t, both, of_p = joint[:size, :size], joint[:size, size:], joint[size:, size:]
            left = of_t - both @ np.linalg.inv(of_p + epsilon * np.eye(size)) @ both.T
            values.append(np.linalg.slogdet(left / epsilon + np.eye(size))[1] / (2 * size))
        of_pictures.append(np.mean(values))
    found = build("rmi", radius=radius, pool=pool)(logits, labels)
    assert found.item() == pytest.approx(np.mean(of_pictures), rel=1e-4)


def test_rmi_sees_structure_that_pixels_alone_do_not_show() -> None:
    """Equal cross entropy: errors along the objects' borders, or as many strewn anywhere."""
    labels = blobs(0, size=(60, 60), batch=1)
    sure = 6 * one_hot(labels).float()
    shifted = sure.roll(1, 3)
    wrong = (shifted.argmax(1) != labels)[0]
    strewn = sure.clone()
    places = torch.randperm(3600, generator=torch.Generator().manual_seed(0))[: int(wrong.sum())]
    flat = strewn.flatten(2)
    flat[0, :, places] = flat[0, :, places].roll(1, 0)
    assert build("cross_entropy")(shifted, labels).item() == pytest.approx(
        build("cross_entropy")(strewn, labels).item()
    )
    assert build("rmi", pool=1)(shifted, labels) < build("rmi", pool=1)(strewn, labels)


def test_rmi_of_a_picture_smaller_than_one_region_is_refused() -> None:
    logits, labels = example(size=(20, 6))
    with pytest.raises(UserError, match=r"20×6 .* 7 or more.*loss\.args\.pool"):
        build("rmi")(logits, labels)
    least = example(size=(7, 7))
    assert build("rmi")(*least).isfinite()
