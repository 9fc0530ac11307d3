"""Predictions in the form that a benchmark's server takes, and a check that finds every fault before the upload.

Servers allow few uploads, and most first ones fail: train ids for label ids, colours, one file missing.
Sources: Cityscapes: cityscapesScripts (helpers/labels.py, evalPixelLevelSemanticLabeling.py); KITTI: cvlibs.net,
eval_semseg ("data format and metrics are conform with Cityscapes"); ADE20K: CSAILVision/sceneparsing; PASCAL VOC:
development kit 2012 (VOCinit.m, VOCevalseg.m, VOClabelcolormap.m).
Letters: H W pixels, K classes.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.build import prediction_map
from segwright.contracts import UserError
from segwright.data.reading import read_image
from segwright.data.unlabelled import Unlabelled
from segwright.files import atomic_path
from segwright.inference.ahead import Progress, read_ahead
from segwright.inference.predictor import Predictor
from segwright.labels import LabelSpace, load_label_space
from segwright.metrics.cityscapes import ids_of_space, label_ids
from segwright.models.converted import in_space
from segwright.models.segmenter import Segmenter
from segwright.names import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a server takes: one 8-bit PNG a picture.

    data_set: whose pictures they are. space: shipped label space of the classes. values: numbers that a file may hold.
    inner: folder of the files in the archive. archive: its file name. palette: whether files are palette PNGs.
    loose_names: a file's name may go on after the picture's.
    """

    name: str
    title: str
    data_set: str
    space: str
    values: range
    inner: str
    archive: str
    palette: bool = False
    loose_names: bool = False


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        one.name: one
        for one in (
            Form(
                name="cityscapes",
                title="Cityscapes, pixel-level semantic labelling",
                data_set="cityscapes",
                space="cityscapes19",
                values=range(34),
                inner="",
                archive="cityscapes.zip",
                loose_names=True,
            ),
            Form(
                name="kitti",
                title="KITTI, semantic segmentation",
                data_set="kitti",
                space="kitti19",
                values=range(34),
                inner="semantic",
                archive="kitti.zip",
            ),
            Form(
                name="ade20k",
                title="ADE20K, scene parsing",
                data_set="ade20k",
                space="ade150",
                values=range(1, 151),
                inner="",
                archive="ade20k.zip",
            ),
            Form(
                name="voc",
                title="PASCAL VOC 2012, segmentation (comp6)",
                data_set="voc",
                space="voc21",
                values=range(21),
                inner="results/VOC2012/Segmentation/comp6_test_cls",
                archive="voc.tar.gz",
                palette=True,
            ),
        )
    }
)


def find_form(name: str) -> Form:
    """A form by name. Raises UserError with the nearest name."""
    if name in FORMS:
        return FORMS[name]
    raise UserError(f"--format {name}: unknown.{did_you_mean(name, FORMS)} Known: {', '.join(FORMS)}.")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What was written. folder: of the PNG files. archive: to upload. never: classes of the server that the model lacks."""

    form: str
    folder: Path
    archive: Path
    pictures: int
    never: tuple[str, ...]


def file_values(form: Form, space: LabelSpace) -> NDArray[np.uint8]:
    """uint8 [256]: the number in the file of each class id of a space that `told_space` gave."""
    table = np.zeros(256, np.uint8)
    if form.space in ("cityscapes19", "kitti19"):
        ids = ids_of_space(space)
    else:
        target = load_label_space(form.space)
        ids = target.decode(np.array([target.class_names.index(name) for name in space.class_names], np.uint8))
    table[: len(ids)] = ids
    return table


def told_space(form: Form, own: LabelSpace) -> LabelSpace:
    """The space in which a model's predictions are written: its own where its classes have the server's numbers.

    So a model of all 34 Cityscapes labels may answer with an ignored one, as `evaluate` lets it.
    """
    target = load_label_space(form.space)
    known = set(label_ids().names) if form.space in ("cityscapes19", "kitti19") else set(target.class_names)
    return own if set(target.class_names) <= set(own.class_names) <= known else target


def write_submission(
    segmenter: Segmenter,
    pictures: Sequence[Unlabelled],
    form: Form,
    out: Path,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Submission:
    """Predict the pictures at their original size and write PNG files and their archive into folder `out`.

    Files go to out/INNER/NAME.png, each written whole or not at all, and the archive to out/ARCHIVE when all are there.
    Raises UserError when `out` holds anything, and for a model whose classes cannot be told in the server's.
    """
    space = told_space(form, segmenter.labels)
    told = None if space is segmenter.labels else prediction_map(segmenter.labels, space)
    predictor = Predictor(in_space(segmenter, told), device=device, memory_format="channels_last")
    table = file_values(form, predictor.labels)
    folder = _empty(out) / form.inner
    files = [folder / f"{one.name}.png" for one in pictures]
    reading = read_ahead(lambda index: read_image(pictures[index].image), len(pictures))
    with ThreadPoolExecutor(1, thread_name_prefix="write-submission") as writer, closing(reading):
        writing: Future[None] | None = None
        for index, rgb in enumerate(reading):
            values_HW = np.asarray(cv2.LUT(predictor.predict(rgb), table), np.uint8)
            if writing is not None:
                writing.result()
            writing = writer.submit(_write, values_HW, files[index], form)
            if progress is not None:
                progress(index + 1, len(pictures))
        if writing is not None:
            writing.result()
    archive = out / form.archive
    _pack(archive, out, files)
    return Submission(
        form=form.name,
        folder=folder,
        archive=archive,
        pictures=len(files),
        never=() if told is None else told.unreached,
    )


def _empty(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"{out} exists and is no empty folder: a submission holds its own files alone. Choose another folder."
        )
    return out


def _write(values_HW: NDArray[np.uint8], path: Path, form: Form) -> None:
    picture = Image.fromarray(values_HW)
    if form.palette:
        picture.putpalette(voc_palette().tobytes())
    try:
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG")
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}. Start again in an empty folder."
        ) from error


def voc_palette() -> NDArray[np.uint8]:
    """uint8 [256, 3]: VOC's colours. The bits of a number go to red, green and blue in turn, the lowest to the highest bit."""
    palette = np.zeros((256, 3), np.uint8)
    for number in range(256):
        for bit in range(8):
            palette[number, bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return palette


def _pack(archive: Path, out: Path, files: Sequence[Path]) -> None:
    """PNG is packed already: files are stored as they are, under their path below `out`."""
    with atomic_path(archive) as temporary:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as packed:
                for file in files:
                    packed.write(file, file.relative_to(out).as_posix())
        else:
            with tarfile.open(temporary, "w:gz", compresslevel=1) as tar:
                for file in files:
                    tar.add(file, file.relative_to(out).as_posix())
