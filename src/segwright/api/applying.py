"""What can be put around an opened model: test-time augmentation, sliding windows, CRF refinement, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.crf import Crf, refined
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.models import Segmenter


def applied(
    segmenter: Segmenter,
    name: str,
    sources: Sequence[str | Path],
    *,
    window: str | None,
    overlap: float | None,
    tta: str | None,
    crf: Crf,
    runs: Path,
    console: Console,
) -> tuple[Segmenter, str]:
    """The model with what was asked for around it, announced, and its name with `+tta`, `+window`, `+crf`.

    sources: what the model was opened from. window: `512x1024` or `512`; overlap: 0..0.9, half when None; tta: such as
    `flip,scales=0.75:1:1.25`. Raises UserError for wrong texts, and for an overlap without windows.
    """
    from segwright.inference.tiling import Tiled, parse_window
    from segwright.inference.tta import parse_views, with_views

    if overlap is not None and window is None:
        raise UserError(f"--overlap {overlap:g} goes with --window: add one, such as --window 512x1024.")
    if tta is not None:
        views = parse_views(tta)
        segmenter, name = with_views(segmenter, views), f"{name}+tta"
        console.print(f"{name}: mean of {views.count} views ({views})", highlight=False, markup=False)
    if window is not None:
        sliding = parse_window(window) if overlap is None else parse_window(window, overlap)
        segmenter, name = Tiled(segmenter, sliding), f"{name}+window"
        console.print(f"{name}: {sliding}", highlight=False, markup=False)
    return refined(segmenter, name, sources, crf, runs, console)


def file_words(*, at: str | None, window: str | None, overlap: float | None, tta: str | None, crf: Crf) -> list[str]:
    """Parts of the name of a stored evaluation that tell it from that of the plain model."""
    found = [] if at is None else [f"at-{at}"]
    found += [] if tta is None else ["tta-" + tta.replace("=", "-").replace(":", "-").replace(",", "-")]
    found += [] if window is None else [f"window-{window}" + ("" if overlap is None else f"-overlap-{overlap:g}")]
    return found + ([] if crf is False else ["crf"])
