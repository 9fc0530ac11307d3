"""The usual stack, as people run it: a plain loop in fp32, cv2 and Albumentations in a DataLoader, in a process of its own.

`PlainStack` starts the process and gives it orders by turns with what is measured beside it; while it has none it waits
without work. It has torch's own settings: nothing that Segwright sets for its process (the allocator, OpenMP's spinning)
reaches it, and its networks are built of torch's own layers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

CLASSES = 11
JITTER = 0.2, 0.2, 0.2, 0.05
SET_BY_US = ("GOMP_SPINCOUNT",)


class PeerData:
    """What a DataLoader of the usual stack reads: PNG by cv2, crop, flip, jitter and normalisation by Albumentations."""

    def __init__(self, pictures: Sequence[Path], size: tuple[int, int]) -> None:
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations as A
        import cv2

        cv2.setNumThreads(0)
        self.pictures = pictures
        self.transform = A.Compose(
            [
                A.RandomResizedCrop(size=size, scale=(0.5, 1.0), ratio=(1.2, 1.5)),
                A.HorizontalFlip(p=0.5),
                A.ColorJitter(*JITTER, p=1.0),
                A.Normalize(),
            ]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, index: int) -> tuple[Any, Any]:
        """Picture and mask, void as 255."""
        import cv2
        import numpy as np

        picture = self.pictures[index]
        mask = cv2.imread(str(picture.parent.with_name(f"{picture.parent.name}annot") / picture.name), -1)
        image = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
        return image, np.where(mask == CLASSES, 255, mask)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import torch

        image, mask = self.read(index)
        found = self.transform(image=image, mask=mask)
        return torch.from_numpy(found["image"].transpose(2, 0, 1).copy()), torch.from_numpy(found["mask"]).long()


def peer_network(name: str, args: Mapping[str, Any]) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """A network of plain layers and how it gives scores of full size."""
    import segmentation_models_pytorch as smp
    import torch.nn.functional as F
    from torch.nn import Conv2d

    from segwright.models import build_architecture
    from segwright.models.dilated import DilatedConv2d

    if name == "smp":
        made: nn.Module = getattr(smp, args["architecture"])(args["encoder"], encoder_weights=None, classes=CLASSES)
        return made, made
    net = build_architecture(name, CLASSES, dict(args))
    for part in net.modules():
        if type(part) is DilatedConv2d:
            part.__class__ = Conv2d
    return net, lambda image: F.interpolate(net(image).logits_BKhw, image.shape[2:], mode="bilinear")


class _Loop:
    """The plain loop: fp32, contiguous, cross entropy, AdamW."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        import torch

        torch.manual_seed(order["seed"])
        self.device, self.batch = order["device"], order["batch"]
        self.pictures, self.size = [Path(name) for name in order["pictures"]], tuple(order["size"])
        self.net, self.forward = peer_network(order["name"], order["args"])
        self.net.to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.net.train().parameters(), lr=order["lr"], weight_decay=order["weight_decay"]
        )
        self.loaders: dict[int, Any] = {}
        self.noise = torch.randn(self.batch, 3, *self.size), torch.randint(0, CLASSES, (self.batch, *self.size))

    def loader(self, workers: int) -> Any:
        from torch.utils.data import DataLoader

        data: Any = PeerData(self.pictures, self.size)
        return DataLoader(
            data, batch_size=self.batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )

    def step(self, image: Tensor, labels: Tensor) -> float:
        import torch.nn.functional as F

        loss = F.cross_entropy(self.forward(image.to(self.device)), labels.to(self.device), ignore_index=255)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def epoch(self, workers: int) -> float:
        """Seconds of one epoch."""
        loader = self.loaders.setdefault(workers, self.loader(workers))
        began = time.perf_counter()
        for image, labels in loader:
            self.step(image, labels)
        return time.perf_counter() - began

    def one_step(self) -> float:
        """Seconds of a step on a batch that is at hand."""
        began = time.perf_counter()
        self.step(*self.noise)
        return time.perf_counter() - began

    def train(self, epochs: int, file: str) -> float:
        """Seconds of a whole training with a cosine of the rate; the weights go into `file`."""
        import torch

        loader = self.loader(0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, epochs * len(loader))
        began = time.perf_counter()
        for number in range(epochs):
            for image, labels in loader:
                loss = self.step(image, labels)
                schedule.step()
            print(f"plain loop: epoch {number + 1} of {epochs}, loss {loss:.3f}", file=sys.stderr, flush=True)
        seconds = time.perf_counter() - began
        torch.save(self.net.state_dict(), file)
        return seconds

    def parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())


class PlainStack:
    """The plain loop in its own process; each call below waits for what it takes there.

    name, args: of a network; "smp" with `architecture` and `encoder`. pictures: PNG files of CamVid. size: of the crops.
    """

    def __init__(
        self, name: str, args: Mapping[str, Any], pictures: Sequence[Path], *, size: tuple[int, int], batch: int,
        lr: float = 0.001, weight_decay: float = 0.01, seed: int = 0, device: str = "cpu",
    ) -> None:  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if key not in SET_BY_US}
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.plain_stack"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        files = [str(path) for path in pictures]
        self._ask(
            {"name": name, "args": dict(args), "pictures": files, "size": size, "batch": batch, "lr": lr,
             "weight_decay": weight_decay, "seed": seed, "device": device}
        )  # fmt: skip

    def __enter__(self) -> PlainStack:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def epoch(self, workers: int) -> float:
        return float(self._ask(["epoch", workers]))

    def step(self) -> float:
        return float(self._ask(["one_step"]))

    def train(self, epochs: int, file: Path) -> float:
        return float(self._ask(["train", epochs, str(file)]))

    def parameters(self) -> int:
        return int(self._ask(["parameters"]))

    def _ask(self, order: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("the plain loop beside ours has ended; its error stands above")
        return json.loads(answer)


def main() -> None:
    """Answer orders of standard input, one line each, until it ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    loop: _Loop | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if loop is None:
            loop, answer = _Loop(order), None
        else:
            answer = getattr(loop, order[0])(*order[1:])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
