"""Which nets of transformers there are, and their settings: checked by name, from a recipe or a model's own folder.

A family's settings are those of the library's configuration class. Nothing here asks a hub or runs code of a folder:
`config.json` is read as plain data, and the family that it names decides which class of the library is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from segwright.contracts import DataError, UserError
from segwright.models.external.fitting import first_line
from segwright.names import did_you_mean


class Family(NamedTuple):
    """One kind of net.

    net: its class in transformers. queries: whether it classifies masks instead of pixels. spare: patterns of tensors in
    published files that serve its own training only.
    """

    net: str
    queries: bool = False
    spare: tuple[str, ...] = ()


CRITERION = ("criterion.*",)
FAMILIES = {
    "segformer": Family("SegformerForSemanticSegmentation"),
    "upernet": Family("UperNetForSemanticSegmentation"),
    "beit": Family("BeitForSemanticSegmentation"),
    "data2vec-vision": Family("Data2VecVisionForSemanticSegmentation"),
    "dpt": Family("DPTForSemanticSegmentation"),
    "mask2former": Family("Mask2FormerForUniversalSegmentation", True, CRITERION),
    "oneformer": Family("OneFormerForUniversalSegmentation", True, (*CRITERION, "model.text_mapper.*")),
    "eomt": Family("EomtForUniversalSegmentation", True, CRITERION),
    "eomt_dinov3": Family("EomtDinov3ForUniversalSegmentation", True, CRITERION),
}
EVERY_LAYER = ("mask2former", "oneformer")
"""Families that give the queries of all decoder layers only when `use_auxiliary_loss` is set."""
SET_HERE = {
    "num_labels": "the label space sets it",
    "id2label": "the label space names the classes",
    "label2id": "the label space names the classes",
    "use_pretrained_backbone": "nothing is fetched unasked; weights come from `source` or the recipe's model.weights",
    "use_auxiliary_loss": "every decoder layer is trained",
    "is_training": "the loss on texts is not part of it",
}
BACKBONE = ("out_features", "out_indices")


def library() -> Any:
    """transformers, loaded on the first call. Raises UserError where it is not installed."""
    for name in ("transformers", "scipy"):
        if find_spec(name) is None:
            raise UserError(
                f"model.name transformers needs {name}, which is not installed: pip install 'segwright[transformers]'."
            )
    return import_module("transformers")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's own reports and progress bars: what matters is said by errors of ours."""
    logging = import_module("transformers.utils.logging")
    level = logging.get_verbosity()
    shown = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def check_family(name: str) -> Family:
    if name not in FAMILIES:
        hint = did_you_mean(name, FAMILIES)
        raise UserError(f"transformers: there is no family '{name}'.{hint} There are: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def make_config(family: str, settings: Mapping[str, Any], num_classes: int) -> Any:
    """The library's configuration of a net with random weights. Raises UserError for unknown names and wrong values."""
    kind = getattr(library(), check_family(family).net).config_class
    _check_names(settings, kind, "config")
    forced: dict[str, Any] = {"num_labels": num_classes}
    if family in EVERY_LAYER:
        forced["use_auxiliary_loss"] = True
    if family == "oneformer":
        forced["is_training"] = False
    given = _create(kind, json.loads(json.dumps(dict(settings))) | forced, "config")
    return _create(kind, settled(given) | forced, "config")  # what a saved file builds: lists where defaults are tuples


def read_settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """(family, complete settings) of the config.json in a folder that the library wrote.

    Raises UserError for a folder without one and for nets of other kinds, DataError for a damaged file.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"transformers: {folder} has no config.json ({error.strerror}). Give a folder that `save_pretrained` wrote "
            "(config.json and model.safetensors), or a hub id hf://OWNER/NAME."
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({first_line(error)}). Copy it again.") from error
    family = content.get("model_type") if isinstance(content, dict) else None
    if family not in FAMILIES:
        raise UserError(
            f"{path} is of a net of kind '{family}'; nets for semantic segmentation here are {', '.join(FAMILIES)}."
        )
    if isinstance(content.get("backbone"), str) and not content.get("use_timm_backbone"):
        raise UserError(
            f"{path} describes its backbone by the name '{content['backbone']}' of another hub page and not by settings. "
            "Save it with a newer transformers, or write `family` and `config` with a `backbone_config`."
        )
    kind = getattr(library(), FAMILIES[family].net).config_class
    config = _create(kind, _without_fetching(content), str(path))
    return family, settled(config)


def settled(config: Any) -> dict[str, Any]:
    """All settings of a configuration that `make_config` takes, as plain JSON data: what builds the net again."""
    found = {name: value for name, value in config.to_dict().items() if name in _names(type(config))}
    for name, value in vars(config).items():
        if name in found and hasattr(value, "model_type"):
            found[name] = settled(value) | {"model_type": value.model_type}
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _without_fetching(content: Any) -> Any:
    """The same data without what would make the library load anything else: pre-trained backbones, attention kernels."""
    if not isinstance(content, dict):
        return content
    drop = (
        "use_pretrained_backbone",
        "attn_implementation",
        "experts_implementation",
        "auto_map",
        "dtype",
        "torch_dtype",
    )
    return {k: _without_fetching(v) for k, v in content.items() if k not in drop and not k.startswith("_")}


def _create(kind: Any, settings: Mapping[str, Any], where: str) -> Any:
    try:
        with quiet():
            return kind(**settings)
    except Exception as error:  # the library checks values with error types of its own
        told = " ".join(str(error).split())[:240].rstrip(".")
        raise UserError(f"transformers: {where} does not suit {kind.__name__}: {told}.") from error


def _names(kind: Any) -> list[str]:
    """Settings of a configuration class: its fields and their other spellings, without those that any net has."""
    general = {f.name for f in fields(library().PreTrainedConfig)}
    names = [f.name for f in fields(kind) if f.name not in general and not f.name.startswith("_")]
    names += [name for name in kind.attribute_map if name not in names]
    if any(hasattr(kind, name) for name in BACKBONE):
        names += [name for name in BACKBONE if name not in names]
    return [name for name in names if name not in SET_HERE]


def _check_names(settings: Mapping[str, Any], kind: Any, where: str) -> None:
    allowed = _names(kind)
    for name, value in settings.items():
        if name in SET_HERE:
            raise UserError(f"transformers: {where}.{name} cannot be given: {SET_HERE[name]}.")
        if name not in allowed and name != "model_type":
            raise UserError(
                f"transformers: {where} has no setting '{name}' ({kind.__name__}).{did_you_mean(name, allowed)} "
                f"Allowed: {', '.join(allowed)}."
            )
        if name.endswith("_config") and isinstance(value, Mapping):
            _check_names(value, _nested_kind(value, f"{where}.{name}"), f"{where}.{name}")


def _nested_kind(settings: Mapping[str, Any], where: str) -> Any:
    known = import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    backbones = import_module("transformers.models.auto.modeling_auto").MODEL_FOR_BACKBONE_MAPPING_NAMES
    name = settings.get("model_type")
    if not isinstance(name, str) or name not in known:
        raise UserError(
            f"transformers: {where}.model_type is {name!r}.{did_you_mean(str(name), backbones)} It names the kind of net, "
            f"such as swin, convnext or resnet. Backbones are: {', '.join(backbones)}."
        )
    return known[name]
