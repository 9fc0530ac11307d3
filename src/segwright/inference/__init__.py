"""Inference: run a model on labelled samples (counts) or on a user's pictures (masks and overlays)."""
