"""The worker process of `segwright serve`: python -m segwright.api.serving_process SETTINGS FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.contracts import UserError

if TYPE_CHECKING:
    from segwright.api.backends import Chosen
    from segwright.web.worker import Opened


def main() -> None:
    """SETTINGS: JSON of `api.serving`. FOLDER: for pictures while they are decoded."""
    from segwright.web.worker import work

    settings, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    _import_heavy(settings)  # so that a process in reserve has it done
    work(
        lambda: _open(settings),
        batch=settings["batch"],
        wait_ms=settings["wait_ms"],
        pixels=settings["pixels"],
        folder=folder,
    )


def _import_heavy(settings: dict[str, Any]) -> None:
    import segwright.inference.backends.opening
    import segwright.inference.backends.predicting
    import segwright.web.answers
    import segwright.web.batching
    from segwright.api.backends import EXPORTED

    if settings["backend"] in (None, "torch") and not settings["source"].lower().endswith(EXPORTED):
        import segwright.inference.predictor
        import segwright.models.weights  # noqa: F401


def _open(settings: dict[str, Any]) -> Opened:
    from rich.console import Console

    from segwright.api.backends import choose_backend
    from segwright.files import sha256
    from segwright.web.worker import Opened

    chosen = choose_backend(settings["source"], Path(settings["runs"]), settings["backend"], Console(stderr=True))
    return Opened(
        name=chosen.name,
        weights=sha256(chosen.file),
        paths=tuple(sorted({str(chosen.file), *settings["hidden"]}, key=len, reverse=True)),
        **(_of_torch(chosen, settings["device"]) if chosen.runtime is None else _exported(chosen, settings["device"])),
    )


def _of_torch(chosen: Chosen, device: str) -> dict[str, Any]:
    from segwright.api.backends import open_chosen
    from segwright.build import pick_device
    from segwright.inference.predictor import Predictor

    model = open_chosen(chosen)
    return {
        "predictor": Predictor(model, device=pick_device(device)),
        "architecture": str(model.model.get("name", "unknown")),
        "backend": "torch",
        "licence": model.licence,
        "provenance": model.provenance,
    }


def _exported(chosen: Chosen, device: str) -> dict[str, Any]:
    """A process without torch: a third of the memory, and a new one is there in a second."""
    from segwright.inference.backends.opening import load_plain
    from segwright.inference.backends.predicting import IdsPredictor

    if device not in ("auto", "cpu"):
        raise UserError(
            f"--device {device}: exported files run on the processor. Leave it out, or serve the run itself."
        )
    model = load_plain(chosen.file, chosen.runtime)
    about = model.description
    return {
        "predictor": IdsPredictor(model),
        "architecture": about.model,
        "backend": model.session.backend,
        "licence": about.licence,
        "provenance": about.provenance,
        "size": about.size,
    }


if __name__ == "__main__":
    main()
