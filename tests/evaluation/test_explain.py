"""Every convention against an independent implementation, and steps that add up."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from sklearn.metrics import jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex

from segwright import api, cli
from segwright.contracts import IGNORE, UserError
from segwright.data.nearest import nearest_exact
from segwright.data.streets.writing import scene_files, write_streets
from segwright.evaluation.definitions import Definition, Seen, chain, score
from segwright.evaluation.explain import Explanation, explain, extra_measures
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelSpace, load_label_space
from segwright.metrics.confusion import confusion
from segwright.metrics.measure import Scored

SPACE = load_label_space("camvid11")
K = SPACE.num_classes


def pictures(seed: int, count: int = 3, classes: int = K) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Blocky truth with void and a prediction that is mostly right; some class is absent everywhere."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        truth = rng.integers(0, classes - 1, (4, 6)).repeat(4, 0).repeat(4, 1)
        predicted = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, classes - 1, truth.shape), truth)
        truth = np.where(rng.random(truth.shape) < 0.1, IGNORE, truth)
        found.append((truth.astype(np.uint8), predicted.astype(np.uint8)))
    return found


def evaluated(pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], space: LabelSpace = SPACE) -> Evaluation:
    measures = extra_measures(space, lambda height, width: (height // 2, width // 2))
    arrays = {one.name: one.begin(len(pairs)) for one in measures}
    counts = []
    for index, (truth, ids) in enumerate(pairs):
        seen = Scored(index=index, name=str(index), rgb=np.zeros((0, 0, 3), np.uint8), labels=truth, ids=ids)
        for one in measures:
            one.see(seen, arrays[one.name])
        counts.append(confusion(torch.from_numpy(truth), torch.from_numpy(ids), space.num_classes).numpy())
    names = tuple(str(i) for i in range(len(pairs)))
    return Evaluation(
        run="run",
        checkpoint="best",
        split="val",
        protocol="pooled",
        space=space,
        names=names,
        groups=names,
        counts_NKK=np.stack(counts),
        ignored_N=np.array([(truth == IGNORE).sum() for truth, _ in pairs]),
        seconds=1.0,
        measures={one.name: one.result(arrays[one.name], names) for one in measures},
        arrays={f"{name}.{key}": rows for name, found in arrays.items() for key, rows in found.items()},
    )


def sklearn_iou(truth: NDArray[Any], predicted: NDArray[Any], labels: list[int]) -> NDArray[Any]:
    return np.asarray(jaccard_score(truth, predicted, labels=labels, average=None, zero_division=0))


def second_opinions(pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> dict[str, float]:
    """Each convention by scikit-learn or torchmetrics on pixels."""
    kept = [(truth[truth != IGNORE], ids[truth != IGNORE]) for truth, ids in pairs]
    truth, ids = (np.concatenate(column) for column in zip(*kept, strict=True))
    union, true = sorted({*truth, *ids}), sorted(set(truth))
    everything = list(range(K))
    alone = [sklearn_iou(t, p, sorted({*t, *p})).mean() for t, p in kept if t.size]
    by_class = {
        use: [
            np.mean([sklearn_iou(t, p, [k])[0] for t, p in kept if k in t or (use == "union" and k in p)])
            for k in (union if use == "union" else true)
        ]
        for use in ("union", "truth")
    }
    small = [(nearest_exact(t, (8, 12)), nearest_exact(p, (8, 12))) for t, p in pairs]
    small_kept = [(t[t != IGNORE], p[t != IGNORE]) for t, p in small]
    small_truth, small_ids = (np.concatenate(column) for column in zip(*small_kept, strict=True))
    # void as one more class of the truth, left out of the mean: what is predicted there is false
    full_truth = np.concatenate([np.where(t == IGNORE, K, t).ravel() for t, _ in pairs])
    full_ids = np.concatenate([p.ravel() for _, p in pairs])
    torch_pooled = MulticlassJaccardIndex(K, average="micro", ignore_index=IGNORE)
    for t, p in pairs:
        torch_pooled.update(torch.from_numpy(p), torch.from_numpy(t))
    return {
        "pooled": sklearn_iou(truth, ids, union).mean(),
        "truth": sklearn_iou(truth, ids, true).mean(),
        "absent-zero": sklearn_iou(truth, ids, everything).sum() / K,
        "void-false": sklearn_iou(full_truth, full_ids, sorted({*full_truth, *full_ids} - {K})).mean(),
        "class-pictures": float(np.mean(by_class["union"])),
        "class-true-pictures": float(np.mean(by_class["truth"])),
        "picture": float(np.mean(alone)),
        "weighted": float(jaccard_score(truth, ids, average="weighted", zero_division=0)),
        "micro": float(torch_pooled.compute()),
        "resized": sklearn_iou(small_truth, small_ids, sorted({*small_truth, *small_ids})).mean(),
    }


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from(["pooled", "camvid"]))
def test_every_convention_has_a_second_opinion_and_steps_add_up(seed: int, protocol: str) -> None:
    pairs = pictures(seed)
    found = explain(evaluated(pairs), protocol=protocol)
    for key, expected in second_opinions(pairs).items():
        assert found.row(key).value == pytest.approx(expected, abs=1e-6), key
    main = found.row(found.headline)
    assert (main.key, main.steps) == ("pooled" if protocol == "pooled" else "absent-zero", ())
    for row in found.rows:
        if row is not main and not math.isnan(row.value):
            changes = [step.change for step in row.steps]
            assert row.steps
            assert sum(changes) == pytest.approx(row.value - main.value, abs=1e-12)  # type: ignore[arg-type]
    assert math.isnan(found.row("gapless").value)  # the last class is nowhere
    assert found.rows[-1].key == "gapless"
    values = [row.value for row in found.rows[:-1]]
    assert values == sorted(values, reverse=True)


def test_a_chain_changes_one_thing_at_a_time() -> None:
    evaluation = evaluated(pictures(5))
    seen = Seen(
        evaluation.counts_NKK, np.zeros(evaluation.counts_NKK.shape[:2], np.int64), evaluation.arrays["void.predicted"]
    )
    goal = Definition(unit="picture", void=True, classes="truth")
    steps = chain(Definition(), goal, {False: seen})
    assert steps[0].text.startswith("void pixels are false pixels")
    assert steps[-1].text.startswith("the mean over classes is taken in each picture")
    total = sum(step.change or 0 for step in steps)
    assert total == pytest.approx(score(goal, seen) - score(Definition(), seen), abs=1e-12)


def test_the_nearest_pixel_is_torchs_nearest_exact() -> None:
    values = np.arange(23 * 37, dtype=np.int64).reshape(23, 37) % 251
    for size in ((11, 18), (46, 74), (7, 50), (1, 1)):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(values)[None, None].double(), size=size, mode="nearest-exact"
        )
        assert np.array_equal(nearest_exact(values, size), expected[0, 0].long().numpy())
    color = nearest_exact(np.dstack([values, values + 1]), (5, 9))
    assert np.array_equal(color[..., 0] + 1, color[..., 1])


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("streets")
    write_streets(root, counts={"train": 0, "val": 2}, size=(96, 192), workers=1)
    return root


def shifted(streets: Path, folder: Path) -> Path:
    folder.mkdir()
    for index in range(2):
        files = scene_files(streets, "val", index)
        truth = np.array(Image.open(files["labelIds"]))
        Image.fromarray(np.roll(truth, (2, 3), (0, 1))).save(folder / files["image"].name)
    return folder


def test_prediction_files_are_explained_with_the_official_scores(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shifted(streets, tmp_path / "predictions")
    quiet = Console(quiet=True)
    found = api.explain(None, [f"data.root={streets}"], predictions=folder, at="48x96", console=quiet)
    official = api.evaluate(
        None, [f"data.root={streets}"], predictions=folder, protocol="cityscapes", measures=["none"], console=quiet
    )
    assert found.row("pooled").value == pytest.approx(official.miou, abs=1e-12)
    for name in ("iiou", "category_iou", "category_iiou"):
        assert found.row(f"cityscapes.{name}").value == official.official["averages"][name]
    assert "protocol cityscapes, protocol kitti" in found.row("pooled").users
    assert found.row("resized").title == "at 48×96"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["evaluate", "--predictions", str(folder), f"data.root={streets}", "--explain"])
    text = capsys.readouterr().out
    for part in ("micro IoU", "who scores so", "iIoU", "torchgeo", "they add up"):
        assert part in text
    with pytest.raises(SystemExit, match="0"):
        cli.main(["evaluate", "--predictions", str(folder), f"data.root={streets}", "--explain", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["headline"] == "pooled"
    assert {row["key"] for row in content["conventions"]} >= {"pooled", "picture", "micro", "cityscapes.iiou"}
    with pytest.raises(UserError, match="--at network: this model sees pictures at their own size"):
        api.explain(None, [f"data.root={streets}"], predictions=folder, at="network", console=quiet)


def test_classes_that_cityscapes_ignores_are_a_step(streets: Path, tmp_path: Path) -> None:
    folder = shifted(streets, tmp_path / "predictions")
    options: dict[str, Any] = {"predictions": folder, "labels": "cityscapes34", "console": Console(quiet=True)}
    found = api.explain(None, [f"data.root={streets}"], **options)
    official = api.evaluate(None, [f"data.root={streets}"], protocol="cityscapes", measures=["none"], **options)
    row = found.row("cityscapes")
    assert row.value == pytest.approx(official.miou, abs=1e-12)
    assert [step.text for step in row.steps] == [
        "true pixels of 15 classes that Cityscapes does not evaluate count nowhere"
    ]
    again = api.explain(None, [f"data.root={streets}"], protocol="cityscapes", **options)
    assert again.headline == "cityscapes"
    assert again.row("pooled").steps[0].change == pytest.approx(-(row.steps[0].change or 0))


def test_a_headline_that_counts_cannot_say() -> None:
    space = load_label_space("suim8")
    evaluation = evaluated(pictures(2, classes=8), space)
    with pytest.raises(UserError, match="was not measured on this data"):
        explain(evaluation, protocol="suim-paper")
    measured = {**evaluation.measures, "suim-paper": {"averages": {"iou": 0.5, "f": 0.5}}}
    found = explain(Evaluation(**{**evaluation.__dict__, "measures": measured}), protocol="suim-paper")
    assert (found.headline, found.row("suim-paper.iou").steps) == ("suim-paper.iou", ())
    for row in found.rows:
        if row.key != found.headline and not math.isnan(row.value):
            assert sum(step.change or 0 for step in row.steps) == pytest.approx(row.value - 0.5)


def test_the_result_is_plain_data() -> None:
    found = explain(evaluated(pictures(1)), protocol="pooled")
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["pictures"] == 3
    assert isinstance(found, Explanation)
    with pytest.raises(UserError, match="protocol 'voc' scores the classes of"):
        explain(evaluated(pictures(1)), protocol="voc")


@pytest.mark.slow
def test_the_table_of_the_docs(camvid: Path, tmp_path: Path) -> None:
    """docs/metrics.md, "Why toolkits disagree": truth moved by 2 px down and 3 px right, void called building."""
    for path in sorted((camvid / "trainannot").glob("*.png")):
        moved = np.roll(np.array(Image.open(path)), (2, 3), (0, 1))
        moved[moved == 11] = 1
        Image.fromarray(moved).save(tmp_path / path.name)
    found = api.explain(None, [f"data.root={camvid}"], predictions=tmp_path, split="train", console=Console(quiet=True))
    expected = {
        "weighted": 87.5,
        "micro": 86.8,
        "pooled": 71.7,
        "void-false": 69.6,
        "picture": 63.8,
        "class-pictures": 62.6,
    }
    assert {key: round(100 * found.row(key).value, 1) for key in expected} == expected
    assert [round(100 * (step.change or 0), 1) for step in found.row("picture").steps] == [-9.1, 1.3]
