"""Exported models as segmenters: files for onnxruntime and OpenVINO that predict and are scored as runs are.

`opening.load_exported` opens one. Torch loads with it; `plain`, `sessions` and `description` do without.
"""
