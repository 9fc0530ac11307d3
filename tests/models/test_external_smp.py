"""The adapter of segmentation_models_pytorch: the same net as the library's, any size, and clear refusals."""

from __future__ import annotations

from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F

from segwright.contracts import UserError
from segwright.models.external.smp_nets import SmpNet


@pytest.mark.parametrize(
    ("name", "encoder", "factor"), [("FPN", "resnet18", 4), ("DEEPLABV3", "resnet18", 8), ("unet", "mobilenet_v2", 1)]
)
@torch.no_grad()
def test_it_is_the_librarys_net_without_its_last_enlargement(name: str, encoder: str, factor: int) -> None:
    original = smp.create_model(name, encoder, encoder_weights=None, classes=4).eval()
    ours = SmpNet(4, architecture=name, encoder=encoder).eval()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in original.parameters())
    ours.net.load_state_dict(original.state_dict())
    image = torch.randn(1, 3, 64, 96)
    logits = ours(image).logits_BKhw
    assert logits.shape == (1, 4, 64 // factor, 96 // factor)
    full = F.interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=True)
    assert torch.allclose(full, original(image), atol=1e-5)


def test_the_librarys_own_enlargement_can_be_kept() -> None:
    net = SmpNet(4, architecture="FPN", encoder="resnet18", upsampling=4).eval()
    assert net(torch.zeros(1, 3, 32, 64)).logits_BKhw.shape == (1, 4, 32, 64)


@pytest.mark.parametrize(
    ("architecture", "encoder", "stride", "smallest"),
    [
        ("Unet", "resnet18", 32, 32),
        ("DeepLabV3Plus", "resnet18", 16, 16),
        ("PSPNet", "resnet18", 8, 8),
        ("PSPNet", "mit_b0", 8, 32),  # its first attention layer looks at 8 × 8 patches
        ("PAN", "resnet18", 16, 128),  # it halves the deepest features three times more
        ("DPT", "tu-vit_tiny_patch16_224", 32, 32),  # a transformer for 224 × 224 that takes any size when asked to
    ],
)
@torch.no_grad()
def test_stride_and_smallest_size_are_found(architecture: str, encoder: str, stride: int, smallest: int) -> None:
    net = SmpNet(2, architecture=architecture, encoder=encoder).eval()
    assert (net.stride, net.min_size) == (stride, smallest)
    height, width = smallest, smallest + 3 * stride
    logits = net(torch.zeros(1, 3, height, width)).logits_BKhw
    assert height * logits.shape[3] == width * logits.shape[2]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            {"architecture": "DeepLabV3Plu"},
            "no architecture 'DeepLabV3Plu'. Did you mean 'DeepLabV3Plus'?|There are: Unet,",
        ),
        ({"encoder": "resnet81"}, "no encoder 'resnet81'. Did you mean 'resnet18'?|mobilenet_v2"),
        ({"encoder": "tu-convnext_attoo"}, "Did you mean 'tu-convnext_atto'?"),
        ({"encoder_weights": "imagnet"}, "has no weights 'imagnet'. There are: imagenet|encoder_weights: null"),
        ({"decoder_channel": [1]}, "Unet has no argument 'decoder_channel'. Did you mean 'decoder_channels'?"),
        ({"classes": 3}, "'classes' cannot be given: the label space sets it"),
        ({"activation": "softmax"}, "'activation' cannot be given"),
        ({"architecture": "Linknet", "encoder": "mit_b0"}, "Linknet with encoder 'mit_b0' cannot be built"),
        ({"architecture": "PAN", "encoder": "tu-hrnet_w18_small"}, "cannot be built"),
        ({"encoder": "tu-convnext_atto", "drop_path_rat": 0.1}, "cannot be built|drop_path_rat"),
        ({"encoder": "tu-hiera_tiny_224"}, "does not take pictures of any size"),
    ],
)
def test_refusals_name_what_was_meant(args: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        SmpNet(3, **args)
    for part in words.split("|"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("encoder", "repo"), [("resnet18", "smp-hub/resnet18.imagenet"), ("tu-resnet18", "timm/resnet18")]
)
def test_weights_out_of_reach_say_what_is_needed(encoder: str, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    with pytest.raises(UserError) as caught:
        SmpNet(3, encoder=encoder, encoder_weights="imagenet")
    assert all(part in str(caught.value) for part in (repo, "model.safetensors", "weights: null"))
