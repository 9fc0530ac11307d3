"""Architectures, the Segmenter around them, and its one-file form."""

from segwright.models.card import ModelCard
from segwright.models.registry import CARDS, MODELS, build_architecture
from segwright.models.segmenter import Segmenter
from segwright.models.weights import load_segmenter, save_segmenter

__all__ = ["CARDS", "MODELS", "ModelCard", "Segmenter", "build_architecture", "load_segmenter", "save_segmenter"]
