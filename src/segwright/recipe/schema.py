"""The recipe: everything that decides a training, as plain data. Strict types, safe YAML, `key=value` overrides.

A recipe is flat and complete: it inherits from nothing and names no code. A component is a `name` from a registry and
its `args`, which `build` checks against the component's own signature.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Source(Strict):
    """One more data set to train on."""

    name: str
    """Reader: the name of a data set."""
    root: str | None
    """Folder of the data set; null only for generated data."""
    labels: str | dict[str, Any]
    """Label space of its masks; told in the model's space."""
    train: str = "train"
    """Split to train on."""
    skip_bad: bool = False
    """Leave out pictures that cannot be read; the report lists them."""
    args: dict[str, Any] = {}
    """Further arguments of the reader."""


class Data(Strict):
    name: str
    """Reader: the name of a data set."""
    root: str | None
    """Folder of the data set; null only for generated data."""
    labels: str | dict[str, Any]
    """Label space: a shipped name, a .yaml file, or the space itself."""
    train: str
    """Split to train on."""
    val: str
    """Split to validate on."""
    split_file: str | None = None
    """Splits of one's own, from `segwright data split`: `train` and `val` then name parts of this file."""
    also: list[Source] = []
    """Further data sets to train on, each in its own label space."""
    skip_bad: bool = False
    """Leave out pictures that cannot be read; the report lists them. False: any such picture stops the start."""
    cache: Literal["auto", "memory", "pack", "device", "none"] = "auto"
    """Where decoded pictures are kept: memory, a pack on disk, the GPU; auto takes memory when a quarter of the free one
    is enough."""
    args: dict[str, Any] = {}
    """Further arguments of the reader."""


class Model(Strict):
    name: str
    """Architecture: see `segwright models`."""
    labels: str | dict[str, Any] | None = None
    """Label space that the model predicts; null: that of the data."""
    weights: str | None = None
    """Where training starts from: imagenet, a weights file, or hf://owner/name[/file]; null: random numbers."""
    weights_labels: str | dict[str, Any] | None = None
    """Label space of the classifier in a foreign weights file; Segwright's files say it themselves."""
    allow: list[str] = []
    """Name patterns of tensors that may be without a partner in the weights file."""
    freeze: list[str] | Annotated[float, Field(ge=0, lt=1)] | None = None
    """Parameters that keep their numbers: name patterns, or the share of the layers, counted from the picture on."""
    short_side: PositiveInt | None = None
    """Pictures are resized so that their shorter side has this many pixels before the network; null keeps their size."""
    args: dict[str, Any] = {}
    """Arguments of the architecture."""


class Loss(Strict):
    name: str
    args: dict[str, Any] = {}


class Optimizer(Strict):
    name: Literal["sgd", "adam", "adamw"]
    lr: Annotated[float, Field(gt=0, le=10)]
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Not applied to biases and normalisation weights."""
    decay_by_depth: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the learning rate that the first layer gets; it rises to the full rate at the last. null: one rate."""
    args: dict[str, Any] = {}
    """momentum, nesterov (sgd); betas, eps (adam, adamw)."""


class Schedule(Strict):
    name: Literal["poly", "cosine", "constant"]
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all optimiser steps over which the rate rises linearly to its peak."""
    args: dict[str, Any] = {}
    """power (poly); final, the share of the peak at the end (poly, cosine)."""


class Augmentation(Strict):
    name: Literal["none", "standard", "advanced", "albumentations"]
    size: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    """Height and width of a training crop, pixels."""
    args: dict[str, Any] = {}
    """Probabilities and ranges of the level."""


class Training(Strict):
    epochs: PositiveInt
    batch: PositiveInt
    """Pictures in one forward pass."""
    accumulation: PositiveInt = 1
    """Forward passes in one optimiser step."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:0, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto measures a few steps and keeps the fastest."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient norm; null does not clip."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the averaged weights, which are then what is validated and kept as best; null keeps none."""
    val_every: PositiveInt = 1
    """Epochs between validations; the last epoch is always validated."""
    patience: PositiveInt | None = None
    """Stop after this many validations without a better mIoU; null never stops early."""
    min_delta: Fraction = 0.0
    """How much mIoU (0..1) counts as better."""
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Loader processes; 0 reads in a background thread."""


class Recipe(Strict):
    """One training run. Field order is the order of the file."""

    name: str
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: Data
    model: Model
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    augmentation: Augmentation
    training: Training
    protocol: str = "pooled"
    """Scoring protocol of validation and report."""
    score_labels: str | dict[str, Any] | None = None
    """Label space of validation and report; null: that of the model."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.training.precision == "fp16" and self.training.device == "cpu":
            raise ValueError("training.precision is fp16, which needs a GPU: use bf16 or fp32 on training.device cpu")
        return self


ALIASES = {
    "epochs": "training.epochs",
    "batch": "training.batch",
    "device": "training.device",
    "workers": "training.workers",
    "patience": "training.patience",
    "precision": "training.precision",
    "amp": "training.precision",
    "imgsz": "augmentation.size",
    "crop": "augmentation.size",
    "lr": "optimizer.lr",
    "lr0": "optimizer.lr",
    "root": "data.root",
}
"""Short names that people type blind, and the keys that they mean."""


def keys(model: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """All dotted keys of a recipe; free `args` mappings stand for themselves."""
    found: list[str] = []
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found += keys(annotation, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found
