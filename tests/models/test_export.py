"""Export of the architectures whose own tests do not try it: from one example to any height, width and batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from segwright.models import Segmenter, build_architecture
from tests.models.conftest import pictures, space, with_real_statistics

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("unet_a", {"width": 4, "depth": 2}),
    ("small_cnn", {"width": 4}),
    ("slim_unet", {"width": 0.25}),
    ("fast_scnn", {"width": 0.25, "head_stride": 4}),
    ("smp", {"architecture": "Unet", "encoder": "resnet18"}),
    ("smp", {"architecture": "FPN", "encoder": "resnet18"}),
    ("smp", {"architecture": "DeepLabV3Plus", "encoder": "mobilenet_v2"}),
    ("smp", {"architecture": "segformer", "encoder": "mit_b0"}),
]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("name", "args"), FORMS)
def test_it_exports_with_dynamic_sizes(name: str, args: dict[str, Any]) -> None:
    model = Segmenter(build_architecture(name, 4, args), labels=space(4), model={"name": name, "args": args})
    with_real_statistics(model, pictures(2, 65, 97))
    auto = torch.export.Dim.AUTO
    sizes = ({0: auto, 2: auto, 3: auto},)
    exported = torch.export.export(model, (pictures(2, 65, 97),), dynamic_shapes=sizes).module(check_guards=False)
    for batch, height, width in ((1, 65, 97), (3, 64, 128), (1, 200, 141)):
        image = pictures(batch, height, width)
        assert (exported(image) - model(image)).abs().max() <= 1e-4
