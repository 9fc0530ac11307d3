"""Small videos made by PyAV: frames known to the pixel where the codec loses nothing, sound, odd clocks, and damage."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]
HEIGHT, WIDTH, RATE = 48, 64, 25


def frame(index: int, height: int = HEIGHT, width: int = WIDTH) -> RGB:
    """uint8 [H, W, 3]: a bright corner at the upper left, and a block that moves with the index."""
    rgb = np.full((height, width, 3), (40, 90, 60), np.uint8)
    rgb[: height // 4, : width // 4] = 250
    left = (3 * index) % max(1, width - width // 4)
    rgb[height // 2 : 3 * height // 4, left : left + width // 4] = (200, 30, 120)
    return rgb


def write_video(
    path: Path,
    frames: Sequence[RGB] | int = 12,
    *,
    codec: str = "ffv1",
    pixels: str = "bgr0",
    rate: Fraction | int = RATE,
    times: Sequence[Fraction] | None = None,
    sound: str | None = None,
    turned: int = 0,
    options: Mapping[str, str] | None = None,
    container: Mapping[str, str] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """ffv1 with bgr0 in .mkv keeps every pixel. times: of the frames, seconds. sound: codec of a stereo tone of the same length."""
    pictures = [frame(k) for k in range(frames)] if isinstance(frames, int) else list(frames)
    base = Fraction(1, 12000)
    with av.open(str(path), "w", container_options=dict(container or {})) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=dict(options or {}))
        height, width = pictures[0].shape[:2] if pictures else (HEIGHT, WIDTH)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = base if times is not None else 1 / Fraction(rate)
        if turned:
            stream.set_display_rotation(turned)
        prepare(stream)
        tone: Any = out.add_stream(sound, rate=48000, layout="stereo", bit_rate=128000) if sound else None
        if not pictures:
            out.start_encoding()
        for k, rgb in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if times is None:
                picture.pts, picture.time_base = k, 1 / Fraction(rate)
            else:
                picture.pts, picture.time_base = round(times[k] / base), base
            out.mux(stream.encode(picture))
            if tone is not None:
                samples = round(48000 / Fraction(rate))
                wave = (8000 * np.sin(np.arange(2 * samples) * 0.05)).astype(np.int16)[None]
                heard = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
                heard.sample_rate, heard.pts, heard.time_base = 48000, k * samples, Fraction(1, 48000)
                out.mux(tone.encode(heard))
        if pictures:
            out.mux(stream.encode())
        if tone is not None and pictures:
            out.mux(tone.encode())
    return path


def read_video(path: Path) -> tuple[list[RGB], list[Fraction]]:
    """All frames as RGB and their times in seconds, by PyAV alone."""
    with av.open(str(path)) as source:
        found = [(f.to_ndarray(format="rgb24"), f.pts * f.time_base) for f in source.decode(video=0)]
    return [rgb for rgb, _ in found], [Fraction(time) for _, time in found]


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as source:
        return [bytes(packet) for packet in source.demux(audio=0) if packet.size]


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A hostile video. exit_code: of what must be raised before anything is written, None where frames are kept.

    kept: how many frames at least. says: parts of the message, of the problem or of a note. problem: whether it ends early.
    """

    name: str
    make: Callable[[Path], Path]
    exit_code: int | None = None
    kept: int = 0
    says: tuple[str, ...] = ()
    problem: bool = False
    size: tuple[int, int] | None = field(default=None)
    """Height and width of the frames that are kept."""


def h264(path: Path, frames: Sequence[RGB] | int = 24, **settings: Any) -> Path:
    return write_video(path, frames, codec="libx264", pixels="yuv420p", **settings)


def _cut_mp4_with_index(folder: Path) -> Path:
    busy = [np.random.default_rng(k).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8) for k in range(24)]
    return cut(h264(folder / "v.mp4", busy, container={"movflags": "faststart"}, options={"bf": "0"}), 0.6)


def _damaged_middle(folder: Path) -> Path:
    busy = [np.random.default_rng(k).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8) for k in range(24)]
    path = h264(folder / "v.mp4", busy, options={"g": "6"})
    content = bytearray(path.read_bytes())
    middle, lost = len(content) // 2, len(content) // 8
    content[middle : middle + lost] = bytes(lost)  # as a bad sector reads
    path.write_bytes(content)
    return path


def _unknown_codec(folder: Path) -> Path:
    path = h264(folder / "v.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1\0\0\0", b"zzz9\0\0\0"))
    return path


def _absurd_size(folder: Path) -> Path:
    """A small video whose AVI header says 16000×16000."""
    path = write_video(folder / "v.avi", 3, codec="rawvideo", pixels="bgr24")
    content = path.read_bytes()
    rows_from_the_top = struct.pack("<ii", WIDTH, -HEIGHT)
    path.write_bytes(content.replace(rows_from_the_top, struct.pack("<ii", 16000, -16000)))
    return path


def _new_size(folder: Path) -> Path:
    """Two transport streams, one after the other, as a camera writes them that changes its mode."""
    first = h264(folder / "a.ts", [frame(k) for k in range(10)])
    second = h264(folder / "b.ts", [frame(k, 96, 128) for k in range(10)])
    (folder / "v.ts").write_bytes(first.read_bytes() + second.read_bytes())
    return folder / "v.ts"


def _sound_alone(folder: Path) -> Path:
    with av.open(str(folder / "v.m4a"), "w") as out:
        tone: Any = out.add_stream("aac", rate=48000, layout="stereo")
        for k in range(20):
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), format="s16", layout="stereo")
            heard.sample_rate, heard.pts = 48000, 1024 * k
            out.mux(tone.encode(heard))
        out.mux(tone.encode())
    return (folder / "v.m4a").rename(folder / "v.mp4")


def _sound_with_cover(folder: Path) -> Path:
    content = io.BytesIO()
    Image.fromarray(frame(0)).save(content, "png")
    picture = content.getvalue()
    head = b"\0image/png\0\3\0" + picture  # an ID3v2.3 tag with one attached picture
    body = b"APIC" + struct.pack(">IH", len(head), 0) + head
    size = bytes((len(body) >> shift) & 127 for shift in (21, 14, 7, 0))
    with av.open(str(folder / "v.mp3"), "w") as out:
        tone: Any = out.add_stream("mp3", rate=48000, layout="stereo")
        for k in range(20):
            heard = av.AudioFrame.from_ndarray(np.zeros((2, 1152), np.int16), format="s16p", layout="stereo")
            heard.sample_rate, heard.pts = 48000, 1152 * k
            out.mux(tone.encode(heard))
        out.mux(tone.encode())
    path = folder / "v.mp3"
    path.write_bytes(b"ID3\3\0\0" + size + body + path.read_bytes())
    return path


def _turned_by_matrix(folder: Path) -> Path:
    """A quarter clockwise, in the QuickTime matrix itself: x' = a·x + c·y, y' = b·x + d·y with a = d = 0, b = 1, c = −1."""
    path = h264(folder / "v.mp4")
    content = path.read_bytes()
    one = 1 << 16
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    track = content.index(b"tkhd")
    at = content.index(plain, track)
    turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:at] + turned + content[at + 36 :])
    return path


def _text(folder: Path, content: str, name: str = "v.mp4") -> Path:
    (folder / name).write_text(content)
    return folder / name


def _bytes(folder: Path, content: bytes) -> Path:
    (folder / "v.mp4").write_bytes(content)
    return folder / "v.mp4"


def _picture(folder: Path) -> Path:
    Image.fromarray(frame(0)).save(folder / "v.png")
    return (folder / "v.png").rename(folder / "v.mp4")


def _play_list(folder: Path) -> Path:
    h264(folder / "a.ts")
    return _text(folder, "ffconcat version 1.0\nfile a.ts\n")


def _high_range(stream: Any) -> None:
    stream.codec_context.color_trc, stream.codec_context.color_primaries = 16, 9


def _wide_pixels(stream: Any) -> None:
    stream.codec_context.sample_aspect_ratio = Fraction(2, 1)


def _jumping_clock(folder: Path) -> Path:
    """The clock starts again in the middle, as in streams that were interrupted."""
    parts = [h264(folder / f"{name}.ts", 10, options={"bf": "0"}) for name in "ab"]
    with (folder / "v.ts").open("wb") as out:
        for part in parts:
            shutil.copyfileobj(part.open("rb"), out)
    return folder / "v.ts"


IRREGULAR = tuple(Fraction(k * k + 2 * k, 100) for k in range(12))
REFUSED = ("cannot be read as a video",)

FAULTS = (
    Fault(name="cut off, index at the end", make=lambda d: cut(h264(d / "v.mp4"), 0.4), exit_code=3),
    Fault(
        name="cut off, index first", make=_cut_mp4_with_index, kept=8, problem=True, says=("of 24 frames", "cut off")
    ),
    Fault(
        name="cut off Matroska",
        make=lambda d: cut(write_video(d / "v.mkv", 25), 0.6),
        kept=10,
        problem=True,
        says=("of 1.0 s", "cut off"),
    ),
    Fault(
        name="cut off AVI",
        make=lambda d: cut(write_video(d / "v.avi", 24, codec="mjpeg", pixels="yuvj420p"), 0.6),
        kept=8,
        problem=True,
        says=("frames could be decoded",),
    ),
    Fault(name="damaged in the middle", make=_damaged_middle, kept=15, problem=True, says=("frames",)),
    Fault(name="no frames", make=lambda d: h264(d / "v.mp4", 0), exit_code=3),
    Fault(name="one frame", make=lambda d: h264(d / "v.mp4", 1), kept=1, size=(48, 64)),
    Fault(name="irregular times", make=lambda d: write_video(d / "v.mkv", times=IRREGULAR), kept=12, size=(48, 64)),
    Fault(name="a clock that starts again", make=_jumping_clock, kept=20),
    Fault(name="turned", make=_turned_by_matrix, kept=24, size=(64, 48)),
    Fault(name="another size on the way", make=_new_size, kept=20, says=("were resized to 64×48",), size=(48, 64)),
    Fault(name="sound alone", make=_sound_alone, exit_code=3, says=("no video track", "audio")),
    Fault(name="sound with a cover picture", make=_sound_with_cover, exit_code=3, says=("no video track",)),
    Fault(name="unknown codec", make=_unknown_codec, exit_code=3),
    Fault(
        name="10 bit",
        make=lambda d: write_video(d / "v.mkv", pixels="yuv420p10le"),
        kept=12,
        size=(48, 64),
    ),
    Fault(
        name="high dynamic range",
        make=lambda d: write_video(
            d / "v.mkv",
            codec="libx265",
            pixels="yuv420p10le",
            prepare=_high_range,
            options={"x265-params": "log-level=none:pools=none"},
        ),
        kept=12,
        says=("dynamic range (PQ)",),
    ),
    Fault(
        name="8k",
        make=lambda d: write_video(
            d / "v.mkv", [np.zeros((4320, 7680, 3), np.uint8)] * 2, codec="mjpeg", pixels="yuvj420p"
        ),
        kept=2,
        says=("7680×4320", "3840×2160"),
        size=(2160, 3840),
    ),
    Fault(name="far more than 8k", make=_absurd_size, exit_code=3, says=("16000×16000", "at most 8192×4608")),
    Fault(name="wide pixels", make=lambda d: h264(d / "v.mp4", prepare=_wide_pixels), kept=24, size=(48, 128)),
    Fault(
        name="odd size",
        make=lambda d: write_video(d / "v.mkv", [frame(k, 33, 47) for k in range(5)]),
        kept=5,
        size=(33, 47),
    ),
    Fault(name="with transparency", make=lambda d: write_video(d / "v.mkv", pixels="yuva420p"), kept=12, size=(48, 64)),
    Fault(name="grey", make=lambda d: write_video(d / "v.mkv", pixels="gray"), kept=12, size=(48, 64)),
    Fault(name="one pixel", make=lambda d: write_video(d / "v.mkv", [frame(0, 1, 1)] * 3), kept=3, size=(1, 1)),
    Fault(name="text", make=lambda d: _text(d, "no video\n" * 500), exit_code=3, says=REFUSED),
    Fault(name="empty file", make=lambda d: _bytes(d, b""), exit_code=3, says=REFUSED),
    Fault(name="random bytes", make=lambda d: _bytes(d, np.random.default_rng(0).bytes(50_000)), exit_code=3),
    Fault(name="a still picture", make=_picture, exit_code=3, says=REFUSED),
    Fault(name="a play list", make=_play_list, exit_code=3, says=REFUSED),
    Fault(name="a folder", make=lambda d: d, exit_code=2, says=("is a folder",)),
    Fault(name="missing", make=lambda d: d / "v.mp4", exit_code=2, says=("does not exist",)),
)
