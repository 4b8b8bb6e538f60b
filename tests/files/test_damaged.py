"""Damaged, hostile and refused files: one sentence, the right error, nothing half-written."""

import errno
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
from PIL import Image

import eckart
from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError, StorageError
from eckart.files import read_parts, whole_file, write_factors, write_matrices, writing
from eckart.matrices import Dense

W = np.random.default_rng(0).standard_normal((40, 30))
FACTORS = eckart.Factors(W[:, :2], W[:2])


class Bomb:
    """Leaves a trace if anything unpickles it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


def written(path: Path) -> Path:
    if path.suffix in (".png", ".jpg"):
        write_matrices(path, {"": Dense(np.abs(W) * 60)})
    else:
        write_matrices(path, {"": Dense(W)})
    return path


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize(
    "suffix", [".npy", ".npz", ".parquet", ".safetensors", ".png", ".jpg", ".mtx"]
)
def test_a_truncated_file_is_one_clear_error(tmp_path, suffix, keep):
    path = written(tmp_path / f"W{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(EckartError) as error:
        read_parts(path)
    assert error.value.code in ("damaged-file", "empty")
    assert str(path) in error.value.message


@pytest.mark.parametrize(
    "suffix", [".npy", ".npz", ".parquet", ".safetensors", ".png", ".csv", ".mtx"]
)
def test_noise_is_one_clear_error(tmp_path, suffix):
    path = tmp_path / f"W{suffix}"
    path.write_bytes(np.random.default_rng(1).bytes(4000))
    with pytest.raises(EckartError):
        read_parts(path)


def test_a_pickled_npy_is_refused_and_not_executed(tmp_path):
    trace = tmp_path / "trace"
    np.save(tmp_path / "W.npy", np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Bomb(trace)))
    for name in ("W.npy", "plain.npy"):
        with pytest.raises(FormatError, match="pickle") as error:
            read_parts(tmp_path / name)
        assert error.value.code == "pickled"
    assert not trace.exists()


def test_a_pickled_array_inside_an_npz_is_refused_and_not_executed(tmp_path):
    trace = tmp_path / "trace"
    objects = np.empty((1, 1), dtype=object)
    objects[0, 0] = Bomb(trace)
    np.savez(tmp_path / "W.npz", W=objects)
    with pytest.raises(FormatError) as error:
        read_parts(tmp_path / "W.npz")
    assert error.value.code == "pickled"
    assert not trace.exists()


def lying_npy(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + b"\0" * 64


def test_a_header_that_promises_more_than_the_file_holds_takes_no_memory(tmp_path):
    (tmp_path / "W.npy").write_bytes(lying_npy((10**6, 10**6)))
    with zipfile.ZipFile(tmp_path / "W.npz", "w") as archive:
        archive.writestr("W.npy", lying_npy((10**6, 10**6)))
    header = {"w": {"dtype": "F64", "shape": [10**6, 10**6], "data_offsets": [0, 8 * 10**12]}}
    text = json.dumps(header).encode()
    (tmp_path / "W.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    (tmp_path / "W.mtx").write_text(
        "%%MatrixMarket matrix array real general\n1000000 1000000\n1.0\n"
    )
    for name in ("W.npy", "W.npz", "W.safetensors", "W.mtx"):
        with pytest.raises(FormatError) as error:
            read_parts(tmp_path / name)
        assert error.value.code == "damaged-file"


@pytest.mark.parametrize(
    "body",
    [
        "1 1 abc",
        "1 1 2.5 1 2 1.0",
        "1 1 2.5e- 3 3 3",
        "4 1 1.0",
        "0 1 1.0",
        "1.5 1 1.0",
        "1 1 1\n2 2 2",
    ],
)
def test_a_wrong_line_in_a_matrix_market_file_is_an_error_and_no_crash(tmp_path, body):
    head = "%%MatrixMarket matrix coordinate real general\n3 3 1\n"
    (tmp_path / "W.mtx").write_text(head + body + "\n")
    with pytest.raises(FormatError) as error:
        read_parts(tmp_path / "W.mtx")
    assert error.value.code == "damaged-file"


def test_sparse_indices_outside_the_matrix_are_refused(tmp_path):
    stored = scipy.sparse.csr_array(np.eye(4))
    np.savez(
        tmp_path / "W.npz",
        format=b"csr",
        shape=[4, 4],
        data=stored.data,
        indices=stored.indices + 1000,
        indptr=stored.indptr,
    )
    with pytest.raises(FormatError) as error:
        read_parts(tmp_path / "W.npz")
    assert error.value.code == "damaged-file"


def test_an_archive_of_factors_without_one_half_is_no_factors(tmp_path):
    np.savez(tmp_path / "f.npz", B=W)
    with pytest.raises(FormatError, match="A missing") as error:
        eckart.read_factors(tmp_path / "f.npz")
    assert error.value.code == "not-factors"


def test_complex_numbers_are_refused_by_name(tmp_path):
    np.save(tmp_path / "W.npy", W * 1j)
    (tmp_path / "W.mtx").write_text(
        "%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1.0 2.0\n"
    )
    for name in ("W.npy", "W.mtx"):
        with pytest.raises(MatrixError, match="complex") as error:
            read_parts(tmp_path / name)
        assert error.value.code == "complex"


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((2, 2, 2)), np.zeros((0, 3)), np.array(["a"])]
)
def test_what_is_no_matrix_is_refused(tmp_path, array):
    np.save(tmp_path / "W.npy", array)
    with pytest.raises(MatrixError) as error:
        read_parts(tmp_path / "W.npy")
    assert error.value.code in ("not-a-matrix", "empty", "not-numbers")


def test_a_picture_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (40, 40)).save(tmp_path / "p.png")
    with pytest.raises(MatrixError) as error:
        read_parts(tmp_path / "p.png")
    assert error.value.code == "too-large"


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors", "f"])
def test_an_existing_output_is_kept_without_force_and_replaced_with_it(tmp_path, name):
    path = tmp_path / name
    write_factors(path, {"": FACTORS})
    with pytest.raises(ArgumentError) as error:
        write_factors(path, {"": FACTORS.truncate(1)})
    assert error.value.code == "output-exists"
    assert eckart.read_factors(path).rank == 2
    write_factors(path, {"": FACTORS.truncate(1)}, force=True)
    assert eckart.read_factors(path).rank == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors", "f"])
@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EACCES, "no-permission")]
)
def test_a_refused_write_leaves_what_was_there(tmp_path, monkeypatch, name, number, code):
    path = tmp_path / name
    write_factors(path, {"": FACTORS})

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        patch.setattr(Path, "rename", refuse)
        patch.setattr(writing, "exchange", refuse)
        with pytest.raises(StorageError) as error:
            write_factors(path, {"": FACTORS.truncate(1)}, force=True)
    assert error.value.code == code
    assert eckart.read_factors(path).rank == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "W.npy") as temporary:  # noqa: PT012 both lines belong
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_in_one_sentence(tmp_path):
    with pytest.raises(StorageError, match="disk is full") as error, whole_file(tmp_path / "W"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert error.value.code == "disk-full"


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors", "f"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_factors_are_read_back_bit_for_bit_with_their_document(tmp_path, name, dtype):
    parts = {"R": FACTORS.astype(dtype), "G": FACTORS.truncate(1).astype(dtype)}
    write_factors(tmp_path / name, parts, {"source": "σ"})
    from eckart.files import read_factor_file

    file = read_factor_file(tmp_path / name)
    assert file.document == {"source": "σ"}
    assert set(file.parts) == {"R", "G"}
    for part, factors in parts.items():
        assert file.parts[part].dtype == dtype
        np.testing.assert_array_equal(file.parts[part].B, factors.B)
        np.testing.assert_array_equal(file.parts[part].A, factors.A)
    with pytest.raises(MatrixError, match="has 2 parts"):
        eckart.read_factors(tmp_path / name)
    assert eckart.read_factors(tmp_path / name, "G").rank == 1


def test_factors_that_another_program_wrote_are_read(tmp_path):
    np.savez(tmp_path / "f.npz", B=W[:, :2], A=W[:2])
    assert eckart.read_factors(tmp_path / "f.npz").shape == (40, 30)
    table = pa.table({"x": [1.0]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ArgumentError):
        eckart.read_factors(tmp_path / "t.parquet")
