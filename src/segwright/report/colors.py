"""Colours of the page that are computed: class swatches, the two heat scales, and text that stays readable on them."""

from __future__ import annotations

from collections.abc import Sequence

from segwright.data.safe_palette import PLAIN, safe_colors, stripe_color
from segwright.labels.space import RGB, LabelSpace
from segwright.report.tables import LEVELS

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
# Blue for what is right (h, hit) and orange for what is confused (m, miss): told apart by every kind of colour vision.
# Light pages grow darker with the rate, dark pages brighter.
SCALES: dict[str, dict[str, tuple[RGB, ...]]] = {
    "light": {
        "h": ((255, 255, 255), (219, 232, 251), (127, 176, 240), (37, 99, 201), (16, 50, 112)),
        "m": ((255, 255, 255), (254, 232, 212), (248, 173, 109), (217, 95, 14), (122, 40, 4)),
    },
    "dark": {
        "h": ((27, 31, 36), (28, 52, 88), (38, 92, 166), (86, 150, 238), (158, 201, 252)),
        "m": ((27, 31, 36), (72, 42, 24), (150, 76, 26), (232, 140, 66), (252, 196, 140)),
    },
}


def to_hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{int(v):02x}" for v in color)


def luminance(color: Sequence[int]) -> float:
    """Relative luminance, 0..1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """Contrast ratio, 1..21 (WCAG 2.2)."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def text_on(color: Sequence[int]) -> RGB:
    """Black or white, whichever reads better on a colour: one of them always has a contrast above 4.5."""
    return max((BLACK, WHITE), key=lambda text: contrast(text, color))


def ramp(stops: Sequence[RGB], steps: int) -> list[RGB]:
    """steps + 1 colours from the first stop to the last, evenly spaced between neighbours."""
    colors = []
    for index in range(steps + 1):
        at = index / steps * (len(stops) - 1)
        left = min(int(at), len(stops) - 2)
        part = at - left
        red, green, blue = (round(a + (b - a) * part) for a, b in zip(stops[left], stops[left + 1], strict=True))
        colors.append((red, green, blue))
    return colors


def style_rules(space: LabelSpace) -> str:
    """CSS: `.k3` fills a swatch with class 3's colour; `.h0`-`.h12` and `.m0`-`.m12` shade a cell.

    Inside of `.safe`, classes have the colours and stripes of the safe palette.
    """
    rules = [f".k{k}{{background:{to_hex(c.color)};fill:{to_hex(c.color)}}}" for k, c in enumerate(space.classes)]
    rules += [_safe_rule(k, color) for k, color in enumerate(safe_colors(space.num_classes))]
    for theme, scales in SCALES.items():
        shades = "".join(
            f".{kind}{n}{{background:{to_hex(color)};color:{to_hex(text_on(color))}}}"
            for kind, stops in scales.items()
            for n, color in enumerate(ramp(stops, LEVELS))
        )
        rules.append(shades if theme == "light" else f"@media screen and (prefers-color-scheme:dark){{{shades}}}")
    return "\n".join(rules)


def _safe_rule(k: int, color: RGB) -> str:
    """The swatch of one class in the safe palette. Stripes run as `segwright.data.safe_palette.stripes` draws them."""
    rule = f".safe .k{k}{{background:{to_hex(color)};fill:{to_hex(color)}"
    if k >= PLAIN:
        step, turn = divmod(k // PLAIN - 1, 4)
        angle, dark, period = (135, 45, 180, 90)[turn], 2 + 0.5 * step, 5 + 1.5 * step
        stripe = to_hex(stripe_color(color))
        rule += (
            f";background-image:repeating-linear-gradient({angle}deg,{stripe} 0 {dark:g}px,transparent {dark:g}px "
            f"{period:g}px)"
        )
    return rule + "}"
