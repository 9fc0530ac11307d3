"""What is asked of Segwright's speed: TARGETS are ratios beside a peer or a limit, LIMITS hold for the machine that is named."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.targets import Content, Look, Target


def _batches(key: str) -> Look:
    def look(content: Content) -> Any:
        found = content["results"]["batches"]
        return found["pictures_per_second"][found["best_peer"] if key == "best_peer" else key]

    return look


def _epoch(net: str, wish: float, note: str = "") -> Target:
    return Target(
        what=f"whole training epoch, {net}, batch 4 of 352×480",
        beside="the usual stack: smp + Albumentations + fp32",
        file="epoch",
        ratio=lambda f: f["nets"][net]["times_faster_epoch"],
        wish=wish,
        note=note,
        ours=lambda f: f["nets"][net]["pictures_per_second"]["ours"],
        peer=lambda f: f["nets"][net]["pictures_per_second"][f["nets"][net]["best_peer"]],
        unit="pictures/s",
    )


def _tail(case: str) -> Target:
    def ms(key: str) -> Look:
        return lambda f: f["tails"][case]["median_ms"][key]

    return Target(
        what=f"scores to class ids, {case}",
        beside="`interpolate` + `argmax(1)`",
        file="validation",
        ratio=lambda f: f["tails"][case]["interpolate + argmax(1) / segwright"],
        wish=3,
        ours=ms("segwright"),
        peer=ms("interpolate + argmax(1)"),
        unit="ms",
    )


def _best_mode(net: str) -> Look:
    """The mode of a net with the best ratio to eager fp32."""

    def look(content: Content) -> Any:
        modes = {mode: found for mode, found in content["nets"][net].items() if "eager_over_this" in found}
        return max(modes.values(), key=lambda found: found["eager_over_this"]["median"])

    return look


def _prediction(net: str, title: str, wish: float) -> Target:
    best = _best_mode(net)
    return Target(
        what=f"predicting 512×1024, {title}, fastest engine",
        beside="eager PyTorch, fp32",
        file="backends",
        ratio=lambda f: best(f)["eager_over_this"],
        wish=wish,
        ours=lambda f: best(f)["ms"],
        peer=lambda f: f["nets"][net]["eager"]["ms"],
        unit="ms",
    )


def _memory(net: str, title: str) -> Target:
    best = _best_mode(net)
    return Target(
        what=f"{title} in its fastest engine: peak memory, share of eager PyTorch's",
        beside="",
        file="backends",
        ratio=lambda f: best(f)["memory_of_eager"],
        wish=0.25,
        lower=True,
    )


def _miou_within(minutes: float) -> Look:
    """The median over seeds of the best mIoU by then."""

    def look(content: Content) -> Any:
        curves = [seed["curve_minutes_epoch_miou"] for seed in content["seeds"]]
        best = [max((miou for when, _, miou in curve if when <= minutes), default=0.0) for curve in curves]
        return round(median(best), 4) if all(best) else None

    return look


def _bounded(middle: float, low: float | None, high: float | None) -> Mapping[str, float] | None:
    """A mean with its interval; None where there are too few values for one."""
    return None if low is None or high is None else {"median": middle, "low": low, "high": high}


TARGETS = (
    Target(
        what="loading CamVid 480×360 with crop, flip and colour jitter",
        beside="cv2 + Albumentations, its best number of workers",
        file="loading",
        ratio=lambda f: f["results"]["batches"]["times_faster_than_best_peer"],
        wish=2.5,
        ours=_batches("segwright"),
        peer=_batches("best_peer"),
        unit="pictures/s",
    ),
    _epoch("U-Net, ResNet-18", 2.5),
    _epoch("U-Net, MobileNetV2", 2.5),
    _epoch("DeepLabV3+, MobileNetV2", 2.5),
    _epoch("Fast-SCNN", 1.4),
    Target(
        what="val mIoU after equally many epochs, Fast-SCNN on CamVid: ours minus theirs",
        beside="the usual stack",
        file="equal_epochs",
        ratio=lambda f: _bounded(*f["ours_minus_theirs"]),
        wish=0,
        ours=lambda f: f["ours_miou"][0],
        peer=lambda f: f["theirs_miou"][0],
    ),
    Target(
        what="training with its loading",
        beside="a bare step on tensors that are at hand",
        file="loop",
        ratio=lambda f: f["training over bare"],
        wish=0.95,
        ours=lambda f: median(f["rates"]["training"]),
        peer=lambda f: median(f["rates"]["bare"]),
        unit="pictures/s",
    ),
    Target(
        what="confusion counting, 1024×2048, 19 classes: time over the peer's",
        beside="a bare `torch.bincount` on int16",
        file="confusion",
        ratio=lambda f: f["results"]["regions"]["segwright / bare torch.bincount, int16"],
        wish=1.5,
        lower=True,
        ours=lambda f: f["results"]["regions"]["median_ms"]["segwright"],
        peer=lambda f: f["results"]["regions"]["median_ms"]["bare torch.bincount, int16"],
        unit="ms",
    ),
    Target(
        what="the same",
        beside="torchmetrics, default settings",
        file="confusion",
        ratio=lambda f: f["results"]["regions"]["torchmetrics, default / segwright"],
        wish=15,
        ours=lambda f: f["results"]["regions"]["median_ms"]["segwright"],
        peer=lambda f: f["results"]["regions"]["median_ms"]["torchmetrics, default"],
        unit="ms",
    ),
    Target(
        what="scoring a folder of 1024×2048 predictions: time over the peer's",
        beside="cityscapesScripts as pip installs it",
        file="scoring",
        ratio=lambda f: f["results"]["segwright / official"],
        wish=0.25,
        lower=True,
        ours=lambda f: median(f["results"]["seconds"]["segwright"]),
        peer=lambda f: median(f["results"]["seconds"]["official"]),
        unit="s",
        note="decoding three PNG files a picture is a large part of both times, and bounds what is possible: see below",
    ),
    _tail("1024×2048, 19 classes, stride 4"),
    _tail("1024×2048, 19 classes, stride 8"),
    _tail("360×480, 11 classes, stride 8"),
    _prediction("unet_resnet18", "U-Net on ResNet-18", 6),
    _prediction("unet_mobilenet_v2", "U-Net on MobileNetV2", 6),
    _prediction("deeplab_v3_plus_mobilenet_v2", "DeepLabV3+ on MobileNetV2", 6),
    _prediction("fast_scnn", "Fast-SCNN", 3),
    Target(
        what="training in two processes",
        beside="twice one process",
        file="ddp",
        ratio=lambda f: f["two processes over twice one"],
        wish=0.85,
        ours=lambda f: median(f["rates"]["two processes"]),
        peer=lambda f: 2 * median(f["rates"]["one process"]),
        unit="pictures/s",
        note="two that exchange nothing reach less than twice one, too: see below",
    ),
    Target(
        what="CamVid from scratch on two cores, val mIoU after 5 minutes",
        beside="0.569 of a plain loop",
        file="camvid_5",
        ratio=_miou_within(5),
        wish=0.58,
    ),
    Target(
        what="CamVid from scratch on two cores, val mIoU within 60 minutes",
        beside="0.596 of a plain loop, flat after 10 minutes",
        file="camvid_60",
        ratio=_miou_within(60),
        wish=0.66,
    ),
    Target(
        what="GPU: compiled training step, DeepLabV3+ on ResNet-50, share of the modelled bound",
        beside="memory and arithmetic of the device",
        file="gpu",
        ratio=lambda f: f["nets"]["DeepLabV3+, ResNet-50"]["compiled over bound"],
        wish=0.8,
        ours=lambda f: f["nets"]["DeepLabV3+, ResNet-50"]["compiled"],
        peer=lambda f: f["nets"]["DeepLabV3+, ResNet-50"]["bound"],
        unit="pictures/s",
        note="no GPU was at hand",
    ),
    Target(
        what="GPU: training with its loading",
        beside="a bare step on tensors that are at hand",
        file="loop_gpu",
        ratio=lambda f: f["training over bare"],
        wish=0.95,
        note="no GPU was at hand",
    ),
    Target(
        what="GPU: whole training epoch, Fast-SCNN",
        beside="the usual stack: smp + Albumentations + fp32",
        file="epoch_gpu",
        ratio=lambda f: f["nets"]["Fast-SCNN"]["times_faster_epoch"],
        wish=3,
        note="no GPU was at hand",
    ),
    Target(
        what="CamVid from scratch on one GPU in 10 minutes, val mIoU",
        beside="0.669 of FC-DenseNet103 on test, which is about eight points harder",
        file="camvid_gpu",
        ratio=_miou_within(10),
        wish=0.785,
        note="no GPU was at hand: `python -m benchmarks.camvid_cpu --recipe camvid-gpu`",
    ),
)

LIMITS = (
    Target(
        what="a 512×1024 crop of a pack: times faster than decoding the PNG",
        beside="Pillow",
        file="loading",
        ratio=lambda f: f["results"]["crops"]["times_faster_than_PNG, Pillow"],
        wish=30,
    ),
    Target(
        what="`segwright data check`, masks of 1024×2048 a minute and core",
        beside="",
        file="loading",
        ratio=lambda f: f["results"]["check"]["masks_per_minute_one_core"],
        wish=150,
    ),
    Target(
        what="its peak memory, MB",
        beside="",
        file="loading",
        ratio=lambda f: f["results"]["check"]["peak_rss_mb"],
        wish=1000,
        lower=True,
    ),
    Target(
        what="evaluating 1024×2048 in 19 classes with every measure: memory beyond the model, MiB",
        beside="",
        file="scoring",
        ratio=lambda f: f["results"]["memory_MiB"]["beyond"],
        wish=1536,
        lower=True,
    ),
    Target(
        what="2000 bootstrap resamples of 500 pictures × 19 classes, seconds",
        beside="",
        file="scoring",
        ratio=lambda f: f["results"]["bootstrap_2000_of_500x19_seconds"],
        wish=2,
        lower=True,
    ),
    Target(
        what="a report over 500 pictures, seconds",
        beside="",
        file="report",
        ratio=lambda f: f["results"]["seconds"],
        wish=60,
        lower=True,
    ),
    Target(
        what="its size, MB",
        beside="",
        file="report",
        ratio=lambda f: f["results"]["megabytes"],
        wish=15,
        lower=True,
    ),
    Target(
        what="a video of 960×540 through Fast-SCNN to an overlay video, frames a second",
        beside="",
        file="video",
        ratio=lambda f: f["best"],
        wish=12,
    ),
    *(
        _memory(net, title)
        for net, title in (("unet_mobilenet_v2", "U-Net on MobileNetV2"), ("fast_scnn", "Fast-SCNN"))
    ),
    Target(
        what="serving at four times the best rate: answers a second, share of the best rate",
        beside="",
        file="serving",
        ratio=lambda f: f["overload"]["goodput_of_peak"],
        wish=0.9,
    ),
    Target(
        what="serving at its best rate: 99 % of the answers within … times the median time",
        beside="",
        file="serving",
        ratio=lambda f: f["knee"]["p99_over_p50"],
        wish=3,
        lower=True,
    ),
    Target(
        what="serving: the slowest answer of `/live`, ms",
        beside="",
        file="serving",
        ratio=lambda f: f["live"]["max_ms"],
        wish=100,
        lower=True,
    ),
    Target(
        what="serving: those who are refused know it within, ms (99 %), with the most clients",
        beside="",
        file="serving",
        ratio=lambda f: max(found["refusal_p99_ms"] or 0 for found in (*f["closed"].values(), f["overload"])),
        wish=50,
        lower=True,
    ),
    Target(
        what="serving: answers with other bytes than offline prediction",
        beside="",
        file="serving",
        ratio=lambda f: f["other_bytes"],
        wish=0,
        lower=True,
    ),
    Target(
        what="serving: growth of memory after the warm-up, share",
        beside="",
        file="serving",
        ratio=lambda f: f["memory_mb"]["growth"],
        wish=0.05,
        lower=True,
    ),
    Target(
        what="serving: answers of 5xx other than 503",
        beside="",
        file="serving",
        ratio=lambda f: f["other_5xx"],
        wish=0,
        lower=True,
    ),
    Target(
        what="a CRF over 512×1024 with 19 classes, seconds",
        beside="",
        file="crf",
        ratio=lambda f: f["seconds"]["usual"],
        wish=2,
        lower=True,
    ),
)
"""Wishes in plain units, which hold for the machine that is named."""
