"""What the grid of a network's scores costs on CamVid: the mIoU of scores that were fitted to the labels themselves.

python -m benchmarks.camvid_grid [--root DIR] [--nth 4] [--steps 25] [--out FILE]

For each stride the scores of every n-th picture of val start from the shares of the classes in each cell; some steps of
Adam then make the cross entropy of their bilinear up-sampling small. No network with this stride can be expected to say
more, so what a trained one lacks beyond that is not the grid's fault. Writes benchmarks/results/camvid_grid.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.recording import need_camvid, options_of, record

STRIDES = (2, 4, 8)


def limit(root: Path, stride: int, nth: int, steps: int) -> dict[str, Any]:
    """IoU of each class and their mean over the chosen pictures."""
    import numpy as np
    import torch
    from torch.nn import functional as F

    from segwright.contracts import IGNORE
    from segwright.data.camvid import CamVid
    from segwright.labels import load_label_space
    from segwright.metrics.confusion import confusion
    from segwright.metrics.scores import iou_per_class

    space = load_label_space("camvid11")
    pictures = CamVid(root, "val", space)
    counts_KK = torch.zeros(space.num_classes, space.num_classes, dtype=torch.int64)
    for index in range(0, len(pictures), nth):
        truth_HW = torch.from_numpy(np.asarray(pictures[index].labels))
        labels_HW = truth_HW.long()
        one_hot_KHW = F.one_hot(labels_HW.clamp_max(space.num_classes), space.num_classes + 1)[..., :-1].movedim(-1, 0)
        shares_1Khw = F.avg_pool2d(one_hot_KHW[None].float(), stride)
        scores_1Khw = shares_1Khw.clamp_min(1e-3).log().requires_grad_()
        optimizer = torch.optim.Adam([scores_1Khw], lr=0.3)
        for _ in range(steps):
            optimizer.zero_grad()
            full_1KHW = F.interpolate(scores_1Khw, labels_HW.shape, mode="bilinear", align_corners=False)
            F.cross_entropy(full_1KHW, labels_HW[None], ignore_index=IGNORE).backward()
            optimizer.step()
        full_1KHW = F.interpolate(scores_1Khw.detach(), labels_HW.shape, mode="bilinear", align_corners=False)
        counts_KK += confusion(truth_HW, full_1KHW[0].argmax(0).to(torch.uint8), space.num_classes)
    iou_K = iou_per_class(counts_KK.numpy())
    return {
        "miou": round(float(iou_K.mean()), 4),
        "iou": {name: round(float(iou), 4) for name, iou in zip(space.class_names, iou_K, strict=True)},
    }


def main() -> None:
    parser = options_of(__doc__, "camvid_grid", nth=4, steps=25)
    parser.add_argument("--root", type=Path, help="folder of CamVid")
    arguments = parser.parse_args()
    root = need_camvid(arguments.root)
    found = {f"1/{stride}": limit(root, stride, arguments.nth, arguments.steps) for stride in STRIDES}
    for grid, one in found.items():
        print(f"{grid}: mIoU {one['miou']}, pole {one['iou']['pole']}")
    what = "mIoU of scores on a grid, fitted to CamVid's val labels themselves and up-sampled bilinearly"
    record(arguments.out, what, {"nth": arguments.nth, "steps": arguments.steps, "grids": found})


if __name__ == "__main__":
    main()
