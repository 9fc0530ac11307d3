"""What every process but the first does: build what the first one prepared, from its recipe and its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from segwright.build import build_segmenter, model_space, pick_device, score_space
from segwright.contracts import UserError
from segwright.data.statistics import names_hash
from segwright.recipe import Recipe
from segwright.recipe.stages import stage_recipes
from segwright.training.distributed import Onlooker, Team
from segwright.training.prepare import assemble
from segwright.training.reading import Reading
from segwright.training.stages import build_stages
from segwright.training.starting import freeze_layers
from segwright.training.state import Counters
from segwright.training.trainer import Trainer


def join(team: Team, console: Console) -> Trainer:
    """Wait for the first process, which starts or resumes a run, and be ready to `fit` with it.

    Raises UserError when the data set is another one here.
    """
    told = team.await_invitation()
    recipe = Recipe.model_validate(told["recipe"])
    torch.manual_seed(recipe.seed)
    space, device = model_space(recipe), pick_device(recipe.training.device)
    segmenter = build_segmenter(recipe, space, fresh=False)
    first = stage_recipes(recipe)[0].recipe
    frozen = freeze_layers(segmenter, first.model, console)
    data = Reading(
        first, space, score_space(recipe), stride=segmenter.stride, device=device, console=console, shard=team
    )
    if told["names"] != [names_hash(dataset) for dataset in (data.loader.dataset, data.validation)]:
        raise UserError(
            f"process {team.index} reads other pictures in {recipe.data.root} than process 0: every machine needs the same "
            "files in the same place."
        )
    stages = build_stages(recipe, space, segmenter.stride, data.loader)
    run = Onlooker(Path(told["run"]))
    segmenter = segmenter.to(device)
    trainer = assemble(recipe, run, segmenter, stages, frozen, data.loader, data.validation, console, team=team)
    if told["resumes"]:
        trainer.resume(team.checkpoint(None))
        trainer.learner.counters = Counters(**team.told())
    else:
        team.other_random_numbers(recipe.seed)
    return trainer
