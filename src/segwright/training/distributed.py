"""Several processes that train one model together: who they are, what they tell each other, and when they stop.

All of them take the same steps in the same order, so what one asks of all (`gather`, `told`, …) every one has to ask. The
first process alone writes, prints and tracks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # documented, and not in its __all__
from torch.distributed.rendezvous import rendezvous

from segwright.contracts import Dataset, SegwrightError, UserError
from segwright.data.statistics import names_hash
from segwright.inference.sharding import Shard
from segwright.losses import SegmentationLoss
from segwright.models import Segmenter
from segwright.recipe import Recipe
from segwright.recipe.stages import stage_recipes
from segwright.runs import Run
from segwright.runs.checkpoint import Checkpoint
from segwright.runs.launch import attempt, on_this_machine, place
from segwright.runs.saving import CheckpointWriter
from segwright.training.alive import SignsOfLife, allowed_silence, store
from segwright.training.interrupt import StopRequest

LIMIT = timedelta(minutes=30)
"""How long one process may wait for the others in one exchange, all of them alive."""
AGREE_EVERY = 8  # pictures of each process in a validation, between two looks at whether anybody was asked to stop
OTHER_SEED = 1_000_003
"""Random numbers of process r, such as dropout's, start from seed + r times this."""


@dataclass(frozen=True)
class Team(Shard):
    """This process among those that work together; `Team()` is alone."""

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.index == 0

    @property
    def alone(self) -> bool:
        return self.count == 1

    def console(self, console: Console) -> Console:
        """The console itself for the first process, a silent one for the others."""
        return console if self.first else Console(quiet=True)

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        """[R, n]: what each of the R processes gave, n numbers."""
        found_Rn = np.zeros((self.count, len(values)))
        found_Rn[self.index] = values
        return self.summed(found_Rn)

    def told(self, value: Any = None) -> Any:
        """What the first process gives: plain data. The others give nothing."""
        if self.alone:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def all_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of all processes, in their order."""
        if self.alone:
            return tuple(names)
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, tuple(names))
        return tuple(name for part in found for name in part)

    def meet(self) -> None:
        """Wait until all are here."""
        if not self.alone:
            self.gather([0.0])

    def invite(self, recipe: Mapping[str, Any], run: Path, datasets: Sequence[Dataset], *, resumes: bool) -> None:
        """Tell the others what is trained, once the first process has prepared it; they `await_invitation`."""
        if not self.alone:
            store().set(_key("invited"), "yes")
            names = [names_hash(dataset) for dataset in datasets]
            self.told({"recipe": dict(recipe), "run": str(run), "names": names, "resumes": resumes})

    def await_invitation(self) -> dict[str, Any]:
        """What `invite` tells, however long the first process prepares: signs of life say whether it still does."""
        found = store()
        while not found.check([_key("invited")]):
            time.sleep(0.2)
        told: dict[str, Any] = self.told()
        return told

    def align(self, module: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if not self.alone:
            self._send(module.state_dict())

    def checkpoint(self, checkpoint: Checkpoint | None) -> Checkpoint:
        """The first process's checkpoint, for all."""
        if self.alone and checkpoint is not None:
            return checkpoint
        parts = None if checkpoint is None else [(n, t.shape, t.dtype) for n, t in checkpoint.tensors.items()]
        parts, state = self.told((parts, None if checkpoint is None else dict(checkpoint.state)))
        tensors = {n: torch.empty(s, dtype=d) for n, s, d in parts} if checkpoint is None else dict(checkpoint.tensors)
        self._send(tensors)
        return Checkpoint(tensors, state)

    def _send(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for tensor in tensors.values():
                flat = tensor.detach().cpu().reshape(-1).clone()
                if flat.numel():
                    distributed.broadcast(flat.view(torch.uint8), src=0)
                if not self.first:
                    tensor.copy_(flat.view(tensor.shape))

    def completed(self, checkpoint: Checkpoint, loss: SegmentationLoss) -> Checkpoint:
        """With what the other processes remember: their random numbers, and their part of what a loss has summed."""
        if self.alone:
            return checkpoint
        tensors = dict(checkpoint.tensors)
        for kind in ("cpu", "cuda"):
            if (own := tensors.get(f"rng.{kind}")) is not None:
                every = own.new_zeros(self.count, len(own), device="cpu")
                every[self.index] = own.cpu()
                distributed.all_reduce(every)
                tensors |= {f"rng.{kind}.{rank}": every[rank] for rank in range(1, self.count)}
                tensors[f"rng.{kind}"] = every[0]
        for name in loss.summed:
            total = tensors[f"loss.{name}"].detach().cpu().clone()
            distributed.all_reduce(total)
            tensors[f"loss.{name}"] = total
        return Checkpoint(tensors, {**checkpoint.state, "processes": self.count})

    def take_own(self, checkpoint: Checkpoint, loss: SegmentationLoss, seed: int) -> None:
        """After a checkpoint was restored as in one process: this one's random numbers and its part of the sums."""
        if self.first:
            return
        state = checkpoint.state
        if state.get("processes", 1) == self.count:
            torch.set_rng_state(checkpoint.tensors[f"rng.cpu.{self.index}"])
            if torch.cuda.is_available() and f"rng.cuda.{self.index}" in checkpoint.tensors:
                torch.cuda.set_rng_state(checkpoint.tensors[f"rng.cuda.{self.index}"])
        else:
            torch.manual_seed(seed + OTHER_SEED * self.index + int(state["counters"]["step"]))
        buffers = dict(loss.named_buffers())
        for name in loss.summed:
            buffers[name].zero_()

    def say_change(self, checkpoint: Checkpoint, console: Console) -> None:
        """Warn where a checkpoint was made by another number of processes."""
        before = int(checkpoint.state.get("processes", 1))
        if before != self.count:
            console.print(
                f"[yellow]{before} process{'es' * (before > 1)} trained this run so far, now {self.count}: every picture is "
                "still seen once an epoch and steps are as large as before, but sums round differently and batch "
                "normalisation sees other parts of a batch, so it is not bit for bit the same training.[/]",
                highlight=False,
            )

    def other_random_numbers(self, seed: int) -> None:
        """A new training: each process has its own, once all have the same weights."""
        if not self.first:
            torch.manual_seed(seed + OTHER_SEED * self.index)


ALONE = Team()


def check_shared(recipe: Recipe, team: Team) -> None:
    """Raises UserError, naming the nearest that can be, for what several processes cannot do."""
    if team.alone:
        return
    if recipe.training.halve_on_oom:
        raise UserError(
            "training.halve_on_oom=true works in one process: with several, the others would wait. Set it to false; a smaller "
            "training.batch with more training.accumulation needs less memory."
        )
    if recipe.training.swa_from is not None:
        raise UserError(
            "training.swa_from works in one process: batch statistics of the mean would differ between several. Set it to "
            "null; training.ema_decay averages weights on any number of processes."
        )
    if ":" in recipe.training.device:
        raise UserError(
            f"training.device is {recipe.training.device}, one device for all {team.count} processes. With training.device="
            f"{recipe.training.device.split(':')[0]} each takes its own."
        )
    if recipe.training.parallel == "fsdp":
        _check_sharded(recipe)
    for stage in stage_recipes(recipe):
        batch = stage.recipe.training.batch
        if batch != "auto" and batch % team.count:
            near = max(1, round(batch / team.count)) * team.count
            raise UserError(
                f"training.batch is {batch}, the pictures of all {team.count} processes together, and cannot be shared "
                f"equally: the nearest that can is {near}. Or start a number of processes that divides {batch}."
            )


def _check_sharded(recipe: Recipe) -> None:
    training = recipe.training
    wrong = {
        "training.ema_decay to null": training.ema_decay is not None,
        "training.memory_format to contiguous": training.memory_format != "contiguous",
        "training.precision to fp32 or bf16": training.precision in ("auto", "fp16"),
        "stages to []": bool(recipe.stages),
    }
    if changes := [change for change, needed in wrong.items() if needed]:
        raise UserError(
            f"training.parallel=fsdp keeps a part of every parameter in each process, which not all settings can do. Set "
            f"{', '.join(changes)}; or use training.parallel=ddp."
        )


def _key(what: str) -> str:
    return f"segwright/{attempt()}/{what}"


@contextmanager
def team() -> Iterator[Team]:
    """The processes that were started together, connected until the block ends; inside such a block, the same again.

    Raises UserError when the environment or the GPUs do not fit.
    """
    rank, count = place()
    if count == 1:
        yield ALONE
        return
    if distributed.is_initialized():
        yield Team(rank, count)
        return
    silence = allowed_silence()
    _take_gpu()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    meeting, _, _ = next(rendezvous("env://", rank, count, timeout=LIMIT))
    # torchrun keeps its store when it starts the processes again, and old addresses must not be found there
    fresh = PrefixStore(_key("group"), meeting)
    distributed.init_process_group(backend, store=fresh, timeout=LIMIT, rank=rank, world_size=count)
    signs = SignsOfLife(rank, count, store(), silence)
    try:
        yield Team(rank, count)
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        raise SegwrightError(
            "another process of this training ended, and this one cannot go on without it. Its own message says why; "
            "resume from the last checkpoint."
        ) from error
    else:
        Team(rank, count).meet()  # whoever leaves first would close the connections of the others
    finally:
        signs.end()
        distributed.destroy_process_group()


def _take_gpu() -> None:
    if not torch.cuda.is_available():
        return
    mine, here = on_this_machine(), torch.cuda.device_count()
    if mine >= here:
        raise UserError(
            f"process {mine} of this machine has no GPU: there are {here}. Start as many processes as GPUs, or hide the GPUs "
            "(CUDA_VISIBLE_DEVICES=) and train on the processor."
        )
    torch.cuda.set_device(mine)


def _is_about_others(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, distributed.DistError) or "gloo" in text or "Connection " in text


class Onlooker(Run):
    """The run as every process but the first sees it: for reading."""

    def write_json(self, name: str, content: Any) -> Path:
        return self.path / name

    def append_metrics(self, *rows: dict[str, Any]) -> int:
        return 0

    def truncate_metrics(self, length: int) -> None:
        return


class IdleWriter(CheckpointWriter):
    """Writes nothing: the first process does."""

    def keep_best(self, segmenter: Segmenter) -> None:
        return

    def save(self, checkpoint: Checkpoint) -> None:
        return


class AgreedStop(StopRequest):
    """A request to stop that all processes see at the same place, whichever of them was asked."""

    def __init__(self, own: StopRequest, team: Team) -> None:
        self.own, self.team = own, team

    def note(self, numbers: Sequence[float]) -> None:
        """Take what the processes said about themselves."""
        if asked := int(max(numbers)):
            self.number = asked

    def agree(self) -> None:
        self.note(self.team.gather([self.own.number or 0])[:, 0].tolist())

    def stop_here(self, done: int, total: int) -> None:
        """Not after the last pictures, of which not every process has one."""
        if done < total and done // self.team.count % AGREE_EVERY == 0:
            self.agree()
            super().stop_here(done, total)
