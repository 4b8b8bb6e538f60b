"""HDF5, AnnData and Zarr: every layout that their writers make, the matrix that was asked for."""

import json
import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.sparse
import zarr

from eckart.errors import ArgumentError, EckartError, FormatError, MatrixError
from eckart.files.records import Selection
from eckart.files.registry import open_table
from eckart.matrices import Streamed
from eckart.matrices.derived import dense

X = np.arange(12.0).reshape(4, 3) % 5
COUNTS = 7 - X
GENES = ("g0", "g1", "ü2")


def read(path, tensor=None):
    table = open_table(path, Selection(tensor=tensor))
    return dense(Streamed(table.source, memory=10**8)), table.names


def hdf5(path, **members):
    """A file of datasets, groups (dictionaries) and sparse matrices, by name."""
    with h5py.File(path, "w") as file:
        fill(file, members)
    return path


def fill(group, members):
    for name, value in members.items():
        if isinstance(value, dict):
            fill(group.create_group(name), value)
        elif scipy.sparse.issparse(value):
            part = group.create_group(name)
            part.attrs["encoding-type"] = f"{value.format}_matrix"
            part.attrs["shape"] = value.shape
            fill(part, {key: getattr(value, key) for key in ("data", "indices", "indptr")})
        elif isinstance(value, h5py.SoftLink | h5py.ExternalLink):
            group[name] = value
        else:
            make = getattr(group, "create_array", None) or group.create_dataset
            make(name, data=value)


def text(names):
    return np.array([name.encode() for name in names], dtype=object)


def annotated(path, var=None, **members):
    index = {"_index": text(GENES)} if var is None else var
    return hdf5(path, obs={}, var=index, **members)


STORED = scipy.sparse.csr_array(X)


@pytest.mark.parametrize("kind", ["dense", "csr", "csc"])
def test_x_of_an_anndata_and_its_genes(tmp_path, kind):
    stored = {"dense": X, "csr": STORED, "csc": STORED.tocsc()}[kind]
    rows, names = read(annotated(tmp_path / "a.h5ad", X=stored))
    np.testing.assert_array_equal(rows, X)
    assert names == GENES


@pytest.mark.parametrize("layer", [COUNTS, scipy.sparse.csr_array(COUNTS)])
@pytest.mark.parametrize("name", ["layers/counts", "/layers/counts"])
def test_a_layer_is_read_where_it_is_named(tmp_path, layer, name):
    path = annotated(tmp_path / "a.h5ad", X=X, layers={"counts": layer}, obsm={"pca": X[:, :2]})
    rows, names = read(path, name)
    np.testing.assert_array_equal(rows, COUNTS)
    assert names == GENES
    rows, names = read(path, "obsm/pca")
    np.testing.assert_array_equal(rows, X[:, :2])
    assert names is None


def test_raw_has_genes_of_its_own(tmp_path):
    raw = {"X": COUNTS, "var": {"_index": text("abc")}}
    assert read(annotated(tmp_path / "a.h5ad", X=X, raw=raw), "raw/X")[1] == ("a", "b", "c")


@pytest.mark.parametrize("suffix", ["h5ad", "h5", "zarr"])
def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "zarr":
        fill(zarr.open_group(path, mode="w"), {"X": X, "layers": {"counts": COUNTS}})
    else:
        hdf5(path, X=X, layers={"counts": COUNTS})
    with pytest.raises(FormatError, match=r"no matrix 'nonsense'.*X, layers/counts") as error:
        read(path, "nonsense")
    assert error.value.code == "no-such-tensor"
    np.testing.assert_array_equal(read(path)[0], X)  # the only one that is in no group
    np.testing.assert_array_equal(read(path, "layers/counts")[0], COUNTS)


def test_a_name_for_what_is_one_array_is_refused(tmp_path):
    zarr.save_array(tmp_path / "a.zarr", X)
    with pytest.raises(FormatError, match="it is one array"):
        read(tmp_path / "a.zarr", "x")


@pytest.mark.parametrize(
    ("suffix", "option"),
    [("csv", "tensor"), ("tsv", "tensor"), ("parquet", "tensor"), ("npy", "tensor"),
     ("parquet", "header"), ("npy", "header"), ("h5", "header"), ("zarr", "header"),
     ("npy", "index"), ("h5ad", "index")],
)  # fmt: skip
def test_what_means_nothing_for_a_kind_of_file_is_refused(tmp_path, suffix, option):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"1,2\n3,4\n")
    with pytest.raises(ArgumentError, match="means nothing") as error:
        open_table(path, Selection(**{option: "x" if option == "tensor" else False}))
    assert error.value.code == "option-does-not-apply"


def records(fields):
    return np.array([(name.encode(), 1) for name in GENES], dtype=[(fields, "S5"), ("n", "i8")])


@pytest.mark.parametrize(
    "var",
    [
        records("index"),
        records("_index"),
        {"_index": {"codes": np.array([0, 1, 2], "i1"), "categories": text(GENES)}},
        {"_index": {"codes": np.array([2, 1, 0], "i1"), "categories": text(GENES[::-1])}},
        {"_index": {"values": text(GENES), "mask": np.zeros(3, bool)}},
    ],
)
def test_genes_are_named_however_the_file_keeps_them(tmp_path, var):
    assert read(annotated(tmp_path / "a.h5ad", var=var, X=X))[1] == GENES


@pytest.mark.parametrize("var", [records("other"), {}, {"_index": text("ab")}, {"_index": {}}])
def test_genes_without_names_are_numbered(tmp_path, var):
    rows, names = read(annotated(tmp_path / "a.h5ad", var=var, X=X))
    np.testing.assert_array_equal(rows, X)
    assert names is None


def test_an_anndata_without_x_says_what_can_be_named(tmp_path):
    path = annotated(tmp_path / "a.h5ad", layers={"counts": COUNTS})
    with pytest.raises(FormatError, match=r"no X.*layers/counts"):
        read(path)
    np.testing.assert_array_equal(read(path, "layers/counts")[0], COUNTS)


def test_an_anndata_in_zarr_is_read_too(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.attrs["encoding-type"] = "anndata"
    for name in ("obs", "var", "layers"):
        group.create_group(name)
    fill(group, {"X": STORED})
    fill(group["layers"], {"counts": COUNTS})
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")[0], X)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr", "layers/counts")[0], COUNTS)


def test_what_lies_beside_a_matrix_does_not_hide_it(tmp_path):
    path = hdf5(
        tmp_path / "a.h5",
        W=X,
        nowhere=h5py.SoftLink("/nowhere"),
        elsewhere=h5py.ExternalLink("missing.h5", "/x"),
        scalar=1.0,
        row=np.ones(3),
        cube=np.ones((2, 2, 2)),
        words=np.array([[b"a", b"b"]]),
        records=np.zeros((2, 2), dtype=[("a", "f8")]),
        nothing=h5py.Empty("f8"),
    )
    with h5py.File(path, "a") as file:
        file["group/again"] = file["/"]  # a circle
    np.testing.assert_array_equal(read(path)[0], X)


@pytest.mark.parametrize("shape", [(5, 0), (0, 5)])
def test_an_empty_matrix_is_refused(tmp_path, shape):
    with pytest.raises(MatrixError, match="is empty") as error:
        read(hdf5(tmp_path / "a.h5", W=np.zeros(shape)))
    assert error.value.code == "empty"


@pytest.mark.parametrize("members", [{}, {"W": h5py.Empty("f8")}, {"W": np.ones(3)}])
def test_a_file_without_a_matrix_says_so(tmp_path, members):
    with pytest.raises(FormatError, match="holds no matri"):
        read(hdf5(tmp_path / "a.h5", **members))


def test_matrices_in_groups_are_found_and_listed(tmp_path):
    assert read(hdf5(tmp_path / "one.h5", g={"x": X}))[0].shape == X.shape
    two = hdf5(tmp_path / "two.h5", g={"x": X, "h": {"y": COUNTS}})
    with pytest.raises(FormatError, match=r"2 matrices.*g/h/y, g/x"):
        read(two)
    np.testing.assert_array_equal(read(two, "g/h/y")[0], COUNTS)


def test_sparse_matrices_of_matlab_and_of_10x_genomics(tmp_path):
    by_columns = STORED.tocsc()
    matlab = hdf5(
        tmp_path / "m.h5",
        S={"data": by_columns.data, "ir": by_columns.indices, "jc": by_columns.indptr},
    )
    with h5py.File(matlab, "a") as file:
        file["S"].attrs["MATLAB_sparse"] = np.uint64(4)
    np.testing.assert_array_equal(read(matlab)[0], X)
    parts = {key: getattr(by_columns, key) for key in ("data", "indices", "indptr")}
    genomics = hdf5(tmp_path / "x.h5", matrix={**parts, "shape": np.array([4, 3])})
    np.testing.assert_array_equal(read(genomics)[0], X)


@pytest.mark.parametrize("suffix", ["h5", "zarr"])
def test_packed_integers_are_decoded_as_netcdf_says(tmp_path, suffix):
    path, packed = tmp_path / f"a.{suffix}", np.array([[0, 10, -99], [20, -99, 5]], "i2")
    if suffix == "h5":
        hdf5(path, W=packed)
        file = h5py.File(path, "a")
        attributes = file["W"].attrs
    else:
        file = zarr.open_group(path, mode="w")
        file.create_array("W", data=packed)
        attributes = file["W"].attrs
    attributes.update({"scale_factor": 0.5, "add_offset": 100.0, "_FillValue": -99})
    if suffix == "h5":
        file.close()
    expected = [[100.0, 105.0, np.nan], [110.0, np.nan, 102.5]]
    np.testing.assert_array_equal(read(path)[0], expected)


@pytest.mark.parametrize("dtype", ["?", "u1", "<i4", ">f4", "f2", "f4", ">f8"])
def test_every_kind_of_number_is_read(tmp_path, dtype):
    stored = (X > 2 if dtype == "?" else X).astype(dtype)
    np.testing.assert_array_equal(read(hdf5(tmp_path / "a.h5", W=stored))[0], stored)


@pytest.mark.parametrize(
    "wrong",
    [
        {"indices": np.array([0, 99])},
        {"indices": np.array([0, -1])},
        {"indptr": np.array([0, 2, 1, 2, 2])},
        {"indptr": np.array([0, 2])},
        {"indptr": np.array([0, 1, 2, 2, 99])},
        {"data": np.ones(1)},
    ],
)
@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_places_outside_of_a_sparse_matrix_are_an_error_and_no_crash(tmp_path, wrong, kind):
    parts = {"data": np.ones(2), "indices": np.array([0, 1]), "indptr": np.array([0, 1, 2, 2, 2])}
    path = hdf5(tmp_path / "a.h5", W={**parts, **wrong})
    with h5py.File(path, "a") as file:
        file["W"].attrs.update({"encoding-type": f"{kind}_matrix", "shape": (4, 4)})
    with pytest.raises(EckartError):
        read(path)


def marked(path, stored, name="W", **attributes):
    """A file of one dataset with attributes."""
    hdf5(path, **{name: stored})
    with h5py.File(path, "a") as file:
        file[name].attrs.update(attributes)
    return path


@pytest.mark.parametrize("chunks", [None, (2, 2)])
def test_matlab_stores_columns_first(tmp_path, chunks):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("A", data=X.T, chunks=chunks).attrs["MATLAB_class"] = np.bytes_(
            "double"
        )
        file["name"] = np.array([[97], [98]], "u2")
        file["name"].attrs["MATLAB_class"] = np.bytes_("char")
        file["none"] = np.zeros((2, 2))
        file["none"].attrs.update({"MATLAB_class": np.bytes_("double"), "MATLAB_empty": 1})
    np.testing.assert_array_equal(read(path)[0], X)


def test_cells_of_10x_genomics_are_columns_where_the_shape_does_not_tell(tmp_path):
    square = np.triu(np.arange(16.0).reshape(4, 4))
    stored = scipy.sparse.csc_array(square)
    parts = {key: getattr(stored, key) for key in ("data", "indices", "indptr")}
    path = hdf5(
        tmp_path / "x.h5", matrix={**parts, "shape": np.array([4, 4]), "barcodes": text("abcd")}
    )
    np.testing.assert_array_equal(read(path)[0], square)


SIGNED = np.array([[1, 2], [-1, 4]], "i1")


@pytest.mark.parametrize(
    ("stored", "attributes", "expected"),
    [
        (SIGNED, {"_Unsigned": "true"}, [[1, 2], [255, 4]]),
        (SIGNED, {"_Unsigned": "true", "scale_factor": 0.5, "_FillValue": np.int8(-1)},
         [[0.5, 1], [np.nan, 2]]),
        (SIGNED.view("u1"), {"_Unsigned": "false"}, [[1, 2], [-1, 4]]),
        (np.array([[1, 1e20]], "f4"), {"missing_value": 1e20}, [[1, np.nan]]),
        (np.array([[1, -9]], "i2"), {"missing_value": "-9"}, [[1, np.nan]]),
        (np.array([[1, 44]], "u1"), {"_FillValue": 300.0}, [[1, 44]]),
        (np.array([[1.0, 2.0]]), {"_FillValue": np.nan}, [[1, 2]]),
    ],
)  # fmt: skip
def test_signs_and_marks_are_those_of_the_stored_numbers(tmp_path, stored, attributes, expected):
    rows, _ = read(marked(tmp_path / "a.h5", stored, **attributes))
    np.testing.assert_array_equal(rows, expected)


def test_a_scale_for_each_column_is_refused(tmp_path):
    path = marked(tmp_path / "a.h5", X, scale_factor=[1.0, 2.0, 3.0])
    with pytest.raises(FormatError, match="3 numbers as its scale_factor"):
        read(path)


def test_a_name_is_found_however_deep_and_what_is_no_matrix_is_described(tmp_path):
    deep = "/".join("abcdefghijkl")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file[deep] = X
        file["line"] = np.ones(3)
    np.testing.assert_array_equal(read(path, deep)[0], X)
    np.testing.assert_array_equal(read(path, f"./{deep}/")[0], X)
    for name, said in (("line", r"an array of shape \(3,\)"), ("a/b", "a group of this name")):
        with pytest.raises(FormatError, match=said):
            read(path, name)
    with pytest.raises(FormatError, match=r"it has a/, line \(3,\)"):
        read(path)


def test_numbers_that_are_said_to_be_in_another_file_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("W", (2, 4), "f8", external=[(str(tmp_path / "secret"), 0, 64)])
    for place, name in enumerate(("secret", "nowhere", ".")):
        layout = h5py.VirtualLayout((1, 4), "f8")
        layout[0] = h5py.VirtualSource(str(tmp_path / name) if name != "." else ".", "V", (4,))
        with h5py.File(tmp_path / f"{place}.h5", "w") as file:
            file["V"] = np.ones(4)
            file.create_virtual_dataset("W", layout)
    for name in ("a", "0", "1"):
        with pytest.raises(FormatError, match="no matrices"):
            read(tmp_path / f"{name}.h5")
    np.testing.assert_array_equal(read(tmp_path / "2.h5")[0], np.ones((1, 4)))


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_what_is_pickled_in_a_zarr_is_refused_in_one_sentence(tmp_path, place):
    (tmp_path / "W.zarr" / "W").mkdir(parents=True)
    (tmp_path / "W.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    codec = {"id": "pickle", "protocol": 5}
    document = {"zarr_format": 2, "shape": [2, 2], "chunks": [2, 2], "dtype": "<f4", "order": "C",
                "compressor": None, "filters": None, "fill_value": 0}  # fmt: skip
    document[place] = codec if place == "compressor" else [codec]
    (tmp_path / "W.zarr" / "W" / ".zarray").write_text(json.dumps(document))
    (tmp_path / "W.zarr" / "W" / "0.0").write_bytes(pickle.dumps(Harmful(tmp_path / "made")))
    for line in ("reduce W.zarr --rank 1 -o o.npy", "certify W.zarr W.zarr", "expand W.zarr"):
        done = subprocess.run(
            [sys.executable, "-m", "eckart", *line.split()], cwd=tmp_path, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (1, 2)
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["W.zarr"]
