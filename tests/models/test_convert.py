"""Weights from elsewhere: which tensor is which, never a part in silence, classifiers by class name, hub ids."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import constants
from torch import Tensor, nn

from segwright.cli import main
from segwright.contracts import UserError
from segwright.labels import LabelClass, LabelSpace, load_label_space
from segwright.models import Segmenter, build_architecture, load_segmenter, save_segmenter
from segwright.models.convert import convert_file, initial_args, start_from, weights_path
from segwright.models.layouts import RENAMINGS, match_tensors
from segwright.models.transfer import class_axes, class_map, move_classes
from tests.models.conftest import pictures, space

SMALL = {"width": 4, "depth": 1}
SMP = {"architecture": "Unet", "encoder": "resnet18", "decoder_channels": [16, 8, 8, 8, 4]}


def named(*names: str, title: str = "source") -> LabelSpace:
    classes = tuple(LabelClass(name=n, values=(i,), color=(i, i, 9)) for i, n in enumerate(names))
    return LabelSpace(name=title, title=title, classes=classes)


def segmenter(name: str, labels: LabelSpace, args: dict[str, Any], seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    model = {"name": name, "args": args}
    return Segmenter(build_architecture(name, labels.num_classes, args), labels=labels, model=model).eval()


# ---- names


def test_wrappers_containers_and_a_library_s_prefix_come_off(tmp_path: Path) -> None:
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=3, decoder_channels=[16, 8, 8, 8, 4]).eval()
    torch.save({"state_dict": nn.DataParallel(theirs).state_dict(), "epoch": 3}, tmp_path / "smp.pth")
    done = convert_file(
        tmp_path / "smp.pth", tmp_path / "m.safetensors", model="smp", args=SMP, labels=space(3), licence="MIT"
    )
    assert done.report.complete
    assert done.report.renamed["module.encoder.conv1.weight"] == "net.encoder.conv1.weight"
    assert len(done.report.renamed) == len(theirs.state_dict())
    ours, image = load_segmenter(tmp_path / "m.safetensors"), pictures(1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours(image), theirs(ours.normalise(image)), atol=1e-5)
    assert ours.licence == "MIT"
    facts = ours.provenance["converted_from"]
    assert (facts["file"], facts["container"], len(facts["sha256"])) == ("smp.pth", "state_dict", 64)


def test_old_denseaspp_files_find_their_places() -> None:
    args = {"backbone": "densenet121", "middle": 8, "growth": 4}
    model = build_architecture("denseaspp", 3, args)
    state = model.state_dict()

    def old(name: str) -> str:
        """Our name as PyTorch 0.3's files of the public code spell it, under data-parallel training."""
        name = name.replace("backbone.net.features_norm5.", "features.transition4.norm.")
        name = name.replace("halve.0.", "features.transition4.conv.").replace("halve.1.", "features.norm5.")
        name = name.replace("backbone.net.features_", "features.").replace("classify.", "classification.1.")
        for index, rate in enumerate((3, 6, 12, 18, 24)):
            name = name.replace(f"layers.{index}.", f"ASPP_{rate}.")
        for part in ("norm", "conv"):
            for number in "12":
                name = name.replace(f".{part}{number}.", f".{part}.{number}.")
        return f"module.{name}"

    found = {old(n): t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    matched, report = match_tensors(state, found, RENAMINGS["denseaspp"])
    assert report.complete
    assert len(report.counters) == sum(n.endswith("num_batches_tracked") for n in state)
    assert all(matched[n] is state[n] for n in matched)


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone.", "encoder."])
def test_a_backbone_of_timm_torchvision_mmseg_or_smp_fits_and_the_rest_is_listed(prefix: str, tmp_path: Path) -> None:
    theirs = timm.create_model("resnet18", num_classes=7).state_dict()  # its names are torchvision's and mmseg's too
    found = {prefix + n: t for n, t in theirs.items()} | {"decode_head.conv_seg.weight": torch.zeros(5, 4, 1, 1)}
    torch.save(found, tmp_path / "w.pth")
    args = {"backbone": "resnet18", "channels": 8}
    model = segmenter("deeplab_v3", space(3), args)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        start_from(model, tmp_path / "w.pth")
    assert f"unexpected      3\n    {prefix}fc.weight" in str(caught.value)
    assert "have no partner. Nothing was loaded" in str(caught.value)
    assert "--allow 'missing:aspp" in str(caught.value)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    head = ["missing:aspp.*", "missing:refine.*", "missing:classify.*", f"unexpected:{prefix}fc.*"]
    with pytest.raises(UserError, match="1 tensors of the file"):
        start_from(model, tmp_path / "w.pth", allow=head)
    done = start_from(model, tmp_path / "w.pth", allow=[*head, "decode_head.*"])
    assert done.report.loaded == len(theirs) - 2
    state = model.architecture.state_dict()
    assert all(torch.equal(state[f"backbone.net.{n}"], t) for n, t in theirs.items() if not n.startswith("fc."))
    assert torch.equal(state["classify.weight"], before["architecture.classify.weight"])


def test_parts_that_fit_twice_are_not_guessed() -> None:
    block = {f"{n}.weight": torch.zeros(2, 2, 3, 3) for n in "abcdefghij"}
    expected = {f"{side}.{n}": t for side in ("left", "right") for n, t in block.items()}
    state, report = match_tensors(expected, {f"net.{n}": t for n, t in block.items()})
    assert (state, len(report.unexpected), len(report.missing)) == ({}, 10, 20)


def test_every_tensor_is_in_exactly_one_row() -> None:
    expected = {"a": torch.zeros(2), "b.c": torch.zeros(3), "d": torch.zeros(4), "e": torch.zeros(1)}
    found = {"a": torch.ones(2), "b_c": torch.ones(3), "d": torch.ones(5), "f": torch.ones(1)}
    state, report = match_tensors(expected, found)
    assert (report.matched, dict(report.renamed)) == (("a",), {"b_c": "b.c"})
    assert (report.missing, report.unexpected) == (("e",), ("f",))
    assert dict(report.mismatched) == {"d": ((5,), (4,))}
    assert set(state) == {"a", "b.c"}
    assert report.refused(["missing:*", "f"]) == [("shape", "d")]
    assert report.refused(["*"]) == []
    assert "d: file [5], model [4]" in report.table()
    with pytest.raises(UserError, match="before the colon comes one of missing, unexpected, shape"):
        report.refused(["lost:*"])


# ---- classes


@pytest.mark.parametrize(
    ("name", "args"),
    [("unet", SMALL), ("fcn", {"width": 4}), ("fast_scnn", {"width": 0.25, "auxiliary": True})],
)
def test_rows_go_over_by_class_name(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    source, target = named("road", "tree", "car"), named("sky", "car", "road", title="target")
    one = segmenter(name, source, args, seed=1)
    save_segmenter(one, tmp_path / "one.safetensors")
    two = segmenter(name, target, args, seed=2)
    fresh = {n: t.clone() for n, t in two.architecture.state_dict().items()}
    done = start_from(two, tmp_path / "one.safetensors")
    assert done.classes is not None
    assert dict(done.classes.kept) == {"car": "car", "road": "road"}
    assert (done.classes.new, done.classes.dropped) == (("sky",), ("tree",))
    assert "new      sky (random start)" in done.table()
    image = pictures(1, 64, 64)
    with torch.no_grad():
        before, after = one(image), two(image)
    if name != "fcn":  # whose transposed convolutions mix the classes
        assert torch.equal(after[:, [2, 1]], before[:, [0, 2]])
    state, old = two.architecture.state_dict(), one.architecture.state_dict()
    for key, axes in class_axes(one.architecture, name, args, 3).items():
        assert axes, key
        assert (
            torch.equal(state[key][2], old[key][0]) if len(axes) == 1 else torch.equal(state[key][2, 1], old[key][0, 2])
        )
        assert torch.equal(state[key][0], fresh[key][0])


def test_merged_classes_start_as_the_mean_and_coarse_ones_are_shared() -> None:
    source, target = load_label_space("cityscapes19"), load_label_space("cityscapes7")
    model = nn.ModuleDict({"a": nn.Conv2d(4, 7, 1), "up": nn.ConvTranspose2d(7, 7, 2)})
    old = {"a.weight": torch.randn(19, 4, 1, 1), "a.bias": torch.randn(19), "up.weight": torch.randn(19, 19, 2, 2)}
    axes = {"a.weight": [0], "a.bias": [0], "up.weight": [0, 1]}
    map = class_map(source, target)
    moved, table = move_classes(old, model.state_dict(), axes, model, map)
    groups = [np.flatnonzero(map.matrix_LK[:, k]) for k in range(7)]
    for k, group in enumerate(groups):
        assert torch.allclose(moved["a.weight"][k], old["a.weight"][group].mean(0), atol=1e-6)
        assert torch.allclose(moved["a.bias"][k], old["a.bias"][group].mean(0), atol=1e-6)
        for j, other in enumerate(groups):
            expected = old["up.weight"][group][:, other].sum(0).mean(0)  # inputs are summed, outputs averaged
            assert torch.allclose(moved["up.weight"][k, j], expected, atol=1e-5)
    assert "merged   vehicle ← mean of car, truck, bus, train, motorcycle, bicycle" in table.table()
    back, table = move_classes(
        {"a.weight": torch.randn(7, 4, 1, 1)},
        {"a.weight": torch.zeros(19, 4, 1, 1)},
        {"a.weight": [0]},
        nn.ModuleDict({"a": nn.Conv2d(4, 19, 1)}),
        class_map(target, source),
    )
    assert torch.equal(back["a.weight"][13], back["a.weight"][14])  # car and truck: both were `vehicle`
    assert table.kept["car"] == "vehicle"


def test_several_channels_a_class_move_together() -> None:
    map = class_map(named("a", "b"), named("b", "new", title="t"))
    old, fresh = torch.arange(8.0).view(8, 1, 1, 1), torch.full((8, 1, 1, 1), -1.0)
    layer = nn.ModuleDict({"w": nn.Conv2d(1, 8, 1)})
    moved, _ = move_classes({"w.weight": old}, {"w.weight": fresh}, {"w.weight": [0]}, layer, map)
    assert moved["w.weight"].flatten().tolist() == [4, 5, 6, 7, -1, -1, -1, -1]


def test_spaces_without_a_common_class_give_a_new_head_and_keep_the_rest(tmp_path: Path) -> None:
    one = segmenter("unet", named("road", "car"), SMALL, seed=1)
    save_segmenter(one, tmp_path / "one.safetensors")
    two = segmenter("unet", named("fish", "reef", "diver", title="sea"), SMALL, seed=2)
    head = two.architecture.classify.weight.clone()  # type: ignore[union-attr, operator]
    done = start_from(two, tmp_path / "one.safetensors")
    assert done.classes is not None
    assert len(done.classes.new) == 3
    assert torch.equal(two.architecture.classify.weight, head)  # type: ignore[arg-type, union-attr]
    assert all(
        torch.equal(t, two.architecture.state_dict()[n])
        for n, t in one.architecture.state_dict().items()
        if not n.startswith("classify")
    )


@pytest.mark.parametrize("count", [3, 5])
def test_a_foreign_classifier_needs_the_names_of_its_classes(count: int, tmp_path: Path) -> None:
    theirs = build_architecture("unet", count, SMALL)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = segmenter("unet", named("road", "tree", "car"), SMALL)
    with pytest.raises(
        UserError, match=rf"has a classifier \(classify.weight \[{count}, 4, 1, 1\]\), and does not say"
    ):
        start_from(ours, tmp_path / "w.pth")
    given = named("car", "road", "x", "y", "tree", title="theirs")
    given = LabelSpace(name="theirs", title="", classes=given.classes[:count])
    start_from(ours, tmp_path / "w.pth", labels=given)
    assert torch.equal(ours.architecture.classify.weight[2], theirs.classify.weight[0])  # type: ignore[index, union-attr]


# ---- sources


def test_imagenet_is_an_argument_of_the_architecture() -> None:
    assert initial_args("deeplab_v3", {"channels": 8}, "imagenet") == {"channels": 8, "backbone_weights": "imagenet"}
    assert initial_args("smp", {}, "imagenet") == {"encoder_weights": "imagenet"}
    assert initial_args("unet", {"width": 8}, None) == {"width": 8}
    with pytest.raises(UserError, match="unet has no ImageNet weights. These have: .*deeplab_v3"):
        initial_args("unet", {}, "imagenet")


class Hub(BaseHTTPRequestHandler):
    """A hub with one file, as huggingface_hub asks for it."""

    body = b""

    def do_HEAD(self) -> None:
        known = self.path == "/owner/name/resolve/main/w.safetensors"
        self.send_response(200 if known else 404)
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(self.body)) if known else "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        return


def test_hub_ids_use_the_mirror_then_the_cache_then_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub.body = b"weights"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    mirror = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", mirror)  # what HF_ENDPOINT sets when huggingface_hub is imported
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", mirror + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    try:
        with pytest.raises(UserError) as caught:
            weights_path("hf://owner/name")
        assert f"model.safetensors of {mirror}/owner/name cannot be had" in str(caught.value)
        assert "put it anywhere on this one, and give its path instead of the hub id" in str(caught.value)
        file = weights_path("hf://owner/name/w.safetensors")
        assert (file.read_bytes(), tmp_path in file.parents) == (b"weights", True)
    finally:
        server.shutdown()
        server.server_close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert weights_path("hf://owner/name/w.safetensors") == file  # from the cache: nobody is asked
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        weights_path("hf://owner/name@dev/w.safetensors")


@pytest.mark.parametrize("text", ["hf://owner", "hf://a/b/../../etc/passwd", "hf://a b/c"])
def test_odd_hub_ids_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no hub id"):
        weights_path(text)


# ---- the verb


def test_convert_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = build_architecture("unet", 11, SMALL)
    torch.save({"model": {f"module.{n}": t for n, t in theirs.state_dict().items()}}, tmp_path / "w.pth")
    out = tmp_path / "m.safetensors"
    words = ["convert", str(tmp_path / "w.pth"), "model.args.width=4", "--model", "unet", "--labels", "camvid11"]
    assert run(*words, "-o", str(out)) == 2  # depth is missing
    assert "have no partner" in capsys.readouterr().err
    assert not out.exists()
    assert run(*words, "model.args.depth=1", "-o", str(out), "--mean", "0.5,0.4,0.3") == 0
    text = capsys.readouterr().out
    assert f"renamed     {len(theirs.state_dict()):5}" in text
    model = load_segmenter(out)
    assert model.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert same(model.architecture.state_dict(), theirs.state_dict())
    assert run(*words, "model.args.depth=1", "-o", str(out), "--json") == 0
    assert json.loads(capsys.readouterr().out)["missing"] == []
    assert run("convert", str(out), "--model", "unet", "--labels", "camvid11", "-o", str(tmp_path / "x")) == 2
    assert "is a model of Segwright already" in capsys.readouterr().err
    assert run(*words, "--mean", "0.5") == 2


def test_tensors_left_out_on_request_are_named_in_the_file(tmp_path: Path) -> None:
    theirs = build_architecture("unet", 3, SMALL).state_dict()
    theirs.pop("classify.bias")
    torch.save(theirs, tmp_path / "w.pth")
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for number, file in enumerate(files):
        torch.manual_seed(number)
        convert_file(tmp_path / "w.pth", file, model="unet", args=SMALL, labels=space(3), allow=["missing:*.bias"])
    one, two = (load_segmenter(file) for file in files)
    assert one.provenance["untrained"] == ["classify.bias"]
    assert same(one.architecture.state_dict(), two.architecture.state_dict())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(t, other[n]) for n, t in one.items())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)
