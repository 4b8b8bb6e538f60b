"""A file that changes while it is read: what is half old and half new is refused, not used."""

import os

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from eckart.errors import EckartError, FormatError
from eckart.files import read_matrix
from eckart.files.columns import BatchReader
from eckart.files.reading import read_steadily
from eckart.files.registry import open_table
from eckart.files.text.survey import NumberText

OLD = np.arange(12.0).reshape(6, 2) + 0.5
LATER = {
    "fewer rows": -OLD[:3],
    "as many rows": -OLD,
    "more rows": -np.vstack([OLD, OLD]),
    "words": np.array([["a", "b"]] * 6, object),
    "more columns": -np.hstack([OLD, OLD]),
}


def as_text(rows):
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def parquet(path, rows):
    pq.write_table(pa.table({"a": rows[:, 0], "b": rows[:, 1]}), path)


def parquets(path, rows):
    path.mkdir(exist_ok=True)
    for number, part in enumerate(np.array_split(rows, 2)):
        parquet(path / f"{number}.parquet", part)


def hdf5(path, rows):
    path.unlink(missing_ok=True)  # libhdf5 writes to no file that is open
    with h5py.File(path, "w") as file:
        file["W"] = rows


def zarr_array(path, rows):
    zarr.save_array(path, rows, mode="w")


BY_ROWS = {
    "W.csv": lambda path, rows: path.write_text(as_text(rows)),
    "W.npy": np.save,
    "W.parquet": parquet,
    "parts": parquets,
    "W.h5": hdf5,
    "W.zarr": zarr_array,
}


@pytest.fixture
def replaced(monkeypatch, tmp_path):
    """Replace the table between its first pass, which counts the rows, and its second."""
    path = tmp_path / "W.csv"
    path.write_text(as_text(OLD))

    def arrange(rows, before):
        place, name = before
        genuine = getattr(place, name)

        def meddled(*arguments, **named):
            (tmp_path / "new").write_text(as_text(rows))
            (tmp_path / "new").replace(path)
            return genuine(*arguments, **named)

        monkeypatch.setattr(place, name, meddled)
        return path

    return arrange


@pytest.mark.parametrize(
    "before", [(NumberText, "check"), (BatchReader, "__init__")], ids=["check", "open"]
)
@pytest.mark.parametrize("later", LATER)
def test_a_table_replaced_between_two_passes_is_refused(replaced, later, before):
    path = replaced(LATER[later], before)
    with pytest.raises(FormatError) as error:
        read_matrix(path)
    assert error.value.code == "changed-file"


@pytest.mark.parametrize("kind", BY_ROWS)
def test_rows_of_a_file_edited_since_are_refused(kind, tmp_path):
    path = tmp_path / kind
    BY_ROWS[kind](path, OLD)
    source = open_table(path).source
    rows, reader = np.empty(OLD.shape), source.open()
    assert reader.read(rows) == len(OLD)
    reader.close()
    assert np.array_equal(rows, OLD)
    BY_ROWS[kind](path, -OLD)
    with pytest.raises(FormatError) as error:
        source.open()
    assert error.value.code == "changed-file"


@pytest.mark.parametrize("kind", BY_ROWS)
def test_rows_of_a_file_edited_while_a_pass_goes_on_are_refused(kind, tmp_path):
    path = tmp_path / kind
    BY_ROWS[kind](path, OLD)
    reader = open_table(path).source.open()
    first, rest = np.empty((2, 2)), np.empty((4, 2))
    assert reader.read(first) == 2
    changed = next(iter(sorted(path.rglob("*.parquet")))) if kind == "parts" else path
    changed = path / "zarr.json" if kind == "W.zarr" else changed
    os.utime(changed, (0, 0))
    with pytest.raises(FormatError) as error:
        reader.read(rest)
    assert error.value.code == "changed-file"
    reader.close()


def test_a_folder_half_old_and_half_new_is_read_again_whatever_it_raises(tmp_path):
    names = iter(["b", "c"])
    (tmp_path / "a").mkdir()

    def read():
        name = next(names, None)
        if name is None:
            return "whole"
        (tmp_path / name).mkdir()
        (tmp_path / name).replace(tmp_path / "a")
        raise ValueError("half old, half new")

    assert read_steadily(tmp_path / "a", read) == "whole"


def test_a_folder_that_stays_is_to_blame_itself(tmp_path):
    with pytest.raises(EckartError):
        read_steadily(tmp_path, lambda: read_matrix(tmp_path / "none.csv"))
