"""What runs a model fastest on this CPU: plain torch, its faster modes, onnxruntime, OpenVINO; each in its own process.

python -m benchmarks.backends [--rounds 5] [--calls 10] [--size 512x1024] [--threads 2] [--nets unet_mobilenet_v2 ...] [--compile]

A call takes one uint8 picture in memory to class ids. Random weights with real BatchNorm statistics, 19 classes. Rounds
alternate over the modes of a net, every other one in reverse order; each round starts a fresh process for each mode, loads
the model, warms up, times `calls` calls and reports their median and the peak memory of the process. Ratios are taken
round by round against eager fp32: full-size scores of all classes, then argmax(1), as one would write it first. "eager ids" is
the same network with Segwright's way from scores to ids. Files are exported for that size, which OpenVINO needs to plan its
memory; the processes that run them load no torch.
Writes benchmarks/results/backends.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from segwright.evaluation.bench_process import picture
from segwright.evaluation.ways import PLAIN, Way

CLASSES = 19
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet_mobilenet_v2": ("smp", {"architecture": "Unet", "encoder": "mobilenet_v2"}),
    "deeplab_v3_plus_mobilenet_v2": ("smp", {"architecture": "DeepLabV3Plus", "encoder": "mobilenet_v2"}),
    "unet_resnet18": ("smp", {"architecture": "Unet", "encoder": "resnet18"}),
    "fast_scnn": ("fast_scnn", {}),
}
EAGER = "eager"
MODES = {
    EAGER: ("torch", PLAIN),
    "eager ids": ("torch", "fp32"),
    "channels_last": ("torch", "fp32 channels_last"),
    "channels_last, folded": ("torch", "fp32 channels_last, folded"),
    "bf16 channels_last": ("torch", "bf16 channels_last"),
    "compile bf16 channels_last": ("torch", "compiled, bf16 channels_last"),
    "onnxruntime fp32": ("onnxruntime", "fp32"),
    "onnxruntime int8": ("onnxruntime", "int8"),
    "openvino fp32": ("openvino-fp32", "fp32"),
    "openvino default": ("openvino", "fp32"),
    "openvino int8": ("openvino", "int8"),
}
"""Backend and form of each mode; the forms of torch are those of `segwright bench`, the others are precisions of the file."""


def prepare(net: str, folder: Path, size: tuple[int, int]) -> None:
    """Write the net as model.safetensors, fp32.onnx and int8.onnx, and what these two say of themselves as .json."""
    import torch
    from torch import nn

    from segwright.export.onnx import export_onnx
    from segwright.labels import load_label_space
    from segwright.models import Segmenter, build_architecture
    from segwright.models.weights import save_segmenter

    torch.manual_seed(0)
    name, args = NETS[net]
    model = Segmenter(
        build_architecture(name, CLASSES, args),
        labels=load_label_space("cityscapes19"),
        model={"name": name, "args": args},
    )
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        model.train()(torch.cat([torch.from_numpy(picture(size, seed)).permute(2, 0, 1)[None] for seed in (1, 2)]))
    model.eval()
    save_segmenter(model, folder / "model.safetensors")
    for precision in ("fp32", "int8"):
        calibration = [picture(size, seed) for seed in range(3, 7)]
        file = folder / f"{precision}.onnx"
        about = export_onnx(model, file, precision=precision, size=size, calibration=calibration)
        (folder / f"{precision}.json").write_text(about.to_json(), encoding="utf-8")


def way_of(mode: str, folder: Path) -> Way:
    """A mode, with the file that it loads."""
    backend, form = MODES[mode]
    if backend == "torch":
        return Way(backend=backend, form=form, file=folder / "model.safetensors")
    text = (folder / f"{form}.json").read_text(encoding="utf-8")
    return Way(backend=backend, form=form, file=folder / f"{form}.onnx", text=text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--compile", action="store_true", help="also torch.compile, half a minute a process")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "backends.json")
    parser.add_argument("--prepare", nargs=2, metavar=("FOLDER", "NET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare is not None:
        height, width = map(int, arguments.size.split("x"))
        prepare(arguments.prepare[1], Path(arguments.prepare[0]), (height, width))
        return
    compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    from benchmarks.rounds import ratio
    from segwright.files import write_json
    from segwright.runs.environment import environment

    modes = [mode for mode in MODES if arguments.compile or not mode.startswith("compile")]
    found: dict[str, Any] = {}
    for net in arguments.nets:
        with tempfile.TemporaryDirectory(prefix="segwright-backends-") as folder:
            _process(["benchmarks.backends", "--size", arguments.size, "--prepare", folder, net], arguments.threads)
            rows: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
            for turn in range(arguments.rounds):
                for mode in modes[:: -1 if turn % 2 else 1]:
                    rows[mode].append(_time(way_of(mode, Path(folder)), arguments))
        times = {mode: [r["ms"] for r in rows[mode]] for mode in modes}
        peaks = {mode: max(r["peak_mb"] for r in rows[mode]) for mode in modes}
        found[net] = {
            mode: {
                "ms": round(float(np.median(times[mode])), 1),
                "eager_over_this": ratio(times[EAGER], times[mode]),
                "eager_ids_over_this": ratio(times["eager ids"], times[mode]),
                "peak_mb": round(peaks[mode]),
                "memory_of_eager": round(peaks[mode] / peaks[EAGER], 3),
                "first_call_s": round(float(np.median([r["first_s"] for r in rows[mode]])), 2),
            }
            for mode in modes
        }
        for mode, numbers in found[net].items():
            print(f"{net} {mode}: {numbers}", flush=True)
    write_json(
        arguments.out,
        {
            "what": "one uint8 picture in memory to class ids; each mode in its own process, rounds alternating",
            "size": arguments.size,
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "calls": arguments.calls,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "load_average": round(os.getloadavg()[0], 1),
            "environment": environment(),
            "nets": found,
        },
    )


def _time(way: Way, arguments: argparse.Namespace) -> dict[str, float]:
    """One process's median milliseconds, seconds to its first answer, and peak MB."""
    asked = {"way": way.to_dict(), "size": [int(side) for side in arguments.size.split("x")], "device": "cpu"}
    asked |= {"threads": arguments.threads, "repeats": arguments.calls}
    told = json.loads(_process(["segwright.evaluation.bench_process", json.dumps(asked)], arguments.threads))
    return {"ms": float(np.median(told["milliseconds"])), "first_s": told["first_s"], "peak_mb": told["peak_mb"]}


def _process(command: list[str], threads: int) -> str:
    """A module in a new process; returns its last line."""
    settings = os.environ | {"OMP_NUM_THREADS": str(threads)}
    whole = [sys.executable, "-W", "ignore", "-m", *command]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, env=settings)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:300]} failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


if __name__ == "__main__":
    main()
