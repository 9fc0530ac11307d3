"""The recipe: everything that decides a training, as plain data. Strict types, safe YAML, `key=value` overrides.

A recipe is flat and complete: it inherits from nothing and names no code. A component is a `name` from a registry and
its `args`, which `build` checks against the component's own signature.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticKnownError

from segwright.contracts import UserError


def _batch(value: Any) -> Any:
    if value == "auto":
        return value
    if type(value) is not int:
        raise PydanticKnownError("int_type")
    if value < 1:
        raise PydanticKnownError("greater_than_equal", {"ge": 1})
    return value


PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Channels = Annotated[list[Fraction], Field(min_length=3, max_length=3)]


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
    reset: list[str] = []
    """Name patterns of tensors that start from random numbers although the weights file has them."""
    freeze: list[str] | Annotated[float, Field(ge=0, lt=1)] | None = None
    """Parameters that keep their numbers: name patterns, or the share of the layers, counted from the picture on."""
    short_side: PositiveInt | None = None
    """Pictures are resized so that their shorter side has this many pixels before the network; null keeps their size."""
    mean: Channels | None = None
    """What is taken from red, green and blue, which are in 0..1; null: ImageNet's means."""
    std: Channels | None = None
    """What red, green and blue are divided by then; null: ImageNet's deviations."""
    args: dict[str, Any] = {}
    """Arguments of the architecture."""


class Loss(Strict):
    name: str
    auxiliary_weight: Annotated[float, Field(ge=0, le=10)] = 0.4
    """Weight of the loss of each auxiliary head, beside 1 for the main output."""
    args: dict[str, Any] = {}


class Group(Strict):
    """Parameters that learn at their own rate."""

    match: str
    """Pattern of parameter names, * for any text; a parameter belongs to the first group that matches."""
    lr_factor: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Share of the learning rate; it multiplies the one by depth."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Instead of `optimizer.weight_decay`; not applied to biases and normalisation weights either."""


class Optimizer(Strict):
    name: Literal["sgd", "adam", "adamw", "rmsprop", "muon"]
    lr: Annotated[float, Field(gt=0, le=10)]
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Not applied to biases and normalisation weights."""
    decay_by_depth: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the learning rate that the first layer gets; it rises to the full rate at the last. null: one rate."""
    groups: list[Group] = []
    """Learning rates and weight decay of chosen parameters."""
    args: dict[str, Any] = {}
    """momentum, nesterov (sgd); betas, eps (adam, adamw); momentum, alpha, eps, centered (rmsprop);
    momentum, nesterov, ns_steps, betas, fallback_lr_scale (muon)."""


class Schedule(Strict):
    name: Literal["poly", "cosine", "constant", "warm_restarts", "one_cycle", "plateau"]
    unit: Literal["step", "epoch"] = "step"
    """When the rate changes: at every optimiser step, or at the start of each epoch only."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all optimiser steps over which the rate rises linearly to its peak."""
    args: dict[str, Any] = {}
    """power (poly); t0, factor (warm_restarts); rise, start, curve (one_cycle); factor, patience, threshold, cooldown
    (plateau); final, the share of the peak at the end (all but constant)."""


class Augmentation(Strict):
    name: Literal["none", "standard", "advanced", "albumentations"]
    size: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    """Height and width of a training crop, pixels."""
    args: dict[str, Any] = {}
    """Probabilities and ranges of the level."""


class Training(Strict):
    epochs: PositiveInt
    batch: Annotated[int | Literal["auto"], PlainValidator(_batch)]
    """Pictures in one forward pass; auto measures what fits here and is fast."""
    accumulation: PositiveInt = 1
    """Forward passes in one optimiser step."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:0, mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto measures a few steps and keeps the fastest."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    compile: bool = False
    """Translate the training step by torch.compile: a minute once, then faster steps on many GPUs; on CPUs it has not paid."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient norm; null does not clip."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the averaged weights, which are then what is validated and kept as best; null keeps none."""
    swa_from: PositiveInt | None = None
    """Epoch from whose end on the weights at the ends of epochs are averaged, each weighing the same; the mean, with batch
    statistics of its own, is then what is validated and kept as best. null keeps none."""
    val_every: PositiveInt = 1
    """Epochs between validations; the last epoch is always validated."""
    patience: PositiveInt | None = None
    """Stop after this many validations without a better mIoU; null never stops early."""
    min_delta: Fraction = 0.0
    """How much mIoU (0..1) counts as better."""
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Loader processes; 0 reads in a background thread."""
    halve_on_oom: bool = False
    """When memory runs out, run each batch in two, four, … parts; the optimiser's step stays the same. False: stop."""
    sync_batchnorm: bool = False
    """Where several processes train together: batch normalisation over all their pictures."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What several processes hold: ddp, the whole model each; fsdp, a part of it."""
    track: list[Literal["tensorboard", "mlflow", "wandb"]] = []
    """Trackers to write beside metrics.jsonl."""

    @property
    def batch_size(self) -> int:
        """`batch` as a number. Raises UserError while it is still auto: a training measures it before its first step."""
        if self.batch == "auto":
            raise UserError(
                "training.batch is auto, which a training measures first; give a number here, such as batch=8."
            )
        return self.batch


class Stage(Strict):
    """One part of the training, and what is different in it from the rest of the recipe.

    A section is given in part: what it leaves out is as in the recipe. Under another `name`, its `args` start empty.
    """

    name: str | None = None
    """What rows and curves call it; null: `stage 1`, `stage 2`, …"""
    until: PositiveInt | None = None
    """The epoch with which it ends. The last stage needs neither this nor `epochs`: it ends with the training."""
    epochs: PositiveInt | None = None
    """How many epochs it has, instead of `until`."""
    fresh_optimizer: bool = False
    """Forget the optimiser's moments when the stage begins."""
    model: dict[str, Any] | None = None
    """freeze; `freeze: 0.5` in the stage itself means the same."""
    loss: dict[str, Any] | None = None
    optimizer: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    """A schedule counts the steps of its own stage."""
    augmentation: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    """batch, accumulation, clip_norm, val_every, patience, min_delta."""

    @model_validator(mode="before")
    @classmethod
    def _short_freeze(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "freeze" not in content:
            return content
        if content.get("model") is not None:
            raise ValueError("freeze and model stand in one stage; put freeze into model, or leave model out")
        rest = {key: value for key, value in content.items() if key != "freeze"}
        return rest | {"model": {"freeze": content["freeze"]}}

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


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
    stages: list[Stage] = []
    """Parts of the training, one after the other, each with its own loss, schedule, augmentation, frozen layers."""
    protocol: str = "pooled"
    """Scoring protocol of validation and report."""
    score_labels: str | dict[str, Any] | None = None
    """Label space of validation and report; null: that of the model."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.training.precision == "fp16" and self.training.device == "cpu":
            raise ValueError("training.precision is fp16, which needs a GPU: use bf16 or fp32 on training.device cpu")
        start = self.training.swa_from
        if start is not None and self.training.ema_decay is not None:
            raise ValueError(
                "training.swa_from and training.ema_decay both average the weights: set one of them to null"
            )
        if start is not None and start > self.training.epochs:
            raise ValueError(f"training.swa_from is {start}, later than the last epoch, {self.training.epochs}")
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
