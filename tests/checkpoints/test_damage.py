"""Damaged and hostile checkpoints: one sentence, no memory taken, nothing executed."""

import json
import struct
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from checkpoints import (
    FIRST,
    INDEX,
    ONE,
    SECOND,
    TWO,
    refused,
    sharded,
    taking_little,
)
from eckart.checkpoints import open_checkpoint
from eckart.errors import ArgumentError, EckartError, FormatError


def file_of(header: object, data: bytes = b"", path: Path = Path("m.safetensors")) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("keep", [0, 7, 8, 9, 100, -5, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    content = save(ONE)
    (tmp_path / "m.safetensors").write_bytes(content[:keep])
    refused(tmp_path / "m.safetensors")


def test_bytes_after_the_last_tensor_are_refused(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(save(ONE) + b"\0")
    refused(tmp_path / "m.safetensors")


@pytest.mark.parametrize("claimed", [10**12, 2**64 - 1, 100_000_001, 2**63])
def test_a_header_that_claims_more_than_there_is_takes_no_memory(tmp_path, claimed):
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", claimed) + b"{}" * 20)
    assert f"claims {claimed} bytes" in refused(tmp_path / "m.safetensors").message


def test_a_header_beyond_the_limit_of_the_format_is_not_read(tmp_path):
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(200_000_000)
    assert "the format allows 100000000" in refused(path).message


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        (entry(shape=(10**6, 10**6), offsets=(0, 4 * 10**12)), "8 follow the header"),
        (entry(shape=(10**6, 10**6)), "takes 4e+12 bytes, its data_offsets 8"),
        (entry(shape=(2**31, 2**31, 0), offsets=(0, 0)), "claims 2147483648 × 2147483648 × 0"),
        (entry(shape=(2**63, 2), offsets=(0, 8)), "no shape"),
        (entry(shape=(-2, -1)), "no shape"),
        (entry(shape=(2.0,)), "no shape"),
        (entry(shape=(True, 2)), "no shape"),
        (entry(shape=("2",)), "no shape"),
        (entry(shape=None), "no shape"),
        (entry(shape={"2": 2}), "no shape"),
        (entry(shape=(1,) * 65, offsets=(0, 4)), "no shape"),
        (entry(dtype="F33"), "unknown dtype"),
        (entry(dtype=["F32"]), "unknown dtype"),
        (entry(dtype="F4", shape=(3,), offsets=(0, 1)), "takes 1.5 bytes"),
        (entry(offsets=(8, 0)), "data_offsets -8"),
        (entry(offsets=(-8, 0)), "no data_offsets"),
        (entry(offsets=(0,)), "no data_offsets"),
        (entry(offsets=(0, 8, 16)), "no data_offsets"),
        (entry(offsets=(0.0, 8.0)), "no data_offsets"),
        (entry(offsets="08"), "no data_offsets"),
        (entry(offsets=(4, 12)), "leaves a gap"),
        ([], "unknown dtype"),
        (7, "unknown dtype"),
    ],
)
def test_a_tensor_whose_claims_do_not_fit_is_refused(tmp_path, claim, reason):
    path = file_of({"w": claim}, bytes(8), tmp_path / "m.safetensors")
    assert reason in refused(path).message


def test_tensors_that_overlap_are_refused(tmp_path):
    header = {"first": entry(), "second": entry(offsets=(4, 12))}
    path = file_of(header, bytes(12), tmp_path / "m.safetensors")
    assert "'second' overlaps" in refused(path).message


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"[]", "no object"),
        (b"7", "no object"),
        (b"", "Expecting value"),
        (b'{"w"', "delimiter"),
        (b"\xff\xfe", "utf-8"),
        (b'{"w": ' + b"[" * 100_000, "recursion"),
        (b'{"w": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"w": 1, "w": 2}', "'w' twice"),
        (b'{"w": {"dtype": "F32", "dtype": "F16"}}', "'dtype' twice"),
        (b'{"__metadata__": {"format": 1}}', "no object of texts"),
        (b'{"__metadata__": "pt"}', "no object of texts"),
        (b'{"\\u001b[2J": {}}', "cannot be printed"),
        (b'{"\\ud800": {}}', "cannot be printed"),
    ],
)
def test_a_header_that_is_no_header_is_refused(tmp_path, header, reason):
    path = file_of(header, b"", tmp_path / "m.safetensors")
    assert reason in refused(path).message


def test_a_file_without_tensors_is_refused(tmp_path):
    refused(file_of({}, b"", tmp_path / "m.safetensors"), "no-weights")


def test_a_pointer_of_git_lfs_says_what_to_run(tmp_path):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1000\n"
    (tmp_path / "model.safetensors").write_text(text)
    with pytest.raises(FormatError, match="git lfs pull") as error:
        open_checkpoint(tmp_path)
    assert error.value.code == "lfs-pointer"


@given(noise=st.binary(max_size=300))
def test_noise_is_nothing_but_an_error(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("m") / "m.safetensors"
    path.write_bytes(noise)
    with pytest.raises(FormatError):
        open_checkpoint(path)


VALID = save({"b": np.float32([[1, 2], [3, 4]]), "a": np.float16([5, 6])}, {"format": "pt"})


@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
    keep=st.one_of(st.just(len(VALID)), st.integers(0, len(VALID))),
)
def test_an_edited_file_is_read_within_its_size_or_refused(tmp_path_factory, edits, keep):
    content = bytearray(VALID)
    for where, byte in edits:
        content[where] = byte
    path = tmp_path_factory.mktemp("m") / "m.safetensors"
    path.write_bytes(content[:keep])
    with taking_little(), suppress(EckartError):
        checkpoint = open_checkpoint(path)
        for name, told in checkpoint.tensors.items():
            if told.dtype.numpy is not None:
                assert checkpoint.read(name).nbytes == told.nbytes <= keep


WORD = st.sampled_from(["w", "dtype", "shape", "data_offsets", "__metadata__", "F32", "BOOL", ""])
NUMBER = st.one_of(st.integers(-1, 9), st.sampled_from([2**31, 2**63, 10**12, 10**400]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, st.floats(allow_nan=False), WORD),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORD, inner, max_size=4)),
    max_leaves=12,
)
CLAIM = st.fixed_dictionaries(
    {
        "dtype": WORD,
        "shape": st.lists(NUMBER, max_size=3),
        "data_offsets": st.lists(NUMBER, max_size=3),
    }
)


@given(header=st.dictionaries(WORD, st.one_of(JSON, CLAIM), max_size=4), size=st.integers(0, 20))
def test_any_json_is_read_within_its_size_or_refused(tmp_path_factory, header, size):
    path = file_of(header, bytes(size), tmp_path_factory.mktemp("m") / "m.safetensors")
    with suppress(EckartError):
        checkpoint = open_checkpoint(path)
        assert checkpoint.nbytes == size
        assert sum(checkpoint.read(name).nbytes for name in checkpoint.tensors) == size


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        "../x.safetensors",
        "/x.safetensors",
        "a/b.safetensors",
    ],
)
def test_an_index_may_not_name_a_file_elsewhere(tmp_path, name):
    error = refused(sharded(tmp_path, {"a": FIRST, "b": name}), "unsafe-index")
    assert repr(name) in error.message


@pytest.mark.parametrize(
    "name", ["C:x.safetensors", "a\\b.safetensors", "", ".", "config.json", 7, None, ["x"]]
)
def test_an_index_may_name_nothing_but_weights(tmp_path, name):
    refused(sharded(tmp_path, {"a": name}), "unsafe-index")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": [1]}'])
def test_an_index_without_a_map_is_refused(tmp_path, text):
    sharded(tmp_path)
    (tmp_path / INDEX).write_text(text)
    refused(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    (sharded(tmp_path) / SECOND).unlink()
    assert f"{SECOND} is missing" in refused(tmp_path, "missing-shard").message


def test_a_truncated_shard_is_named(tmp_path):
    shard = sharded(tmp_path) / SECOND
    shard.write_bytes(shard.read_bytes()[:-1])
    assert SECOND in refused(tmp_path).message


@pytest.mark.parametrize(
    "weight_map", [{"a": FIRST, "c": SECOND, "d": SECOND}, {"a": SECOND, "c": FIRST}]
)
def test_a_tensor_that_is_not_where_the_index_says_is_an_error(tmp_path, weight_map):
    error = refused(sharded(tmp_path, weight_map), "index-disagrees")
    assert f"is not in {SECOND}" in error.message


@pytest.mark.parametrize("indexed", [True, False])
def test_a_tensor_in_two_files_is_an_error_where_no_index_says_which_is_meant(tmp_path, indexed):
    sharded(tmp_path, {"b": FIRST, "c": SECOND}, ONE, {**TWO, "a": ONE["a"]})
    if not indexed:
        (tmp_path / INDEX).unlink()
    assert FIRST in refused(tmp_path, "duplicate-tensor").message


def test_a_folder_without_weights_is_refused(tmp_path):
    assert "only" not in refused(tmp_path, "no-weights").message
    (tmp_path / "config.json").write_text("{}")
    assert "only config.json" in refused(tmp_path, "no-weights").message


@pytest.mark.parametrize("text", ["", "[]", "{", '"llama"'])
def test_a_damaged_config_is_refused(tmp_path, text):
    save_file(ONE, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    assert "config.json" in refused(tmp_path).message


def test_a_file_that_is_replaced_after_it_was_opened_is_noticed(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(ONE, path)
    checkpoint = open_checkpoint(path)
    save_file(TWO, path)
    with pytest.raises(FormatError) as error:
        checkpoint.read("b")
    assert error.value.code == "changed-file"
    path.unlink()
    with pytest.raises(ArgumentError):
        checkpoint.read("b")


def test_safetensors_are_read_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    save_file(ONE, tmp_path / "model.safetensors")
    assert open_checkpoint(tmp_path).read("a").tolist() == [5, 6]
