"""What an exported file says about itself: enough to predict with it and to name what it predicts.

It lies in the file as JSON text under the key `segwright`: in the metadata of an ONNX model, in the runtime information of
an OpenVINO model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segwright.contracts import DataError, UserError
from segwright.labels import LabelSpace

KEY = "segwright"
FORMAT = 1
FORMS = ("network", "picture")
PRECISIONS = ("fp32", "fp16", "int8")
LARGEST = 1 << 16
"""The longest side of a picture and the largest stride that a file may ask for, pixels."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """An exported model in plain data.

    form: `network` takes float32 [B, 3, H, W], normalised and padded, and gives `logits` float32 [B, K, h, w] at the
    network's own stride; `picture` takes uint8 [B, H, W, 3] in RGB order and gives `ids` uint8 [B, H, W] besides.
    mean, std: per channel, in units of 0..1. stride, min_size, short_side: pixels, as for a Segmenter.
    size: height and width of the graph's input where they are fixed; None for any.
    temperature: what scores are divided by to be calibrated; the graph's logits are not.
    """

    form: str
    precision: str
    labels: LabelSpace
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stride: int
    min_size: int
    short_side: int | None = None
    size: tuple[int, int] | None = None
    temperature: tuple[float, ...] | None = None
    model: str = "unknown"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "not stated"
    version: str = ""

    def to_json(self) -> str:
        """JSON text that `read` turns back into an equal description."""
        content = {"format": FORMAT} | {k: getattr(self, k) for k in self.__dataclass_fields__}
        return json.dumps(content | {"labels": self.labels.to_dict()}, allow_nan=False, ensure_ascii=False)

    @classmethod
    def read(cls, text: str | None, where: str) -> Description:
        """The description in a file. Raises UserError where there is none, DataError where it is wrong."""
        if not text:
            raise UserError(
                f"{where} does not say which classes it predicts: Segwright did not export it. Export a run with "
                "`segwright export RUN --to onnx`."
            )
        try:
            content = json.loads(text)
            found = _from(content, where)
        except (RecursionError, LookupError, AttributeError, TypeError, ValueError, UserError) as error:
            raise DataError(
                f"{where}: its description of the model cannot be used ({type(error).__name__}: {str(error)[:200]}). Export "
                "the model again."
            ) from None
        return found


def _from(content: Mapping[str, Any], where: str) -> Description:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}; this version of Segwright reads {FORMAT}")
    for key, allowed in (("form", FORMS), ("precision", PRECISIONS)):
        if content[key] not in allowed:
            raise ValueError(f"{key} is {content[key]!r}; allowed are {', '.join(allowed)}")
    size, short, temperature = content["size"], content["short_side"], content["temperature"]
    labels = LabelSpace.from_dict(content["labels"], where=f"{where}, label space")
    if labels.exclusive and labels.num_classes == 1:
        raise ValueError("its label space has one class")
    mean, std = _numbers(content, "mean", 3), _numbers(content, "std", 3)
    if any(not 0 <= value <= 1 for value in mean) or any(not 0 < value <= 1 for value in std):
        raise ValueError(f"mean {mean} and std {std} are in units of 0..1, std above 0")
    return Description(
        form=content["form"],
        precision=content["precision"],
        labels=labels,
        mean=mean,
        std=std,
        stride=_pixels(content, "stride"),
        min_size=_pixels(content, "min_size"),
        short_side=None if short is None else _pixels(content, "short_side"),
        size=None if size is None else (_pixels({"size": size[0]}, "size"), _pixels({"size": size[1]}, "size")),
        temperature=None if temperature is None else _numbers(content, "temperature", len(temperature)),
        model=str(content["model"]),
        provenance=dict(content["provenance"]),
        licence=str(content["licence"]),
        version=str(content["version"]),
    )


def _numbers(content: Mapping[str, Any], key: str, count: int) -> tuple[float, ...]:
    values = tuple(float(v) for v in content[key])
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise ValueError(f"{key} is {content[key]!r}; expected {count} finite numbers")
    return values


def _pixels(content: Mapping[str, Any], key: str) -> int:
    value = content[key]
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise ValueError(f"{key} is {value!r}; allowed are 1 to {LARGEST} pixels")
    return value
