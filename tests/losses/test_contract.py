"""One contract for every loss in the registry."""

from __future__ import annotations

import math

import pytest
import torch

from segwright.contracts import IGNORE, UserError
from segwright.losses import LOSSES, SINGLE_LOSSES, SegmentationLoss

from .examples import K, blobs, build, example, multilabel, one_hot

TAKES_SETS = [n for n in LOSSES if n not in ("bce", "boundary", "distance_focal", "rmi")]
PLAIN_SETS = [n for n in TAKES_SETS if n != "combined"]
MULTILABEL = ["bce", "dice", "generalized_dice", "jaccard", "lovasz", "rmi", "tversky"]


def test_names_are_those_of_the_registry() -> None:
    assert {name: build(name).name for name in LOSSES} == {name: name for name in LOSSES}


@pytest.mark.parametrize("name", LOSSES)
class TestContract:
    @pytest.mark.parametrize("size", [(13, 11), (7, 29), (64, 32)])
    def test_scalar_finite_and_differentiable_at_any_size(self, name: str, size: tuple[int, int]) -> None:
        logits, labels = example(size=size)
        value = build(name)(logits, labels)
        value.backward()
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert logits.grad.abs().max() > 0

    def test_all_ignored_is_zero_and_still_differentiable(self, name: str) -> None:
        logits, labels = example()
        value = build(name)(logits, torch.full_like(labels, IGNORE))
        value.backward()
        assert value.item() == 0
        assert logits.grad is not None
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    def test_ignored_pixels_do_not_matter(self, name: str) -> None:
        logits, labels = example()
        changed = torch.where((labels == IGNORE).unsqueeze(1), torch.full_like(logits, 7.0), logits)
        loss = build(name)
        assert torch.equal(loss(logits, labels), loss(changed, labels))
        loss(logits, labels).backward()
        assert logits.grad is not None
        assert torch.equal(logits.grad.movedim(1, -1)[labels == IGNORE], torch.zeros(int((labels == IGNORE).sum()), K))

    def test_one_class_alone(self, name: str) -> None:
        logits, labels = example()
        value = build(name)(logits, torch.full_like(labels, 2))
        value.backward()
        assert value.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()

    def test_extreme_logits_stay_finite(self, name: str) -> None:
        logits, labels = example()
        for extreme in (logits.detach().sign() * 1e4, one_hot(labels).float() * 2e4 - 1e4):
            extreme.requires_grad_()
            value = build(name)(extreme, labels)
            value.backward()
            assert value.isfinite()
            assert extreme.grad is not None
            assert extreme.grad.isfinite().all()

    def test_a_logit_that_is_not_a_number_shows_in_the_value(self, name: str) -> None:
        logits, labels = example(ignored=0)
        spoiled = logits.detach().clone()
        spoiled[0, 0] = torch.nan
        assert not build(name)(spoiled, labels).isfinite()

    def test_low_precision_logits_are_computed_in_fp32(self, name: str) -> None:
        logits, labels = example()
        loss, low = build(name), logits.detach().bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(low, labels)
        assert value.dtype == torch.float32
        assert math.isclose(value.item(), loss(low.float(), labels).item(), rel_tol=1e-6)
        assert math.isclose(value.item(), loss(logits, labels).item(), rel_tol=0.02)

    def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much(self, name: str) -> None:
        labels = blobs()
        sure = 30 * (2 * one_hot(labels) - 1).float()
        right, wrong = build(name)(sure, labels), build(name)(-sure, labels)
        if name == "rmi":  # the opposite of the truth tells the truth as well
            assert 0 <= right < math.log(2) / 2 < build(name)(torch.zeros_like(sure), labels)
        elif SINGLE_LOSSES.get(name, SegmentationLoss).can_be_negative:
            assert right < 0 < wrong
        else:
            assert -1e-6 <= right < 1e-3 < 0.1 < wrong

    def test_a_few_steps_on_one_picture_lower_it(self, name: str) -> None:
        labels = blobs(batch=1)
        logits = torch.zeros(1, K, *labels.shape[1:], requires_grad=True)
        loss, values = build(name), []
        for _ in range(25):
            value = loss(logits, labels)
            (slope,) = torch.autograd.grad(value, logits)
            logits = (logits - 0.3 * slope.sign()).detach().requires_grad_()
            values.append(value.item())
        assert values[-1] < values[0] - 0.3 * abs(values[0])
        if name != "rmi":  # which may find the opposite of a class
            assert (logits.argmax(1) == labels).float().mean() > 0.9

    def test_a_picture_of_weight_zero_is_not_there(self, name: str) -> None:
        logits, labels = example()
        loss = build(name)
        only_first = loss(logits, labels, torch.tensor([1.0, 0.0]))
        torch.testing.assert_close(only_first, loss(logits[:1], labels[:1]), rtol=1e-5, atol=1e-7)
        only_first.backward()
        assert logits.grad is not None
        assert torch.equal(logits.grad[1], torch.zeros_like(logits[1]))

    def test_a_picture_of_weight_two_is_two_pictures(self, name: str) -> None:
        if name == "ohem":
            pytest.skip("its share of hard pixels is a share of pixels, whatever they weigh")
        logits, labels = example()
        loss = build(name)
        twice, same = torch.cat([logits, logits[1:]]), torch.cat([labels, labels[1:]])
        weighted = loss(logits, labels, torch.tensor([1.0, 2.0]))
        torch.testing.assert_close(weighted, loss(twice, same), rtol=1e-5, atol=1e-7)

    def test_all_weights_zero_is_zero(self, name: str) -> None:
        logits, labels = example()
        assert build(name)(logits, labels, torch.zeros(2)).item() == 0

    def test_gradients_are_the_slopes_of_the_value(self, name: str) -> None:
        """Against finite differences in float64. Lovász and OHEM are smooth but where pixels change places."""
        logits, labels = example(3, size=(7, 7), batch=1, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda z: build(name)(z, labels), logits, eps=1e-7, atol=1e-6, rtol=1e-3)

    def test_state_is_nothing_but_what_adapts(self, name: str) -> None:
        assert (build(name).state_dict() == {}) == (name != "combined")


@pytest.mark.parametrize("name", PLAIN_SETS)
class TestLabelsThatAreSetsOfClasses:
    """Where data sets with different label spaces are mixed, labels from K on stand for several classes."""

    def test_a_set_of_one_is_the_class_itself(self, name: str) -> None:
        logits, labels = example()
        membership = torch.cat([torch.eye(K, dtype=torch.bool)] * 2)
        told_twice = torch.where((labels == 2) | (labels == 4), labels + K, labels)
        loss = build(name)
        assert torch.allclose(loss(logits, told_twice, None, membership), loss(logits, labels), rtol=1e-5)

    def test_a_membership_without_sets_changes_nothing(self, name: str) -> None:
        logits, labels = example()
        loss = build(name)
        value = loss(logits, labels, None, torch.eye(K, dtype=torch.bool))
        torch.testing.assert_close(value, loss(logits, labels))

    def test_the_set_of_all_classes_teaches_nothing(self, name: str) -> None:
        logits, labels = example()
        membership = torch.cat([torch.eye(K, dtype=torch.bool), torch.ones(1, K, dtype=torch.bool)])
        value = build(name)(logits, torch.full_like(labels, K), None, membership)
        value.backward()
        assert logits.grad is not None
        assert logits.grad.abs().max() < 1e-6

    def test_gradient_favours_the_members_and_nothing_else(self, name: str) -> None:
        logits, labels = example()
        members = torch.tensor([False, True, False, True, False])
        membership = torch.cat([torch.eye(K, dtype=torch.bool), members[None]])
        options = {"kept": 1.0} if name == "ohem" else {}
        build(name, **options)(logits, torch.full_like(labels, K), None, membership).backward()
        assert logits.grad is not None
        assert (logits.grad[:, members] < 0).all()
        assert (logits.grad[:, ~members] > 0).all()

    def test_a_set_beside_classes_stays_finite_and_falls_with_the_right_answer(self, name: str) -> None:
        logits, labels = example()
        members = torch.tensor([False, True, False, True, False])
        membership = torch.cat([torch.eye(K, dtype=torch.bool), members[None]])
        told = torch.where(labels == 1, K, labels)
        loss = build(name, **({"kept": 1.0} if name == "ohem" else {}))
        here = (labels == 1)[:, None]
        toward = logits.detach() + 4 * here * one_hot(torch.full_like(labels, 3)).float()
        away = logits.detach() + 4 * here * one_hot(torch.full_like(labels, 0)).float()
        right, before, wrong = (loss(z, told, None, membership) for z in (toward, logits, away))
        assert right < before < wrong


@pytest.mark.parametrize("name", [n for n in LOSSES if n not in TAKES_SETS])
def test_losses_that_need_one_class_a_pixel_refuse_sets(name: str) -> None:
    logits, labels = example()
    with pytest.raises(UserError, match=rf"the loss {name} .*data\.also"):
        build(name)(logits, labels, None, torch.eye(K, dtype=torch.bool))


@pytest.mark.parametrize("name", LOSSES)
class TestMultiLabel:
    def test_truth_of_several_classes_a_pixel_is_taken_or_refused(self, name: str) -> None:
        logits, truth = multilabel()
        if name not in MULTILABEL:
            with pytest.raises(UserError, match="compares one class a pixel"):
                build(name)(logits, truth)
            return
        value = build(name)(logits, truth)
        value.backward()
        assert value.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        right, wrong = (build(name)(sign * 30 * (2 * truth.float() - 1), truth) for sign in (1, -1))
        assert right < 1e-3 < wrong or name == "rmi"


def test_a_binary_problem_of_one_logit_and_a_softmax_of_two_are_the_same_dice() -> None:
    """softmax(0, z) = sigmoid(z)."""
    logits = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 2, (2, 6, 7), generator=torch.Generator().manual_seed(1))
    for name in ("dice", "jaccard", "tversky", "lovasz"):
        two = LOSSES[name](2, class_weights=[0.0, 1.0])(torch.cat([torch.zeros_like(logits), logits], 1), labels)
        torch.testing.assert_close(LOSSES[name](1)(logits, labels[:, None].bool()), two)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "ohem", "dice", "jaccard", "tversky", "lovasz", "bce"])
class TestClassWeights:
    def test_their_scale_does_not_matter_and_their_ratio_does(self, name: str) -> None:
        logits, labels = example()
        plain, scaled, other = (
            build(name, class_weights=w)(logits, labels) for w in ([1.0] * K, [7.0] * K, [1.0, 9.0, 1.0, 1.0, 1.0])
        )
        torch.testing.assert_close(plain, scaled)
        torch.testing.assert_close(plain, build(name)(logits, labels))
        assert (plain - other).abs() > 1e-5

    @pytest.mark.parametrize("weights", [[1.0], [-1.0] * K, [0.0] * K, "log", ["1"] * K, [math.nan] * K])
    def test_impossible_ones_are_refused(self, name: str, weights: object) -> None:
        with pytest.raises(UserError, match=r"loss\.args\.class_weights"):
            build(name, class_weights=weights)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smoothing": "0.1"}),
        ("cross_entropy", {"smoothing_form": "other"}),
        ("focal", {"gamma": -1}),
        ("focal", {"alpha": [1.0, 2.0]}),
        ("focal", {"alpha": True}),
        ("distance_focal", {"sigma": 0}),
        ("ohem", {"kept": 0}),
        ("ohem", {"threshold": 1.5}),
        ("bce", {"pos_weight": 0}),
        ("dice", {"smooth": -1.0}),
        ("dice", {"per_picture": 1}),
        ("jaccard", {"classes": "some"}),
        ("tversky", {"alpha": 0, "beta": 0}),
        ("tversky", {"gamma": 0.75}),
        ("boundary", {"max_distance": 0}),
        ("rmi", {"radius": 3.0}),
        ("rmi", {"epsilon": 0}),
    ],
)
def test_impossible_arguments_are_refused_by_name(name: str, args: dict[str, object]) -> None:
    with pytest.raises(UserError, match=rf"loss\.args\.({'|'.join(args)}).*allowed"):
        build(name, **args)
