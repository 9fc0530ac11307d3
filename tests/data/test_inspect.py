"""What `segwright train DIR` sees in a folder: proposals that say what they decided, and faults with their cause."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segwright.contracts import IGNORE, DataError, UserError
from segwright.data import PairedFolders
from segwright.data.colors import OKABE_ITO, distinct_colors
from segwright.data.inspect import FolderFacts, inspect_folder
from segwright.labels import LabelSpace

from .files import mask, photo, save, write_pairs


def folder(root: Path, values: Sequence[int] = (0, 1, 2, 3), count: int = 5, **options: Any) -> Path:
    return write_pairs(root, [f"p{i}" for i in range(count)], values=values, **options)


def meanings(space: LabelSpace) -> dict[str, tuple[int, ...]]:
    return {c.name: c.values for c in space.classes}


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        inspect_folder(root)
    return str(caught.value)


def notes(facts: FolderFacts) -> str:
    return "\n".join(facts.notes)


# index masks


def test_facts_of_a_plain_folder(tmp_path: Path) -> None:
    folder(tmp_path)
    save(tmp_path / "images" / "wide.png", photo(10, 40))
    save(tmp_path / "masks" / "wide.png", mask(10, 40, values=[0, 1]))
    done: list[tuple[int, int]] = []
    facts = inspect_folder(tmp_path, progress=lambda *at: done.append(at))
    assert done == [(i, 6) for i in range(1, 7)]
    assert facts.pictures == 6
    assert facts.sizes == {(12, 20): 5, (10, 40): 1}
    assert facts.splits == {"train": 5, "val": 1}
    assert facts.encoding == "index"
    assert meanings(facts.labels) == {f"class_{k}": (k,) for k in range(4)}
    assert facts.labels.ignored == ()
    assert facts.names_from is None
    assert "generic names" in notes(facts)
    assert "no val folder: 1 of the pictures" in notes(facts)
    everything = np.concatenate([np.array(Image.open(p)).ravel() for p in (tmp_path / "masks").iterdir()])
    assert list(facts.class_pixels) == np.bincount(everything).tolist()
    assert facts.class_images[:2] == (6, 6)
    assert facts.class_image_pixels[0] == 5 * 240 + 400
    assert facts.values[1].pixels == facts.class_pixels[1]
    assert facts.ignored_pixels == 0
    dataset = PairedFolders(tmp_path, "train", facts.labels)
    assert all(dataset[i].labels is not None for i in range(len(dataset)))


def test_255_beside_ids_is_void(tmp_path: Path) -> None:
    facts = inspect_folder(folder(tmp_path, values=(0, 1, 2, 255)))
    assert meanings(facts.labels) == {"class_0": (0,), "class_1": (1,), "class_2": (2,)}
    assert [c.values for c in facts.labels.ignored] == [(IGNORE,)]
    assert "value 255" in notes(facts)
    assert facts.ignored_pixels == facts.values[255].pixels > 0


def test_black_and_white_is_background_and_foreground(tmp_path: Path) -> None:
    facts = inspect_folder(folder(tmp_path, values=(0, 255)))
    assert meanings(facts.labels) == {"background": (0,), "foreground": (255,)}
    assert "0 and 255 only" in notes(facts)
    (tmp_path / "classes.txt").write_text("crack\n")
    assert meanings(inspect_folder(tmp_path).labels) == {"background": (0,), "crack": (255,)}
    (tmp_path / "classes.txt").write_text("wall\ncrack\n")
    assert meanings(inspect_folder(tmp_path).labels) == {"wall": (0,), "crack": (255,)}


def test_gaps_make_no_class_and_are_told(tmp_path: Path) -> None:
    facts = inspect_folder(folder(tmp_path, values=(0, 1, 5, 6)))
    assert meanings(facts.labels) == {f"class_{k}": (k,) for k in (0, 1, 5, 6)}
    assert "2..4" in notes(facts)


@pytest.mark.parametrize(
    ("names", "values", "expected", "ignored"),
    [
        ("sky\nroad\n# a comment\n\ncar\n", (0, 1, 2), {"sky": (0,), "road": (1,), "car": (2,)}, ()),
        ("sky\nroad\ncar\n", (1, 2, 3), {"sky": (1,), "road": (2,), "car": (3,)}, ()),
        ("void\nroad\ncar\n", (0, 1, 2), {"road": (1,), "car": (2,)}, (0,)),
        ("sky\nroad\ncar\n", (0, 1, 255), {"sky": (0,), "road": (1,), "car": (2,)}, (255,)),
        ("sky\nroad\ncar\n", (0, 255), {"sky": (0,), "road": (1,), "car": (2,)}, (255,)),
        ("crack\n", (0, 1), {"background": (0,), "crack": (1,)}, ()),
        ("sky 1 2 3\ntraffic light 4 5 6\n", (0, 1), {"sky": (0,), "traffic light": (1,)}, ()),
    ],
)
def test_names_from_classes_txt(
    tmp_path: Path, names: str, values: tuple[int, ...], expected: dict[str, tuple[int, ...]], ignored: tuple[int, ...]
) -> None:
    folder(tmp_path, values=values)
    (tmp_path / "classes.txt").write_text(names)
    facts = inspect_folder(tmp_path)
    assert meanings(facts.labels) == expected
    assert tuple(v for c in facts.labels.ignored for v in c.values) == ignored
    assert facts.names_from == tmp_path / "classes.txt"


@pytest.mark.parametrize(
    ("names", "values", "words"),
    [
        ("sky\nroad\n", (0, 1, 2), "3 values.*2 names"),
        ("sky\nroad\n", (0, 1, 7), r"also hold 7 \("),
        ("sky\nsky\n", (0, 1), "'sky' occurs twice"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, names: str, values: tuple[int, ...], words: str) -> None:
    folder(tmp_path, values=values)
    (tmp_path / "classes.txt").write_text(names)
    with pytest.raises(DataError, match=words):
        inspect_folder(tmp_path)


def test_a_label_space_file_decides_everything(tmp_path: Path) -> None:
    folder(tmp_path, values=(0, 100, 200))
    (tmp_path / "labels.yaml").write_text(
        "name: mine\nclasses:\n"
        "  - {name: a, values: [0, 100], color: [1, 2, 3]}\n  - {name: b, values: [200], color: [4, 5, 6]}\n"
    )
    facts = inspect_folder(tmp_path)
    assert meanings(facts.labels) == {"a": (0, 100), "b": (200,)}
    assert facts.names_from == tmp_path / "labels.yaml"
    assert facts.class_pixels[0] == facts.values[0].pixels + facts.values[100].pixels
    assert facts.class_images == (5, 5)
    save(tmp_path / "masks" / "p1.png", mask(values=[0, 9]))
    assert "p1.png: found mask values" in refused(tmp_path)
    (tmp_path / "labels.yaml").write_text("name: mine\n")
    with pytest.raises(UserError, match=r"labels\.yaml"):
        inspect_folder(tmp_path)


def test_one_class_is_nothing_to_learn(tmp_path: Path) -> None:
    assert "nothing to learn" in refused(folder(tmp_path / "a", values=(0,)))
    assert "nothing to learn" in refused(folder(tmp_path / "b", values=(255,)))


# colour masks


def colour_folder(root: Path, colors: Sequence[tuple[int, int, int]]) -> Path:
    for index in range(4):
        save(root / "images" / f"p{index}.png", photo(seed=index))
        table = np.array(colors, np.uint8)
        save(root / "masks" / f"p{index}.png", table[mask(values=range(len(colors)), seed=index)])
    return root


def test_few_exact_colours_are_classes(tmp_path: Path) -> None:
    facts = inspect_folder(colour_folder(tmp_path, [(0, 0, 0), (0, 0, 255), (255, 128, 0)]))
    assert facts.encoding == facts.labels.encoding == "rgb"
    assert meanings(facts.labels) == {"color_000000": (0,), "color_0000ff": (255,), "color_ff8000": (0xFF8000,)}
    assert "black became a class" in notes(facts)
    dataset = PairedFolders(tmp_path, "all", facts.labels)
    assert dataset[0].labels is not None
    assert set(np.unique(dataset[0].labels)) == {0, 1, 2}
    (tmp_path / "classes.txt").write_text("0 0 255 water\nvoid 0 0 0\nsand 255 128 0\n")
    facts = inspect_folder(tmp_path)
    assert meanings(facts.labels) == {"water": (255,), "sand": (0xFF8000,)}
    assert [c.values for c in facts.labels.ignored] == [(0,)]
    assert facts.labels.classes[0].color == (0, 0, 255)


def test_black_and_white_colours_and_greys(tmp_path: Path) -> None:
    facts = inspect_folder(colour_folder(tmp_path / "a", [(0, 0, 0), (255, 255, 255)]))
    assert meanings(facts.labels) == {"background": (0,), "foreground": (0xFFFFFF,)}
    assert "three channels" in notes(inspect_folder(colour_folder(tmp_path / "b", [(0, 0, 0), (1, 1, 1), (2, 2, 2)])))


def test_colour_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    colour_folder(tmp_path, [(0, 0, 0), (0, 0, 255), (255, 128, 0)])
    for names, words in (
        ("water\nsand\nvoid\n", "gives none for water"),
        ("water 0 0 255\nvoid 0 0 0\n", "does not list"),
        ("water 0 0 255\nsea 0 0 255\n", "same colour"),
    ):
        (tmp_path / "classes.txt").write_text(names)
        assert words in refused(tmp_path)


# faults


def test_every_faulty_file_is_named_in_one_message(tmp_path: Path) -> None:
    folder(tmp_path, count=12)
    images, masks = tmp_path / "images", tmp_path / "masks"
    whole = (images / "p0.png").read_bytes()
    (images / "p0.png").write_bytes(whole[: len(whole) // 2])
    save(masks / "p1.png", mask(20, 12))
    (masks / "p2.png").unlink()
    Image.fromarray(mask(values=[0, 80])).save(masks / "p3.png", format="JPEG")
    save(masks / "p4.png", photo(40, 50))
    save(images / "p4.png", photo(40, 50))
    save(masks / "p5.png", mask().astype(np.uint16) * 1000)
    save(masks / "p6.png", np.array([[0, 0, 0], [9, 9, 9]], np.uint8)[mask(values=[0, 1])])
    (masks / "p7.png").write_text("no picture")
    message = refused(tmp_path)
    assert "8 problems" in message
    for part in (
        "p0.png: the file is damaged",
        "p1.png: the mask is 20×12",
        "p2.png: the picture has no mask",
        "p3.png: the mask is a JPEG",
        "p4.png: found",
        "p5.png: found 16-bit values up to",
        "p6.png: holds colours, while most",
        "p7.png: the content is no picture",
    ):
        assert part in message, part


def test_smoothed_black_and_white_is_recognised(tmp_path: Path) -> None:
    for index in range(3):
        ids = np.zeros((240, 400), np.uint8)
        ids[60:150, 100 + index * 11 : 301] = 255
        ids = np.array(Image.fromarray(ids).rotate(7, Image.Resampling.BICUBIC))
        save(tmp_path / "images" / f"p{index}.png", photo(240, 400))
        save(tmp_path / "masks" / f"p{index}.png", ids)
    assert "smoothed edges" in refused(tmp_path)


def test_luminance_of_a_palette_is_recognised(tmp_path: Path) -> None:
    voc = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (192, 0, 0), (64, 128, 0)]
    for index in range(3):
        save(tmp_path / "images" / f"p{index}.png", photo(seed=index))
        colours = Image.fromarray(np.array(voc, np.uint8)[mask(values=range(8), seed=index)])
        save(tmp_path / "masks" / f"p{index}.png", np.array(colours.convert("L")))
    message = refused(tmp_path)
    assert "far apart" in message
    assert "palette" in message


@pytest.mark.parametrize("values", [(0, 128), (0, 127, 255), (0, 85, 170, 255)])
def test_numbers_chosen_for_looking_at_are_refused(tmp_path: Path, values: tuple[int, ...]) -> None:
    message = refused(folder(tmp_path, values=values))
    assert "labels.yaml" in message


def test_grey_noise_is_refused(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "images" / f"p{index}.png", photo(60, 60))
        save(tmp_path / "masks" / f"p{index}.png", np.random.default_rng(index).integers(0, 256, (60, 60), np.uint8))
    assert "different values" in refused(tmp_path)


def test_instance_colours_are_refused(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "images" / f"p{index}.png", photo())
        table = np.random.default_rng(index).integers(0, 256, (40, 3), np.uint8)
        save(tmp_path / "masks" / f"p{index}.png", table[mask(values=range(40), seed=index)])
    assert "instance colours" in refused(tmp_path)


@settings(max_examples=15, deadline=None)
@given(ids=st.sets(st.integers(0, 40), min_size=2, max_size=12), void=st.booleans())
def test_small_ids_are_never_refused_and_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, ids: set[int], void: bool
) -> None:
    root = tmp_path_factory.mktemp("ids")
    values = [*sorted(ids), *([255] if void else [])]
    facts = inspect_folder(folder(root, values=values, count=2))
    assert [c.values[0] for c in facts.labels.classes] == sorted(ids)
    dataset = PairedFolders(root, "all", facts.labels)
    for index, pair in enumerate(dataset.pairs):
        labels = dataset[index].labels
        assert labels is not None
        np.testing.assert_array_equal(facts.labels.decode(labels), np.array(Image.open(pair.mask)))


# clean public data raises no alarm


def linked(root: Path, images: Path, masks: Path) -> Path:
    (root / "images").symlink_to(images)
    (root / "masks").symlink_to(masks)
    return root


def test_clean_camvid_passes(tmp_path: Path, camvid: Path) -> None:
    facts = inspect_folder(linked(tmp_path, camvid / "val", camvid / "valannot"))
    assert facts.pictures == 101
    assert facts.labels.num_classes == 12
    assert facts.sizes == {(360, 480): 101}


def test_clean_suim_passes(tmp_path: Path, shared_data: Path) -> None:
    suim = shared_data / "suim"
    if not suim.is_dir():
        pytest.skip("SUIM is not there")
    facts = inspect_folder(linked(tmp_path, suim / "images", suim / "masks"))
    assert facts.pictures == 8
    assert facts.encoding == "rgb"
    assert all(all(v in (0, 255) for v in c.color) for c in facts.labels.classes)


# colours


def test_colours_are_distinct_and_start_with_okabe_ito() -> None:
    colors = distinct_colors(250)
    assert tuple(colors[:7]) == OKABE_ITO
    assert len(set(colors)) == 250
    assert distinct_colors(19) == colors[:19]
    with pytest.raises(UserError, match="too many"):
        distinct_colors(251)
    far = np.array(distinct_colors(19), int)
    gaps = np.abs(far[:, None] - far[None]).sum(-1)[~np.eye(19, dtype=bool)]
    assert gaps.min() >= 60
    assert min(max(color) for color in colors) >= 64  # none looks like the black of void
