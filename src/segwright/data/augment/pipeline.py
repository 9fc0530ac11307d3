"""Pipelines of Albumentations from a file: data only, checked, with masks that stay exact.

A pipeline is what `albumentations.save` or `to_dict` write, as YAML or JSON. It names classes of Albumentations and
their arguments; nothing else is ever imported or run. Three things are then made sure of, whatever the file says:

- masks are only ever resized or warped by nearest neighbour: exact where they are resized, else Albumentations' own;
- what a mask is filled with is IGNORE (`fill_mask: null`, which keeps the labels, stays);
- every random number comes from the sample's generator, and operations do not share their draws (`set_random_seed`
  would start each operation with the same numbers).
"""

from __future__ import annotations

import inspect
import json
import os
import random
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from segwright.contracts import IGNORE, Sample, UserError
from segwright.data.augment.params import Pixels
from segwright.data.augment.partners import Pool, labels_of
from segwright.names import did_you_mean

_FLOATS = "the picture has to stay uint8; the Segmenter normalises"
_OTHERS = "it needs other pictures, which a file cannot hold; the built-in levels have mosaic_p and color_mixup_p"
_REFUSED: Mapping[str, str] = {
    "Lambda": "it runs code, which a file cannot hold",
    "ReplayCompose": "it is for replaying; use Compose",
    "Morphological": "it mixes up the class numbers of the mask",
    **dict.fromkeys(("Normalize", "ToFloat", "FromFloat", "ToTensorV2", "ToTensor3D"), _FLOATS),
    **dict.fromkeys(("FDA", "HistogramMatching", "PixelDistributionAdaptation"), _OTHERS),
    **dict.fromkeys(("Mosaic", "OverlayElements", "TextImage"), _OTHERS),
}
_RESIZES = {"Resize", "LongestMaxSize", "SmallestMaxSize", "RandomScale", "CropAndPad"}
_RESIZES |= {"RandomResizedCrop", "RandomSizedCrop", "RandomSizedBBoxSafeCrop"}
_COMPOSES = {"Compose", "OneOf", "OneOrOther", "SomeOf", "RandomOrder", "Sequential", "SelectiveChannelTransform"}
_NEAREST = (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT)


class AlbumentationsPipeline:
    """A function (Sample, generator) -> (image uint8 [h, w, 3], labels uint8 [h, w]) of exactly `size` = (h, w).

    file: a .yaml, .yml or .json file; pipeline: its content instead. short_side: pictures are resized to this shorter
    side, in pixels, before the pipeline sees them; None: as stored.
    Raises UserError where Albumentations is missing, for a wrong file, a class or argument that does not exist or is
    refused, and for a result of another size; the message names the operation.
    """

    needs_pool = False
    needs_classes = False

    def __init__(
        self,
        size: tuple[int, int],
        *,
        file: str | None = None,
        pipeline: Mapping[str, Any] | None = None,
        short_side: int | None = None,
    ) -> None:
        if file is not None and pipeline is None:
            self.where, self.content = file, load_pipeline(file)
        elif pipeline is not None and file is None:
            self.where, self.content = "augmentation.args.pipeline", dict(pipeline)
        else:
            raise UserError(
                "augmentation.name is albumentations: give augmentation.args.file, the path of a pipeline that "
                "albumentations.save has written, or its content as augmentation.args.pipeline; one of the two."
            )
        self.size = (int(size[0]), int(size[1]))
        self.short_side = short_side
        first = _build(self.content, self.where)
        self._idle = deque([first])
        self.mask_steps = _count_steps(first) + (short_side is not None)

    def __call__(self, sample: Sample, rng: np.random.Generator, pool: Pool | None = None) -> tuple[Pixels, Pixels]:
        """The sample's picture and labels through the pipeline. pool: not used.

        Raises DataError for a sample without labels; UserError when the pipeline fails or gives another size.
        """
        done = self._run({"image": sample.rgb, "mask": labels_of(sample)}, rng, sample.name)
        image, labels = done["image"], done["mask"]
        if image.shape != (*self.size, 3) or labels.shape != self.size or image.dtype != np.uint8:
            raise UserError(self._wrong_size(sample.name, image))
        return image, labels.astype(np.uint8, copy=False)

    def transform(self, sample: Sample, rng: np.random.Generator, **targets: Any) -> dict[str, Any]:
        """Everything of a sample through the pipeline, of whatever size results; for use from Python.

        Returns `image`, `mask` (where the sample has labels), every further plane under its own name, and `targets`:
        `bboxes`, `keypoints` and their label fields as the file's `bbox_params` and `keypoint_params` say. Planes count
        as images, which colour operations change too, unless the file's `additional_targets` call them `mask`.
        Coordinates are those of the picture after `short_side`.
        """
        planes = {name: plane for name, plane in sample.planes.items() if name != "rgb"}
        labels = {} if sample.labels is None else {"mask": labels_of(sample)}
        return self._run({"image": sample.rgb, **labels, **planes}, rng, sample.name, **targets)

    def geometry(self) -> AlbumentationsPipeline:
        """The same pipeline without what only changes colours, or hides pixels and keeps their labels."""
        content = {**self.content, "transform": _moving(self.content["transform"], _albumentations())}
        return AlbumentationsPipeline(self.size, pipeline=content, short_side=self.short_side)

    def _run(
        self, arrays: Mapping[str, NDArray[Any]], rng: np.random.Generator, name: str, **more: Any
    ) -> dict[str, Any]:
        try:
            compose = self._idle.pop()  # a pipeline keeps its random state: each thread of the loader needs its own
        except IndexError:
            compose = _build(self.content, self.where)
        told = compose.additional_targets
        compose.add_targets({k: "image" for k in arrays if k not in ("image", "mask", *told)})
        exact = {"mask", *(name for name, kind in told.items() if kind == "mask")}
        compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        try:
            done: dict[str, Any] = compose(**{k: self._resized(v, k in exact) for k, v in arrays.items()}, **more)
        except Exception as error:  # whatever an operation raises, it is the file's or its arguments' fault
            shape = arrays["image"].shape
            raise UserError(
                f"{self.where}: the pipeline fails on '{name}' ({shape[0]}×{shape[1]}): {type(error).__name__}: {error}"
            ) from error
        finally:
            self._idle.append(compose)
        return done

    def _resized(self, plane: NDArray[Any], exact: bool) -> NDArray[Any]:
        height, width = plane.shape[:2]
        if self.short_side is None or min(height, width) == self.short_side:
            return plane
        scale = self.short_side / min(height, width)
        way = cv2.INTER_NEAREST_EXACT if exact else cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(plane, (round(width * scale), round(height * scale)), interpolation=way)

    def _wrong_size(self, name: str, image: NDArray[Any]) -> str:
        h, w = self.size
        return (
            f"{self.where}: for '{name}' the pipeline gives {image.dtype} {list(image.shape)}; augmentation.size asks "
            f"for uint8 [{h}, {w}, 3]. End it with Resize(height={h}, width={w}), or with PadIfNeeded(min_height={h}, "
            f"min_width={w}) and RandomCrop(height={h}, width={w}), each with p=1."
        )


def load_pipeline(path: str | Path) -> dict[str, Any]:
    """The content of a pipeline file, as plain data. Raises UserError for a missing, broken or foreign file."""
    file = Path(path).expanduser()
    if file.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise UserError(f"augmentation.args.file: {file} ends in neither .yaml, .yml nor .json.")
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix.lower() == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise UserError(f"augmentation.args.file: {file.absolute()} does not exist.") from error
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read as a pipeline: {error}") from error
    return _checked_form(content, str(file))


def _checked_form(content: Any, where: str) -> dict[str, Any]:
    inside = content.get("transform") if isinstance(content, Mapping) else None
    if not isinstance(inside, Mapping) or "__class_fullname__" not in inside:
        raise UserError(
            f"{where}: this is no pipeline of Albumentations. Expected a mapping with `transform`, as "
            "albumentations.save(pipeline, path, data_format='yaml') writes it."
        )
    return dict(content)


def _albumentations() -> ModuleType:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for a newer version on the network
    try:
        import albumentations  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise UserError(
            "augmentation.name is albumentations, but that package cannot be imported "
            f"({error}). Install it: pip install 'segwright[albumentations]'"
        ) from error
    module: ModuleType = albumentations
    return module


def _build(content: Mapping[str, Any], where: str) -> Any:
    """The pipeline as a Compose; UserError for all that is wrong with it."""
    library = _albumentations()
    safe = _safe(_checked_form(content, where)["transform"], library, where)
    if safe["__class_fullname__"] != "Compose":
        safe = {"__class_fullname__": "Compose", "p": 1.0, "transforms": [safe]}
    try:
        return library.from_dict({"transform": safe})
    except Exception as error:
        raise UserError(
            f"{where}: Albumentations {library.__version__} does not take this pipeline: {error}"
        ) from error


def _safe(node: Any, library: ModuleType, where: str) -> dict[str, Any]:
    """One operation of the file with its children: checked, its masks nearest, its mask fills IGNORE."""
    if not isinstance(node, Mapping) or not isinstance(node.get("__class_fullname__"), str):
        raise UserError(f"{where}: every operation needs `__class_fullname__`; found {node!r}.")
    name = node["__class_fullname__"].removeprefix("albumentations.").rpartition(".")[2]
    if reason := _REFUSED.get(name):
        raise UserError(f"{where}: {name} cannot be used: {reason}. Take it out.")
    kind = _operation(node["__class_fullname__"], name, library, where)
    parameters = inspect.signature(kind).parameters
    args = _own_args(node, kind, where)
    interpolation = node.get("mask_interpolation")
    if interpolation not in (None, *_NEAREST) or node.get("area_for_downscale") == "image_mask":
        raise UserError(
            f"{where}: {name} would interpolate the mask and so invent classes. Set mask_interpolation: 0 (nearest), "
            "and area_for_downscale: image where it is image_mask."
        )
    if "mask_interpolation" in parameters and issubclass(kind, library.BasicTransform):
        args["mask_interpolation"] = cv2.INTER_NEAREST_EXACT if name in _RESIZES else cv2.INTER_NEAREST
    for fill in ("fill_mask", "mask_drop_value"):
        if fill in parameters and args.get(fill, parameters[fill].default) is not None:
            args[fill] = IGNORE
    if "transforms" in args:
        args["transforms"] = [_safe(child, library, where) for child in args["transforms"] or ()]
    return {"__class_fullname__": name, **args}


def _own_args(node: Mapping[str, Any], kind: type, where: str) -> dict[str, Any]:
    """The operation's arguments without those that Albumentations saves but does not take (its parents')."""
    given = set(node) - {"__class_fullname__", "mask_interpolation"}
    known = {
        name: None
        for parent in kind.__mro__
        if "__init__" in vars(parent) and parent is not object
        for name in inspect.signature(vars(parent)["__init__"]).parameters
    }
    for name in sorted(given - set(known)):
        raise UserError(f"{where}: {kind.__name__} has no argument '{name}'.{did_you_mean(name, known)}")
    if "p" not in given:
        raise UserError(f"{where}: {kind.__name__} has no `p`. Say how often it is done: a number from 0 to 1.")
    return {name: node[name] for name in node if name in given & set(inspect.signature(kind).parameters)}


def _operation(full_name: str, name: str, library: ModuleType, where: str) -> type:
    """The class of Albumentations. Raises UserError for anything else."""
    known = {
        key: kind
        for key, kind in vars(library).items()
        if key in _COMPOSES | {"NoOp"}
        or (inspect.isclass(kind) and issubclass(kind, library.BasicTransform) and ".augmentations." in kind.__module__)
    }
    outside = "." in full_name and not full_name.startswith("albumentations.")
    if outside or name not in known or "3D" in name:
        hint = did_you_mean(name, known)
        raise UserError(
            f"{where}: '{full_name}' is no operation of Albumentations {library.__version__} for pictures.{hint}"
        )
    found: type = known[name]
    return found


def _count_steps(node: Any) -> int:
    """How many operations resample the mask."""
    if hasattr(node, "transforms"):
        return sum(_count_steps(child) for child in node.transforms)
    return int(hasattr(node, "mask_interpolation"))


def _moving(node: Mapping[str, Any], library: ModuleType) -> dict[str, Any]:
    """An operation, or in its place one that does nothing where it moves neither picture nor mask."""
    if "transforms" in node:
        return {**node, "transforms": [_moving(child, library) for child in node["transforms"]]}
    kind = getattr(library, node["__class_fullname__"].rpartition(".")[2])
    parameters = inspect.signature(kind).parameters
    hidden = [f for f in ("fill_mask", "mask_drop_value") if f in parameters]
    keeps = any(node.get(f, parameters[f].default) is None for f in hidden)
    if keeps or issubclass(kind, library.ImageOnlyTransform):
        return {"__class_fullname__": "NoOp", "p": node.get("p", 0.5)}
    return dict(node)
