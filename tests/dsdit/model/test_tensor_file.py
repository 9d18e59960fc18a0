"""Tensor files: the bytes are the library's, and nothing that a file brings along is run."""

import argparse
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import dsdit.model.tensor_file
from dsdit.errors import WeightsError
from dsdit.model.tensor_file import Entry, open_safetensors, open_tensors, write_tensors


def mixed() -> dict[str, torch.Tensor]:
    return {
        "b.weight": torch.randn(3, 5),
        "a": torch.randn(7).half(),
        'é"quoted"': torch.randn(2, 2).bfloat16(),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False, True]),
        "wide": torch.randn(4, 3).double(),
        "small": torch.arange(5, dtype=torch.int32),
        "turned": torch.randn(4, 6).T,
    }


def entries(tensors: dict[str, torch.Tensor]) -> dict[str, Entry]:
    return {name: Entry(tuple(t.shape), t.dtype, t.clone) for name, t in tensors.items()}


def test_the_bytes_are_those_of_the_library(tmp_path: Path) -> None:
    tensors = mixed()
    write_tensors(tmp_path / "ours", entries(tensors))
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    back = load_file(tmp_path / "ours")
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], t) and back[name].dtype == t.dtype for name, t in tensors.items())


def test_entries_have_shape_and_type_and_read_the_tensor(tmp_path: Path) -> None:
    tensors = mixed()
    write_tensors(tmp_path / "file", entries(tensors))
    for name, entry in open_safetensors(tmp_path / "file").items():
        assert (entry.shape, entry.dtype) == (tuple(tensors[name].shape), tensors[name].dtype)
        assert torch.equal(entry.read(), tensors[name])


def test_a_tensor_that_is_not_as_announced_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a is \(2,\)"):
        write_tensors(tmp_path / "file", {"a": Entry((3,), torch.float32, lambda: torch.zeros(2))})


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"file takes 4,000,000,000,000,000 bytes, and [\d,]+ are free"):
        write_tensors(tmp_path / "file", {"a": Entry((10**15,), torch.float32, lambda: torch.zeros(0))})
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_pickled_state_dict_is_read(tmp_path: Path, wrapped: bool) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.nn.Parameter(torch.randn(2).half())}
    arguments = argparse.Namespace(depth=24, lr=5e-5, name=None, sizes=[512, 512])
    torch.save({"model": tensors, "args": arguments} if wrapped else tensors, tmp_path / "x.pt")
    found = open_tensors(tmp_path / "x.pt")
    assert {name: (e.shape, e.dtype) for name, e in found.items()} == {
        "a": ((3, 4), torch.float32),
        "b": ((2,), torch.float16),
    }
    assert all(torch.equal(entry.read(), tensors[name]) for name, entry in found.items())


class _Hostile:
    """Unpickled, it writes a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        import os

        return os.system, (f"touch {self.victim}",)


class _Posing(argparse.Namespace):
    """Not argparse's own class."""


@pytest.mark.parametrize("place", ["args", "model", "whole", "inside Namespace", "tensor's dictionary"])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path: Path, place: str) -> None:
    victim, hostile = tmp_path / "ran", _Hostile(tmp_path / "ran")
    content = {
        "args": {"model": {"a": torch.zeros(2)}, "args": hostile},
        "model": {"model": {"a": torch.zeros(2), "b": hostile}},
        "whole": hostile,
        "inside Namespace": {"model": {"a": torch.zeros(2)}, "args": argparse.Namespace(x=hostile)},
        "tensor's dictionary": {"model": {"a": torch.nn.Parameter(torch.zeros(2)), hostile: 1}},
    }[place]
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"system.*Nothing of it was run"):
        open_tensors(tmp_path / "x.pt")
    assert not victim.exists()
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert victim.exists(), "the pickle is not hostile, so the test shows nothing"


def test_a_bare_pickle_is_refused_unopened(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(pickle.dumps(_Hostile(tmp_path / "ran")))
    with pytest.raises(WeightsError, match="bare pickle"):
        open_tensors(tmp_path / "x.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"before torch 1\.6"):
        open_tensors(tmp_path / "old.pt")
    assert not (tmp_path / "ran").exists()


def test_other_classes_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(2)}, "args": _Posing(x=1)}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="_Posing"):
        open_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [{"model": {"a": 3}}, {"model": [torch.zeros(1)]}, {"epoch": 3}, [1]])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="neither a state dict nor a checkpoint"):
        open_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x10\0\0\0\0\0\0\0{'torn", b"text that is no tensors"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(WeightsError, match=r"not a readable safetensors file|is damaged"):
        open_tensors(tmp_path / "x")


def test_a_header_as_long_as_a_pickle_begins_is_read(tmp_path: Path) -> None:
    for extra in range(0, 700, 8):
        save_file({"a" * (1 + extra): torch.ones(2)}, tmp_path / "x")
        if (tmp_path / "x").read_bytes()[:2] == b"\x80\x02":
            break
    assert (tmp_path / "x").read_bytes()[:2] == pickle.dumps(None, 2)[:2]
    assert len(open_tensors(tmp_path / "x")) == 1


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pt cannot be read"):
        open_tensors(tmp_path / "none.pt")


def test_the_list_of_classes_is_left_as_it_was(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pt")
    dsdit.model.tensor_file.open_pickle(tmp_path / "x.pt")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
