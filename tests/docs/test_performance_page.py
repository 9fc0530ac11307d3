"""docs/performance.md says what the benchmarks measured: it is what `python -m benchmarks.page` writes now."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.page import page
from benchmarks.recording import PROJECT, RESULTS
from benchmarks.targets import load_results

DOCS = PROJECT / "docs"


def test_the_page_is_what_the_results_give() -> None:
    written = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert written == page(load_results(RESULTS)), "run `python -m benchmarks.page` and commit docs/performance.md"


def test_its_plots_are_there_and_small() -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    plots = [DOCS / name for name in re.findall(r"\((images/[^)]+\.svg)\)", text)]
    assert plots
    assert all(plot.stat().st_size < 100_000 and "<svg" in plot.read_text(encoding="utf-8") for plot in plots)


def test_the_page_needs_no_result_to_be_there(tmp_path: Path) -> None:
    text = page(load_results(tmp_path))
    assert "not measured" in text
    assert "images/targets.svg" not in text


def ratio(median: float) -> dict[str, float]:
    return {"median": median, "low": median - 0.125, "high": median + 0.125}


def test_every_section_tells_its_figures() -> None:
    epoch = {
        "pictures": 12,
        "parameters": 6_630_395,
        "our_mode": "bf16 channels_last",
        "best_peer": "peer, 0 workers",
        "pictures_per_second": {"ours": 3.51, "peer, 0 workers": 1.27},
        "times_faster_epoch": ratio(2.75),
        "times_faster_step": ratio(2.625),
    }
    tail = {
        "median_ms": {"segwright": 82.1, "interpolate + argmax(1)": 411.0, "interpolate + max(1).indices": 190.0},
        "limit_ms": 11.7,
        "interpolate + argmax(1) / segwright": ratio(5.0),
        "interpolate + max(1).indices / segwright": ratio(2.375),
    }
    mode = {"ms": 51.5, "eager_over_this": ratio(7.5), "peak_mb": 265, "memory_of_eager": 0.22}
    level = {"pictures_per_second": 21.5, "p50_ms": 361.0, "p99_ms": 512.0}
    results = {
        "epoch": {"rounds": 3, "nets": {"U-Net, MobileNetV2": epoch}},
        "validation": {
            "rounds": 9,
            "tails": {"1024×2048, 19 classes, stride 8": tail},
            "fast_scnn_360x480": {"plain loop / segwright": ratio(1.375)},
        },
        "backends": {
            "size": "512x1024",
            "threads": 2,
            "rounds": 2,
            "nets": {
                "fast_scnn": {"eager": mode | {"ms": 386.0, "eager_over_this": ratio(1.0)}, "openvino int8": mode}
            },
        },
        "serving": {
            "size": "360x480",
            "backend": "openvino",
            "seconds_each": 5.0,
            "closed": {"8": level},
            "overload": level | {"goodput_of_peak": 0.97},
            "knee": {"p99_over_p50": 1.42},
            "live": {"p99_ms": 35.5},
            "memory_mb": {"growth": 0.004},
            "other_5xx": 0,
        },
        "suite": {
            "parts": {
                "limits": {"status": "done", "seconds": 600},
                "gpu": {"status": "skipped", "seconds": 0, "why": "no GPU"},
            }
        },
        "equal_epochs": {
            "ours_miou": [0.5, 0.4, 0.6],
            "theirs_miou": [0.4, 0.3, 0.5],
            "ours_minus_theirs": [0.1, 0.05, 0.15],
        },
    }
    text = page(results)
    for line in (
        "The last `make bench` took 10 minutes; not done: gpu (skipped: no GPU).",
        "| U-Net, MobileNetV2 | 6.6 M | bf16 channels_last | 3.51 | 1.27 | 2.75 (2.62–2.88) | 2.62 (2.50–2.75) |",
        "| 3.51 pictures/s | 1.27 pictures/s | 2.75 (2.62–2.88) | ≥ 2.5 | yes |",
        "| 1024×2048, 19 classes, stride 8 | 82.1 | 11.7 | 411 · 5.00 (4.88–5.12) | 190 · 2.38 (2.25–2.50) |",
        "| fast_scnn | openvino int8 | 51.5 | 7.50 (7.38–7.62) | 265 |",
        "| 8 clients | 21.5 | 361 | 512 |",
        "| the usual stack | 0.500 | 0.400 | 0.100 (0.050–0.150) | ≥ 0 | yes |",
    ):
        assert line in text
