"""Small made-up runs for the report's tests: blobs of classes, predictions with mistakes, a history of a few epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import IGNORE
from segwright.evaluation.hardest import largest_region, showcase, worst_mistakes
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelClass, LabelSpace
from segwright.report.content import MistakePicture, ReportPicture, RunReport
from segwright.report.shelf import Look, fill_shelf

Pixels = NDArray[np.uint8]
NAMES = ("road", "building", "tree", "car", "pole", "train")  # there is never a train
COLORS = ((128, 64, 128), (70, 70, 70), (107, 142, 35), (0, 0, 142), (153, 153, 153), (0, 80, 100))
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</script><script>alert(2)//",
    "</style><style>*{display:none}",
    "{{ 7 * 7 }}{% raw %}",
    "' onmouseover='alert(3)",
)


@dataclass(frozen=True)
class Scene:
    """One picture: image uint8 [H, W, 3]; truth and prediction uint8 [H, W]."""

    name: str
    image: Pixels
    truth: Pixels
    prediction: Pixels


def space(names: Sequence[str] = NAMES) -> LabelSpace:
    classes = tuple(LabelClass(name=name, values=(k,), color=COLORS[k % len(COLORS)]) for k, name in enumerate(names))
    return LabelSpace(name="toy", title="Toy classes", classes=classes)


def scenes(count: int = 7, names: Sequence[str] | None = None) -> list[Scene]:
    """Scenes with five classes in rectangles, a void corner, shifted predictions and wrong patches."""
    rng = np.random.default_rng(7)
    made = []
    for index in range(count):
        truth = np.zeros((48, 72), np.uint8)
        truth[:22] = 1
        truth[8:26, 40:66] = 2
        left = int(rng.integers(4, 40))
        truth[24:36, left : left + 16] = 3
        truth[4:34, 30:32] = 4
        truth[:5, :9] = IGNORE
        prediction = np.roll(np.where(truth == IGNORE, 1, truth), int(rng.integers(0, 3)), axis=1).astype(np.uint8)
        prediction[28:32, left : left + 4 + index] = 0
        prediction[4:34, 30:32][rng.random((30, 2)) < 0.6] = 1
        image = COLORS_RGB[np.where(truth == IGNORE, 0, truth)] // 2 + rng.integers(0, 90, (48, 72, 3))
        name = names[index % len(names)] + f" {index}" if names else f"scene_{index:02d}.png"
        made.append(Scene(name, image.astype(np.uint8), truth, prediction))
    return made


COLORS_RGB = np.array(COLORS)


def evaluate(
    of: Sequence[Scene], labels: LabelSpace, groups: Sequence[str] = (), run: str = "toy_calm-owl-07"
) -> Evaluation:
    size = labels.num_classes
    counts = np.zeros((len(of), size, size), np.int64)
    for index, scene in enumerate(of):
        seen = scene.truth != IGNORE
        np.add.at(counts[index], (scene.truth[seen], scene.prediction[seen]), 1)
    return Evaluation(
        run=run,
        checkpoint="best",
        split="val",
        protocol="pooled",
        space=labels,
        names=tuple(s.name for s in of),
        groups=tuple(groups) or tuple(f"city {i % 2}" for i in range(len(of))),
        counts_NKK=counts,
        ignored_N=np.array([(s.truth == IGNORE).sum() for s in of], np.int64),
        seconds=1.5,
    )


def history(names: Sequence[str] = NAMES, epochs: int = 12) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for epoch in range(1, epochs + 1):
        rows.append(
            {
                "kind": "train",
                "epoch": epoch,
                "step": epoch * 10,
                "loss": 2.0 / epoch,
                "lr": 0.01 * (1 - epoch / 13),
                "images_per_s": 30.0 + epoch % 3,
                "data_wait": 0.012,
                "seconds": 4.5,
                "peak_memory_mb": 812,
            }
        )
        if epoch % 3 == 0:
            iou = {name: None if name == names[-1] else 0.05 * epoch for name in names}
            miou = {3: 0.2, 6: 0.5, 9: 0.45, 12: 0.4}.get(epoch, 0.3)
            rows.append(
                {
                    "kind": "val",
                    "epoch": epoch,
                    "step": epoch * 10,
                    "miou": miou,
                    "accuracy": 0.8,
                    "loss": 2.2 / epoch,
                    "iou": iou,
                    "best": epoch in (3, 6),
                    "seconds": 1.2,
                }
            )
    return rows


def build(of: Sequence[Scene], evaluation: Evaluation, **fields: object) -> RunReport:
    """A report with everything in it; `fields` replace parts of it."""
    by_name = {scene.name: scene for scene in of}
    shown = showcase(evaluation, best=1, median=1, worst=1)
    pictures = []
    for role in ("best", "median", "worst"):
        for score in getattr(shown, role):
            s = by_name[score.name]
            pictures.append(
                ReportPicture(
                    name=s.name, role=role, image=s.image, truth=s.truth, prediction=s.prediction, miou=score.miou
                )
            )
    mistakes = []
    for mistake in worst_mistakes(evaluation):
        s = by_name[mistake.pictures[0].name]
        box = largest_region(s.truth, s.prediction, mistake.truth, mistake.predicted)
        assert box is not None
        mistakes.append(
            MistakePicture(mistake=mistake, name=s.name, image=s.image, truth=s.truth, prediction=s.prediction, box=box)
        )
    split = {
        "pictures": len(of),
        "sizes": {"48×72": len(of)},
        "classes": {
            name: {"pixels": int(evaluation.scores.support[k]), "images": int(evaluation.images_K[k])}
            for k, name in enumerate(evaluation.space.class_names)
        },
        "ignored_share": 0.013,
        "mean": [0.4, 0.41, 0.42],
        "std": None,
        "sha256": "9f2c1f0d7a5f4e0c8f7b1b3ad52c0b5cf6a0d34a11d8a8f51a0b5e0e8b7a9c31",
    }
    content: dict[str, object] = {
        "title": "Tiny net on toy scenes",
        "run": evaluation.run,
        "evaluation": evaluation,
        "history": history(evaluation.space.class_names),
        "recipe_text": "# a comment\nmodel:\n  name: tiny  # small\n  args: {width: 8}\n",
        "environment": {"python": "3.11.2", "gpus": [], "memory_gib": 7.8, "packages": {"torch": "2.15.0"}},
        "data": {"train": split, "val": split},
        "pictures": pictures,
        "mistakes": mistakes,
        "notes": ["Training stopped after 12 of 20 epochs."],
    }
    return RunReport(**{**content, **fields})  # type: ignore[arg-type]


def example() -> RunReport:
    of = scenes()
    return build(of, evaluate(of, space()))


def looked_at(of: Sequence[Scene]) -> Look:
    return lambda index: (of[index].image, of[index].truth, of[index].prediction)


def galleried(count: int = 9, labels: LabelSpace | None = None) -> RunReport:
    """As `example`, with the pictures behind the confusion matrix."""
    of = scenes(count)
    evaluation = evaluate(of, labels or space())
    made = build(of, evaluation)
    in_rows = [evaluation.names.index(picture.name) for picture in made.pictures]
    return replace(made, shelf=fill_shelf(evaluation, looked_at(of), leave_out=in_rows))


def hostile() -> RunReport:
    """Every name and text in the report tries to break out of where it is written."""
    of = scenes(names=HOSTILE)
    labels = space(HOSTILE)
    evaluation = evaluate(of, labels, groups=[HOSTILE[0]] * len(of), run=HOSTILE[1])
    nested = {HOSTILE[i]: HOSTILE[-1 - i] for i in range(len(HOSTILE))}
    return build(
        of,
        evaluation,
        title=HOSTILE[0],
        recipe_text="\n".join(f"key{i}: {text} # {text}" for i, text in enumerate(HOSTILE)),
        environment={**nested, HOSTILE[2]: nested},
        notes=list(HOSTILE),
    )


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, text, and the cells of the per-class table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag in ("script", "style"):
            self._inside.append(tag)
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside:
            (self.scripts if self._inside[-1] == "script" else self.styles)[-1] += data
        else:
            self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in attributes.items())]


def decode(picture: bytes) -> Pixels:
    import io

    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
