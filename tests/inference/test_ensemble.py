"""An ensemble predicts the mean of its members' probabilities; alone, a member is itself."""

from __future__ import annotations

import pytest
import torch

from segwright.contracts import UserError
from segwright.inference.ensemble import Ensemble
from segwright.labels import LabelSpace
from segwright.models import Segmenter, build_architecture

COLORS = [(0, 0, 0), (255, 0, 0), (0, 255, 0)]


def space(*names: str) -> LabelSpace:
    classes = [{"name": n, "values": [k], "color": list(COLORS[k])} for k, n in enumerate(names)]
    return LabelSpace.from_dict({"name": "-".join(names), "classes": classes})


def member(
    seed: int, *, name: str = "small_cnn", names: tuple[str, ...] = ("a", "b", "c"), short_side: int | None = None
) -> Segmenter:
    torch.manual_seed(seed)
    architecture = build_architecture(name, len(names), {})
    model = {"name": name, "args": {}}
    return Segmenter(architecture, labels=space(*names), model=model, short_side=short_side).eval()


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, 37, 53), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_one_member_is_the_model(picture: torch.Tensor) -> None:
    alone = member(0)
    ensemble = Ensemble([alone])
    assert torch.equal(ensemble(picture), alone(picture))
    assert torch.equal(ensemble.ids(picture), alone.ids(picture))


@torch.no_grad()
def test_probabilities_are_averaged_at_the_size_of_the_picture(picture: torch.Tensor) -> None:
    models = [member(0), member(1, short_side=32), member(2, name="fast_scnn")]
    ensemble = Ensemble(models)
    expected = torch.stack([model(picture).softmax(1) for model in models]).mean(0)
    torch.testing.assert_close(ensemble(picture).softmax(1), expected)
    assert torch.equal(ensemble.ids(picture), expected.argmax(1).to(torch.uint8))
    among = [0, 2]
    assert torch.equal(ensemble.ids(picture, among).long(), torch.tensor(among)[expected[:, among].argmax(1)])
    assert ensemble.num_classes == 3


def test_what_cannot_be_an_ensemble_is_refused(picture: torch.Tensor) -> None:
    with pytest.raises(UserError, match="one label space"):
        Ensemble([member(0), member(1, names=("a", "b"))])
    with pytest.raises(UserError, match="at least one"):
        Ensemble([])
    with pytest.raises(UserError, match="cannot be trained"):
        Ensemble([member(0)]).outputs(picture)
