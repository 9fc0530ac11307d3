"""Make a shipped model of a run: weights in fp16, scored again as they are shipped, and its card.

python -m benchmarks.ship RUN NAME

Writes src/segwright/shipped/NAME.safetensors and NAME.md. Scores are those of the rounded weights, on the validation split
of the run's recipe at its path; RUN itself is left as it is.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch

SHIPPED = Path(__file__).parent.parent / "src" / "segwright" / "shipped"
MOST_BYTES = 5_000_000


def ship(run: Path, name: str) -> Path:
    """The weights file. Raises SystemExit where it is larger than a shipped model may be."""
    import segwright
    from segwright.evaluation.result import Evaluation
    from segwright.models.weights import load_segmenter, save_segmenter
    from segwright.report.model_card import CARD_FILE

    with tempfile.TemporaryDirectory(prefix="segwright-ship-") as folder:
        copy = Path(folder) / name
        shutil.copytree(run, copy)
        best = copy / "checkpoints" / "best.safetensors"
        model = load_segmenter(best)
        save_segmenter(model, best, dtype=torch.float16)
        shutil.rmtree(copy / "evaluation")
        segwright.card(copy)
        scored = Evaluation.load(next((copy / "evaluation").glob("*.json")))
        model = load_segmenter(best)
        data = f"{len(scored.names)} pictures of split {scored.split}"
        model.provenance |= {"score": f"{scored.miou:.1%} on {data}, protocol {scored.protocol}"}
        file = SHIPPED / f"{name}.safetensors"
        save_segmenter(model, file, dtype=torch.float16)
        text = (copy / CARD_FILE).read_text(encoding="utf-8")
    text = text.replace(f"segwright predict runs/{name} PICTURES", f"segwright predict --model {name} PICTURES")
    text = text.replace("checkpoint `best.safetensors`", f"weights `{name}.safetensors`, in fp16")
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    if file.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{file.name} has {file.stat().st_size:,} bytes; {MOST_BYTES:,} are allowed.")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    file = ship(arguments.run, arguments.name)
    print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
