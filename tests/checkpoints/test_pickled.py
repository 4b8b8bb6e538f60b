"""Checkpoints that PyTorch pickled: tensors are read, and nothing else is."""

import json
import pickle
import struct
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import Bomb, refused, same
from eckart.checkpoints import open_checkpoint
from eckart.errors import EckartError, FormatError, MissingExtra


@pytest.fixture
def torch():
    import torch

    return torch


def test_a_file_of_pytorch_without_pytorch_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'eckart\[adapters\]'") as error:
        open_checkpoint(tmp_path)
    assert error.value.code == "missing-extra"


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "bool"])
def test_what_pytorch_saves_is_read_bit_for_bit(tmp_path, torch, dtype, legacy):
    kind = getattr(torch, dtype)
    W = torch.randn(6, 4).to(kind)
    state = {
        "whole": W,
        "transposed": W.T,
        "strided": W[1::2, 1:],
        "number": W[0, 0],
        "empty": W[:0],
        "parameter": torch.nn.Parameter(W) if kind.is_floating_point else W,
        "repeated": W[:1, :1].expand(2, 3),
    }
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    checkpoint = open_checkpoint(tmp_path)
    assert list(checkpoint.tensors) == list(state)
    for name, stored in state.items():
        read = checkpoint.read(name)
        assert read.flags.c_contiguous
        assert read.flags.writeable
        assert read.shape == tuple(stored.shape)
        assert read.dtype == checkpoint.tensors[name].dtype.numpy
        assert np.array_equal(read.astype(np.float64), stored.detach().double().numpy())


@pytest.mark.torch
def test_tied_tensors_have_memory_of_their_own(tmp_path, torch):
    W = torch.randn(4, 3)
    torch.save({"embed": W, "head": W}, tmp_path / "pytorch_model.bin")
    checkpoint = open_checkpoint(tmp_path)
    first = checkpoint.read("embed")
    first[:] = 0
    assert np.array_equal(checkpoint.read("head"), W.numpy())


@pytest.mark.torch
def test_a_file_of_pytorch_is_mapped_anew_while_it_is_read(tmp_path, torch, monkeypatch):
    monkeypatch.setattr("eckart.checkpoints.pickled.MAPPED_BYTES", 500)
    state = {f"{i}": torch.full((10, 10), float(i)) for i in range(20)}
    torch.save(state, tmp_path / "m.bin")
    checkpoint = open_checkpoint(tmp_path / "m.bin")
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(checkpoint.read, [*state] * 3))
    expected = [weight.numpy() for weight in state.values()] * 3
    assert all(same(*pair) for pair in zip(read, expected, strict=True))


@pytest.mark.torch
def test_shards_of_pytorch_are_read_through_their_index(tmp_path, torch):
    names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    torch.save({"a": torch.ones(2)}, tmp_path / names[0])
    torch.save({"b": torch.zeros(3)}, tmp_path / names[1])
    torch.save({"seed": 0}, tmp_path / "training_args.bin")
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    checkpoint = open_checkpoint(tmp_path)
    assert same(checkpoint.read("a"), np.ones(2, np.float32))
    assert set(checkpoint.fingerprint()) == set(names)


@pytest.mark.torch
def test_a_state_dict_inside_a_training_checkpoint_is_read(tmp_path, torch):
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, tmp_path / "last.pt")
    assert list(open_checkpoint(tmp_path / "last.pt").tensors) == ["a"]


@pytest.mark.torch
def test_a_fingerprint_sees_a_training_step(tmp_path, torch):
    W = torch.randn(100, 100)
    prints = []
    for i, content in enumerate([W, W, W + 1]):
        torch.save({"w": content}, tmp_path / f"{i}.bin")
        prints.append(next(iter(open_checkpoint(tmp_path / f"{i}.bin").fingerprint().values())))
    assert prints[0] != prints[2]


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["plain", "zip", "legacy"])
def test_a_pickle_with_a_payload_is_refused_and_not_executed(tmp_path, torch, kind):
    path, trace = tmp_path / "pytorch_model.bin", tmp_path / "trace"
    state = {"a": torch.ones(2), "b": Bomb(trace)}
    if kind == "plain":
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(FormatError, match="never unpickles") as error:
        open_checkpoint(tmp_path)
    assert error.value.code == "pickled"
    assert not trace.exists()


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_of_pytorch_is_refused(tmp_path, torch, keep, legacy):
    path = tmp_path / "pytorch_model.bin"
    state = {"a": torch.ones(2000)}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(FormatError) as error:
        open_checkpoint(tmp_path)
    assert error.value.code in ("damaged-file", "pickled")


@pytest.mark.torch
def test_a_compressed_archive_is_refused(tmp_path, torch):
    torch.save({"a": torch.zeros(70_000)}, tmp_path / "stored.bin")
    with (
        zipfile.ZipFile(tmp_path / "stored.bin") as stored,
        zipfile.ZipFile(tmp_path / "m.bin", "w", zipfile.ZIP_DEFLATED) as deflated,
    ):
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    assert "compressed" in refused(tmp_path / "m.bin").message


@pytest.mark.torch
def test_a_shape_beyond_its_storage_is_refused(tmp_path, torch):
    torch.save({"a": torch.zeros(70_000)}, tmp_path / "honest.bin")
    written = {size: b"J" + struct.pack("<i", size) + b"\x85" for size in (70_000, 2**31 - 1)}
    with (
        zipfile.ZipFile(tmp_path / "honest.bin") as honest,
        zipfile.ZipFile(tmp_path / "m.bin", "w") as lying,
    ):
        for name in honest.namelist():
            lying.writestr(name, honest.read(name).replace(*written.values()))
    assert "not resizable" in refused(tmp_path / "m.bin").message


@pytest.mark.torch
@given(noise=st.binary(max_size=100))
def test_noise_is_nothing_but_an_error(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("m") / "m.bin"
    path.write_bytes(noise)
    with pytest.raises(EckartError):
        open_checkpoint(path)


@pytest.mark.torch
def test_a_tensor_that_claims_more_than_the_file_takes_no_memory(tmp_path, torch):
    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "m.bin")
    with pytest.raises(FormatError, match="claims 4000000000000 bytes") as error:
        open_checkpoint(tmp_path / "m.bin")
    assert error.value.code == "damaged-file"


@pytest.mark.torch
@pytest.mark.parametrize(
    "state", [[1, 2], {"a": 1}, {"model": {"a": None}}, {1: None}, {"state_dict": 3}]
)
def test_anything_but_tensors_by_name_is_refused(tmp_path, torch, state):
    torch.save(state, tmp_path / "m.bin")
    with pytest.raises(FormatError) as error:
        open_checkpoint(tmp_path / "m.bin")
    assert error.value.code == "not-weights"


@pytest.mark.torch
def test_what_is_no_plain_array_is_refused(tmp_path, torch):
    for value in (torch.eye(3).to_sparse(), torch.zeros(2, dtype=torch.complex128)):
        torch.save({"a": value}, tmp_path / "m.bin")
        with pytest.raises(FormatError) as error:
            open_checkpoint(tmp_path / "m.bin")
        assert error.value.code == "unsupported-dtype"


@pytest.mark.torch
def test_a_file_that_is_replaced_after_it_was_opened_is_noticed(tmp_path, torch):
    torch.save({"a": torch.zeros(2)}, tmp_path / "m.bin")
    checkpoint = open_checkpoint(tmp_path / "m.bin")
    torch.save({"a": torch.zeros(3)}, tmp_path / "m.bin")
    with pytest.raises(FormatError) as error:
        checkpoint.read("a")
    assert error.value.code == "changed-file"
