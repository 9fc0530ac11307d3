"""Pictures on the device: the same crops as picture by picture on the CPU, within stated bounds.

The device here is the CPU: the operations are torch's, so only their rounding could differ on a GPU.

- Windows: pictures differ by one grey level at most. Masks are equal but for pixels whose middle lies exactly on the
  border of two source pixels, half a pixel from either; there each path may take the other one.
- Colours and blur: a level table multiplies that one level by its slope. At most 8 grey levels, 0.5 on average.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from segwright.contracts import IGNORE, UserError
from segwright.data.augment import Augmentation, Params, advanced, none, sample_rng, standard
from segwright.data.device import DeviceLoader, augmented, free_on, possible
from segwright.data.loading import TrainLoader

from .files import FakeDataset, fake_dataset, mask, photo, sample

NOTHING_ELSE = {"sharpen_p": 0, "noise_p": 0, "elastic_p": 0, "color_mixup_p": 0}

WINDOWS = {
    "enlarged": ((48, 64), (1.0, 1.4), (60, 80)),
    "odd shape": ((48, 64), (1.0, 1.4), (37, 111)),
    "padded": ((48, 64), (0.3, 0.9), (60, 80)),
    "averaged by area": ((24, 32), (0.3, 0.9), (200, 240)),
}


def both(level: Augmentation, image: Any, labels: Any, params: Params) -> tuple[Any, Any, Any, Any]:
    """The crop on the CPU path and on the device path: two pictures, two masks."""
    picture, ids = level.apply(image, labels, params)
    sample = torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.from_numpy(labels.copy())
    image_B3hw, labels_Bhw = augmented([sample], [params], level.size)
    return picture, image_B3hw[0].permute(1, 2, 0).numpy(), ids, labels_Bhw[0].numpy()


@pytest.mark.parametrize("kind", WINDOWS)
def test_windows_agree_with_the_cpu_path(kind: str) -> None:
    size, scale, shape = WINDOWS[kind]
    level = Augmentation(size, flip_p=0.5, crop_p=0.5, scale_p=1, scale=scale)
    numbers = np.mgrid[: shape[0], : shape[1]].astype(np.uint8)  # labels that tell which row or column they come from
    for index in range(30):
        params = level.draw(*shape, sample_rng(1, 0, index))
        picture, found, ids, found_ids = both(level, photo(*shape), numbers[index % 2], params)
        assert np.abs(picture.astype(int) - found).max() <= 1, params
        assert np.abs(ids.astype(int) - found_ids).max() <= 1, params  # the same source pixel, or the one beside it
        np.testing.assert_array_equal(ids == IGNORE, found_ids == IGNORE)


def test_colours_and_blur_agree_with_the_cpu_path() -> None:
    level = advanced(
        (48, 64), blur_p=0.5, gamma_p=0.7, jitter_p=0.9, shuffle_p=0.3, balance_p=0.3, grey_p=0.2, **NOTHING_ELSE
    )
    for index in range(40):
        params = level.draw(60, 80, sample_rng(2, 0, index))
        assert possible(params, level.size)
        picture, found, *_ = both(level, photo(60, 80), mask(60, 80), params)
        difference = np.abs(picture.astype(int) - found)
        assert difference.mean() <= 0.5, params
        assert difference.max() <= 8, params


def test_pictures_of_different_sizes_make_one_batch() -> None:
    level = standard((16, 24), crop_p=0.5)
    data = FakeDataset([sample(i, height=12 + i, width=40 - i) for i in range(9)])
    with (
        TrainLoader(data, level, batch=4, seed=1) as one,
        DeviceLoader(data, level, batch=4, seed=1, device="cpu") as two,
    ):
        assert two.cached
        for expected, found in zip(one.epoch(3), two.epoch(3), strict=True):
            assert (found.names, found.index) == (expected.names, expected.index)
            assert found.image.shape == expected.image.shape
            assert (found.image.dtype, found.labels.dtype) == (torch.uint8, torch.int64)
            assert (expected.image.int() - found.image.int()).abs().float().mean() <= 0.5
            torch.testing.assert_close(found.weights, expected.weights)
    assert sorted(data.reads[-9:]) == list(range(9))  # read once, at the start


def test_what_the_device_cannot_do_is_done_as_everywhere_else() -> None:
    level = advanced((16, 24), elastic_p=0.5, noise_p=0.5, mosaic_p=0.3, copy_paste_p=0.3, cutout_p=0.3)
    data = fake_dataset(8, height=30, width=40)
    compared = 0
    with (
        TrainLoader(data, level, batch=4, seed=1) as one,
        DeviceLoader(data, level, batch=4, seed=1, device="cpu") as two,
    ):
        for expected, found in zip(one.epoch(0), two.epoch(0), strict=True):
            for row, name in enumerate(found.names):
                if not possible(level.draw(30, 40, sample_rng(1, 0, data.names.index(name))), level.size):
                    assert torch.equal(found.image[row], expected.image[row])
                    assert torch.equal(found.labels[row], expected.labels[row])
                    compared += 1
    assert compared >= 2


def test_an_epoch_resumes_where_it_stopped() -> None:
    with DeviceLoader(fake_dataset(10), none((12, 20)), batch=2, seed=5, device="cpu") as one:
        whole = [b.image for b in one.epoch(1)]
        rest = [b.image for b in one.epoch(1, 3)]
        assert len(rest) == 2
        assert all(torch.equal(a, b) for a, b in zip(whole[3:], rest, strict=True))


def test_membership_goes_into_every_batch() -> None:
    membership_LK = np.eye(5, 4, dtype=bool)
    with DeviceLoader(
        fake_dataset(4), none((12, 20)), batch=2, seed=0, device="cpu", membership_LK=membership_LK
    ) as one:
        for batch in one.epoch(0):
            assert batch.membership_LK is not None
            np.testing.assert_array_equal(batch.membership_LK.numpy(), membership_LK)


def test_pictures_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = fake_dataset(10)
    need = 10 * 12 * 20 * 4
    monkeypatch.setattr("segwright.data.device.free_memory", lambda: int(need / 0.8) + 1)
    DeviceLoader(data, none((12, 20)), batch=2, seed=0, device="cpu")
    monkeypatch.setattr("segwright.data.device.free_memory", lambda: int(need / 0.8) - 1)
    with pytest.raises(UserError, match=r"need 0\.0 GB.*80%.*data\.cache=pack"):
        DeviceLoader(data, none((12, 20)), batch=2, seed=0, device="cpu")
    assert free_on("cpu") == int(need / 0.8) - 1


def test_a_crop_smaller_than_its_blur_is_left_to_the_cpu() -> None:
    blurred = Params(window=(0, 0, 4, 4), blur_sigma=1.5)
    assert possible(blurred, (6, 6))
    assert not possible(blurred, (5, 5))
    assert possible(Params(window=(0, 0, 4, 4)), (1, 1))


def test_a_changed_loader_gives_the_batches_of_a_new_one_and_reads_nothing_again() -> None:
    level, other = standard((16, 24)), standard((12, 8), flip_p=1.0)
    data = fake_dataset(8, height=30, width=40)
    with (
        DeviceLoader(data, level, batch=4, seed=1, device="cpu") as one,
        DeviceLoader(fake_dataset(8, height=30, width=40), other, batch=3, seed=1, device="cpu") as two,
    ):
        list(one.epoch(0))
        data.reads.clear()
        one.change(other, 3)
        for expected, found in zip(two.epoch(1), one.epoch(1), strict=True):
            assert found.names == expected.names
            assert torch.equal(found.image, expected.image)
            assert torch.equal(found.labels, expected.labels)
    assert data.reads == []
