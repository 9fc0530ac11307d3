"""A model that no process holds as a whole: each keeps a part of every parameter, gradient and moment (FSDP2).

Parameters come together for the layer that computes and are given back after it. Checkpoints, and the model that is
validated, hold whole tensors, so that one process can go on with them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from segwright.contracts import Outputs
from segwright.models import Segmenter
from segwright.training.distributed import Team
from segwright.training.optimizer import optimizer_tensors
from segwright.training.shared_step import SharedNetwork, batch_statistics
from segwright.training.state import Learner, whole

LARGE = 500_000
"""Parameters from which on an entry of a list of layers, such as a transformer's block, comes together by itself."""


class ShardedNetwork(SharedNetwork):
    """Takes the place of a SharedNetwork. Its optimiser is made anew, with the parts of the moments that are there."""

    def __init__(
        self, learner: Learner, team: Team, build_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    ) -> None:
        segmenter = learner.segmenter
        self.segmenter, self.team = segmenter, team
        self.batch_statistics = batch_statistics(segmenter)
        self.whole = copy.deepcopy(segmenter).requires_grad_(False).eval()
        moments = optimizer_tensors(learner.optimizer)
        mesh = init_device_mesh(next(segmenter.parameters()).device.type, (team.count,))
        for block in _large_blocks(segmenter.architecture):
            fully_shard(block, mesh=mesh)
        fully_shard(segmenter.architecture, mesh=mesh)
        self.root = cast(FSDPModule, segmenter.architecture)
        learner.optimizer = build_optimizer(segmenter)
        _put(learner.optimizer, moments)

    def outputs(self, image: Tensor) -> Outputs:
        return self.segmenter.outputs(image)

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.root.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.root.set_requires_gradient_sync(True)

    def deployed(self, learner: Learner) -> Segmenter:
        """A whole model with the weights of now. All processes ask for it together."""
        self.whole.load_state_dict({name: whole(value) for name, value in self.segmenter.state_dict().items()})
        return self.whole


def _put(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    """Each process's part of whole moments into an optimiser of sharded parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in moments.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        is_part = isinstance(parameter, DTensor) and value.ndim > 0
        optimizer.state[parameter][key] = (
            distribute_tensor(value, parameter.device_mesh, parameter.placements) if is_part else value
        )


def _large_blocks(architecture: nn.Module) -> Iterator[nn.Module]:
    """Entries of the outermost lists of layers, the inner ones belonging to them."""
    for child in architecture.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for block in child if sum(p.numel() for p in block.parameters()) >= LARGE)
        else:
            yield from _large_blocks(child)
