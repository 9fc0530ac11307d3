"""Looking into networks: layers, receptive fields, activations, Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segwright.api.showing import counting, new_console
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from segwright.evaluation.receptive_field import EffectiveField, ReceptiveField
    from segwright.models import Segmenter

RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class FieldResult:
    """Receptive fields of one or two networks.

    theory: one a network. effective: per network, of each of its stages; empty when none was asked for. sheet: the
    picture of them.
    """

    theory: tuple[ReceptiveField, ...]
    effective: tuple[tuple[EffectiveField, ...], ...] = ()
    sheet: Path | None = None


def receptive_field(
    source: str | Path,
    other: str | Path | None = None,
    *,
    out: str | Path | None = None,
    pictures: str | Path | None = None,
    count: int = 100,
    size: tuple[int, int] = (256, 256),
    num_classes: int = 19,
    seed: int = 0,
    runs: Path = RUNS,
    console: Console | None = None,
) -> FieldResult:
    """How far each layer of a network can see; with `out` or `pictures`, also how far its stages do see, as a picture.

    source, other: an architecture by name (with fresh weights), a recipe, a run or a model file. out: the PNG to write,
    receptive-field.png by default. pictures: a folder to average over; random pixels without it. count: how many
    pictures; a folder with fewer is repeated. size: height and width that they are brought to, rounded up to what the
    network takes.
    """
    from segwright.evaluation.layers import stages
    from segwright.evaluation.receptive_field import effective_fields, theoretical_field
    from segwright.report.field_sheet import FieldsOfModel, draw_fields

    sources = [source] if other is None else [source, other]
    models = [open_model(s, num_classes=num_classes, runs=runs) for s in sources]
    titles = [title_of(s) for s in sources]
    theory = tuple(theoretical_field(m.architecture, title=t) for m, t in zip(models, titles, strict=True))
    if out is None and pictures is None:
        return FieldResult(theory=theory)
    effective = []
    for model, title in zip(models, titles, strict=True):
        with counting(console or new_console(), f"gradients of {title}") as progress:
            batches = _pictures(pictures, model, size, seed)
            layers = stages(model.architecture)
            effective.append(tuple(effective_fields(model, batches, layers, count=count, progress=progress)))
    drawn = [
        FieldsOfModel(title=t, theory=f.stages, fields=e) for t, f, e in zip(titles, theory, effective, strict=True)
    ]
    what = "random pixels" if pictures is None else f"pictures of {Path(pictures).name}"
    note = (
        f"Mean absolute gradient of the middle value over {count} × {what}, square root. "
        "Circles: 50 % and 95 % of it. Dashed: theoretical field."
    )
    sheet = draw_fields(drawn, Path(out or "receptive-field.png"), note=note)
    return FieldResult(theory=theory, effective=tuple(effective), sheet=sheet)


def _fitted(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] -> its largest middle part of the wanted shape, resized to it."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(rgb), (width, height), Image.Resampling.BILINEAR), np.uint8)


def open_model(source: str | Path, *, num_classes: int = 19, runs: Path = RUNS) -> Segmenter:
    """The model that a name means: an architecture or recipe with fresh weights, a run's best model, a model file.

    Raises UserError with the nearest name for one that there is not.
    """
    from segwright.build import build_segmenter, model_space
    from segwright.labels import LabelClass, LabelSpace
    from segwright.models import MODELS, Segmenter, load_segmenter
    from segwright.names import did_you_mean
    from segwright.recipe import load_recipe, shipped
    from segwright.runs import model_file

    if str(source) in MODELS:
        classes = tuple(
            LabelClass(name=f"class {i}", values=(i,), color=(37 * i % 256, 91 * i % 256, 151 * i % 256))
            for i in range(num_classes)
        )
        space = LabelSpace(name="unnamed", title="numbered classes", classes=classes, exclusive=num_classes > 1)
        return Segmenter(MODELS[str(source)](num_classes), labels=space, model={"name": str(source)})
    if str(source) in shipped() or Path(source).suffix in (".yaml", ".yml"):
        recipe = load_recipe(source).recipe
        return build_segmenter(recipe, model_space(recipe))
    try:
        return load_segmenter(model_file(source, runs=Path(runs))[0])
    except UserError as error:
        known = [*MODELS, *shipped()]
        if not (hint := did_you_mean(str(source), known)):
            raise
        raise UserError(f"there is no model '{source}'.{hint} There are: {', '.join(known)}.") from error


def title_of(source: str | Path) -> str:
    """The last part of a path, or the name itself."""
    return Path(source).stem if Path(source).suffix else Path(source).name


def _pictures(folder: str | Path | None, model: Segmenter, size: Sequence[int], seed: int) -> Iterator[Tensor]:
    """Endless pictures, uint8 [1, 3, H, W]: of a folder, cut in the middle to the shape and resized, or random pixels."""
    import torch

    from segwright.data.reading import read_image
    from segwright.inference.predictor import find_pictures

    height, width = (max(model.min_size, -(-side // model.stride) * model.stride) for side in size)
    if folder is None:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=generator)
    files = find_pictures(Path(folder))
    while True:
        for file in files:
            yield torch.from_numpy(_fitted(read_image(file), height, width)).permute(2, 0, 1)[None]
