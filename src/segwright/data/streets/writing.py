"""Writing street scenes to disk under the folder and file names of Cityscapes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import UserError
from segwright.data.streets.dataset import check_count, scene_city, scene_name, scene_seed
from segwright.data.streets.ids import COLOURS, TRAIN_ID
from segwright.data.streets.scene import Scene, check_size, render_scene
from segwright.files import write_json

Job = tuple[Path, str, int, int, tuple[int, int]]
"""root, split, index, data set seed, (height, width)."""


def scene_files(root: Path, split: str, index: int) -> dict[str, Path]:
    """Where the files of a scene lie, by kind: image, labelIds, labelTrainIds, instanceIds, color."""
    city, name = scene_city(split, index), scene_name(split, index)
    truth = root / "gtFine" / split / city
    files = {
        kind: truth / f"{name}_gtFine_{kind}.png" for kind in ("labelIds", "labelTrainIds", "instanceIds", "color")
    }
    return {"image": root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", **files}


def write_streets(
    root: Path,
    *,
    counts: Mapping[str, int],
    size: tuple[int, int],
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the first counts[split] scenes of each split below root, skipping those that are complete.

    size: (height, width) in pixels; workers: threads, one for each core when None; progress: called
    with (scenes done, scenes in all). Files appear whole or not at all. Raises UserError for a size outside
    64..1024 × 64..2048, an unknown split, a negative count, or scenes of another size or seed already there.
    """
    check_size(*size)
    for split, count in counts.items():
        check_count(split, count)
    _keep_seed(root, seed)
    jobs: list[Job] = [(root, split, index, seed, size) for split, count in counts.items() for index in range(count)]
    missing = [job for job in jobs if not _complete(job)]
    done = len(jobs) - len(missing)
    if progress is not None:
        progress(done, len(jobs))
    threads = max(1, min(workers if workers is not None else os.cpu_count() or 1, len(missing)))
    with ThreadPoolExecutor(threads, thread_name_prefix="segwright-scenes") as pool:  # OpenCV releases Python's lock
        for future in as_completed([pool.submit(_write_scene, job) for job in missing]):
            future.result()
            done += 1
            if progress is not None:
                progress(done, len(jobs))


def _keep_seed(root: Path, seed: int) -> None:
    """Note the seed in the folder. Raises UserError when scenes of another seed lie there."""
    note = root / "streets.json"
    if note.is_file():
        found = json.loads(note.read_text(encoding="utf-8"))["seed"]
        if found != seed:
            raise UserError(
                f"{root} holds scenes of seed {found}, and seed {seed} was asked for. Choose another folder, or delete "
                "the old scenes first."
            )
    write_json(note, {"seed": seed})


def _complete(job: Job) -> bool:
    root, split, index, _, (height, width) = job
    files = scene_files(root, split, index)
    if not all(file.is_file() for file in files.values()):
        return False
    with Image.open(files["image"]) as image:
        if image.size != (width, height):
            raise UserError(
                f"{files['image']} is {image.height}×{image.width} (height × width), but {height}×{width} was asked "
                "for. Choose another folder, or delete the old scenes first."
            )
    return True


def _write_scene(job: Job) -> None:
    root, split, index, seed, size = job
    scene = render_scene(scene_seed(seed, split, index), *size)
    files = scene_files(root, split, index)
    for kind, picture in _pictures(scene).items():
        file = files[kind]
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        Image.fromarray(picture).save(temporary, format="PNG", compress_level=3)
        temporary.replace(file)  # atomic, like os.replace


def _pictures(scene: Scene) -> dict[str, NDArray[np.uint8] | NDArray[np.uint16]]:
    return {
        "image": scene.image,
        "labelIds": scene.label_ids,
        "labelTrainIds": TRAIN_ID[scene.label_ids],
        "instanceIds": scene.instance_ids.astype(np.uint16),
        "color": COLOURS[scene.label_ids],
    }
