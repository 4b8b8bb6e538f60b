"""Files that are read past the system's cache hold what they hold."""

import ctypes
import mmap
import os
from contextlib import closing
from io import FileIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eckart.arrays import FLOAT32, PAGE, own_pages
from eckart.files import npy
from eckart.files.npy import UncachedFile
from eckart.files.registry import open_table
from eckart.matrices import Streamed


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("uncached") / "bytes"
    file.write_bytes(np.random.default_rng(0).bytes(7 * PAGE + 300))
    return file


def dropped(path) -> None:
    """Ask the system to forget the file, where it listens."""
    if not hasattr(os, "posix_fadvise"):
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def kept(path) -> int:
    """How many pages of the file the system has in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        array = np.frombuffer(pages, np.uint8)
        told = (ctypes.c_ubyte * -(-len(array) // PAGE))()
        address, length = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(len(array))
        assert libc.mincore(address, length, told) == 0
        del array
    return sum(one & 1 for one in told)


@given(place=st.integers(0, 8 * PAGE), count=st.integers(1, 2 * PAGE), lead=st.integers(0, 1100))
def test_any_place_is_read_into_any_memory(path, place, count, lead):
    dropped(path)
    file = UncachedFile(path, cached=False)
    target = own_pages((1, count), FLOAT32, 4 * lead)
    for moved in (place, place - place % PAGE + 4 * lead):  # the second begins as memory does
        wanted = path.read_bytes()[moved : moved + target.nbytes]
        dropped(path)
        assert file.fill(target, moved) == len(wanted)
        assert target.tobytes()[: len(wanted)] == wanted
    file.close()


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no way past its cache")
def test_what_is_read_past_the_cache_is_not_kept_in_it(tmp_path):
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (64 * PAGE // 256))
    dropped(large)
    if kept(large):
        pytest.skip("this system keeps every file")
    file, target = UncachedFile(large, cached=False), own_pages((16, PAGE), FLOAT32)
    assert file.fill(target, 0) == target.nbytes
    file.close()
    assert target.tobytes() == large.read_bytes()
    dropped(large)
    file = UncachedFile(large, cached=False)
    file.fill(target, 0)
    if file._straight is None:
        pytest.skip("this disk is not read past the cache")
    assert kept(large) <= npy.SAMPLED_PAGES
    file.close()


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no way past its cache")
def test_what_the_system_keeps_is_read_from_there(path, monkeypatch):
    monkeypatch.setattr(npy, "_opened_straight", Refusing)
    monkeypatch.setattr(UncachedFile, "_read_straight", None)  # which would fail
    path.read_bytes()
    with closing(UncachedFile(path, cached=False)) as file:
        target = own_pages((1, PAGE), FLOAT32)  # four pages
        file.fill(target, PAGE)
    assert target.tobytes() == path.read_bytes()[PAGE : 5 * PAGE]


class Refusing(FileIO):
    """A disk whose blocks are of another size."""

    def readinto(self, buffer):
        del buffer
        raise OSError(22, "Invalid argument")


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no way past its cache")
def test_a_disk_that_refuses_is_read_as_every_other(path, monkeypatch):
    monkeypatch.setattr(npy, "_opened_straight", Refusing)
    dropped(path)
    with closing(UncachedFile(path, cached=False)) as file:
        target = own_pages((1, PAGE), FLOAT32)
        assert file.fill(target, PAGE) == target.nbytes
    assert target.tobytes() == path.read_bytes()[PAGE : 5 * PAGE]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("columns", [7, 1024])
def test_a_matrix_is_the_same_read_past_the_cache(tmp_path, monkeypatch, dtype, columns):
    monkeypatch.setattr(npy, "CACHED_BYTES", 0)
    W = np.random.default_rng(1).standard_normal((900, columns)).astype(dtype)
    np.save(tmp_path / "w.npy", W)
    dropped(tmp_path / "w.npy")
    streamed = Streamed(open_table(tmp_path / "w.npy").source, memory=4_000_000)
    for _ in range(2):
        read = np.concatenate([block.copy() for block in streamed.row_blocks()])
        np.testing.assert_array_equal(read, W.astype(streamed.dtype))


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no way past its cache")
@pytest.mark.parametrize("stored", [np.float32, np.float16])
def test_rows_of_any_dtype_are_read_straight(tmp_path, monkeypatch, stored):
    monkeypatch.setattr(npy, "CACHED_BYTES", 0)
    np.save(tmp_path / "w.npy", np.ones((2000, 1000), stored))
    asked = []

    def has(_file, start, stop):
        asked.append((start, stop))
        return True

    monkeypatch.setattr(UncachedFile, "_has", has)
    streamed = Streamed(open_table(tmp_path / "w.npy").source, memory=8_000_000)
    # only what begins at the same byte of a page in the file and in memory is asked for
    assert sum(1 for _ in streamed.row_blocks()) == len(asked)


def test_blocks_begin_at_the_same_byte_of_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "CACHED_BYTES", 0)
    W = np.ones((1000, 1000), np.float32)
    np.save(tmp_path / "w.npy", W)
    streamed = Streamed(open_table(tmp_path / "w.npy").source, memory=4_000_000)
    assert streamed.height >= 128
    assert streamed.height * W.strides[0] % PAGE == 0
    assert {block.ctypes.data % PAGE for block in streamed.row_blocks()} == {streamed.source.lead}
