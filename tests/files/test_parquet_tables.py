"""Parquet tables of numbers, as pandas, Arrow and others write them."""

import decimal
import os
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eckart.errors import EckartError
from eckart.files import parquet
from eckart.files.parquet import ParquetColumns
from eckart.files.records import Selection
from eckart.files.registry import open_table
from tabled import in_rows, whole

NAN = float("nan")


def in_tall_groups(path, **wanted):
    """The same, as if its row groups were tall ones."""
    low, parquet.LOW_ROWS = parquet.LOW_ROWS, -1
    try:
        return in_rows(path, **wanted)
    finally:
        parquet.LOW_ROWS = low


READERS = pytest.mark.parametrize("read", [whole, in_rows, in_tall_groups])


def written(folder, columns, names=None, name="t.parquet"):
    names = list(columns) if names is None else names
    arrays = list(columns.values()) if isinstance(columns, dict) else columns
    pq.write_table(pa.Table.from_arrays([pa.array(one) for one in arrays], names=names),
                   folder / name)  # fmt: skip
    return folder / name


@READERS
def test_columns_of_one_name_are_all_read(tmp_path, read):
    path = written(tmp_path, [[1.0, 2], [3.0, 4], [5.0, 6]], ["v", "w", "v"])
    np.testing.assert_array_equal(read(path)[0], [[1, 3, 5], [2, 4, 6]])
    np.testing.assert_array_equal(read(path, columns=("v", "v"))[0], [[1, 5], [2, 6]])
    with pytest.raises(EckartError, match="has 2 columns 'v'"):
        read(path, columns=("v",))


@READERS
def test_a_name_like_that_within_a_nested_column_is_its_own(tmp_path, read):
    nested = [{"a": 7.0, "b": 8.0}, {"a": 9.0, "b": 10.0}]
    lists = [[1], [2, 3]]
    path = written(tmp_path, [[1.0, 2], nested, [3.0, 4], lists, [5.0, 6]],
                   ["x", "v", "v.a", "l", "y"])  # fmt: skip
    np.testing.assert_array_equal(read(path, columns=("y", "v.a"))[0], [[5, 3], [6, 4]])


NUMBERS = {
    "beyond 2**53": (pa.array([6312878760374611856, 1, None]), [6312878760374611856.0, 1, NAN]),
    "beyond 2**63": (pa.array([2**64 - 1, 1, 0], pa.uint64()), [2.0**64, 1, 0]),
    "decimals": (pa.array([decimal.Decimal("1.25"), None, decimal.Decimal(-3)]), [1.25, NAN, -3]),
    "long decimals": (
        pa.array([decimal.Decimal("1.25")] * 3, pa.decimal256(60, 20)), [1.25, 1.25, 1.25],
    ),
    "truth values": (pa.array([True, False, None]), [1, 0, NAN]),
    "truth values of 8 bits": (pa.array([1, 0, None], pa.int8()).cast(pa.bool8()), [1, 0, NAN]),
    "halves": (pa.array([1.5, None, -2], pa.float16()), [1.5, NAN, -2]),
    "small": (pa.array([1, -2, 3], pa.int8()), [1, -2, 3]),
    "nothing": (pa.nulls(3), [NAN, NAN, NAN]),
}  # fmt: skip


@READERS
@pytest.mark.parametrize("kind", NUMBERS)
def test_every_kind_of_number_is_read(tmp_path, read, kind):
    column, expected = NUMBERS[kind]
    found, _ = read(written(tmp_path, {"a": column, "b": [1.0, 2.0, 3.0]}))
    np.testing.assert_array_equal(found, np.stack([expected, [1, 2, 3]], axis=1))


OTHERS = {
    "duration": pa.array([1, 2, 3], pa.duration("s")),
    "timestamp": pa.array([1, 2, 3], pa.timestamp("ns")),
    "uuid": pa.array([uuid.UUID(int=i).bytes for i in range(3)], pa.uuid()),
    "struct": pa.array([{"x": 1}] * 3),
    "list": pa.array([[1.0, 2.0]] * 3),
    "dictionary": pa.array(["x", "y", "x"]).dictionary_encode(),
    "string": pa.array(["1", "2", "3"]),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_number_is_refused_or_skipped_by_its_name_and_kind(tmp_path, kind):
    path = written(tmp_path, {"a": [1.0, 2.0, 3.0], "odd": OTHERS[kind]})
    with pytest.raises(EckartError, match=rf"do not hold numbers: odd \(.*{kind}"):
        whole(path)
    found, notes = in_rows(path)
    np.testing.assert_array_equal(found, [[1], [2], [3]])
    assert any("odd: " in note and kind in note for note in notes)
    with pytest.raises(EckartError, match="odd"):
        in_rows(path, columns=("odd",))


@pytest.mark.parametrize("read", [whole, in_rows])
def test_a_table_of_lists_alone_is_no_matrix(tmp_path, read):
    path = written(tmp_path, {"embedding": [[1.0, 2.0]] * 3})
    with pytest.raises(EckartError) as caught:
        read(path)
    assert caught.value.code == "not-numbers"


def frame():
    return pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [4.0, 1, 2, 9]})


INDICES = {
    "of the rows that were kept": lambda: frame().iloc[[3, 1, 2]],
    "with a name": lambda: frame().set_index(pd.Index([9, 8, 7, 5], name="who")),
    "of two levels": lambda: frame().set_index(
        pd.MultiIndex.from_tuples([(9, 1), (8, 1), (7, 2), (5, 3)])
    ),
    "of words": lambda: frame().set_index(pd.Index(list("wxyz"))),
}


@READERS
@pytest.mark.parametrize("kind", INDICES)
def test_an_index_that_pandas_wrote_is_left_out_and_said(tmp_path, read, kind):
    made = INDICES[kind]()
    made.to_parquet(tmp_path / "f.parquet")
    found, notes = read(tmp_path / "f.parquet")
    np.testing.assert_array_equal(found, made.to_numpy())
    assert any("taken as an index" in note for note in notes)
    if kind != "of words":
        assert read(tmp_path / "f.parquet", index=False)[0].shape[1] > 2


def test_hidden_files_of_a_folder_are_not_read(tmp_path):
    for name in ("p0.parquet", ".p1.parquet", "_metadata.parquet"):
        written(tmp_path, {"a": [1.0, 2.0]}, name=name)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    written(tmp_path / ".ipynb_checkpoints", {"a": [1.0, 2.0]})
    assert in_rows(tmp_path)[0].shape == (2, 1)


def test_the_files_of_a_folder_may_differ_in_order_and_width(tmp_path):
    written(tmp_path, {"a": pa.array([1.0], pa.float32()), "b": pa.nulls(1)}, name="0.parquet")
    exact = 1 + 2.0**-40
    written(tmp_path, {"b": [2], "c": ["x"], "a": [exact]}, name="1.parquet")
    found, _ = in_rows(tmp_path)
    assert found.dtype == float
    np.testing.assert_array_equal(found, [[1, NAN], [exact, 2]])


def test_a_column_that_is_text_in_one_file_of_a_folder_is_named(tmp_path):
    written(tmp_path, {"a": [1.0], "b": [1.0]}, name="0.parquet")
    written(tmp_path, {"a": [1.0], "b": ["1.0"]}, name="1.parquet")
    with pytest.raises(EckartError, match=r"column 'b' .* holds string"):
        in_rows(tmp_path)


def test_columns_are_read_in_the_order_in_which_they_are_asked_for(tmp_path):
    path = written(tmp_path, {"a": [1, 2], "b": [3, 4], "c": [5, 6]})
    with ParquetColumns(path) as file:
        assert file.read([2, 0]).column_names == ["c", "a"]
        assert file.read([2, 0], 0).column_names == ["c", "a"]
        assert [batch.schema.names for batch in file.batches(9, [2, 0])] == [["c", "a"]]


@pytest.mark.parametrize("read", [whole, in_rows])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "t.parquet")
    with pytest.raises(EckartError, match="is a pipe"):
        read(tmp_path / "t.parquet")


def test_what_goes_along_keeps_its_type(tmp_path):
    path = written(tmp_path, [["x", None], [1.0, 2.0], [3, 4]], ["id", "a", "id"])
    along = open_table(path, Selection(ids=("id", "id"))).companions().take(2)
    assert along.columns[0].to_pylist() == ["x", None]
    assert along.columns[1].to_pylist() == [3, 4]


@pytest.mark.parametrize("value", [[1.0, 2.0], {"x": 1.0}])
def test_a_table_without_a_column_of_numbers_says_what_it_has(tmp_path, value):
    path = written(tmp_path, {"e": [value] * 3})
    for read, said in ((whole, "1 column do not hold numbers: e"), (in_rows, "numbers: e: ")):
        with pytest.raises(EckartError, match=said) as caught:
            read(path)
        assert "columns" not in caught.value.hint


def test_truth_values_of_eight_bits_are_0_or_1(tmp_path):
    stored = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, 5], pa.int8()))
    pq.write_table(pa.table({"a": stored, "b": [1.0, 2.0, 3.0]}), tmp_path / "t.parquet")
    for read in (whole, in_rows):
        found, _ = read(tmp_path / "t.parquet")
        np.testing.assert_array_equal(found, [[0, 1], [1, 2], [1, 3]])


def test_columns_that_the_first_file_of_a_folder_lacks_are_said(tmp_path):
    written(tmp_path, {"a": [1.0]}, name="1.parquet")
    written(tmp_path, {"c": [5.0], "a": [2.0], "b": [3.0]}, name="2.PARQUET")
    found, notes = in_rows(tmp_path)
    np.testing.assert_array_equal(found, [[1], [2]])
    assert any("the columns b, c, not in the first file, left out" in note for note in notes)
    assert in_rows(tmp_path, columns=("a",))[1] == ()
