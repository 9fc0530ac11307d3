"""Every architecture in a small form, for the contract test. Key: registry name, then words that tell forms apart."""

from __future__ import annotations

from typing import Any

ENTRIES: dict[str, dict[str, Any]] = {
    "unet": {"width": 8, "depth": 3},
    "unet bilinear": {"width": 8, "depth": 3, "up": "bilinear", "bias": False, "attention": "se+scse"},
    "unet pixel_shuffle": {"width": 8, "depth": 2, "up": "pixel_shuffle"},
    "unet_a": {"width": 8, "depth": 3},
    "unet_aspp": {"width": 8, "depth": 3},
    "unet_aspp skips": {"width": 8, "depth": 2, "placement": 2},
    "resnet_decoder": {"backbone": "resnet10t", "channels": [32, 16, 16, 8, 8]},
    "deeplab_v1": {"width": 8, "dilation": 2},
    "deeplab_v2": {"backbone": "resnet10t"},
    "deeplab_v2 concat": {"backbone": "resnet10t", "fusion": "concat", "channels": 16},
    "deeplab_v3": {"backbone": "resnet10t", "channels": 16, "auxiliary": True},
    "deeplab_v3_plus": {"backbone": "resnet10t", "channels": 16, "fine": 8},
    "deeplab_v3_plus_d": {"width": 8},
    "pspnet": {"backbone": "resnet10t", "channels": 16},
    "denseaspp": {"backbone": "mobilenetv2_035", "middle": 16, "growth": 8},
    "hrnet": {"backbone": "hrnet_w18_small"},
    "hrnet_ocr": {"backbone": "hrnet_w18_small", "channels": 16, "keys": 8},
    "fcn": {"width": 4},
    "segnet": {"width": 8},
    "small_cnn": {"width": 8},
    "fast_scnn": {"width": 0.5},
    "fast_scnn finer": {"width": 0.25, "head_stride": 4, "auxiliary": True},
    "smp": {"architecture": "Unet", "encoder": "resnet18", "decoder_channels": [32, 16, 16, 16, 8]},
    "smp DeepLabV3Plus": {"architecture": "DeepLabV3Plus", "encoder": "mobilenet_v2", "decoder_channels": 32},
    "smp transformer": {"architecture": "segformer", "encoder": "mit_b0"},
    "smp shallow": {"architecture": "PSPNet", "encoder": "resnet18"},
}
AMPLIFY_ROUNDING = {
    "fast_scnn",
    "fast_scnn finer",
    "smp DeepLabV3Plus",
    "segnet",
    "unet_aspp skips",
    "resnet_decoder",
    "deeplab_v3_plus_d",
    "deeplab_v2 concat",
    "deeplab_v3",
    "deeplab_v3_plus",
    "pspnet",
    "denseaspp",
    "hrnet",
    "hrnet_ocr",
}
"""Entries whose bf16 scores with random weights may be far from fp32."""
