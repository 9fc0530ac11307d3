"""What a video says about itself, and what has to be done to its frames so that they are shown as a player shows them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import DataError
from segwright.inference.video.places import Place

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MOST_PIXELS = 3840 * 2160
"""Larger frames are made smaller, so that memory stays bounded."""
MOST_STORED = 8192 * 4608
"""Pixels of a frame, a little more than 8k; a larger one is refused before it is decoded."""
HIGH_RANGE = {16: "PQ", 18: "HLG"}
"""Transfer curves of high dynamic range, by FFmpeg's number."""
UNSTATED, BT709 = 2, 1
"""FFmpeg's numbers of colour matrices."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A video and the part of it that is read.

    height, width: of its frames as they are read, upright, pixels. stored: width and height as they are stored.
    turned: degrees, counter-clockwise, by which stored frames are turned. rate: frames a second, None where unknown.
    frames, seconds: of the whole video as its header tells, None where it tells nothing. live: it has no end.
    time_base: seconds of one unit of its clock. sound: codec of its sound track, if any. note: what is changed, in words.
    """

    name: str
    codec: str
    height: int
    width: int
    stored: tuple[int, int]
    turned: int
    rate: Fraction | None
    frames: int | None
    seconds: float | None
    live: bool
    time_base: Fraction
    sound: str | None
    note: str | None


def picture_stream(container: InputContainer, place: Place) -> VideoStream:
    """The first video track. Raises DataError where there is none, none that can be decoded, or one of absurd size."""
    cover = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the picture of a piece of music
    for stream in container.streams.video:
        if int(stream.disposition) & cover:
            continue
        if stream.codec_context is None:
            raise DataError(
                f"{place.name}: its video is coded in a way that this FFmpeg cannot decode. Convert it to H.264, such as with: "
                "ffmpeg -i VIDEO -c:v libx264 OUT.mp4"
            )
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MOST_STORED:
            raise DataError(
                f"{place.name} has frames of {width}×{height} pixels; at most 8192×4608 are read. Make it smaller, such as with: "
                "ffmpeg -i VIDEO -vf scale=3840:-2 OUT.mp4"
            )
        return stream
    kinds = ", ".join(dict.fromkeys(s.type for s in container.streams)) or "nothing"
    raise DataError(f"{place.name} holds no video track (found: {kinds}). Give a file that holds pictures.")


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The first sound track of a known codec."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def describe(frame: VideoFrame, container: InputContainer, stream: VideoStream, place: Place) -> VideoInfo:
    """From the header and the first decoded frame."""
    ratio = Fraction(stream.sample_aspect_ratio or 1)
    wide = frame.width * (ratio if Fraction(1, 4) <= ratio <= 4 else 1)
    shrink = min(1.0, math.sqrt(MOST_PIXELS / (wide * frame.height)))
    width, height = max(1, round(wide * shrink)), max(1, round(frame.height * shrink))
    turned = round(frame.rotation / 90) % 4
    notes = []
    if shrink < 1:
        notes.append(f"its frames of {frame.width}×{frame.height} are predicted and written as {width}×{height}")
    if int(frame.color_trc) in HIGH_RANGE:
        notes.append(
            f"its high dynamic range ({HIGH_RANGE[int(frame.color_trc)]}) is read without tone mapping: colours look pale"
        )
    seconds, heard = promised_seconds(container, stream), sound_stream(container)
    rate = stream.average_rate or stream.guessed_rate
    return VideoInfo(
        name=place.name,
        codec=stream.codec_context.name,
        height=width if turned % 2 else height,
        width=height if turned % 2 else width,
        stored=(frame.width, frame.height),
        turned=90 * turned,
        rate=Fraction(rate) if rate else None,
        frames=stream.frames or None,
        seconds=seconds,
        live=not place.here and seconds is None,
        time_base=Fraction(stream.time_base or Fraction(1, 1000)),
        sound=None if heard is None else heard.codec_context.name,
        note="; ".join(notes) or None,
    )


def promised_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the pictures last, as the header tells."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    told = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if told:  # where Matroska keeps it
        hours, minutes, seconds = told.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    return container.duration / 1_000_000 if container.duration else None


def upright(frame: VideoFrame, info: VideoInfo) -> NDArray[np.uint8]:
    """The frame as a player shows it: uint8 [H, W, 3] in RGB order, of the size that `info` says."""
    turns = info.turned // 90
    height, width = (info.width, info.height) if turns % 2 else (info.height, info.width)
    unstated_hd = int(frame.colorspace) == UNSTATED and frame.height >= 720  # players take BT.709 for it
    shown = frame.reformat(width=width, height=height, format="rgb24", src_colorspace=BT709 if unstated_hd else None)
    rgb = np.asarray(shown.to_ndarray(), np.uint8)
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb
