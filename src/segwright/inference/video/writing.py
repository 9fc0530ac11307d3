"""Writing a video: H.264 where this FFmpeg has it, times as they were, the sound track copied.

It grows as `NAME.part.mp4`, which players can show while it grows and after a crash, and gets its name at the end.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.inference.video.describing import BT709, VideoInfo
from segwright.inference.video.places import av_package

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

ENDINGS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
ENCODERS = {"libx264": {"preset": "veryfast", "crf": "20", "bf": "0"}, "libopenh264": {}, "mpeg4": {}}
"""The first of these that this FFmpeg has is taken. Without B-frames the first frame is at the time that it says."""
FRAGMENTS = {"movflags": "hybrid_fragmented+frag_keyframe"}
"""A .mp4 that plays while it grows, and is an ordinary one in the end."""
KEY_FRAME_S = 2
LARGEST_CLOCK = 65535
"""Ticks a second that every encoder takes."""
NARROW = 1
"""FFmpeg's number of the range 16..235, which players expect."""


def check_out(out: Path) -> None:
    """Raises UserError for an ending that is not written, and for a folder in the way."""
    if out.suffix.lower() not in ENDINGS:
        raise UserError(f"-o {out}: a video is written as {', '.join(ENDINGS)}; give a file with one of these endings.")
    if out.is_dir():
        raise UserError(f"-o {out} is a folder; give the name of a file.")


def pick_encoder() -> str:
    """The name of the encoder that will be used. Raises UserError where this FFmpeg has none of ENCODERS."""
    av = av_package()
    for name in ENCODERS:
        if name in av.codecs_available:
            try:
                av.codec.Codec(name, "w")
            except av.error.FFmpegError:
                continue
            return name
    raise UserError(
        f"this FFmpeg has none of the encoders {', '.join(ENCODERS)}. Install the package av from its own wheel: "
        "pip install --force-reinstall av"
    )


class Writer:
    """A video that grows frame by frame. Close it, also after an error: what is written then gets its name.

    info: of the video that is segmented: its clock. sound: its sound track, to be copied. height, width: even, pixels.
    rate: frames a second, about. origin: the time, of frames and sound, that is 0 in what is written; sound before it is left out.
    `note`: what became of the sound where it could not be kept.
    Every method raises UserError where the disk is full or the file cannot be written.
    """

    def __init__(
        self,
        out: Path,
        info: VideoInfo,
        sound: AudioStream | None,
        *,
        height: int,
        width: int,
        rate: Fraction | None,
        origin: Fraction,
    ) -> None:
        av = av_package()
        check_out(out)
        self.out, self.frames = out, 0
        self.note: str | None = None
        self._part = out.with_name(f"{out.stem}.part{out.suffix}")
        self.encoder = pick_encoder()
        base = info.time_base
        self._base = base if base.denominator <= LARGEST_CLOCK * base.numerator else Fraction(1, 60000)
        self._last, self._origin = -1, origin
        matroska = ENDINGS[out.suffix.lower()] == "matroska"
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(
                f"file:{self._part}",
                "w",
                format=ENDINGS[out.suffix.lower()],
                container_options={"flush_packets": "1"} | ({} if matroska else FRAGMENTS),
            )
        except (av.error.FFmpegError, OSError) as error:
            self._fail(error)
        shown = rate or Fraction(25)
        self._stream = self._container.add_stream(self.encoder, rate=shown.limit_denominator(LARGEST_CLOCK))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.options = dict(ENCODERS[self.encoder])
        context = self._stream.codec_context
        context.time_base = self._base
        context.gop_size = max(1, round(KEY_FRAME_S * shown))
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = NARROW
        if self.encoder != "libx264":
            context.bit_rate = int(width * height * min(60, float(shown)) * 0.2)
        self._sound = None if sound is None else self._add_sound(sound)

    def _add_sound(self, sound: AudioStream) -> Any:
        codec = sound.codec_context.name
        try:
            if codec in self._container.supported_codecs:
                return self._container.add_stream_from_template(sound)
        except (ValueError, OSError):
            pass
        others = ", ".join(ending for ending in ENDINGS if ending != self.out.suffix.lower())
        self.note = f"its sound ({codec}) does not fit into {self.out.suffix} and is left out; {others} may keep it"
        return None

    @property
    def has_sound(self) -> bool:
        return self._sound is not None

    def frame(self, rgb: NDArray[np.uint8], time: Fraction) -> None:
        """uint8 [H, W, 3] of the size given; time: seconds, rising."""
        av = av_package()
        picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p", dst_colorspace=BT709)
        self._last = max(self._last + 1, round((time - self._origin) / self._base))
        picture.pts, picture.time_base = self._last, self._base
        try:
            self._container.mux(self._stream.encode(picture))
        except (av.error.FFmpegError, OSError) as error:
            self._fail(error)
        self.frames += 1

    def sound(self, packet: Any, time: Fraction) -> None:
        """A packet of the sound track as it was read; time: when it plays, seconds."""
        if self._sound is None or time < self._origin:
            return
        av = av_package()
        moved = round((time - self._origin) / packet.time_base) - packet.pts
        packet.pts += moved
        packet.dts = packet.pts if packet.dts is None else packet.dts + moved
        packet.stream = self._sound
        try:
            self._container.mux(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError, ValueError) as error:
            self._sound, self.note = None, f"its sound is damaged and ends at {float(time):.1f} s ({error})"
        except (av.error.FFmpegError, OSError) as error:
            self._fail(error)

    def close(self) -> None:
        """Write what is still on its way and give the file its name."""
        av = av_package()
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            self._fail(error)
        self._part.replace(self.out)

    def give_up(self) -> None:
        """After an error of this writer: leave what is on the disk as the part that it is, and an older file alone."""
        av = av_package()
        with suppress(av.error.FFmpegError, OSError):  # the error that led here has been told
            self._container.close()
        if not self.frames:
            self._part.unlink(missing_ok=True)

    def _fail(self, error: Exception) -> NoReturn:
        number = getattr(error, "errno", None)
        full = number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        reason = "the disk is full" if full else (getattr(error, "strerror", None) or str(error))
        kept = f" {self._part} holds what reached the disk of {self.frames} frames." if self.frames else ""
        raise UserError(
            f"{self.out} cannot be written: {reason}.{kept} Make room or choose another place with -o."
        ) from error
