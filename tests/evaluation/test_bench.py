"""Bench: statistics of known times, the front, real processes that time a real model, and the files that are left."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from segwright import api
from segwright.contracts import UserError
from segwright.evaluation.bench import Bench, Timed, time_ways
from segwright.evaluation.ways import PLAIN, TORCH, Way, open_torch
from segwright.inference.folding import folded
from segwright.models.weights import save_segmenter
from segwright.report.bench_plot import draw_bench
from tests.export.models import labelled_folder, small_model
from tests.models.conftest import pictures

QUIET = Console(quiet=True)


def timed(name: str, ms: float, miou: float | None = None, form: str = "int8", mb: float = 100.0) -> Timed:
    way = Way(backend=name, form=form, file=Path("m.onnx"))
    return Timed(way=way, milliseconds=(ms, ms, 2 * ms, ms), first_s=1.0, peak_mb=mb, miou=miou)


def bench_of(*rows: Timed) -> Bench:
    return Bench(
        run="r", split="val", size=(64, 96), threads=2, repeats=4, device="cpu", rows=rows, environment={"cores": 2}
    )


def test_numbers_of_known_times() -> None:
    row = timed("torch", 10.0, form=PLAIN, mb=400.0)
    fast = timed("openvino", 2.0, 0.5)
    assert row.median_ms == 10
    assert row.p95_ms == pytest.approx(np.percentile([10, 10, 20, 10], 95))
    assert row.per_second == pytest.approx(4 / 0.05)
    told = bench_of(fast, row).to_dict()
    assert told["ways"][0]["times_as_fast"] == 5
    assert told["ways"][0]["share_of_memory"] == 0.25
    assert told["ways"][1]["miou"] is None
    json.dumps(told, allow_nan=False)


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    rows = [timed("a", 1, 0.5), timed("b", 2, 0.4), timed("c", 3, 0.6), timed("d", 3, 0.7), timed("e", 4, None)]
    assert [row.way.backend for row in bench_of(*rows).front] == ["a", "d"]
    assert bench_of(rows[4]).front == ()
    equal = [timed("slow", 9, 0.5), timed("fast", 1, 0.5)]
    assert [row.way.backend for row in bench_of(*equal).front] == ["fast"]


def test_folding_leaves_the_scores_and_takes_the_normalisations() -> None:
    model = small_model("fast_scnn", {"width": 0.25})
    whole = folded(model)
    image = pictures(1, 97, 129)
    with torch.inference_mode():
        before = model.eval()(image)
        assert (whole(image) - before).abs().max() <= 1e-4 * max(1.0, float(before.abs().max()))
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in model.modules())
    kept = [name for name, part in whole.named_modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert all("aux" in name for name in kept), kept
    with pytest.raises(UserError, match="nothing to fold"):
        folded(whole)


def test_every_mode_of_torch_predicts_the_same() -> None:
    model = small_model()
    image = pictures(1, 61, 83)
    with torch.inference_mode():
        expected = model.eval().ids(image)
        for form, mode in TORCH.items():
            if not mode.compiled:
                assert (open_torch(model, mode).ids(image) == expected).float().mean() >= 0.999, form


def test_the_plot_shows_each_scored_way(tmp_path: Path) -> None:
    rows = [timed("openvino", 1, 0.5), timed("onnxruntime", 1.02, 0.5), timed("torch", 3, 0.6, "fp32")]
    draw_bench(bench_of(*rows), tmp_path / "b.svg")
    assert "<svg" in (tmp_path / "b.svg").read_text()
    draw_bench(bench_of(*rows), tmp_path / "b.png")
    assert np.asarray(Image.open(tmp_path / "b.png")).std() > 5
    with pytest.raises(UserError, match="--score"):
        draw_bench(bench_of(timed("torch", 1)), tmp_path / "none.png")
    with pytest.raises(UserError, match=r"b\.png"):
        draw_bench(bench_of(*rows), tmp_path / "b.jpg")


def test_what_cannot_be_timed_is_said_first(tmp_path: Path) -> None:
    save_segmenter(small_model(), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="allowed are torch, onnxruntime"):
        api.bench(tmp_path / "model.safetensors", backends=["tensorrt"], console=QUIET)
    with pytest.raises(UserError, match="--export"):
        api.bench(tmp_path / "model.safetensors", backends=["onnxruntime"], console=QUIET)
    with pytest.raises(UserError, match=r"\.png or \.svg"):
        api.bench(tmp_path / "model.safetensors", plot="plot.pdf", console=QUIET)
    with pytest.raises(UserError, match="repeats"):
        time_ways([], (8, 8), threads=1, repeats=0)


@pytest.mark.slow
def test_real_processes_time_a_model_and_tell_of_one_that_fails(tmp_path: Path) -> None:
    save_segmenter(small_model(), tmp_path / "model.safetensors")
    good = Way(backend="torch", form="fp32", file=tmp_path / "model.safetensors")
    rows, failed = time_ways([good, replace(good, file=tmp_path / "none.safetensors")], (64, 96), threads=1, repeats=3)
    assert [row.way for row in rows] == [good]
    assert len(rows[0].milliseconds) == 3
    assert rows[0].peak_mb > 50
    assert "none.safetensors" in next(iter(failed.values()))


@pytest.mark.slow
def test_a_run_is_exported_timed_and_scored(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra `export` is not installed")
    data = labelled_folder(tmp_path / "data")
    trained = api.train(data, ["training.epochs=1", "training.device=cpu"], runs=tmp_path / "runs", console=QUIET)
    options: dict[str, Any] = {"size": (64, 96), "repeats": 2, "threads": 1, "backends": ["torch", "onnxruntime"]}
    shutil.rmtree(trained.path / "export", ignore_errors=True)
    bare = api.bench(trained.path, console=QUIET, **options)
    assert {row.way.backend for row in bare.rows} == {"torch"}
    found = api.bench(trained.path, export=True, score=True, console=QUIET, **options)
    assert found.failed == {}
    assert {(row.way.backend, row.way.form) for row in found.rows} >= {("onnxruntime", "fp32"), ("torch", PLAIN)}
    mious = {row.way.name: row.miou for row in found.rows}
    assert all(value is not None for value in mious.values())
    assert mious["onnxruntime fp32, model.onnx"] == pytest.approx(mious["torch fp32"], abs=1e-3)
    small = min(row.peak_mb for row in found.rows if row.way.backend == "onnxruntime")
    assert small < 0.6 * min(row.peak_mb for row in found.rows if row.way.backend == "torch")
    assert json.loads((trained.path / "bench.json").read_text())["front"]
    assert (trained.path / "bench.png").is_file()
