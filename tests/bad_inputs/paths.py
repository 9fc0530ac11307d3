"""B4: names and paths. They work, or are named in a message; nothing hangs and nothing is passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ..data.files import mask, photo, save
from .case import HEIGHT, WIDTH, Case, companions, put

Change = Callable[[Path], Path]
"""Adds something odd to a healthy data set and returns it."""

ROW = "train"
BEYOND = b"caf\xe9".decode("utf-8", "surrogateescape")  # a Latin-1 name on a UTF-8 system


def _made(change: Change, root: Path) -> Path:
    companions(root)
    return change(root)


def works(name: str, change: Change, rule: str) -> Case:
    """The picture is read like any other."""
    make = partial(_made, change)
    return Case(name=name, group="B4", make=make, expect="accepted", words=rule, truth=photo)


def refused(name: str, change: Change, words: str, *codes: str) -> Case:
    return Case(name=name, group="B4", make=partial(_made, change), expect="refused", words=words, codes=codes)


def named(stem: str, mask_stem: str | None = None) -> Change:
    """A healthy pair of this name."""

    def change(root: Path) -> Path:
        save(root / ROW / "masks" / f"{stem if mask_stem is None else mask_stem}.png", mask(HEIGHT, WIDTH, seed=8))
        return save(root / ROW / "images" / f"{stem}.png", photo(HEIGHT, WIDTH))

    return change


def linked(root: Path) -> Path:
    """Picture and mask are links to files elsewhere."""
    save(root / "store" / "p.png", photo(HEIGHT, WIDTH))
    save(root / "store" / "m.png", mask(HEIGHT, WIDTH, seed=8))
    link(root, "odd.png", Path("../../store/p.png"))
    (root / ROW / "masks" / "odd.png").symlink_to(Path("../../store/m.png"))
    return root / ROW / "images" / "odd.png"


def linked_folder(root: Path) -> Path:
    """A folder of pictures and one of masks that are links."""
    save(root / "store" / "p" / "odd.png", photo(HEIGHT, WIDTH))
    save(root / "store" / "m" / "odd.png", mask(HEIGHT, WIDTH, seed=8))
    link(root, "city", root / "store" / "p")
    (root / ROW / "masks" / "city").symlink_to(root / "store" / "m")
    return root / ROW / "images" / "city" / "odd.png"


def linked_upwards(root: Path) -> Path:
    """A folder that holds a link to itself: no endless walk."""
    link(root, "again", root / ROW / "images")
    return named("odd")(root)


def link(root: Path, name: str, target: Path) -> Path:
    path = root / ROW / "images" / name
    path.symlink_to(target)
    return path


def with_mask(make: Change) -> Change:
    """A healthy mask called odd.png beside whatever `make` puts where its picture should be."""

    def change(root: Path) -> Path:
        save(root / ROW / "masks" / "odd.png", mask(HEIGHT, WIDTH, seed=8))
        return make(root)

    return change


def pipe(folder: str) -> Change:
    def change(root: Path) -> Path:
        other = "masks" if folder == "images" else "images"
        pixels = mask(HEIGHT, WIDTH, seed=8) if other == "masks" else photo(HEIGHT, WIDTH)
        save(root / ROW / other / "odd.png", np.asarray(pixels))
        os.mkfifo(root / ROW / folder / "odd.png")
        return root / ROW / folder / "odd.png"

    return change


def folder_named_like_a_picture(root: Path) -> Path:
    path = root / ROW / "images" / "odd.png"
    path.mkdir()
    return path


def broken_mask_link(root: Path) -> Path:
    save(root / ROW / "images" / "odd.png", photo(HEIGHT, WIDTH))
    path = root / ROW / "masks" / "odd.png"
    path.symlink_to(root / "gone.png")
    return path


def closed(root: Path) -> Path:
    path = named("odd")(root)
    path.chmod(0)
    return path


PATHS: tuple[Case, ...] = (
    works("chinese", named("街道_图像"), "any Unicode name"),
    works("korean-decomposed", named("\u1112\u1161\u11ab"), "any Unicode name"),
    works("emoji", named("🚗🛣️"), "any Unicode name"),
    works("right-to-left", named("תמונה"), "any Unicode name"),
    works("composed-and-decomposed", named("stra\u00dfe_\u00e9", "stra\u00dfe_e\u0301"), "NFC and NFD are the same name"),
    works("spaces", named("  two  words "), "spaces in names"),
    works("newline", named("line\nbreak"), "line breaks in names"),
    works("tab-and-bell", named("tab\tbell\a"), "control characters in names"),
    works("markup", named("[red]<b>&amp;{{7*7}}%s"), "no name is read as markup"),
    works("shell", named("$(touch x);`id`|&'\"\\"), "no name is read as a command"),
    works("leading-dash", named("--help"), "no name is read as an option"),
    works("many-dots", named("a.b.c..png"), "only the last ending counts"),
    works("percent", named("%2e%2e%00"), "no name is decoded"),
    works("250-bytes", named("n" * 246), "names as long as the file system allows"),
    works("250-bytes-of-3", named("图" * 82), "names as long as the file system allows"),
    works("deep-folders", named("/".join(["deep" * 10] * 12) + "/odd"), "folders of any depth"),
    works("folder-with-ending", named("city.png/odd"), "folders of any name"),
    works("link", linked, "links are followed"),
    works("linked-folder", linked_folder, "links are followed"),
    works("linked-folder-circle", linked_upwards, "each folder is walked once"),
    works("upper-case-ending", lambda root: named("odd")(root).rename(root / ROW / "images" / "odd.PNG"), "any case"),
    refused("hidden-picture", named(".odd", "odd"), "odd.png: the mask has no picture", "no-picture"),
    refused("link-in-a-circle", with_mask(lambda r: link(r, "odd.png", r / ROW / "images" / "odd.png")),
            "cannot be read", "unreadable-image"),
    refused("broken-link", with_mask(lambda r: link(r, "odd.png", r / "gone.png")), "broken link", "unreadable-image"),
    refused("broken-mask-link", broken_mask_link, "broken link", "unreadable-mask"),
    refused("folder-named-like-a-picture", with_mask(folder_named_like_a_picture), "odd.png: the mask has no picture",
            "no-picture"),
    refused("pipe-as-picture", pipe("images"), "pipe", "unreadable-image"),
    refused("pipe-as-mask", pipe("masks"), "pipe", "unreadable-mask"),
    refused("link-to-a-folder", with_mask(lambda r: link(r, "odd.png", r / "val")), "the mask has no picture",
            "no-picture"),
    refused("link-to-a-device", with_mask(lambda r: link(r, "odd.png", Path("/dev/zero"))), "device", "unreadable-image"),
    refused("not-utf-8", named(BEYOND), "caf.*not UTF-8", "listing"),
    refused("text-under-a-picture-name", with_mask(lambda r: put(r / ROW / "images" / "odd.png", b"text")),
            "no picture", "unreadable-image"),
)  # fmt: skip

CLOSED = refused("closed", closed, "may not be read", "unreadable-image")
"""Only where the tests do not run as root, who may read everything."""
