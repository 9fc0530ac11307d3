"""The one-file form: what is in it, and every way in which a file can be wrong."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from segwright.contracts import DataError, UserError
from segwright.models import Segmenter, load_segmenter, save_segmenter, weights
from segwright.models.unet import UNet
from tests.models.conftest import pictures, space


def small(num_classes: int = 3, **settings: Any) -> Segmenter:
    model = {"name": "unet", "args": {"width": 2, "depth": 1}}
    return Segmenter(UNet(num_classes, width=2, depth=1), labels=space(num_classes), model=model, **settings).eval()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_segmenter(small(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def rewrite(file: Path, content: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """The file with other content, under a checksum that holds."""
    description = json.dumps(content)
    metadata = {"segwright": description, "sha256": weights._digest(description, tensors)}
    save_file(tensors, file, metadata)


def content_of(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        content: dict[str, Any] = json.loads(opened.metadata()["segwright"])
    return content


def test_the_file_says_everything_as_plain_data(file: Path) -> None:
    save_segmenter(small(short_side=90, provenance={"run": "x", "miou": 0.5}, licence="CC-BY-4.0"), file)
    content = content_of(file)
    assert content["model"] == {"name": "unet", "args": {"width": 2, "depth": 1}}
    assert [c["name"] for c in content["labels"]["classes"]] == ["class 0", "class 1", "class 2"]
    assert content["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert (content["short_side"], content["licence"], content["format"]) == (90, "CC-BY-4.0", 1)
    assert content["provenance"] == {"run": "x", "miou": 0.5}
    assert load_segmenter(file).licence == "CC-BY-4.0"
    assert set(load_file(file)) == set(small().architecture.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_narrow_files_are_half_as_large_and_widen_again(dtype: torch.dtype, tmp_path: Path) -> None:
    model = small()
    save_segmenter(model, tmp_path / "narrow.safetensors", dtype=dtype)
    again = load_segmenter(tmp_path / "narrow.safetensors")
    for name, tensor in model.architecture.state_dict().items():
        found = again.architecture.state_dict()[name]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor.to(dtype).float() if tensor.is_floating_point() else tensor)
    image = pictures(1, 8, 8)
    assert (again(image) - model(image)).abs().max() < 0.05


def test_what_cannot_be_saved_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match=r"cannot be saved as torch.int8; allowed are torch.float32"):
        save_segmenter(small(), path, dtype=torch.int8)
    with pytest.raises(UserError, match="not plain JSON"):
        save_segmenter(small(provenance={"loss": float("nan")}), path)
    large = small()
    torch.nn.init.constant_(large.architecture.classify.weight, 1e6)
    with pytest.raises(UserError, match="classify.weight has values up to 1e.06, too large for torch.float16"):
        save_segmenter(large, path, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(_: Any, path: Path, __: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(UserError, match=r"could not be written \(0\.0 MB needed\).*No space left"):
        save_segmenter(small(4), file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_missing_files_folders_and_foreign_files_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_segmenter(tmp_path / "no.safetensors")
    with pytest.raises(UserError, match="is a folder"):
        load_segmenter(tmp_path)
    for zipped in (True, False):
        torch.save({"a": torch.zeros(1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match="is a pickle.*can run any program"):
            load_segmenter(tmp_path / "old.pth")
    (tmp_path / "text.safetensors").write_text("hello, this is no model")
    with pytest.raises(DataError, match="damaged, cut short or not a .safetensors file"):
        load_segmenter(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="another program wrote it"):
        load_segmenter(tmp_path / "plain.safetensors")


def test_every_flipped_byte_and_every_cut_is_found(file: Path) -> None:
    good = file.read_bytes()
    state = load_segmenter(file).state_dict()
    positions = torch.randperm(len(good))[:200].tolist()
    for position in positions:
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        file.write_bytes(bad)
        try:
            loaded = load_segmenter(file).state_dict()
        except (DataError, UserError):
            continue
        assert all(torch.equal(t, state[n]) for n, t in loaded.items())  # harmless: a space that pads the header
        assert good[position : position + 1] == b" "
    for length in torch.linspace(0, len(good) - 1, 50).long().tolist():
        file.write_bytes(good[:length])
        with pytest.raises(DataError):
            load_segmenter(file)


def test_names_and_shapes_that_do_not_fit_are_listed(file: Path) -> None:
    content, tensors = content_of(file), load_file(file)
    tensors["extra"] = tensors.pop("classify.bias")
    tensors["classify.weight"] = torch.zeros(3, 9, 1, 1)
    rewrite(file, content, tensors)
    with pytest.raises(DataError) as caught:
        load_segmenter(file)
    lines = str(caught.value).splitlines()
    assert "do not fit unet with 3 classes" in lines[0]
    assert lines[1:] == [
        "  missing     classify.bias [3]",
        "  unexpected  extra [3]",
        "  shape       classify.weight: the file has [3, 9, 1, 1], the architecture [3, 2, 1, 1]",
    ]
    rewrite(file, content | {"model": {"name": "unet", "args": {"width": 2, "depth": 4}}}, load_file(file))
    with pytest.raises(DataError, match=r"… and \d+ more"):
        load_segmenter(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"name": "unett", "args": {}}}, "no architecture 'unett'. Did you mean 'unet'?"),
        ({"model": {"name": "unet", "args": {"widht": 2}}}, "unet has no argument 'widht'. Did you mean 'width'?"),
        ({"model": {"name": "unet", "args": {"width": "two"}}}, "the arguments of unet do not suit"),
        ({"format": 2}, "has format 2; this version of Segwright reads format 1"),
        ({"labels": {"name": "x"}}, "a label space needs"),
    ],
)
def test_unknown_content_is_named(change: dict[str, Any], words: str, file: Path) -> None:
    rewrite(file, content_of(file) | change, load_file(file))
    with pytest.raises(UserError) as caught:
        load_segmenter(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)


def test_loading_never_asks_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segwright.models import build_architecture
    from segwright.models.external import smp_nets

    args = {"architecture": "FPN", "encoder": "resnet18", "encoder_weights": "imagenet"}
    net = build_architecture("smp", 3, args, fresh=False)
    model = Segmenter(net, labels=space(3), model={"name": "smp", "args": args})
    save_segmenter(model, tmp_path / "model.safetensors")
    monkeypatch.setattr(smp_nets, "check_hub", lambda *_: pytest.fail("asked the hub"))
    assert load_segmenter(tmp_path / "model.safetensors").model["args"] == args
