"""What runs a model fastest on this CPU: plain torch, its faster modes, onnxruntime, OpenVINO; each in its own process.

python -m benchmarks.backends [--rounds 5] [--calls 10] [--size 512x1024] [--threads 2] [--nets unet_mobilenet_v2 ...] [--compile]

A call takes one uint8 picture in memory to class ids. Random weights with real BatchNorm statistics, 19 classes. Rounds
alternate over the modes of a net, every other one in reverse order; each round starts a fresh process for each mode, loads
the model, warms up, times `calls` calls and reports their median and the peak memory of the process. Ratios are taken
round by round against eager fp32. The exported modes load no torch, as `predict.py` does not.
Writes benchmarks/results/backends.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = 19
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet_mobilenet_v2": ("smp", {"architecture": "Unet", "encoder": "mobilenet_v2"}),
    "deeplab_v3_plus_mobilenet_v2": ("smp", {"architecture": "DeepLabV3Plus", "encoder": "mobilenet_v2"}),
    "unet_resnet18": ("smp", {"architecture": "Unet", "encoder": "resnet18"}),
    "fast_scnn": ("fast_scnn", {}),
}
TORCH = ("eager", "channels_last", "bf16 channels_last")
COMPILED = "compile bf16 channels_last"
EXPORTED = {
    "onnxruntime fp32": ("onnxruntime", "fp32"),
    "onnxruntime int8": ("onnxruntime", "int8"),
    "openvino fp32": ("openvino-fp32", "fp32"),
    "openvino default": ("openvino", "fp32"),
    "openvino int8": ("openvino", "int8"),
}


def prepare(net: str, folder: Path, size: tuple[int, int]) -> None:
    """Write the net as model.safetensors, fp32.onnx and int8.onnx, processing included."""
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
        export_onnx(model, folder / f"{precision}.onnx", picture=True, precision=precision, calibration=calibration)


def picture(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Blocks of colour with noise: uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (-(-size[0] // 32), -(-size[1] // 32), 3), dtype=np.uint8)
    return coarse.repeat(32, 0).repeat(32, 1)[: size[0], : size[1]] + rng.integers(0, 56, (*size, 3), dtype=np.uint8)


def one(folder: Path, mode: str, size: tuple[int, int], threads: int, calls: int) -> dict[str, float]:
    """One process's work: load, warm up, time."""
    started = time.perf_counter()
    call = _exported(folder, mode, threads) if mode in EXPORTED else _torch(folder, mode, threads)
    image = picture(size, 0)
    call(image)
    first = time.perf_counter() - started
    call(image)
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        call(image)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ms": 1000 * float(np.median(seconds)), "peak_mb": peak, "first_s": first}


def _exported(folder: Path, mode: str, threads: int) -> Callable[[NDArray[np.uint8]], Any]:
    from segwright.inference.backends.sessions import OnnxRuntime, OpenVino, Session

    backend, precision = EXPORTED[mode]
    content = (folder / f"{precision}.onnx").read_bytes()
    session: Session
    if backend == "onnxruntime":
        session = OnnxRuntime(content, mode, threads=threads)
    else:
        session = OpenVino(content, mode, threads=threads, precise=backend == "openvino-fp32")
    return lambda image: session.run(image[None], ["ids"])


def _torch(folder: Path, mode: str, threads: int) -> Callable[[NDArray[np.uint8]], Any]:
    import torch

    from segwright.inference.running import as_image, computing
    from segwright.models.weights import load_segmenter

    torch.set_num_threads(threads)
    model = load_segmenter(folder / "model.safetensors")
    layout = "channels_last" if "channels_last" in mode else "contiguous"
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if mode == COMPILED:
        model.architecture = torch.compile(model.architecture)  # type: ignore[assignment]

    def call(image: NDArray[np.uint8]) -> Any:
        with computing("cpu", "bf16" if "bf16" in mode else "fp32"):
            return model.ids(as_image(image, "cpu", layout))

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--compile", action="store_true", help="also torch.compile, half a minute a process")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "backends.json")
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "MODE"), help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=2, metavar=("FOLDER", "NET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    if arguments.one is not None:
        folder, mode = arguments.one
        print(json.dumps(one(Path(folder), mode, (height, width), arguments.threads, arguments.calls)))
        return
    if arguments.prepare is not None:
        prepare(arguments.prepare[1], Path(arguments.prepare[0]), (height, width))
        return
    compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    from benchmarks.rounds import ratio
    from segwright.files import write_json
    from segwright.runs.environment import environment

    modes = [*TORCH, *([COMPILED] if arguments.compile else []), *EXPORTED]
    shared = ["--size", arguments.size, "--threads", str(arguments.threads), "--calls", str(arguments.calls)]
    found: dict[str, Any] = {}
    for net in arguments.nets:
        with tempfile.TemporaryDirectory(prefix="segwright-backends-") as folder:
            _again([*shared, "--prepare", folder, net], arguments.threads)
            rows: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
            for turn in range(arguments.rounds):
                for mode in modes[:: -1 if turn % 2 else 1]:
                    rows[mode].append(json.loads(_again([*shared, "--one", folder, mode], arguments.threads)))
        eager = rows["eager"]
        found[net] = {
            mode: {
                "ms": round(float(np.median([r["ms"] for r in rows[mode]])), 1),
                "eager_over_this": ratio([r["ms"] for r in eager], [r["ms"] for r in rows[mode]]),
                "peak_mb": round(max(r["peak_mb"] for r in rows[mode])),
                "memory_of_eager": round(max(r["peak_mb"] for r in rows[mode]) / max(r["peak_mb"] for r in eager), 3),
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
            "environment": environment(),
            "nets": found,
        },
    )


def _again(options: list[str], threads: int) -> str:
    """This script in a new process; returns what it prints."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.backends", *options]
    settings = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings)
    if done.returncode:
        raise SystemExit(f"{' '.join(options)} failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


if __name__ == "__main__":
    main()
