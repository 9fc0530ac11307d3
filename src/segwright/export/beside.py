"""What lies beside an exported file: its labels, its card, and a script that predicts with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from segwright.export.verify import Verification
from segwright.files import write_json, write_text
from segwright.inference.backends.description import Description

LABELS_FILE, CARD_FILE, SCRIPT_FILE = "labels.json", "MODEL_CARD.md", "predict.py"


def write_beside(
    path: Path, description: Description, verified: Sequence[Verification], card: str | None
) -> list[Path]:
    """Write labels.json, MODEL_CARD.md and predict.py into the folder of an exported file; returns them.

    card: the card of the run that it is of; None for a model without one.
    """
    space = description.labels
    labels = {
        "name": space.name,
        "classes": [
            {"id": k, "name": item.name, "color": list(item.color), "group": item.group}
            for k, item in enumerate(space.classes)
        ],
        "label_space": space.to_dict(),
    }
    folder = path.parent
    script = (resources.files("segwright.export") / "standalone.py").read_text(encoding="utf-8")
    return [
        write_json(folder / LABELS_FILE, labels),
        write_text(folder / CARD_FILE, card_text(path.name, description, verified, card)),
        write_text(folder / SCRIPT_FILE, script),
    ]


def card_text(file: str, description: Description, verified: Sequence[Verification], card: str | None) -> str:
    """The card as Markdown: the run's own, then what was exported and how it compares."""
    head = card or (
        f"# {description.model}\n\nA semantic segmentation model with {description.labels.num_classes} classes: "
        f"{', '.join(description.labels.class_names)}.\n\n## Licence\n\nWeights: {description.licence}."
    )
    size = "any size" if description.size is None else f"{description.size[0]}×{description.size[1]}"
    takes = (
        f"`image`, uint8 [B, H, W, 3], RGB, {size}; gives `ids`, uint8 [B, H, W], and `logits` at the network's stride"
        if description.form == "picture"
        else f"`image`, float32 [B, 3, H, W], normalised with mean {_list(description.mean)} and std {_list(description.std)} (of "
        f"0..1), padded to multiples of {description.stride}, {size}; gives `logits`, float32 [B, K, h, w]"
    )
    parts = [
        head.rstrip(),
        f"## Exported file\n\n`{file}`: {description.precision}, written by Segwright {description.version}. It takes {takes}. "
        "`predict.py` beside it shows how, with NumPy, Pillow and onnxruntime alone.",
        _table(verified) if verified else "It was **not verified** on labelled pictures.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(verified: Sequence[Verification]) -> str:
    one = verified[0]
    rows = [
        f"Original and exported model on {one.pictures} pictures of `{one.split}`:",
        "",
        "| runtime | mIoU before | after | change, points | same class | border shift, px |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in verified:
        shift = "–" if one.border_shift is None else f"{one.border_shift:.3f}"
        rows.append(
            f"| {one.backend} | {100 * one.miou[0]:.2f} % | {100 * one.miou[1]:.2f} % | {one.points:+.3f} | "
            f"{100 * one.agreement:.3f} % | {shift} |"
        )
    return "\n".join(rows)


def _list(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
