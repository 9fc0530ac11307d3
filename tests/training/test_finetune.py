"""Going on from a trained model: what is planned, what is frozen, what is compared."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from segwright import UserError, compare_transfers, finetune, train
from segwright.models.weights import load_segmenter, save_segmenter
from segwright.recipe import LoadedRecipe, load_recipe
from segwright.recipe.stages import stage_recipes
from segwright.training.finetune import backbone_patterns, contenders, plan_transfer
from segwright.training.prepare import start
from tests.training.tiny import write_pictures, write_recipe

FAST = ("training.epochs=1", "training.precision=fp32", "training.memory_format=contiguous", "training.device=cpu")


def quiet() -> Console:
    return Console(file=io.StringIO(), width=150)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.yaml, its pictures in data/, and the run runs/src that was trained with it."""
    folder = tmp_path_factory.mktemp("transfer")
    recipe = write_recipe(folder, write_pictures(folder / "data"))
    train(recipe, ["training.epochs=2"], name="src", runs=folder / "runs", console=quiet())
    return folder


def planned(place: Path, *overrides: str, freeze: str | None = None, data: str = "tiny.yaml") -> LoadedRecipe:
    return plan_transfer("src", place / data, overrides, freeze=freeze, runs=place / "runs", console=quiet())


def with_score(place: Path, miou: float) -> Path:
    """The source with another score in its file."""
    segmenter = load_segmenter(place / "runs" / "src" / "checkpoints" / "best.safetensors")
    segmenter.provenance = {**segmenter.provenance, "val_miou": miou}
    save_segmenter(segmenter, place / f"{miou}.safetensors")
    return place / f"{miou}.safetensors"


def test_a_folder_gets_the_architecture_and_normalisation_of_the_source(place: Path) -> None:
    segmenter = load_segmenter(place / "runs" / "src" / "checkpoints" / "best.safetensors")
    loaded = planned(place, "training.epochs=4", data="data")
    model = loaded.recipe.model
    assert (model.name, model.args) == ("unet", {"width": 4, "depth": 2})
    assert torch.equal(torch.tensor(model.mean), segmenter.mean.flatten())
    assert torch.equal(torch.tensor(model.std), segmenter.std.flatten())
    assert model.weights is not None
    assert Path(model.weights).samefile(place / "runs" / "src" / "checkpoints" / "best.safetensors")
    assert loaded.recipe.training.val_every == 1
    assert loaded.recipe.optimizer.lr == pytest.approx(0.3 * 0.003)


def test_a_weak_source_freezes_the_first_layers_and_a_strong_one_with_many_pictures_more(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = planned(place)
    assert loaded.recipe.model.freeze == 0.25
    assert "freeze less" in loaded.origins["model.freeze"]
    assert loaded.recipe.optimizer.decay_by_depth == 0.1
    strong = with_score(place, 0.8)
    monkeypatch.setattr("segwright.training.finetune._pictures", lambda _: 2475)
    more = plan_transfer(strong, place / "tiny.yaml", ["model.labels=null"], freeze=None, runs=place, console=quiet())
    assert more.recipe.model.freeze == ["encoder.*"]
    assert "freeze more" in more.origins["model.freeze"]
    assert more.recipe.optimizer.decay_by_depth is None


def test_what_the_user_says_wins(place: Path) -> None:
    assert planned(place, "model.freeze=0.5").recipe.model.freeze == 0.5
    assert planned(place, "optimizer.decay_by_depth=0.3", freeze="none").recipe.optimizer.decay_by_depth == 0.3
    assert planned(place, freeze="none").recipe.model.freeze is None
    assert planned(place, freeze="backbone").recipe.model.freeze == ["encoder.*"]
    assert planned(place, "augmentation.size=[64,96]").recipe.augmentation.size == [64, 96]


def test_gradual_thaws_from_the_head_down(place: Path) -> None:
    recipe = planned(place, "training.epochs=8", freeze="gradual").recipe
    parts = stage_recipes(recipe)
    assert [part.end for part in parts] == [2, 4, 8]
    assert [part.recipe.model.freeze for part in parts] == [["encoder.*"], 0.5, None]
    rates = [part.recipe.optimizer.lr for part in parts]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 3


@pytest.mark.parametrize(
    ("overrides", "freeze", "expected"),
    [
        ([], "0", "between 0 and 1"),
        ([], "head", "allowed are backbone, none, gradual"),
        (["model.freeze=0.5"], "0.5", "keep one"),
        (["training.epochs=2"], "gradual", "three epochs or more"),
        (["stages=[{epochs: 1}, {}]"], "gradual", "2 stages of its own"),
        (["augmentation.size=[30,30]"], None, "needs multiples of 4"),
    ],
)
def test_wrong_wishes_are_refused(place: Path, overrides: list[str], freeze: str | None, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        finetune("src", place / "tiny.yaml", overrides, freeze=freeze, runs=place / "runs", console=quiet())
    assert expected in str(caught.value)


def test_a_source_that_does_not_exist_is_refused(place: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        plan_transfer("nowhere", place / "tiny.yaml", [], freeze=None, runs=place / "runs", console=quiet())


def test_classes_go_by_name_and_frozen_layers_keep_their_numbers(place: Path) -> None:
    other = yaml.safe_load((place / "tiny.yaml").read_text())
    other["data"]["labels"]["classes"][1]["name"] = "scarlet"
    (place / "other.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    console = quiet()
    result = finetune(
        "src", place / "other.yaml", FAST, freeze="backbone", name="ported", runs=place / "runs", console=console
    )
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "new      scarlet (random start)" in said
    assert "Rule of thumb" in said or "freeze less" in said
    before = load_segmenter(place / "runs" / "src" / "checkpoints" / "best.safetensors").architecture.state_dict()
    after = load_segmenter(result.path / "checkpoints" / "best.safetensors").architecture.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("encoder.")} <= same  # statistics too
    assert any(name.startswith("decoder.") for name in set(before) - same)
    assert load_recipe(result.path / "recipe.yaml").recipe.model.freeze == ["encoder.*"]


def test_a_comparison_differs_in_what_learns_alone(place: Path) -> None:
    found = contenders(planned(place, freeze="none"))
    recipes = {title: loaded.recipe for title, loaded in found.items()}
    assert list(recipes) == ["frozen", "half frozen", "from scratch"]
    assert [r.model.freeze for r in recipes.values()] == [["encoder.*"], 0.5, None]
    assert recipes["from scratch"].model.weights is None
    rest = [r.model_dump(exclude={"model": True, "optimizer": {"decay_by_depth"}}) for r in recipes.values()]
    assert rest[0] == rest[1] == rest[2]
    with pytest.raises(UserError, match="stages"):
        contenders(planned(place, "training.epochs=8", freeze="gradual"))


def test_comparing_trains_three_times_and_tells_the_differences(place: Path) -> None:
    comparison = compare_transfers("src", place / "tiny.yaml", FAST, name="c", runs=place / "runs", console=quiet())
    frozen, half, scratch = comparison.rows
    assert scratch.learning == scratch.total > half.learning
    assert frozen.learning < frozen.total
    assert scratch.difference is None
    assert frozen.difference is not None
    assert frozen.difference.value == pytest.approx(frozen.miou.value - scratch.miou.value)
    assert all(row.miou.low <= row.miou.value <= row.miou.high for row in comparison.rows)
    assert frozen.miou.value == pytest.approx(frozen.result.miou)
    assert {row.result.path.name for row in comparison.rows} == {"c-frozen", "c-half-frozen", "c-from-scratch"}
    assert json.loads(json.dumps(comparison.to_dict()))["frozen"]["miou"]["value"] == frozen.miou.value
    assert comparison.table().row_count == 3


def test_reset_leaves_tensors_at_random_and_refuses_patterns_without_a_tensor(place: Path) -> None:
    weights = place / "runs" / "src" / "checkpoints" / "best.safetensors"
    changes = [*FAST, f"model.weights={weights}", "model.reset=[classify.*]"]
    trainer = start(load_recipe(place / "tiny.yaml", changes), runs=place, name="reset", console=quiet())
    before = load_segmenter(weights).architecture.state_dict()
    after = trainer.learner.segmenter.architecture.state_dict()
    different = {name for name in before if not torch.equal(before[name], after[name])}
    assert different == {"classify.weight", "classify.bias"}
    with pytest.raises(UserError, match=r"model\.reset: the pattern 'clasify"):
        start(
            load_recipe(place / "tiny.yaml", [*changes[:-1], "model.reset=[clasify.*]"]),
            runs=place,
            name="wrong",
            console=quiet(),
        )


def test_mean_and_std_of_a_recipe_are_the_models(place: Path) -> None:
    changes = [*FAST, "model.mean=[0.25, 0.42, 0.49]", "model.std=[0.16, 0.18, 0.2]"]
    trainer = start(load_recipe(place / "tiny.yaml", changes), runs=place, name="normalised", console=quiet())
    assert torch.allclose(trainer.learner.segmenter.mean.flatten(), torch.tensor([0.25, 0.42, 0.49]))
    assert torch.allclose(trainer.learner.segmenter.std.flatten(), torch.tensor([0.16, 0.18, 0.2]))


@pytest.mark.slow
def test_deeplab_v3_of_torchvision_with_a_frozen_backbone_and_a_new_head(tmp_path: Path) -> None:
    """The study's first transfer, with random weights in torchvision's layout: ASPP and head are new, the backbone stays."""
    from torchvision.models.segmentation import deeplabv3_resnet101

    from segwright.data.streets import write_streets

    torch.manual_seed(1)
    foreign = deeplabv3_resnet101(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    torch.save(foreign.state_dict(), tmp_path / "deeplabv3_resnet101.pth")
    write_streets(tmp_path / "city", counts={"train": 4, "val": 2}, size=(64, 128), workers=1)
    changes = [
        *(f"data.root={tmp_path / 'city'}", "data.split_file=null", "augmentation.size=[64,64]", "model.short_side=64"),
        *("training.batch=2", "training.workers=0", "training.epochs=1", *FAST[1:]),
    ]
    result = finetune(
        tmp_path / "deeplabv3_resnet101.pth", "a-deeplab-v3-19", changes, name="r", runs=tmp_path, console=quiet()
    )
    trained = load_segmenter(result.path / "checkpoints" / "best.safetensors").architecture
    assert backbone_patterns(load_segmenter(result.path / "checkpoints" / "best.safetensors")) == ["backbone.*"]
    state = trained.state_dict()
    for name, tensor in foreign.backbone.state_dict().items():
        assert torch.equal(state[f"backbone.net.{name}"], tensor), name  # statistics too
    assert state["classify.weight"].shape[0] == 19
    head = foreign.classifier[0].convs[0][0].weight
    assert not torch.equal(state["aspp.branches.0.0.weight"], head)


@pytest.mark.slow
def test_a_street_model_is_ported_to_the_eight_pictures_of_suim(shared_data: Path, tmp_path: Path) -> None:
    """The study's second transfer, in short: one table of three transfers with intervals over pictures."""
    if not (shared_data / "suim").is_dir():
        pytest.skip(f"SUIM is not in {shared_data}")
    from benchmarks.transfer import measure

    settings = ("training.memory_format=contiguous", "training.device=cpu")
    found = measure(shared_data / "suim", tmp_path, epochs=1, street_epochs=1, folds=1, settings=settings)
    transfers = found["transfers"]
    assert list(transfers) == ["frozen", "half frozen", "from scratch"]
    assert transfers["from scratch"]["learning"] == transfers["from scratch"]["parameters"]
    assert transfers["frozen"]["learning"] < transfers["half frozen"]["learning"]
    for entry in transfers.values():
        assert entry["miou_low"] <= entry["miou"] <= entry["miou_high"]
        assert "2 pictures" in entry["interval"]
