"""Weight files of other programs: what is read, what is refused, and that nothing in a file ever runs."""

from __future__ import annotations

import collections
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from segwright.contracts import DataError, UserError
from segwright.models.foreign import read_foreign
from tests.models.hostile_files import HOSTILE

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("environment", ["", "1"])
def test_hostile_files_are_refused_by_name_and_run_nothing(
    make: Callable[[Path, Path], None], environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", environment)  # PyTorch's own way to switch safety off
    file, canary = tmp_path / "files" / "bad.pth", tmp_path / "canary"
    file.parent.mkdir()
    with warnings.catch_warnings(action="ignore"):
        make(file, canary)
        with pytest.raises(UserError) as caught:
            read_foreign(file)
    assert str(file) in str(caught.value)
    assert not canary.exists()
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["bad.pth"]


def test_types_that_another_library_trusts_do_not_count(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(2), "y": Path("a")}, tmp_path / "bad.pth")
    trusted = torch.serialization.get_safe_globals()
    kinds: list[Any] = [Path, type(Path("a"))]
    torch.serialization.add_safe_globals(kinds)
    try:
        with pytest.raises(UserError, match="holds more than tensors and plain data"):
            read_foreign(tmp_path / "bad.pth")
        assert set(kinds) <= set(torch.serialization.get_safe_globals())
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(trusted)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_found_in_their_container(zipped: bool, tmp_path: Path) -> None:
    content = {
        "epoch": 3,
        "checkpoint": {"state_dict": collections.OrderedDict(WEIGHTS)},
        "optimizer": {"state": {0: {"step": torch.ones(1), "exp_avg": torch.ones(9)}}, "param_groups": [{"lr": 0.1}]},
        "rng": torch.zeros(4),
    }
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"several sets of weights: \(top\) \(1 tensors\), checkpoint.state_dict"):
        read_foreign(tmp_path / "w.pth")  # 1 of 2: so small a file leaves it open
    found = read_foreign(tmp_path / "w.pth", key="checkpoint.state_dict")
    assert found.container == "checkpoint.state_dict"
    assert set(found.tensors) == set(WEIGHTS)
    assert all(torch.equal(found.tensors[n], t) for n, t in WEIGHTS.items())


def test_weights_and_their_average_are_not_confused(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "ema": WEIGHTS}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"model \(2 tensors\), ema \(2 tensors\). Say which: --key model"):
        read_foreign(tmp_path / "w.pth")
    assert read_foreign(tmp_path / "w.pth", key="ema").container == "ema"
    with pytest.raises(UserError, match=r"no tensors under 'emma'. It has: model"):
        read_foreign(tmp_path / "w.pth", key="emma")


def test_safetensors_of_other_programs_are_read(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors", {"format": "pt"})
    found = read_foreign(tmp_path / "w.safetensors")
    assert (found.container, found.metadata) == ("", {"format": "pt"})
    assert torch.equal(found.tensors["a.weight"], WEIGHTS["a.weight"])


def test_what_is_no_weights_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_foreign(tmp_path / "no.pth")
    with pytest.raises(UserError, match="is a folder"):
        read_foreign(tmp_path)
    (tmp_path / "text.pth").write_text("hello, this is no model")
    with pytest.raises(UserError, match="is no weights file"):
        read_foreign(tmp_path / "text.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no named tensors"):
        read_foreign(tmp_path / "list.pth")


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(1).expand(100_000, 100_000),
        torch.eye(3).to_sparse(),
        torch.empty(3, device="meta"),
    ],
    ids=["expanded", "sparse", "meta"],
)
def test_tensors_that_are_not_plain_are_refused(odd: Any, tmp_path: Path) -> None:
    torch.save({"a": odd, "b": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises((DataError, UserError), match=r"w\.pth"):
        read_foreign(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_cut_files_are_damaged_files(zipped: bool, tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    good = (tmp_path / "w.pth").read_bytes()
    for length in torch.linspace(2, len(good) - 1, 50).long().tolist():
        (tmp_path / "w.pth").write_bytes(good[:length])
        with pytest.raises((DataError, UserError), match=r"w\.pth"):
            read_foreign(tmp_path / "w.pth")
