"""CRF refinement: of a model's answers, and parameters that suit a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.showing import counting, new_console

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.evaluation.tune_crf import CrfTuning
    from segwright.models import Segmenter

RUNS = Path("runs")
Crf = bool | Mapping[str, Any]
"""False for none, True for the kept or the usual parameters, or some of them to change."""


def refined(
    segmenter: Segmenter, name: str, sources: Sequence[str | Path], crf: Crf, runs: Path, console: Console
) -> tuple[Segmenter, str]:
    """The model as it is, or refined, called NAME+crf and announced. sources: what the model was opened from."""
    if crf is False:
        return segmenter, name
    from segwright.inference.refine import crf_file, with_crf
    from segwright.runs import model_file

    file = crf_file(*model_file(sources[0], runs=Path(runs))) if len(sources) == 1 else None
    found, told = with_crf(segmenter, file, None if crf is True else crf)
    console.print(f"{name}: {told}", highlight=False, markup=False, soft_wrap=True)
    return found, f"{name}+crf"


def tune_crf(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    split: str | None = None,
    tries: int = 20,
    pictures: int = 40,
    protocol: str | None = None,
    save: bool = True,
    seed: int = 0,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> CrfTuning:
    """Search CRF parameters for a run's best model, or a .safetensors file, and keep them where they help.

    One half of the split's pictures chooses among `tries` settings, the other half judges the best of them; each half has
    at most so many `pictures`. overrides: `data.*` keys, as in `evaluate`. split: the validation split by default; never
    one that was trained on. protocol: whose mIoU counts; the recipe's by default, else pooled.
    The parameters are saved as crf.json in the run (NAME.crf.json beside a bare file) when the whole interval of the
    paired difference on the judging half lies above 0 and `save` is on; else nothing is written.
    """
    from segwright.api.backends import open_backend
    from segwright.api.scoring import data_of
    from segwright.build import build_scored_set, pick_device
    from segwright.evaluation.tune_crf import tune_crf as search
    from segwright.inference.refine import crf_file, save_crf
    from segwright.metrics.protocols import find_protocol

    console = console or new_console()
    segmenter, file, run = open_backend(source, Path(runs), console=console)
    data, own = data_of(run, segmenter, overrides)
    if protocol is None:
        rule = find_protocol(own).for_space(segmenter.labels)
        protocol = own if rule.counted else "pooled"
    split = split or data.val
    dataset = build_scored_set(data, split, segmenter.labels)
    with counting(console, f"refining {split}") as progress:
        result = search(
            segmenter,
            dataset,
            split=split,
            tries=tries,
            pictures=pictures,
            protocol=protocol,
            seed=seed,
            device=pick_device(device),
            progress=progress,
        )
    if save and result.helps:
        save_crf(crf_file(file, run), result.settings, result.to_dict())
    return result
