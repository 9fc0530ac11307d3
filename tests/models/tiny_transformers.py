"""Families of transformers in a small form, as arguments of the architecture `transformers`."""

from __future__ import annotations

from typing import Any

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN = {
    "model_type": "swin",
    "embed_dim": 16,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 2, 4],
    "window_size": 4,
    "drop_path_rate": 0.0,
    "out_features": STAGES,
}
CONVNEXT = {"model_type": "convnext", "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "out_features": STAGES}
VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 64}
PLAIN = VIT | {"intermediate_size": 32}
BEIT = PLAIN | {"model_type": "beit", "out_indices": [1, 2, 3, 4], "reshape_hidden_states": True}
HEADS = {"hidden_size": 16, "auxiliary_channels": 16}
DECODER = {
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "encoder_layers": 1,
    "num_attention_heads": 2,
    "dim_feedforward": 32,
    "num_queries": 12,
}
SEGFORMER = {
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 3, 4],
    "decoder_hidden_size": 16,
    "drop_path_rate": 0.0,
}
MASK2FORMER = DECODER | {"backbone_config": SWIN, "feature_size": 32, "mask_feature_size": 16, "decoder_layers": 4}
ONEFORMER = DECODER | {"backbone_config": SWIN, "conv_dim": 32, "mask_dim": 32, "decoder_layers": 3}
EOMT = VIT | {"num_blocks": 2, "num_queries": 12, "num_upscale_blocks": 2, "mlp_ratio": 2, "drop_path_rate": 0.0}

FORMS: dict[str, dict[str, Any]] = {
    "segformer": {"family": "segformer", "config": SEGFORMER},
    "upernet swin": {"family": "upernet", "config": HEADS | {"backbone_config": SWIN}},
    "upernet convnext": {"family": "upernet", "config": HEADS | {"backbone_config": CONVNEXT}},
    "upernet beit": {"family": "upernet", "config": HEADS | {"backbone_config": BEIT}},
    "beit": {
        "family": "beit",
        "config": PLAIN | {"out_indices": [1, 2, 3, 4], "use_relative_position_bias": True, "auxiliary_channels": 16},
    },
    "dpt": {
        "family": "dpt",
        "config": PLAIN
        | {"backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16},
    },
    "mask2former": {"family": "mask2former", "config": MASK2FORMER},
    "oneformer": {"family": "oneformer", "config": ONEFORMER | {"query_dec_layers": 1, "dropout": 0.0}},
    "eomt": {"family": "eomt", "config": EOMT},
    "eomt_dinov3": {
        "family": "eomt_dinov3",
        "config": PLAIN | {"num_blocks": 2, "num_queries": 12, "num_upscale_blocks": 2},
    },
}
