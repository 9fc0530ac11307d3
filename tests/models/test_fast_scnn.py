"""Fast-SCNN: parameters, strides, its pooling against torch's, and training on one small picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.contracts import UserError
from segwright.models.blocks import region_means
from segwright.models.fast_scnn import FastSCNN


def count(**args: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in FastSCNN(19, **args).parameters())


def test_the_parameters_are_the_papers_but_for_the_last_digits() -> None:
    assert count() == 1_137_763  # the paper says 1.11 M: see the module's docstring
    assert count(head_stride=4) == count() + 48 * 128 + 2 * 128  # one 1×1 convolution and its BatchNorm
    assert count(width=0.5) < 0.3 * count()


@pytest.mark.parametrize("head_stride", [8, 4])
def test_logits_come_at_the_chosen_stride(head_stride: int) -> None:
    net = FastSCNN(7, width=0.25, head_stride=head_stride).eval()
    assert net.stride == 32
    assert net(torch.zeros(1, 3, 64, 96)).logits_BKhw.shape == (1, 7, 64 // head_stride, 96 // head_stride)


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 2, 3, 6]))
@settings(max_examples=40, deadline=None)
def test_region_means_are_adaptive_pooling(height: int, width: int, bins: int) -> None:
    x = torch.randn(2, 3, height, width)
    assert torch.allclose(region_means(x, bins), F.adaptive_avg_pool2d(x, bins), atol=1e-6)


def test_one_small_picture_trains() -> None:
    net = FastSCNN(3, width=0.25).train()
    loss = net(torch.randn(1, 3, 32, 64)).logits_BKhw.square().mean()
    loss.backward()
    assert loss.isfinite()


def test_auxiliary_heads_speak_in_training_only() -> None:
    net = FastSCNN(3, width=0.25, auxiliary=True)
    image = torch.randn(2, 3, 64, 64)
    assert [tuple(a.shape) for a in net.train()(image).auxiliary] == [(2, 3, 8, 8), (2, 3, 2, 2)]
    assert net.eval()(image).auxiliary == ()
    assert FastSCNN(3, width=0.25).train()(image).auxiliary == ()


@pytest.mark.parametrize("args", [{"head_stride": 2}, {"width": 0}, {"dropout": 1.0}])
def test_impossible_arguments_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="fast_scnn: .* allowed are"):
        FastSCNN(2, **args)
