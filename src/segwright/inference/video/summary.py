"""A finished video as plain data, for the JSON file beside it."""

from __future__ import annotations

import math
from typing import Any

from segwright.inference.video.segmenting import Look, ModelOnVideo, SegmentedVideo
from segwright.metrics.stability import Stability


def describe_video(video: SegmentedVideo, look: Look) -> dict[str, Any]:
    """JSON data: the source, what was written, and for each model its mean shares, shares over time, and steadiness.

    Shares are 0..1, times seconds from the wanted start; rates that have nothing to compare are null.
    """
    info = video.info
    return {
        "source": {
            "name": info.name,
            "codec": info.codec,
            "stored_size": {"width": info.stored[0], "height": info.stored[1]},
            "turned_degrees": info.turned,
            "frames_per_second": None if info.rate is None else float(info.rate),
            "frames": info.frames,
            "seconds": info.seconds,
            "decoded": video.decoded,
            "damaged": video.damaged,
            "dropped": video.dropped,
            "problem": video.problem,
        },
        "written": {
            "file": video.out.name,
            "encoder": video.encoder,
            "layout": video.layout,
            "size": {"width": video.size[1], "height": video.size[0]},
            "frames": video.written,
            "seconds": video.seconds,
            "sound": video.sound,
            "notes": list(video.notes),
        },
        "smooth": look.smooth,
        "hysteresis": look.hysteresis,
        "models": [_model(model) for model in video.models],
    }


def _model(model: ModelOnVideo) -> dict[str, Any]:
    return {
        "name": model.name,
        "labels": model.labels.name,
        "classes": list(model.labels.class_names),
        "mean_shares": {name: round(share, 6) for name, share in model.mean.items()},
        "own": _steadiness(model.before),
        "shown": _steadiness(model.after or model.before),
        "times": [round(t, 3) for t in model.shares.times_T.tolist()],
        "shares": [[round(s, 4) for s in row] for row in model.shares.shares_TK.tolist()],
    }


def _steadiness(found: Stability) -> dict[str, Any]:
    return {
        "change_rate": _number(found.change_rate),
        "flicker_rate": _number(found.flicker_rate),
        "within_frames": found.within,
    }


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
