"""Looking into networks: layers, receptive fields, activations, Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segwright.api.showing import counting, new_console
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from segwright.evaluation.gradcam import ClassMap
    from segwright.evaluation.receptive_field import EffectiveField, ReceptiveField
    from segwright.models import Segmenter
    from segwright.models.summary import Summary

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


def summary(
    source: str | Path, *, size: tuple[int, int] = (512, 1024), num_classes: int = 19, runs: Path = RUNS
) -> Summary:
    """Layers of an architecture (by name), a recipe, a run or a model file: shapes, parameters, operations, memory."""
    from segwright.models.summary import summarise

    model = open_model(source, num_classes=num_classes, runs=runs)
    fitted = () if model.temperature is None else tuple(model.temperature.tolist())
    return replace(summarise(model.architecture, size), temperature=fitted)


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
            found = effective_fields(model, batches, layers, count=count, progress=progress)
            effective.append(tuple(found))
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


@dataclass(frozen=True, kw_only=True)
class FeatureResult:
    """sheets: pictures that were written. arrays: the .npz with features, if any. shapes: of what each layer gave."""

    sheets: tuple[Path, ...] = ()
    arrays: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def features(
    source: str | Path,
    pictures: str | Path | None = None,
    *,
    layers: Sequence[str] = (),
    out: str | Path = "features",
    channels: int = 47,
    first_layer: bool = False,
    extract: str | None = None,
    num_classes: int = 19,
    runs: Path = RUNS,
    console: Console | None = None,
) -> FeatureResult:
    """Activations of layers as sheets, the filters of the first layer, or features of pictures as arrays.

    source: as for `receptive_field`. pictures: a picture; a folder for `extract`; not needed for `first_layer` alone.
    layers: their names; by default the four stages and the output, and for `extract` what the last layer reads.
    channels: how many a sheet shows, those that vary most. extract: "pooled" writes one vector a picture (means over
    the map) into out/features.npz, "maps" the maps themselves. Writes into folder `out`.
    Raises UserError for a layer or kind that there is not.
    """
    from segwright.data.reading import read_image
    from segwright.evaluation import features as looked
    from segwright.evaluation.layers import HEAD_INPUT, find_layers, stages
    from segwright.inference.folders import find_pictures
    from segwright.report.feature_sheet import activation_sheet, filter_sheet

    if extract not in (None, "pooled", "maps"):
        raise UserError(f"extract is '{extract}'; allowed are pooled (a vector a picture) and maps.")
    if pictures is None and not first_layer:
        raise UserError("which picture to look at is missing. Give one, or ask for the filters of the first layer.")
    model, title, folder = open_model(source, num_classes=num_classes, runs=runs), title_of(source), Path(out)
    sheets, shapes = [], dict[str, tuple[int, ...]]()
    if first_layer:
        name, filters = looked.first_filters(model.architecture)
        kernel = " by ".join(str(n) for n in filters.shape[2:])
        drawn = filter_sheet(filters, title=f"{title}: {len(filters)} filters of {kernel} pixels, layer {name}")
        sheets.append(_write_png(drawn, folder / "first-layer.png"))
    if pictures is None:
        return FeatureResult(sheets=tuple(sheets))
    files = find_pictures(Path(pictures), folder if Path(pictures).is_dir() else None)
    if extract is not None:
        chosen = find_layers(model.architecture, list(layers) or [HEAD_INPUT])
        with counting(console or new_console(), "features") as progress:
            found = [
                looked.extract(
                    model,
                    (read_image(file) for file in files),
                    layer,
                    pooled=extract == "pooled",
                    progress=progress,
                    total=len(files),
                )
                for layer in chosen
            ]
        arrays = _arrays([s.title for s in chosen], found, files, Path(pictures), pooled=extract == "pooled")
        shapes = {name: value.shape for name, value in arrays.items()}
        return FeatureResult(sheets=tuple(sheets), arrays=_write_npz(arrays, folder / "features.npz"), shapes=shapes)
    if len(files) > 1:
        raise UserError(f"{pictures} holds {len(files)} pictures; sheets are of one. Give one picture, or `extract`.")
    rgb = read_image(files[0])
    wanted = find_layers(model.architecture, list(layers)) if layers else stages(model.architecture)
    for name, maps in looked.activations(model, rgb, wanted).items():
        shown = looked.strongest(maps, channels)
        shapes[name] = maps.shape
        count = f"the {len(shown)} that vary most of {len(maps)}" if len(shown) < len(maps) else f"all {len(maps)}"
        head = f"{title}, layer {name}: {count} channels of {maps.shape[1]} by {maps.shape[2]}"
        sheet = activation_sheet(maps, shown, title=head, photo=rgb)
        sheets.append(_write_png(sheet, folder / f"{name.replace(' ', '-')}.png"))
    return FeatureResult(sheets=tuple(sheets), shapes=shapes)


@dataclass(frozen=True, kw_only=True)
class GradCamResult:
    """sheet: the picture that was written. found: the map itself. share: of the map's sum inside the region, 0..1."""

    sheet: Path
    found: ClassMap
    share: float


def gradcam(
    source: str | Path,
    picture: str | Path,
    class_name: str,
    *,
    region: tuple[int, int, int, int] | None = None,
    layer: str | None = None,
    out: str | Path = "gradcam.png",
    runs: Path = RUNS,
) -> GradCamResult:
    """Which parts of a picture speak for a class: Seg-Grad-CAM as a PNG.

    source: a run or a model file (or a recipe: then the weights are fresh). class_name: as the model's label space has
    it. region: left, top, right, bottom of the box to explain; the whole picture by default. layer: the deepest stage
    by default. Raises UserError for another class, a region outside the picture and a layer without a map.
    """
    from segwright.data.reading import read_image
    from segwright.evaluation.gradcam import class_map
    from segwright.evaluation.layers import find_layers, stages
    from segwright.names import did_you_mean
    from segwright.report.feature_sheet import heat_overlay

    model = open_model(source, runs=runs)
    names = model.labels.class_names
    if class_name not in names:
        hint = did_you_mean(class_name, names)
        raise UserError(f"the model has no class '{class_name}'.{hint} There are: {', '.join(names)}.")
    rgb = read_image(Path(picture))
    chosen = find_layers(model.architecture, [layer])[0] if layer else stages(model.architecture)[-2]
    found = class_map(model, rgb, names.index(class_name), chosen, region=region)
    left, top, right, bottom = region or (0, 0, rgb.shape[1], rgb.shape[0])
    total = float(found.heat_HW.sum())
    share = float(found.heat_HW[top:bottom, left:right].sum()) / total if total else 0.0
    head = f"{title_of(source)}: what speaks for '{class_name}'{' in the box' if region else ''}"
    note = f"Seg-Grad-CAM of layer {chosen.title}" + (f"; {share:.0%} of it inside the box" if region else "")
    if not total:
        note = f"nothing in layer {chosen.title} speaks for it"
    sheet = heat_overlay(rgb, found.heat_HW, title=head, region=region, note=note)
    return GradCamResult(sheet=_write_png(sheet, Path(out)), found=found, share=share)


def _arrays(
    layers: Sequence[str], found: Sequence[list[NDArray[Any]]], files: Sequence[Path], root: Path, *, pooled: bool
) -> dict[str, NDArray[Any]]:
    """`names`, and for each layer its vectors [pictures, C], or one entry `LAYER/NAME` a map."""
    names = [str(f.relative_to(root)) if root.is_dir() else f.name for f in files]
    arrays: dict[str, NDArray[Any]] = {"names": np.array(names)}
    for layer, values in zip(layers, found, strict=True):
        if pooled:
            arrays[layer] = np.stack(values)
        else:
            arrays |= {f"{layer}/{name}": value for name, value in zip(names, values, strict=True)}
    return arrays


def _write_npz(arrays: Mapping[str, NDArray[Any]], path: Path) -> Path:
    from segwright.files import atomic_path

    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]
    return path


def _write_png(pixels: NDArray[np.uint8], path: Path) -> Path:
    from PIL import Image

    from segwright.files import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")
    return path


def _fitted(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] -> its largest middle part of the wanted shape, resized to it."""
    from PIL import Image, ImageOps

    return np.array(ImageOps.fit(Image.fromarray(rgb), (width, height), Image.Resampling.BILINEAR), np.uint8)


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
    """Endless pictures, uint8 [1, 3, H, W]: of a folder, their middle resized to the shape, or random pixels."""
    import torch

    from segwright.data.reading import read_image
    from segwright.inference.folders import find_pictures

    height, width = (max(model.min_size, -(-side // model.stride) * model.stride) for side in size)
    if folder is None:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=generator)
    files = find_pictures(Path(folder))
    while True:
        for file in files:
            yield torch.from_numpy(_fitted(read_image(file), height, width)).permute(2, 0, 1)[None]
