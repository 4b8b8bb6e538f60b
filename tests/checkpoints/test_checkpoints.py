"""Checkpoints: what other programs wrote is read, and other programs read what is written."""

import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from checkpoints import (
    INDEX,
    ONE,
    layout,
    same,
    sharded,
    tensor,
    write,
)
from eckart.checkpoints import CheckpointWriter, SafetensorsDtype, open_checkpoint, quantisation
from eckart.errors import ArgumentError, FormatError, StorageError
from eckart.files import whole_file

DTYPES = [dtype for dtype in SafetensorsDtype if dtype.numpy is not None]
WEIGHTS = [dtype for dtype in DTYPES if dtype.is_weight]
SHAPES = [(), (0,), (3,), (2, 3), (0, 4), (2, 3, 4), (1, 1, 1, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_safetensors_writes_is_read_bit_for_bit(tmp_path, dtype, shape):
    stored = tensor(dtype, shape)
    save_file({"first": stored, "second": tensor(dtype, (3,), seed=1)}, tmp_path / "m.safetensors")
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    told = checkpoint.tensors["first"]
    assert (told.dtype, told.shape, told.nbytes) == (dtype, shape, stored.nbytes)
    again = checkpoint.read("first")
    assert same(again, stored)
    assert again.flags.writeable
    assert again.flags.c_contiguous


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", WEIGHTS)
def test_safetensors_reads_what_is_written(tmp_path, dtype, shape):
    stored = tensor(dtype, shape)
    write(tmp_path / "m.safetensors", {"w": stored})
    with safe_open(tmp_path / "m.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
        assert same(file.get_tensor("w"), stored)


@given(
    names=st.lists(st.text(st.characters(exclude_categories=["C", "Z"])), max_size=6, unique=True),
    seed=st.integers(0, 999),
)
def test_one_file_has_the_bytes_that_safetensors_writes(tmp_path_factory, names, seed):
    folder = tmp_path_factory.mktemp("m")
    generator = np.random.default_rng(seed)
    tensors = {
        name: tensor(DTYPES[generator.integers(len(DTYPES))], SHAPES[generator.integers(7)], seed)
        for name in names
        if name != "__metadata__"
    }
    write(folder / "ours.safetensors", tensors)
    save_file(tensors, folder / "theirs.safetensors", metadata={"format": "pt"})
    assert (folder / "ours.safetensors").read_bytes() == (
        folder / "theirs.safetensors"
    ).read_bytes()


def test_arrays_that_are_not_contiguous_are_written_in_c_order(tmp_path, monkeypatch):
    monkeypatch.setattr("eckart.checkpoints.writer.BLOCK_BYTES", 100)
    W = np.arange(600.0, dtype=np.float32).reshape(20, 30)
    write(tmp_path / "m", {"w": W.T, "v": W[::2, ::-1]})
    checkpoint = open_checkpoint(tmp_path / "m")
    assert same(checkpoint.read("w"), np.ascontiguousarray(W.T))
    assert same(checkpoint.read("v"), np.ascontiguousarray(W[::2, ::-1]))


def test_shards_are_no_larger_than_asked_and_are_read_back(tmp_path):
    tensors = {f"layers.{i}": tensor(SafetensorsDtype.BF16, (4, i), seed=i) for i in range(12)}
    write(tmp_path / "m", tensors, shard_bytes=100)
    files = sorted(path.name for path in (tmp_path / "m").glob("*.safetensors"))
    assert files == [
        f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)
    ]
    index = json.loads((tmp_path / "m" / INDEX).read_text("utf-8"))
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in tensors.values())
    checkpoint = open_checkpoint(tmp_path / "m")
    assert {name: told.file.name for name, told in checkpoint.tensors.items()} == index[
        "weight_map"
    ]
    for name, array in tensors.items():
        assert same(checkpoint.read(name), array)
    held = [
        sum(told.nbytes for told in shard.tensors.values()) for shard in checkpoint.shards.values()
    ]
    assert max(held) <= 100


def test_a_writer_keeps_to_what_was_announced(tmp_path):
    wrong = {"a": np.zeros(3, np.float16), "b": np.zeros((3, 2), np.float32)}
    for name, array in wrong.items():
        with (
            pytest.raises(ValueError, match=rf"{name} is (written out of order|announced as)"),
            whole_file(tmp_path / "m") as temporary,
            CheckpointWriter(temporary, layout(ONE)) as writer,
        ):
            writer.write(name, array)
    with (
        pytest.raises(ValueError, match="not written"),
        whole_file(tmp_path / "m") as temporary,
        CheckpointWriter(temporary, layout(ONE)) as writer,
    ):
        writer.write("b", ONE["b"])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    tensors = {"w": np.zeros(10**6)}
    path = tmp_path / "m.safetensors"
    with pytest.raises(StorageError) as error, whole_file(path) as temporary:  # noqa: PT012 the lines belong
        temporary.symlink_to("/dev/full")
        with CheckpointWriter(temporary, layout(tensors)) as writer:
            writer.write("w", tensors["w"])
    assert error.value.code == "disk-full"
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_says_what_it_holds(tmp_path):
    folder = sharded(tmp_path / "m")
    (folder / "config.json").write_text('{"model_type": "llama", "limit": Infinity}')
    checkpoint = open_checkpoint(folder)
    assert list(checkpoint.tensors) == ["b", "a", "c"]
    assert checkpoint.nbytes == 24
    assert checkpoint.largest().name == "b"
    assert checkpoint.config["model_type"] == "llama"
    with pytest.raises(FormatError, match="no tensor 'd'"):
        checkpoint.read("d")


def test_a_single_file_and_shards_without_an_index_are_read(tmp_path):
    folder = sharded(tmp_path / "m")
    assert list(open_checkpoint(folder / "model-00002-of-00002.safetensors").tensors) == ["c"]
    (folder / INDEX).unlink()
    assert list(open_checkpoint(folder).tensors) == ["b", "a", "c"]


def test_the_file_that_transformers_loads_is_the_one_that_is_read(tmp_path):
    folder = sharded(tmp_path / "m")
    save_file({"whole": ONE["b"]}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    assert list(open_checkpoint(folder).tensors) == ["whole"]
    assert open_checkpoint(folder / "model.safetensors").config == {"model_type": "bert"}


def test_an_index_of_another_name_is_found(tmp_path):
    folder = sharded(tmp_path / "m")
    (folder / INDEX).rename(folder / "diffusion_pytorch_model.safetensors.index.json")
    (folder / "._model.safetensors").write_bytes(b"a trace of macOS")
    assert open_checkpoint(folder).nbytes == 24


def test_files_may_be_links_as_in_the_cache_of_the_hub(tmp_path):
    blobs = sharded(tmp_path / "blobs")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    for blob in blobs.iterdir():
        (folder / blob.name).symlink_to(Path("..") / "blobs" / blob.name)
    assert same(open_checkpoint(folder).read("a"), ONE["a"])


def test_a_tensor_that_the_index_does_not_name_is_read_as_its_loaders_do(tmp_path):
    folder = sharded(tmp_path / "m")
    index = json.loads((folder / INDEX).read_text())
    del index["weight_map"]["a"]
    (folder / INDEX).write_text(json.dumps(index))
    assert "a" in open_checkpoint(folder).tensors


def test_many_threads_may_read(tmp_path):
    tensors = {f"{i}": tensor(SafetensorsDtype.BF16, (100, 100), seed=i) for i in range(20)}
    save_file(tensors, tmp_path / "m.safetensors")
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(checkpoint.read, [*tensors] * 3))
    assert all(same(*pair) for pair in zip(read, [*tensors.values()] * 3, strict=True))


def test_a_fingerprint_is_that_of_a_copy_and_not_that_of_an_edit(tmp_path):
    tensors = {
        "a": np.ones((300, 100), np.float32),
        "norm": np.ones(8, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    edits = {name: {**tensors, name: array + 1} for name, array in tensors.items() if array.size}
    prints = []
    for i, content in enumerate([tensors, tensors, *edits.values()]):
        folder = tmp_path / f"{i}"
        write(folder, content)
        (folder / "config.json").write_text('{"vocab_size": 3}')
        prints.append(open_checkpoint(folder).fingerprint())
    assert set(prints[0]) == {"model.safetensors", "config.json"}
    assert prints[0] == prints[1]
    assert len({tuple(found.values()) for found in prints}) == 3
    (tmp_path / "0" / "config.json").write_text('{"vocab_size": 4}')
    assert open_checkpoint(tmp_path / "0").fingerprint() != prints[0]


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({}, None),
        ({"quantization_config": None}, None),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "GPTQ"),
        ({"quantization_config": {"quant_method": "fbgemm_fp8"}}, "fp8"),
        ({"quantization_config": {"quant_method": "quark"}}, "quark"),
        ({"quantization_config": {"load_in_8bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"bits": 4}}, "an unnamed method"),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "AWQ"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "MLX"),
        ({"quantization": "none"}, None),
    ],
)
def test_a_config_says_how_weights_are_quantised(tmp_path, config, method):
    save_file(ONE, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert quantisation(open_checkpoint(tmp_path)) == method


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["weight", "scales", "absmax_"], None),
        (["qweight", "qzeros", "scales", "g_idx"], "GPTQ"),
        (["qweight", "qzeros", "scales"], "AWQ"),
        (["weight", "weight.absmax", "weight.quant_map"], "bitsandbytes"),
        (["weight", "weight.quant_state.bitsandbytes__nf4"], "bitsandbytes"),
        (["weight", "SCB"], "bitsandbytes"),
        (["weight", "weight_scale_inv"], "fp8"),
        (["weight_packed", "weight_scale", "weight_shape"], "compressed-tensors"),
    ],
)
def test_names_tell_how_weights_are_quantised(tmp_path, words, method):
    tensors = {f"layers.0.q_proj.{word}": np.zeros(2, np.uint8) for word in words}
    save_file(tensors, tmp_path / "model.safetensors")
    assert quantisation(open_checkpoint(tmp_path)) == method


@pytest.mark.parametrize(
    ("dtype", "shape", "method"),
    [
        ("F8_E4M3", (4, 2), "fp8"),
        ("F8_E5M2", (8,), "fp8"),
        ("F4", (4, 4), "MX"),
        ("U8", (8,), None),
    ],
)
def test_narrow_dtypes_are_listed_and_not_read(tmp_path, dtype, shape, method):
    claim = {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, 8]}}
    text = json.dumps(claim).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    assert checkpoint.tensors["w"].dtype == dtype
    assert quantisation(checkpoint) == method
    if method is None:
        assert same(checkpoint.read("w"), np.zeros(8, np.uint8))
    else:
        with pytest.raises(FormatError, match=f"is {dtype}, which") as error:
            checkpoint.read("w")
        assert error.value.code == "unsupported-dtype"


def test_what_is_no_checkpoint_is_an_argument_error(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for path, code in (("meta-llama/Llama-3", "no-such-file"), ("model.gguf", "unknown-suffix")):
        with pytest.raises(ArgumentError) as error:
            open_checkpoint(tmp_path / path)
        assert error.value.code == code


@pytest.mark.torch
def test_transformers_loads_what_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import torch
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=64,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "theirs")
    theirs = open_checkpoint(tmp_path / "theirs")
    tensors = {name: theirs.read(name) for name in theirs.tensors}
    assert theirs.tensors["lm_head.weight"].dtype is SafetensorsDtype.BF16
    write(tmp_path / "ours", tensors, shard_bytes=4000)
    config.save_pretrained(tmp_path / "ours")
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "ours")
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 2
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)
    single = tmp_path / "theirs" / "model.safetensors"
    write(tmp_path / "single.safetensors", tensors)
    assert (tmp_path / "single.safetensors").read_bytes() == single.read_bytes()
