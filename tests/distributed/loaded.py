"""What the fork server loads once, so that every process of a test starts at once."""

import torch

from segwright.api import finetune, verbs  # noqa: F401
from segwright.evaluation import evaluate  # noqa: F401
from segwright.report import compose, html  # noqa: F401
from segwright.training import joining, prepare, shared_step  # noqa: F401

torch.set_num_threads(1)
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
