"""Every matrix format: what is written is read back, and foreign files are read right."""

import gzip
import json
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import eckart
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.files import Selection, read_parts, write_matrices
from eckart.matrices import Dense, Sparse
from eckart.matrices.derived import dense

W = np.array([[1.5, -2.0, 3e-300], [0.1, 1 / 3, 1e30]])


def read(path: Path, **selection: object) -> np.ndarray:
    return dense(read_parts(path, Selection(**selection)).parts[0].matrix)


@pytest.mark.parametrize(
    "suffix", [".npy", ".npz", ".csv", ".tsv", ".mtx", ".safetensors", ".parquet"]
)
def test_a_written_matrix_is_read_back_bit_for_bit(tmp_path, suffix):
    path = tmp_path / f"W{suffix}"
    write_matrices(path, {"": Dense(W)})
    again = read(path, **({"header": False} if suffix in (".csv", ".tsv") else {}))
    assert again.dtype == W.dtype
    np.testing.assert_array_equal(again, W)


@settings(max_examples=25)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 99))
def test_csv_keeps_every_digit(tmp_path_factory, rows, columns, seed):
    path = tmp_path_factory.mktemp("csv") / "W.csv"
    values = np.random.default_rng(seed).standard_normal((rows, columns)) * 10.0**seed
    write_matrices(path, {"": Dense(values)})
    np.testing.assert_array_equal(read(path, header=False, index=False), values)


def test_npy_is_mapped_and_not_copied(tmp_path):
    np.save(tmp_path / "W.npy", W)
    matrix = eckart.read_matrix(tmp_path / "W.npy")
    assert isinstance(matrix, Dense)
    assert isinstance(matrix.array.base, np.memmap)


def test_fortran_order_and_big_endian_npy_are_read_right(tmp_path):
    np.save(tmp_path / "W.npy", np.asfortranarray(W.astype(">f8")))
    np.testing.assert_array_equal(read(tmp_path / "W.npy"), W)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_npz_of_scipy_stays_sparse(tmp_path, kind):
    stored = scipy.sparse.random_array((30, 20), density=0.1, rng=0, format="coo")
    scipy.sparse.save_npz(tmp_path / "W.npz", stored.asformat(kind))
    matrix = eckart.read_matrix(tmp_path / "W.npz")
    assert isinstance(matrix, Sparse)
    np.testing.assert_array_equal(dense(matrix), stored.toarray())


def test_npz_with_several_arrays_wants_a_name(tmp_path):
    np.savez(tmp_path / "W.npz", first=W, second=2 * W, note=np.zeros(3))
    np.testing.assert_array_equal(read(tmp_path / "W.npz", tensor="second"), 2 * W)
    with pytest.raises(FormatError, match="first 2×3, second 2×3") as error:
        read(tmp_path / "W.npz")
    assert error.value.code == "tensor-not-chosen"
    with pytest.raises(FormatError, match="no tensor 'third'") as error:
        read(tmp_path / "W.npz", tensor="third")
    assert error.value.code == "no-such-tensor"


def test_what_an_npz_holds_beside_a_matrix_does_not_hide_it(tmp_path):
    beside = {"objects": np.array([[1, "x"]], object), "words": np.array([["x", "y"]])}
    np.savez(tmp_path / "W.npz", W=W, **beside)
    with zipfile.ZipFile(tmp_path / "W.npz", "a") as archive:
        archive.writestr("read.me", "by hand")
    np.testing.assert_array_equal(read(tmp_path / "W.npz"), W)
    with pytest.raises(FormatError, match="pickled"):
        read(tmp_path / "W.npz", tensor="objects")


@pytest.mark.parametrize("name", ["W.mtx", "W.mtx.gz"])
def test_matrix_market_coordinate_files_stay_sparse(tmp_path, name):
    stored = scipy.sparse.random_array((8, 6), density=0.3, rng=1)
    opener = gzip.open if name.endswith("gz") else open
    with opener(tmp_path / name, "wb") as file:
        scipy.io.mmwrite(file, stored)
    matrix = eckart.read_matrix(tmp_path / name)
    assert isinstance(matrix, Sparse)
    np.testing.assert_allclose(dense(matrix), stored.toarray(), rtol=1e-14)


@pytest.mark.parametrize("symmetry", ["symmetric", "skew-symmetric"])
@pytest.mark.parametrize("sparse", [True, False])
def test_matrix_market_symmetries_are_filled_in(tmp_path, symmetry, sparse):
    values = np.random.default_rng(2).integers(-9, 9, (5, 5)).astype(float)
    whole = values + values.T if symmetry == "symmetric" else values - values.T
    stored = scipy.sparse.coo_array(whole) if sparse else whole
    scipy.io.mmwrite(tmp_path / "W.mtx", stored, symmetry=symmetry)
    assert symmetry in (tmp_path / "W.mtx").read_text().splitlines()[0]
    np.testing.assert_array_equal(read(tmp_path / "W.mtx"), whole)


def test_symmetric_and_pattern_matrix_market_files_are_filled_in(tmp_path):
    (tmp_path / "W.mtx").write_text(
        "%%MatrixMarket matrix coordinate pattern symmetric\n3 3 2\n2 1\n3 3\n"
    )
    expected = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(read(tmp_path / "W.mtx"), expected)


@pytest.mark.parametrize(
    ("tag", "dtype", "works_in"),
    [
        ("F16", np.float16, np.float32),
        ("BF16", ml_dtypes.bfloat16, np.float32),
        ("F32", np.float32, np.float32),
        ("F64", np.float64, np.float64),
    ],
)
def test_safetensors_of_every_float_type_are_read(tmp_path, tag, dtype, works_in):
    values = np.array([[1.0, 2.5], [-3.0, 0.125], [7.0, 8.0]]).astype(dtype)
    header = {"w": {"dtype": tag, "shape": [3, 2], "data_offsets": [0, values.nbytes]}}
    text = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + values.tobytes())
    matrix = eckart.read_matrix(tmp_path / "m.safetensors")
    assert matrix.dtype == works_in
    assert matrix.nbytes == values.nbytes
    np.testing.assert_array_equal(dense(matrix), values.astype(works_in))


class TestTables:
    def test_a_plain_table_has_no_header_and_no_index(self, tmp_path):
        (tmp_path / "W.csv").write_text("1,2\n3,4\n")
        contents = read_parts(tmp_path / "W.csv")
        assert contents.notes == ()
        np.testing.assert_array_equal(dense(contents.parts[0].matrix), [[1, 2], [3, 4]])

    def test_a_first_row_with_a_word_is_a_header_and_said(self, tmp_path):
        (tmp_path / "W.csv").write_text("height,width\n1,2\n3,4\n")
        contents = read_parts(tmp_path / "W.csv")
        assert contents.parts[0].matrix.shape == (2, 2)
        assert "first row is taken as a header (height, width" in contents.notes[0]

    def test_a_first_column_of_words_is_an_index_and_said(self, tmp_path):
        (tmp_path / "W.csv").write_text("name,x,y\nann,1,2\nbob,3,4\n")
        contents = read_parts(tmp_path / "W.csv")
        np.testing.assert_array_equal(dense(contents.parts[0].matrix), [[1, 2], [3, 4]])
        assert any("first column is taken as an index" in note for note in contents.notes)

    def test_a_first_column_with_an_empty_header_is_an_index_though_it_holds_numbers(
        self, tmp_path
    ):
        pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["x", "y"]).to_csv(tmp_path / "W.csv")
        np.testing.assert_array_equal(read(tmp_path / "W.csv"), [[1, 2], [3, 4]])

    def test_what_is_a_header_and_an_index_can_be_told(self, tmp_path):
        (tmp_path / "W.csv").write_text("7,8\n1,2\n3,4\n")
        np.testing.assert_array_equal(read(tmp_path / "W.csv", header=True), [[1, 2], [3, 4]])
        np.testing.assert_array_equal(read(tmp_path / "W.csv", index=True), [[8], [2], [4]])
        (tmp_path / "V.csv").write_text("a,8\nb,2\n")
        np.testing.assert_array_equal(read(tmp_path / "V.csv", header=False), [[8], [2]])

    def test_columns_are_chosen_by_name_in_the_given_order(self, tmp_path):
        (tmp_path / "W.csv").write_text("name,x,y\nann,1,2\nbob,3,4\n")
        np.testing.assert_array_equal(
            read(tmp_path / "W.csv", columns=("y", "x")), [[2, 1], [4, 3]]
        )
        with pytest.raises(MatrixError, match="no column 'z'") as error:
            read(tmp_path / "W.csv", columns=("z",))
        assert error.value.code == "no-such-column"

    def test_the_line_and_column_of_text_in_a_number_column_are_named(self, tmp_path):
        (tmp_path / "W.csv").write_text("x,y\n1,2\n\n3,tall\n")
        with pytest.raises(MatrixError, match=r"line 4, column 2 \('y'\): 'tall'") as error:
            read(tmp_path / "W.csv")
        assert error.value.code == "not-numbers"

    def test_a_ragged_row_is_named_by_its_line(self, tmp_path):
        (tmp_path / "W.csv").write_text("1,2\n3\n")
        with pytest.raises(FormatError, match="line 2: 1 cells where the first row has 2") as error:
            read(tmp_path / "W.csv")
        assert error.value.code == "ragged"

    @pytest.mark.parametrize("text", ["", "\n\n", "x,y\n"])
    def test_an_empty_table_is_refused(self, tmp_path, text):
        (tmp_path / "W.csv").write_text(text)
        with pytest.raises(MatrixError) as error:
            read(tmp_path / "W.csv")
        assert error.value.code == "empty"

    def test_a_byte_order_mark_is_no_part_of_the_first_number(self, tmp_path):
        (tmp_path / "W.csv").write_bytes(b"\xef\xbb\xbf1,2\r\n3,4\r\n")
        np.testing.assert_array_equal(read(tmp_path / "W.csv"), [[1, 2], [3, 4]])

    def test_a_missing_value_becomes_nan_for_the_check_to_find(self, tmp_path):
        (tmp_path / "W.csv").write_text("1,\n3,NA\n")
        assert np.isnan(read(tmp_path / "W.csv")[:, 1]).all()

    def test_parquet_leaves_out_the_index_that_pandas_wrote(self, tmp_path):
        frame = pd.DataFrame({"x": [1.0, 3.0], "y": [2.0, 4.0]}, index=["ann", "bob"])
        frame.to_parquet(tmp_path / "W.parquet")
        np.testing.assert_array_equal(read(tmp_path / "W.parquet"), [[1, 2], [3, 4]])

    def test_parquet_text_columns_are_named(self, tmp_path):
        frame = pd.DataFrame({"x": [1.0], "kind": ["a"], "y": [2.0]})
        frame.to_parquet(tmp_path / "W.parquet")
        with pytest.raises(MatrixError, match="kind"):
            read(tmp_path / "W.parquet")
        np.testing.assert_array_equal(read(tmp_path / "W.parquet", columns=("y", "x")), [[2, 1]])


class TestPictures:
    def test_a_colour_picture_has_a_part_per_channel_and_comes_back(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "p.png")
        parts = {part.name: part.matrix for part in read_parts(tmp_path / "p.png").parts}
        assert list(parts) == ["R", "G", "B"]
        assert parts["R"].dtype == np.float32
        assert sum(matrix.nbytes for matrix in parts.values()) == pixels.nbytes
        write_matrices(tmp_path / "q.png", parts)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "q.png")), pixels)

    @pytest.mark.parametrize(
        ("mode", "count"), [("L", 1), ("RGBA", 4), ("P", 3), ("1", 1), ("CMYK", 3)]
    )
    def test_every_kind_of_picture_is_read(self, tmp_path, mode, count):
        suffix = ".jpg" if mode == "CMYK" else ".png"
        Image.new(mode, (5, 4)).save(tmp_path / f"p{suffix}")
        parts = read_parts(tmp_path / f"p{suffix}").parts
        assert [part.matrix.shape for part in parts] == [(4, 5)] * count

    def test_sixteen_bit_grey_keeps_its_range(self, tmp_path):
        pixels = np.array([[0, 65535], [1234, 256]], dtype=np.uint16)
        Image.fromarray(pixels).save(tmp_path / "p.png")
        parts = {part.name: part.matrix for part in read_parts(tmp_path / "p.png").parts}
        np.testing.assert_array_equal(dense(parts[""]), pixels)
        write_matrices(tmp_path / "q.png", parts)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "q.png")), pixels)

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_a_colour_that_is_said_to_be_clear_is(self, tmp_path, mode):
        clear = (1, 2, 3) if mode == "RGB" else 7
        Image.new(mode, (5, 4), clear).save(tmp_path / "p.png", transparency=clear)
        parts = {part.name: part.matrix for part in read_parts(tmp_path / "p.png").parts}
        assert list(parts) == ["R", "G", "B", "alpha"]
        assert not dense(parts["alpha"]).any()

    def test_only_the_first_frame_of_several_is_read_and_that_is_said(self, tmp_path):
        frames = [Image.new("L", (5, 4), value) for value in (7, 9)]
        frames[0].save(tmp_path / "p.png", save_all=True, append_images=frames[1:])
        contents = read_parts(tmp_path / "p.png")
        assert contents.notes == ("The picture has 2 frames, of which the first is read.",)
        assert (dense(contents.parts[0].matrix) == 7).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_pixels_of_32_bits_are_refused(self, tmp_path, dtype):
        Image.fromarray(np.full((3, 3), 0.5 if dtype == np.float32 else 70_000, dtype)).save(
            tmp_path / "p.tiff"
        )
        with pytest.raises(MatrixError, match="32 bits") as error:
            read_parts((tmp_path / "p.tiff").rename(tmp_path / "p.png"))
        assert error.value.code == "too-deep"

    def test_values_outside_the_range_are_clipped(self, tmp_path):
        write_matrices(tmp_path / "p.png", {"": Dense([[-7.0, 300.0, 99.6]])})
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "p.png")), [[0, 255, 100]])


def test_an_unknown_suffix_names_the_nearest(tmp_path):
    (tmp_path / "W.cvs").write_text("1,2\n")
    with pytest.raises(ArgumentError, match=r"Did you mean \.csv\?") as error:
        read(tmp_path / "W.cvs")
    assert error.value.code == "unknown-suffix"


@pytest.mark.parametrize(
    ("suffix", "hint"),
    [(".txt", "call it .csv"), (".csv.gz", "Unpack it"), (".h5", "eckart reduce reads it"),
     (".xlsx", "Save its sheet"), (".pkl", "Known are"), (".feather", "Known are")],
)  # fmt: skip
def test_the_hint_for_a_file_of_another_kind_is_of_use(tmp_path, suffix, hint):
    (tmp_path / f"W{suffix}").write_text("1,2\n")
    with pytest.raises(ArgumentError) as error:
        read(tmp_path / f"W{suffix}")
    assert hint in error.value.hint


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "matrix.csv").write_text("1,2\n")
    with pytest.raises(ArgumentError, match=r"Did you mean .*matrix\.csv\?"):
        read(tmp_path / "matirx.csv")


def test_a_selection_that_means_nothing_for_the_format_is_refused(tmp_path):
    np.save(tmp_path / "W.npy", W)
    with pytest.raises(ArgumentError, match="`tensor` means nothing"):
        read(tmp_path / "W.npy", tensor="w")
