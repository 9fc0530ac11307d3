"""A 960×540 video through Fast-SCNN to a finished overlay video: frames a second, beside its parts alone, by turns.

End to end is reading, predicting, drawing with outlines and legend, and encoding H.264, as `segwright video` does it. Beside
it: the same without the model (every frame gets the ids of the first), and the model alone on frames in memory. Weights are
random, with real BatchNorm statistics and 19 classes, each in torch and in the exported forms that are installed. The video
is the street video of the shared data where that is there, else a drawn street that a camera pans over.

python -m benchmarks.video [--rounds 5] [--frames 100] [--threads 2]   writes benchmarks/results/video.json
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.backends import prepare
from benchmarks.recording import options_of, record, shared_data, skip
from benchmarks.rounds import alternate, ratio
from segwright.contracts import UserError
from segwright.data.streets import render_scene
from segwright.inference.backends.opening import BACKENDS, load_exported
from segwright.inference.predictor import Predictor
from segwright.inference.video.places import Place, av_package, find_place
from segwright.inference.video.reading import Frame, Reader
from segwright.inference.video.segmenting import Look, segment
from segwright.models.weights import load_segmenter

HEIGHT, WIDTH, RATE = 540, 960, 25
WANTED = 12
"""Frames a second that are promised on two cores."""


class Known:
    """A model that answers at once: always the same ids."""

    def __init__(self, predictor: Predictor, first: NDArray[np.uint8]) -> None:
        self.labels, self._ids = predictor.labels, predictor.predict(first)

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self._ids


def drawn_street(path: Path, frames: int) -> Path:
    """A video of a drawn street, two pixels further with every frame."""
    av = av_package()
    wide = render_scene(0, HEIGHT, WIDTH + 2 * frames).image
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(frames):
            window = np.ascontiguousarray(wide[:, 2 * index : 2 * index + WIDTH])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")))
        out.mux(stream.encode())
    return path


def opened(folder: Path, threads: int) -> Iterator[tuple[str, Predictor]]:
    """The model in every runtime that is installed."""
    yield "torch", Predictor(load_segmenter(folder / "model.safetensors"), device="cpu")
    for backend in BACKENDS:
        try:
            yield backend, Predictor(load_exported(folder / "fp32.onnx", backend, threads=threads), device="cpu")
        except UserError as error:
            print(f"without {backend}: {error}")


def measure(folder: Path, place: Place, *, rounds: int, frames: int, threads: int) -> dict[str, Any]:
    prepare("fast_scnn", folder, (-(-HEIGHT // 32) * 32, WIDTH))  # the network takes multiples of 32
    end = frames / RATE
    with Reader(place, end=end) as reader:
        ready = [item.rgb for item in reader if isinstance(item, Frame)]
    count = len(ready)
    found: dict[str, Any] = {}
    for name, predictor in opened(folder, threads):

        def through(model: Any) -> None:
            written = segment({"model": model}, place, folder / "out.mp4", look=Look(), end=end).written
            if written != count:
                raise SystemExit(f"{written} of {count} frames were written: nothing to compare")

        def alone(model: Predictor = predictor) -> None:
            for rgb in ready:
                model.predict(rgb)

        known = Known(predictor, ready[0])
        calls: dict[str, Callable[[], Any]] = {
            "end to end": lambda model=predictor: through(model),
            "without the model": lambda model=known: through(model),
            "the model alone": alone,
        }
        seconds = alternate(calls, rounds)
        found[name] = {
            "frames_per_second": {call: round(count / statistics.median(s), 1) for call, s in seconds.items()},
            "slowest_end_to_end": round(count / max(seconds["end to end"]), 1),
            "seconds_beside_the_model_alone": ratio(seconds["end to end"], seconds["the model alone"]),
        }
        print(name, found[name], flush=True)
    return {"frames": count, "backends": found}


def main() -> None:
    options = options_of(__doc__, "video", rounds=5, frames=100, threads=2).parse_args()
    try:
        av_package()
    except UserError as error:
        skip(str(error))
    torch.set_num_threads(options.threads)
    street = shared_data() / "street_video" / "solidWhiteRight.mp4"
    with tempfile.TemporaryDirectory(prefix="segwright-video-") as folder:
        there = street.is_file()
        source = street if there else drawn_street(Path(folder) / "street.mp4", options.frames)
        found = measure(
            Path(folder), find_place(source), rounds=options.rounds, frames=options.frames, threads=options.threads
        )
    best = max(one["frames_per_second"]["end to end"] for one in found["backends"].values())
    facts = {"rounds": options.rounds, "threads": options.threads, "video": "street video" if there else "drawn street"}
    record(
        options.out,
        f"{WIDTH}×{HEIGHT} video through Fast-SCNN to an overlay video, encoding included",
        facts | found | {"wanted": WANTED, "best": best},
    )


if __name__ == "__main__":
    main()
