"""Evaluation: score a model on a split, and say where it fails."""
