"""Loading: CamVid to normalised tensors beside Albumentations, crops of large pictures beside PNG, the data check.

- `batches`: random resized crop, flip, brightness, contrast, saturation and hue, to normalised float32 [8, 3, 360, 480]
  and int64 labels. Segwright reads its pack. The peers are the usual stack, cv2 and Albumentations in a DataLoader: they decode
  PNG each time, or are fed from mapped memory.
- `crops`: 512×1024 of generated 1024×2048 street scenes: picture and labels from a pack, beside decoding the picture.
- `check`: `segwright data check` on those scenes with one thread, in a process of its own (Linux).

All of a part alternate in one process; ratios are medians of paired rounds with 95 % bootstrap intervals.

python -m benchmarks.loading [--rounds 7] [--scenes 12]   writes benchmarks/results/loading.json
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line does, before torch loads
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import cv2
import numpy as np
import torch
from PIL import Image
from rich.console import Console

from benchmarks.augmentation import level_of
from benchmarks.plain_stack import PeerData
from benchmarks.recording import shared_data
from benchmarks.rounds import alternate, ratio
from segwright.data import CamVid, Cityscapes
from segwright.data.loading import TrainLoader
from segwright.data.pack import Pack, open_pack
from segwright.data.streets import write_streets
from segwright.files import write_json
from segwright.labels import load_label_space
from segwright.models import Segmenter, build_architecture
from segwright.runs.environment import environment

RESULTS = Path(__file__).resolve().parent / "results" / "loading.json"
SHARED = shared_data()
BATCH, CORES = 8, 2
PEERS = ("albumentations",)
CAMVID, SIZE, CROP = (360, 480), (1024, 2048), (512, 1024)

CHECK = """
import json, re, sys, time
from pathlib import Path
from segwright.data.check import check_data
start = time.perf_counter()
result = check_data(Path(sys.argv[1]), name="cityscapes", labels="cityscapes19", workers=1)
seconds = time.perf_counter() - start
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([seconds, peak, len(result.findings)]))
"""


def batches(folder: Path, rounds: int) -> dict[str, Any]:
    """Pictures a second of one CamVid epoch."""
    if not (SHARED / "camvid" / "train").is_dir():
        return {"skipped": f"CamVid is not in {SHARED}: set SEGWRIGHT_SHARED_DATA to the folder above camvid/"}
    if importlib.util.find_spec("albumentations") is None:
        return {"skipped": "the peer needs Albumentations: install the extra, segwright[albumentations]"}
    pack = open_pack(CamVid(SHARED / "camvid", "train", load_label_space("camvid11")), of="x", folder=folder, say=print)
    files = sorted((SHARED / "camvid" / "train").glob("*.png"))
    calls = {
        "segwright": segwright_epochs(pack),
        "cv2 + Albumentations, 0 workers": peer_epochs(PeerData(files, CAMVID), 0),
        f"cv2 + Albumentations, {CORES} workers": peer_epochs(PeerData(files, CAMVID), CORES),
        "memory map + Albumentations, 0 workers": peer_epochs(MappedData(files, pack), 0),
    }
    for call in calls.values():
        call()
    seconds = alternate(calls, rounds)
    rates = {name: round(len(pack) / statistics.median(times), 1) for name, times in seconds.items()}
    peer = max((name for name in rates if name.startswith("cv2")), key=rates.__getitem__)
    return {
        "pictures_per_second": rates,
        "best_peer": peer,
        "times_faster_than_best_peer": ratio(seconds[peer], seconds["segwright"]),
        "times_faster_than_mapped_peer": ratio(seconds["memory map + Albumentations, 0 workers"], seconds["segwright"]),
    }


class MappedData(PeerData):
    """The same pipeline, fed from decoded pictures in mapped memory."""

    def __init__(self, files: list[Path], pack: Pack) -> None:
        super().__init__(files, CAMVID)
        self.decoded = [pack[i] for i in range(len(pack))]

    def read(self, index: int) -> tuple[Any, Any]:
        return self.decoded[index].rgb, self.decoded[index].labels


def segwright_epochs(pack: Pack) -> Callable[[], None]:
    """A call that loads the next epoch from the pack and normalises it as the model does."""
    space = load_label_space("camvid11")
    model = {"name": "fast_scnn", "args": {}}
    segmenter = Segmenter(
        build_architecture("fast_scnn", space.num_classes, {}, where="bench"), labels=space, model=model
    )
    level = level_of(CAMVID)
    loader = TrainLoader(pack, level, batch=BATCH, seed=0)
    epochs = iter(range(10**6))

    def epoch() -> None:
        torch.set_num_threads(CORES)
        for batch in loader.epoch(next(epochs)):
            image = segmenter.normalise(batch.image)
            if image.shape[1:] != (3, 360, 480) or batch.labels.dtype != torch.int64:
                raise SystemExit("these are not the batches to compare")

    return epoch


def peer_epochs(dataset: Any, workers: int) -> Callable[[], None]:
    loader: Iterable[Any] = torch.utils.data.DataLoader(
        dataset, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> None:
        torch.set_num_threads(1 if workers else CORES)
        for image, labels in loader:
            if image.shape[1:] != (3, 360, 480) or labels.dtype != torch.int64:
                raise SystemExit("these are not the batches to compare")

    return epoch


def crops(scenes: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds a picture."""
    data = Cityscapes(scenes, "train", load_label_space("cityscapes19"))
    pack = open_pack(data, of="y", folder=folder, say=print)
    files = [p.image for p in data.pairs][:4]
    rng = np.random.default_rng(0)
    places = [(int(t), int(left)) for t, left in zip(rng.integers(0, 513, 64), rng.integers(0, 1025, 64), strict=True)]

    def cut() -> None:
        for index, place in enumerate(places):
            pack.crop(index % len(pack), (*place, *CROP))

    calls: dict[str, Callable[[], Any]] = {
        "crop of a pack": cut,
        "PNG, Pillow": lambda: [np.asarray(Image.open(f).convert("RGB")) for f in files],
        "PNG, cv2": lambda: [cv2.imread(str(f)) for f in files],
    }
    cut()
    counts = {name: len(places) if name == "crop of a pack" else len(files) for name in calls}
    each = {name: [1000 * s / counts[name] for s in times] for name, times in alternate(calls, rounds).items()}
    return {
        "median_ms": {name: round(statistics.median(times), 3) for name, times in each.items()},
        "png_mb": round(statistics.mean(f.stat().st_size for f in files) / 1e6, 2),
        **{
            f"times_faster_than_{name}": ratio(each[name], each["crop of a pack"])
            for name in calls
            if name != "crop of a pack"
        },
    }


def check(scenes: Path, count: int) -> dict[str, Any]:
    """Masks a minute and peak memory of one checking process with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(scenes)], check=True, capture_output=True, text=True, env=environment
    )
    seconds, peak, findings = json.loads(done.stdout)
    return {
        "masks_per_minute_one_core": round(60 * count / seconds, 1),
        "peak_rss_mb": round(peak),
        "pictures": count,
        "findings": findings,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=12, help="generated scenes of 1024×2048")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    console, load = Console(), round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory(prefix="segwright-loading-") as temporary:
        folder, scenes = Path(temporary, "packs"), Path(temporary, "scenes")
        results: dict[str, Any] = {"batches": batches(folder, options.rounds)}
        console.print(results["batches"])
        write_streets(scenes, counts={"train": options.scenes}, size=SIZE, seed=0)
        results["crops"] = crops(scenes, folder, max(15, options.rounds))
        console.print(results["crops"])
        results["check"] = check(scenes, options.scenes)
        console.print(results["check"])
    write_json(
        options.out,
        {
            "what": "loading: batches of CamVid 360×480, crops 512×1024 of 1024×2048, data check on 1024×2048 masks",
            "rounds": options.rounds,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "load_average": load,
            "peers": {name: importlib.metadata.version(name) for name in PEERS if importlib.util.find_spec(name)},
            "targets": {
                "times_faster_than_best_peer": 2.5,
                "times_faster_than_PNG": 30,
                "masks_per_minute_one_core": 150,
                "peak_rss_mb": 1000,
            },
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
