"""Weight files of other programs as models of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.contracts import UserError

if TYPE_CHECKING:
    from segwright.labels import LabelSpace
    from segwright.models.convert import Started


def convert_weights(
    source: str | Path,
    model: str,
    overrides: Sequence[str] = (),
    *,
    labels: str | Path | LabelSpace,
    out: str | Path = "model.safetensors",
    allow: Sequence[str] = (),
    key: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    short_side: int | None = None,
    licence: str = "not stated",
) -> Started:
    """Turn a .pth, .pt, .ckpt, .bin or foreign .safetensors file into a model file of ours, which `out` names.

    source: the file, or `hf://owner/name[/file]`. model: its architecture; overrides: `model.args.KEY=VALUE` texts.
    labels: the classes of its classifier, in order: a label space, its name or a .yaml file. allow: name patterns of
    tensors that need no partner. key: which container of the file. mean, std: with which it was trained, in units of
    0..1; ImageNet's unless given. Returns the table of tensors.
    Raises UserError for tensors without a partner, unknown names, files that hold more than plain data; DataError for
    damaged files. Nothing is written then.
    """
    from segwright.labels import LabelSpace, load_label_space
    from segwright.models.convert import convert_file, weights_path
    from segwright.models.segmenter import IMAGENET_MEAN, IMAGENET_STD
    from segwright.recipe.loading import apply_override

    content: dict[str, Any] = {"model": {"args": {}}}
    for text in overrides:
        given = apply_override(content, text)
        if not given.startswith("model.args."):
            raise UserError(f"'{text}': only model.args.KEY=VALUE goes here, the architecture's arguments.")
    return convert_file(
        weights_path(source),
        Path(out),
        model=model,
        args=content["model"]["args"],
        labels=labels if isinstance(labels, LabelSpace) else load_label_space(str(labels)),
        allow=allow,
        key=key,
        mean=IMAGENET_MEAN if mean is None else mean,
        std=IMAGENET_STD if std is None else std,
        short_side=short_side,
        licence=licence,
    )
