"""Where a video comes from: a file, a network address or a camera; and what FFmpeg has to be told to open it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from segwright.contracts import UserError

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".flv"),
    *(".wmv", ".asf", ".ogv", ".mxf", ".vob", ".y4m", ".h264", ".h265", ".hevc", ".mjpeg", ".ivf", ".nut"),
)
"""Endings by which `predict` tells videos from pictures; `video` reads any file that FFmpeg knows as a video."""
CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "ogg", "mxf", "nut", "ivf", "gif"),
    *("yuv4mpegpipe", "h264", "hevc", "m4v", "mjpeg", "dv", "wtv", "rm", "apng", "obu", "av1", "vvc", "webp"),
    *("mp3", "wav", "flac", "aac"),  # these hold no video, which can then be said
)
"""Kinds of files that are opened. Play lists are not among them: they would read other files and addresses."""
TIMEOUT_S = 12.0
"""So long an address may be silent."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A video to open. name: for messages and results, without user name and password. here: it is a file."""

    file: str
    name: str
    stem: str
    here: bool
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def is_video(source: str | Path) -> bool:
    """Whether this looks like a video: a network address, or a file name with an ending of SUFFIXES."""
    return is_address(source) or Path(source).suffix.lower() in SUFFIXES


def is_address(source: str | Path) -> bool:
    return isinstance(source, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", source) is not None


def find_place(source: str | Path | int) -> Place:
    """A file, an address such as rtsp://host/stream, or the number of a camera of this machine.

    Raises UserError for a file that is not there or no plain file, and for a camera on a system without known cameras.
    """
    if isinstance(source, int):
        return _camera(source)
    if is_address(source):
        address = urlsplit(str(source))
        host = address.netloc.rpartition("@")[2]
        name = f"{address.scheme}://{host}{address.path}"
        options = {"rtsp_transport": "tcp"} if address.scheme.lower().startswith("rtsp") else {}
        stem = re.sub(r"[^\w-]+", "-", Path(address.path).stem or host).strip("-")
        return Place(file=str(source), name=name, stem=stem or "stream", here=False, options=options)
    path = Path(source)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no plain file" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}. Give a video file, an address such as rtsp://HOST/STREAM, or --camera 0.")
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
    return Place(file=f"file:{path}", name=str(path), stem=path.stem, here=True, options=options)


def _camera(number: int) -> Place:
    names = {
        "linux": (f"/dev/video{number}", "v4l2"),
        "darwin": (str(number), "avfoundation"),
    }
    if number < 0 or sys.platform not in names:
        known = "numbers from 0" if sys.platform in names else "cameras of Linux and macOS; on others, give an address"
        raise UserError(f"--camera {number}: allowed are {known}.")
    file, kind = names[sys.platform]
    if kind == "v4l2" and not Path(file).exists():
        there = sorted(p.name.removeprefix("video") for p in Path("/dev").glob("video[0-9]*"))
        raise UserError(
            f"--camera {number}: there is no {file}. Cameras of this machine: {', '.join(there) or 'none'}."
        )
    return Place(file=file, name=f"camera {number}", stem=f"camera{number}", here=False, format=kind)


def av_package() -> ModuleType:
    """The package `av`. Raises UserError that says how to install it."""
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"videos need the package av, which cannot be imported ({error}). Install it: pip install 'segwright[video]'"
        ) from error
    return av
