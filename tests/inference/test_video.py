"""A video through models: frames, times, rotation and sound against PyAV itself; layouts; streams, full disks, memory."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("av")
import av

from segwright.contracts import DataError, UserError
from segwright.inference.drawing import overlay
from segwright.inference.predictor import Predictor
from segwright.inference.video import reading, writing
from segwright.inference.video.places import Place, find_place, is_video
from segwright.inference.video.reading import Frame, Reader
from segwright.inference.video.segmenting import Look, SegmentedVideo, segment
from tests.inference.fakes import RedSegmenter
from tests.inference.videos import (
    IRREGULAR,
    RATE,
    _turned_by_matrix,
    frame,
    h264,
    read_video,
    sound_packets,
    write_video,
)


def red(*names: str) -> dict[str, Predictor]:
    return {name: Predictor(RedSegmenter(), device="cpu") for name in names or ("red",)}  # type: ignore[arg-type]


def run(source: Path, out: Path, **settings: Any) -> SegmentedVideo:
    models = settings.pop("models", None) or red()
    look = Look(**{"legend": False, **settings.pop("look", {})})
    return segment(models, find_place(source), out, look=look, **settings)


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001), Fraction(24000, 1001)], ids=str)
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov"])
def test_every_frame_keeps_its_time_and_the_rate_stays(rate: Fraction | int, ending: str, tmp_path: Path) -> None:
    source = h264(tmp_path / "v.mp4", 30, rate=rate)
    found = run(source, tmp_path / f"out{ending}")
    pictures, times = read_video(tmp_path / f"out{ending}")
    assert found.written == found.decoded == len(pictures) == 30
    assert found.encoder in ("libx264", "libopenh264", "mpeg4")
    tick = Fraction(1, 1000) if ending == ".mkv" else Fraction(1, 60000)
    assert all(abs(a - b) <= tick for a, b in zip(times, read_video(source)[1], strict=True))
    with av.open(str(tmp_path / f"out{ending}")) as made:
        assert float(made.streams.video[0].average_rate) == pytest.approx(float(rate), rel=0.002)  # type: ignore[arg-type]
        assert made.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_without_h264_it_is_mpeg4_and_without_any_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = h264(tmp_path / "v.mp4", 12, sound="aac", rate=Fraction(24000, 1001))
    monkeypatch.setattr(writing, "ENCODERS", {"libnothing": {}, "mpeg4": {}})
    assert run(source, tmp_path / "out.mp4").encoder == "mpeg4"
    assert len(read_video(tmp_path / "out.mp4")[0]) == 12
    monkeypatch.setattr(writing, "ENCODERS", {"libnothing": {}})
    with pytest.raises(UserError, match="none of the encoders libnothing"):
        run(source, tmp_path / "out.mp4")


def test_irregular_times_are_kept(tmp_path: Path) -> None:
    source = write_video(tmp_path / "v.mkv", times=IRREGULAR)
    run(source, tmp_path / "out.mp4")
    assert read_video(tmp_path / "out.mp4")[1] == list(IRREGULAR)


def test_the_model_sees_the_very_pixels_of_each_frame(tmp_path: Path) -> None:
    model = RedSegmenter()
    source = write_video(tmp_path / "v.mkv", 9)
    segment({"red": Predictor(model, device="cpu")}, find_place(source), tmp_path / "out.mp4")  # type: ignore[arg-type]
    assert len(model.seen) == 9
    for index, image in enumerate(model.seen):
        np.testing.assert_array_equal(image[0].permute(1, 2, 0).numpy(), frame(index))


def test_a_quarter_turn_clockwise_comes_out_upright(tmp_path: Path) -> None:
    with Reader(find_place(_turned_by_matrix(tmp_path))) as reader:
        first = next(item for item in reader if isinstance(item, Frame))
    wanted = cv2.rotate(frame(0), cv2.ROTATE_90_CLOCKWISE)
    assert first.rgb.shape == wanted.shape
    assert np.abs(first.rgb.astype(int) - wanted).mean() < 4
    bright = first.rgb[:16, -12:].mean()
    assert bright > 230, "the bright corner moves from the upper left to the upper right"


def test_sound_is_copied_packet_for_packet(tmp_path: Path) -> None:
    for name in ("mp4", "mkv", "mov"):
        source = h264(tmp_path / f"v.{name}", 25, sound="aac")
        found = run(source, tmp_path / f"out.{name}")
        assert found.sound
        before, after = sound_packets(source), sound_packets(tmp_path / f"out.{name}")
        assert len(after) >= len(before) - 2  # what lies before the first frame is left out
        assert before[-len(after) :] == after


def test_sound_that_does_not_fit_is_said_and_left_out(tmp_path: Path) -> None:
    source = write_video(tmp_path / "v.avi", 10, codec="mjpeg", pixels="yuvj420p", sound="pcm_mulaw")
    found = run(source, tmp_path / "out.mp4")
    assert (found.written, found.sound) == (10, False)
    assert "its sound (pcm_mulaw) does not fit into .mp4" in found.notes[0]
    kept = run(source, tmp_path / "out.mov")
    assert (kept.written, kept.sound, kept.notes) == (10, True, ())
    assert b"".join(sound_packets(tmp_path / "out.mov")) == b"".join(sound_packets(source))


def test_a_part_and_every_nth_frame(tmp_path: Path) -> None:
    source = h264(tmp_path / "v.mp4", 50, sound="aac", options={"g": "12"})
    found = run(source, tmp_path / "out.mp4", start=0.5, end=1.5, every=3)
    times = read_video(tmp_path / "out.mp4")[1]
    wanted = [Fraction(k, RATE) for k in range(50) if 0.5 <= k / RATE < 1.5][::3]
    assert times == [t - wanted[0] for t in wanted]
    assert found.written == len(wanted)
    assert len(sound_packets(tmp_path / "out.mp4")) == pytest.approx(48000 / 1024, abs=2)
    assert float(av.open(str(tmp_path / "out.mp4")).streams.video[0].average_rate or 0) == pytest.approx(
        RATE / 3, rel=0.05
    )
    for settings, says in (
        ({"start": 9.0}, "it ends after 2.0 s"),
        ({"start": 1.0, "end": 1.0}, "0 ≤ start < end"),
        ({"start": -1.0}, "0 ≤ start < end"),
        ({"every": 0}, "--every 0"),
    ):
        with pytest.raises(UserError, match=says):
            run(source, tmp_path / "other.mp4", **settings)
    assert not (tmp_path / "other.mp4").exists()


def test_layouts_hold_the_panels_that_they_name(tmp_path: Path) -> None:
    source = write_video(tmp_path / "v.mkv", 3)
    model = RedSegmenter()
    ids = frame(0)[..., 0] % 3
    drawn = overlay(frame(0), ids, model.labels)

    def first(name: str) -> np.ndarray[Any, Any]:
        return read_video(tmp_path / name)[0][0].astype(int)

    one = run(source, tmp_path / "one.mp4")
    assert one.size == (48, 64)
    assert np.abs(first("one.mp4") - drawn).mean() < 6
    mask = run(source, tmp_path / "mask.mp4", look={"layout": "mask"})
    assert mask.size == (48, 64)
    near = np.abs(first("mask.mp4")[:, :, None] - model.labels.palette[:3].astype(int)).sum(-1).argmin(-1)
    assert (near == ids).mean() > 0.93
    row = run(source, tmp_path / "row.mp4", look={"layout": "side-by-side"})
    bar, gap = row.size[0] - 48, row.size[1] - 128
    assert bar > 0 < gap
    assert np.abs(first("row.mp4")[bar:, :64] - frame(0)).mean() < 6
    assert np.abs(first("row.mp4")[bar:, 64 + gap :] - drawn).mean() < 6
    four = run(source, tmp_path / "four.mp4", models=red("first", "second", "third"))
    assert four.layout == "grid"
    assert four.size == (2 * (48 + bar) + gap, row.size[1])
    assert [model.name for model in four.models] == ["first", "second", "third"]
    legend = run(source, tmp_path / "legend.mp4", look={"legend": True})
    assert legend.size[0] > 48
    assert first("legend.mp4")[60:].max() > 240
    with pytest.raises(UserError, match="shows one model"):
        run(source, tmp_path / "no.mp4", models=red("a", "b"), look={"layout": "mask"})
    with pytest.raises(UserError, match="allowed are overlay, mask"):
        run(source, tmp_path / "no.mp4", look={"layout": "cube"})


def test_wrong_places_to_write_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    source = write_video(tmp_path / "v.mkv", 2)
    (tmp_path / "folder.mp4").mkdir()
    for name, says in (("out.avi", "written as .mp4"), ("folder.mp4", "is a folder"), ("v.mkv", "the video itself")):
        with pytest.raises(UserError, match=says):
            run(source, tmp_path / name)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UserError, match="no plain file"):
        find_place(tmp_path / "pipe.mp4")


def test_videos_are_told_from_pictures() -> None:
    assert all(map(is_video, ("a.mp4", "b.MOV", "rtsp://host/x", "http://host/picture.jpg", Path("x.webm"))))
    assert not any(map(is_video, ("a.png", "folder", "b.tif", Path("rtsp.jpg"))))
    place = find_place("rtsp://user:secret@host:554/street/cam-1")
    assert (place.name, place.stem) == ("rtsp://host:554/street/cam-1", "cam-1")


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_video(tmp_path / "v.mkv", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'segwright\[video\]'"):
        run(source, tmp_path / "out.mp4")


def serve(handle: Callable[[socket.socket], None]) -> str:
    """One HTTP answer, written by `handle`."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listening.accept()
        with connection, listening:
            connection.recv(65536)
            with contextlib.suppress(OSError):  # the reader has left
                handle(connection)

    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/live.ts"


@pytest.mark.parametrize("silent_s", [0, 300], ids=["drops", "falls silent"])
def test_a_stream_that_breaks_off_ends_and_keeps_its_frames(
    silent_s: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TIMEOUT_S", 1.0)
    content = h264(tmp_path / "v.mkv", 60, options={"g": "10", "bf": "0"}).read_bytes()
    over = threading.Event()

    def half(connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content[: int(0.7 * len(content))])
        over.wait(silent_s)

    found = segment(red(), find_place(serve(half)), tmp_path / "out.mp4")
    over.set()
    assert 10 < found.written < 60
    assert found.problem is not None
    assert len(read_video(tmp_path / "out.mp4")[0]) == found.written


def test_a_device_without_end_is_read_until_the_wanted_time(tmp_path: Path) -> None:
    """FFmpeg's generator of test pictures stands for a camera: it has no end and waits for nobody."""
    camera = Place(file="testsrc=size=64x48:rate=25", name="camera 0", stem="camera0", here=False, format="lavfi")
    found = segment(red(), camera, tmp_path / "out.mp4", end=1.0)
    assert found.info.live
    assert (found.decoded, found.problem) == (25, None)
    assert found.written + found.dropped == 25
    times = read_video(tmp_path / "out.mp4")[1]
    assert len(times) == found.written >= 1
    assert all(time * 25 == round(time * 25) for time in times)


def test_a_source_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading, "TIMEOUT_S", 1.0)
    over = threading.Event()
    with pytest.raises(UserError, match="cannot be opened"):
        segment(red(), find_place(serve(lambda connection: over.wait(20) and None)), tmp_path / "out.mp4")
    over.set()
    with pytest.raises(UserError, match="cannot be opened.*refused"):
        segment(red(), find_place("rtsp://me:secret@127.0.0.1:9/x"), tmp_path / "out.mp4")


@pytest.mark.slow  # three seconds of waiting
def test_a_reader_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever blocks, also inside of the operating system."""
    monkeypatch.setattr(reading, "PATIENCE_S", 1.0)
    monkeypatch.setattr(Reader, "_read", lambda self: time.sleep(8))
    with pytest.raises(DataError, match="no frame came"):
        run(write_video(tmp_path / "v.mkv", 2), tmp_path / "out.mp4")


def test_a_live_stream_loses_frames_rather_than_time(tmp_path: Path) -> None:
    content = h264(tmp_path / "v.ts", 80, sound="aac", options={"g": "10", "bf": "0"}).read_bytes()

    def pour(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n")

    slow = RedSegmenter()
    slow.before = lambda: time.sleep(0.03)
    found = segment({"slow": Predictor(slow, device="cpu")}, find_place(serve(pour)), tmp_path / "out.mp4")  # type: ignore[arg-type]
    assert found.info.live
    assert (found.decoded, found.problem) == (80, None)
    assert found.written + found.dropped == 80
    assert found.dropped > 0
    assert any("came faster" in note for note in found.notes)
    assert len(read_video(tmp_path / "out.mp4")[0]) == found.written


def test_stopping_keeps_what_is_done(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    found = run(
        h264(tmp_path / "v.mp4", 40),
        tmp_path / "out.mp4",
        stop=lambda: len(seen) == 7,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (found.written, found.problem) == (7, None)
    assert seen == [(k, 40) for k in range(1, 8)]
    assert len(read_video(tmp_path / "out.mp4")[0]) == 7


def test_an_error_in_the_middle_keeps_what_is_done(tmp_path: Path) -> None:
    model = RedSegmenter()

    def fail_at_ten() -> None:
        if len(model.seen) == 10:
            raise DataError("the scores are no numbers")

    model.before = fail_at_ten
    with pytest.raises(DataError, match="no numbers"):
        segment({"red": Predictor(model, device="cpu")}, find_place(h264(tmp_path / "v.mp4", 40)), tmp_path / "out.mp4")  # type: ignore[arg-type]
    assert len(read_video(tmp_path / "out.mp4")[0]) == 10


IN_A_PROCESS = """
import os, resource, signal, sys
from pathlib import Path
import psutil
from segwright.contracts import SegwrightError
from segwright.inference.predictor import Predictor
from segwright.inference.video.places import find_place
from segwright.inference.video.segmenting import Look, segment
from tests.inference.fakes import RedSegmenter
predictors = {"red": Predictor(RedSegmenter(), device="cpu")}
source, out = find_place(sys.argv[1]), Path(sys.argv[2])
"""


def in_a_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", IN_A_PROCESS + code, *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow  # a process of its own
def test_a_full_disk_is_said_and_what_was_written_plays(tmp_path: Path) -> None:
    busy = [np.random.default_rng(k).integers(0, 255, (96, 128, 3)).astype(np.uint8) for k in range(250)]
    source = h264(tmp_path / "v.mp4", busy)
    (tmp_path / "out.mp4").write_text("an older result")
    code = """
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    segment(predictors, source, out)
except SegwrightError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    done = in_a_process(code, source, tmp_path / "out.mp4")
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stdout
    assert (tmp_path / "out.mp4").read_text() == "an older result"
    with Reader(find_place(tmp_path / "out.part.mp4")) as reader:
        assert 20 < sum(isinstance(item, Frame) for item in reader) < 250


@pytest.mark.slow
def test_a_killed_process_leaves_a_part_that_plays(tmp_path: Path) -> None:
    source = h264(tmp_path / "v.mp4", 300)
    code = """
def kill_at_250(done, total):
    if done == 250:
        os.kill(os.getpid(), signal.SIGKILL)
segment(predictors, source, out, progress=kill_at_250)
"""
    done = in_a_process(code, source, tmp_path / "out.mp4")
    assert done.returncode == -9, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.part.mp4", "v.mp4"]
    assert len(read_video(tmp_path / "out.part.mp4")[0]) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1000, 10_000])
def test_memory_is_flat(frames: int, tmp_path: Path) -> None:
    source = h264(tmp_path / "v.mp4", [frame(k % 40) for k in range(40)] * (frames // 40), sound="aac")
    code = f"""
marks = {{}}
def note(done, total):
    predictors["red"].segmenter.seen.clear()  # the fake keeps what it is given
    if done in (200, {frames}):
        marks[done] = psutil.Process().memory_info().rss
segment(predictors, source, out, look=Look(hysteresis=3), progress=note)
print(marks[{frames}] - marks[200])
"""
    done = in_a_process(code, source, tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 12e6
    assert len(sound_packets(tmp_path / "out.mp4")) > frames * 1.8


@pytest.mark.slow
def test_the_real_video(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "street_video" / "solidWhiteRight.mp4"
    if not source.is_file():
        pytest.skip(f"the street video is not in {shared_data}")
    found = run(source, tmp_path / "out.mp4", look={"legend": True})
    assert (found.written, found.problem, found.sound) == (221, None, True)
    assert (found.info.height, found.info.width, found.info.rate) == (540, 960, 25)
    assert read_video(tmp_path / "out.mp4")[1] == [Fraction(k, 25) for k in range(221)]
    assert len(sound_packets(tmp_path / "out.mp4")) == len(sound_packets(source))
