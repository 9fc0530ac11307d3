"""What a run ran on, and `segwright doctor`: is this machine fit for training?"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil

PACKAGES = (
    "segwright torch torchvision segmentation-models-pytorch timm numpy pillow opencv-python-headless safetensors pydantic"
).split()


def environment() -> dict[str, Any]:
    """Versions, processor, memory, GPU, git commit and date, as plain JSON data."""
    import torch

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "git_commit": _git_commit(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def processor() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the folder that the command runs in: the user's own project, when it is one."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() or None


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was checked, how it is, and what to do when it is not fine."""

    name: str
    status: Literal["OK", "WARN", "FAIL"]
    detail: str
    remedy: str = ""


def check_environment(folder: Path) -> list[Finding]:
    """Check Python, torch, GPU, memory, disk, writing into `folder`, decoders, and one real training step."""
    checks: list[Callable[[], Finding]] = [
        _python, _torch, _memory, lambda: _disk(folder), lambda: _writing(folder), _decoders, _optional, _step
    ]  # fmt: skip
    findings = []
    for check in checks:
        try:
            findings.append(check())
        except Exception as error:  # a check that breaks is itself a finding
            name = getattr(check, "__name__", "check").strip("_<>")
            findings.append(Finding(name, "FAIL", f"{type(error).__name__}: {error}", "reinstall: make setup"))
    return findings


def _python() -> Finding:
    version = platform.python_version_tuple()
    fine = (3, 11) <= (int(version[0]), int(version[1])) <= (3, 13)
    return Finding(
        "python", "OK" if fine else "FAIL", platform.python_version(), "" if fine else "use Python 3.11 to 3.13"
    )


def _torch() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("torch", "OK", f"{torch.__version__}, GPU: {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        return Finding("torch", "OK", f"{torch.__version__}, GPU: Apple (mps)")
    has_card = shutil.which("nvidia-smi") is not None
    detail = f"{torch.__version__}, no GPU in use, {torch.get_num_threads()} threads on {processor()}"
    if has_card:
        return Finding(
            "torch", "WARN", detail, "nvidia-smi is here but torch sees no GPU: the driver is too old for this torch"
        )
    return Finding("torch", "OK", detail)


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 2**30
    if free < 2:
        return Finding(
            "memory", "WARN", f"{free:.1f} GiB free", "the demo needs about 3 GB: close something, or use batch=2"
        )
    return Finding("memory", "OK", f"{free:.1f} GiB free")


def _disk(folder: Path) -> Finding:
    place = folder if folder.exists() else Path()
    free = shutil.disk_usage(place).free / 2**30
    if free < 1:
        return Finding(
            "disk", "WARN", f"{free:.1f} GiB free", "a run needs up to 1 GiB: free some space or use --runs DIR"
        )
    return Finding("disk", "OK", f"{free:.1f} GiB free")


def _writing(folder: Path) -> Finding:
    place = folder if folder.exists() else Path()
    try:
        with tempfile.NamedTemporaryFile(dir=place, suffix=".tmp") as file:
            file.write(b"segwright")
    except OSError as error:
        return Finding(
            "writing", "FAIL", f"{place.resolve()}: {error.strerror}", "use --runs DIR with a folder of yours"
        )
    return Finding("writing", "OK", str(place.resolve()))


def _decoders() -> Finding:
    from PIL import features

    missing = [n for n in ("jpg", "zlib", "webp", "libtiff") if not features.check(n)]
    if missing:
        return Finding("decoders", "WARN", f"Pillow lacks {', '.join(missing)}", "reinstall Pillow from its wheel")
    return Finding("decoders", "OK", "JPEG, PNG, WebP, TIFF")


def _optional() -> Finding:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    return Finding("browser", "OK", browser or "none found (only the project's own page tests need one)")


def _step() -> Finding:
    import torch
    from torch.nn import functional as F

    from segwright.labels import load_label_space
    from segwright.models import MODELS, Segmenter

    space = load_label_space("camvid11")
    model = Segmenter(MODELS["fast_scnn"](space.num_classes), labels=space, model={"name": "fast_scnn", "args": {}})
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    logits = model.outputs(image).logits_BKhw
    loss = F.cross_entropy(logits.float(), torch.zeros(logits.shape[0], *logits.shape[2:], dtype=torch.long))
    loss.backward()
    if not loss.isfinite():
        return Finding("training step", "FAIL", f"the loss is {loss.item()}", "reinstall torch: make clean setup")
    return Finding("training step", "OK", "forward and backward of Fast-SCNN")
