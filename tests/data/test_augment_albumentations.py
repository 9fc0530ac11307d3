"""Albumentations pipelines from a file: data only, masks exact, every pixel from the sample's generator."""

from __future__ import annotations

import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from segwright.contracts import IGNORE, Sample, UserError
from segwright.data.augment import AlbumentationsPipeline, load_pipeline, sample_rng
from segwright.data.augment.truth import check_pipeline

from .files import mask, photo, sample

A = pytest.importorskip("albumentations")

SIZE = (48, 64)
END = ({"__class_fullname__": "PadIfNeeded", "p": 1.0, "min_height": 48, "min_width": 64, "border_mode": 0},)
END += ({"__class_fullname__": "RandomCrop", "p": 1.0, "height": 48, "width": 64},)


def pipeline(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": [*steps, *END], **more}}


def step(name: str, /, **args: Any) -> dict[str, Any]:
    return {"__class_fullname__": name, "p": 1.0} | args


def build(*steps: dict[str, Any], size: tuple[int, int] = SIZE, **more: Any) -> AlbumentationsPipeline:
    return AlbumentationsPipeline(size, pipeline=pipeline(*steps), **more)


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_what_albumentations_saves_is_read(ending: str, tmp_path: Path) -> None:
    """One of each kind of step, saved by the library itself, with all its inherited arguments."""
    made = A.Compose(
        [
            A.RandomScale((-0.4, 0.5), p=0.8),
            A.OneOf([A.Affine(rotate=(-20, 20)), A.ElasticTransform(alpha=8, sigma=4), A.GaussNoise()], p=0.8),
            A.SomeOf([A.HorizontalFlip(), A.ColorJitter(), A.CoarseDropout()], n=2),
            A.PadIfNeeded(*SIZE, border_mode=0),
            A.RandomCrop(*SIZE),
        ]
    )
    file = tmp_path / f"pipeline.{ending}"
    A.save(made, file, data_format=ending)
    level = AlbumentationsPipeline(SIZE, file=str(file))
    image, labels = level(sample(0, height=60, width=80), sample_rng(0, 0, 0))
    assert (image.shape, labels.shape, image.dtype, labels.dtype) == ((*SIZE, 3), SIZE, np.uint8, np.uint8)
    assert check_pipeline(level, draws=8) == []


@pytest.mark.parametrize(
    "one",
    [
        step("Affine", rotate=[-40, 40], scale=[0.7, 1.3]),
        step("Perspective", scale=[0.1, 0.2]),
        step("GridDistortion", num_steps=5, distort_limit=[-0.3, 0.3]),
        step("RandomResizedCrop", size=[60, 80], scale=[0.3, 1.0]),
        step("CropAndPad", percent=[-0.2, 0.2]),
        step("D4"),
        step("GridDropout", fill_mask=0),
        step("CoarseDropout"),
        step("SmallestMaxSize", max_size=50),
    ],
    ids=lambda one: str(one["__class_fullname__"]),
)
def test_picture_and_mask_move_together(one: dict[str, Any]) -> None:
    assert check_pipeline(build(one), draws=8) == []


def test_resizing_masks_is_exact() -> None:
    """Pillow's nearest neighbour is exact, too; OpenCV's plain one, Albumentations' own choice, is not."""
    from PIL import Image

    one = sample(0, height=144, width=192)
    _, labels = build(step("Resize", height=48, width=64))(one, sample_rng(0, 0, 0))
    assert one.labels is not None
    np.testing.assert_array_equal(labels, Image.fromarray(one.labels).resize((64, 48), Image.Resampling.NEAREST))


def test_fill_is_void_whatever_the_file_says() -> None:
    one = sample(0, height=20, width=30, values=(1, 2))
    _, labels = build(step("Pad", padding=20, fill_mask=0))(one, sample_rng(0, 0, 0))
    assert set(np.unique(labels)) == {1, 2, IGNORE}


def test_pixels_follow_from_the_generator_alone() -> None:
    level = build(step("HorizontalFlip", p=0.5), step("Affine", rotate=[-9, 9]), step("GaussNoise"))
    one = sample(0, height=60, width=80)
    expected = [level(one, sample_rng(1, 0, i)) for i in range(12)]
    copy = pickle.loads(pickle.dumps(level))
    with ThreadPoolExecutor(3) as threads:  # as the loader's threads do, in any order
        found = list(threads.map(lambda i: copy(one, sample_rng(1, 0, i)), reversed(range(12))))
    for (image, labels), (again, same) in zip(expected, reversed(found), strict=True):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(labels, same)
    assert len({image.tobytes() for image, _ in expected}) == 12


def test_steps_do_not_share_their_draws() -> None:
    """`Compose.set_random_seed` starts every step with the same numbers: both flips, or neither."""
    level = AlbumentationsPipeline(
        (2, 2),
        pipeline={
            "transform": step("Compose", transforms=[step("HorizontalFlip", p=0.5), step("VerticalFlip", p=0.5)])
        },
    )
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    one = Sample(name="x", planes={"rgb": photo(2, 2)}, labels=labels)
    seen = [int(level(one, sample_rng(0, 0, i))[1][0, 0]) for i in range(200)]
    assert min(seen.count(k) for k in range(4)) > 25


def test_short_side_resizes_first() -> None:
    one = sample(0, height=90, width=120)
    level = AlbumentationsPipeline((30, 40), pipeline={"transform": step("NoOp")}, short_side=30)
    image, labels = level(one, sample_rng(0, 0, 0))
    assert (image.shape, labels.shape) == ((30, 40, 3), (30, 40))
    assert (
        check_pipeline(
            AlbumentationsPipeline(
                (30, 40), pipeline={"transform": step("Resize", height=30, width=40)}, short_side=36
            ),
            draws=6,
        )
        == []
    )


# Further targets


def test_planes_boxes_and_keypoints_move_along() -> None:
    content = pipeline(
        step("HorizontalFlip"),
        additional_targets={"depth": "mask"},
        bbox_params={"format": "pascal_voc", "label_fields": ["kinds"]},
        keypoint_params={"format": "xy"},
    )
    rgb, depth = photo(48, 64), mask(48, 64, range(50))
    one = Sample(name="x", planes={"rgb": rgb, "depth": depth, "thermal": rgb[..., 0].copy()}, labels=mask(48, 64))
    done = AlbumentationsPipeline(SIZE, pipeline=content).transform(
        one, sample_rng(0, 0, 0), bboxes=[[4, 5, 20, 30]], kinds=["car"], keypoints=[[10, 20]]
    )
    np.testing.assert_array_equal(done["image"], rgb[:, ::-1])
    np.testing.assert_array_equal(done["depth"], depth[:, ::-1])
    np.testing.assert_array_equal(done["thermal"], rgb[:, ::-1, 0])
    np.testing.assert_allclose(done["bboxes"], [[44, 5, 60, 30]], atol=1e-4)
    np.testing.assert_allclose(done["keypoints"], [[53, 20]])
    assert list(done["kinds"]) == ["car"]


# Bad input


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (step("Lambda", name="x"), "Lambda cannot be used: it runs code"),
        (step("Normalize"), "Normalize cannot be used: the picture has to stay uint8"),
        (step("FDA", reference_images=["a.png"]), "FDA cannot be used: it needs other pictures"),
        (step("Morphological"), "mixes up the class numbers"),
        (step("HorizontalFlop"), "Did you mean 'HorizontalFlip'"),
        (step("os.system"), "'os.system' is no operation of Albumentations"),
        (step("mypackage.HorizontalFlip"), "is no operation"),
        (step("CenterCrop3D", size=[1, 2, 3]), "is no operation"),
        (step("BasicTransform"), "is no operation"),
        (step("Affine", mask_interpolation=1), "Affine would interpolate the mask"),
        (step("RandomScale", area_for_downscale="image_mask"), "RandomScale would interpolate the mask"),
        (step("Affine", rotation=[0, 3]), "Affine has no argument 'rotation'. Did you mean 'rotate'"),
        (step("Affine", rotate="much"), "does not take this pipeline"),
        ({"__class_fullname__": "HorizontalFlip"}, "HorizontalFlip has no `p`"),
        ({"name": "HorizontalFlip"}, "every operation needs `__class_fullname__`"),
        (step("OneOf", transforms=[step("ToFloat")]), "ToFloat cannot be used"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value.get("__class_fullname__")),
)
def test_refused_pipelines_name_the_operation(one: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(one)


def test_another_size_is_refused_with_the_remedy() -> None:
    level = AlbumentationsPipeline((40, 40), pipeline={"transform": step("HorizontalFlip")})
    with pytest.raises(
        UserError, match=r"'a_000' the pipeline gives uint8 \[12, 20, 3\].*Resize\(height=40, width=40\)"
    ):
        level(sample(0), sample_rng(0, 0, 0))


def test_a_failing_step_names_the_sample() -> None:
    level = AlbumentationsPipeline((40, 40), pipeline={"transform": step("RandomCrop", height=40, width=40)})
    with pytest.raises(UserError, match=r"the pipeline fails on 'a_000' \(12×20\)"):
        level(sample(0), sample_rng(0, 0, 0))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.txt", "", "ends in neither"),
        ("p.yaml", "a: [1", "cannot be read as a pipeline"),
        ("p.json", "{", "cannot be read as a pipeline"),
        ("p.yaml", "- 1", "no pipeline of Albumentations"),
        ("p.yaml", "transform: !!python/object/apply:os.getcwd []", "cannot be read as a pipeline"),
    ],
)
def test_wrong_files_are_refused(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        load_pipeline(tmp_path / name)


def test_missing_files_and_choices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone.yaml does not exist"):
        AlbumentationsPipeline(SIZE, file=str(tmp_path / "gone.yaml"))
    for given in ({}, {"file": "a.yaml", "pipeline": {}}):
        with pytest.raises(UserError, match="one of the two"):
            AlbumentationsPipeline(SIZE, **given)  # type: ignore[arg-type]


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(UserError, match=r"pip install 'segwright\[albumentations\]'"):
        build()


def test_the_shipped_example_is_true() -> None:
    file = Path(__file__).resolve().parents[2] / "docs" / "pipelines" / "streets.yaml"
    content = load_pipeline(file)
    assert yaml.safe_load(file.read_text(encoding="utf-8")) == json.loads(json.dumps(content))
    assert check_pipeline(AlbumentationsPipeline((256, 352), file=str(file)), draws=4) == []
