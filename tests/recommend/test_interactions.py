"""Reading: ids of any type, columns by their names, what is done twice, what is refused."""

import json

import numpy as np
import pandas
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from eckart.errors import EckartError
from eckart.recommend import Feedback, read_interactions
from eckart.recommend.columns import ColumnNames
from eckart.recommend.vocabulary import Vocabulary

HUGE = 2**80 + 1


@pytest.mark.parametrize(
    "ids",
    [
        [3, 1, 2],
        ["007", "7", "x"],
        ["12", "3", "450"],
        [HUGE, 5, -7],
        [2**63, 1, 2**63 - 1],
        ["é", "日本", "a b"],
    ],
    ids=["integers", "zeros in front", "text of digits", "huge", "beyond int64", "unicode"],
)
def test_ids_are_given_back_as_they_came(ids):
    vocabulary, places = Vocabulary.encode(ids)
    assert vocabulary.to_list(places) == ids
    assert [vocabulary.place(one) for one in ids] == places.tolist()
    assert vocabulary.place("no such id") == -1


def test_whole_floats_are_integers():
    # pandas turns a column of integers with a gap into floats
    assert Vocabulary.encode(np.array([2.0, 1.0]))[0].to_list() == [1, 2]


def test_ids_of_several_types_are_refused_by_name():
    with pytest.raises(EckartError, match="several types"):
        Vocabulary.encode(["a", 1])


@pytest.mark.parametrize(
    "ids",
    [
        5,
        None,
        [1j, 2j],
        [np.complex128(1)] * 2,
        np.ones((2, 2)),
        np.zeros(2, [("a", "i4")]),
        [[1], [2]],
        [{"a": 1}] * 2,
    ],
    ids=["number", "nothing", "complex", "numpy", "table", "records", "lists", "mappings"],
)
def test_what_can_be_no_ids_is_refused_in_a_sentence(ids):
    with pytest.raises(EckartError) as caught:
        read_interactions({"user": ids, "item": [1, 2], "rating": [3.0, 4.0]})
    assert caught.value.code in ("bad-ids", "bad-values", "shapes-differ")


@pytest.mark.parametrize("role", ["rating", "weight", "time"])
def test_numbers_of_several_types_are_refused_by_their_column(role):
    table = {"user": [1, 2], "item": [1, 2], role: [3.0, "four"]}
    with pytest.raises(EckartError, match=f"column of {role}s ") as caught:
        read_interactions(table)
    assert caught.value.code == "not-numbers"


@pytest.mark.parametrize("kind", ["text", "categories", "bytes", "frame"])
def test_text_of_a_table_in_memory_is_numbers_as_in_a_file(kind):
    def table(*texts):
        given = {"text": list(texts), "categories": pd.Categorical(texts), "frame": list(texts),
                 "bytes": [one.encode() for one in texts]}[kind]  # fmt: skip
        columns = {"user": [1, 2, 3], "item": [1, 2, 3], "rating": given}
        return pd.DataFrame(columns) if kind == "frame" else columns

    assert read_interactions(table("5", " 4.5 ", "1e0")).ratings.tolist() == [5.0, 4.5, 1.0]
    with pytest.raises(EckartError, match=r"Row 2 .*has no rating that is a finite number"):
        read_interactions(table("5", "n/a", "1"))
    with pytest.raises(EckartError, match=r"^Row 3 of the table has the rating '4,5'"):
        read_interactions(table("5", "4", "4,5"))


def test_a_text_that_is_no_number_is_named_by_its_row_in_a_later_block(tmp_path, monkeypatch):
    path = tmp_path / "r.parquet"
    table = {"user": range(9), "item": range(9), "rating": ["5"] * 7 + ["good"] * 2}
    pq.write_table(pa.table({name: list(values) for name, values in table.items()}), path)
    monkeypatch.setattr("eckart.files.tables.BATCH_ROWS", 4)
    with pytest.raises(EckartError, match=r"^Row 8 of r.parquet has the rating 'good'"):
        read_interactions(path)


def test_a_missing_rating_of_a_list_is_refused_with_its_row():
    with pytest.raises(EckartError, match=r"Row 2 .*finite"):
        read_interactions({"user": [1, 2], "item": [1, 2], "rating": [3.0, None]})


def test_ratings_may_be_numbers_that_float32_does_not_know():
    table = {"user": [1, 2], "item": [1, 2], "rating": [2**60 + 1, 3]}
    assert read_interactions(table).ratings[0] == 2**60


def test_the_order_of_rows_changes_nothing():
    columns = {"user": ["b", "a", "c"], "item": [2, 1, 2], "rating": [1.0, 2.0, 3.0]}
    turned = {name: values[::-1] for name, values in columns.items()}
    one, two = read_interactions(columns), read_interactions(turned)
    for field in ("rows", "columns", "ratings"):
        assert getattr(one, field).tolist() == getattr(two, field).tolist()


TABLE = [("u1", 10, 4.0, 5), ("u2", 10, 3.0, 6), ("u1", 20, 5.0, 7)]


def written(folder, name):
    path = folder / name
    names = ("userId", "movieId", "rating", "timestamp")
    if name.endswith(".parquet"):
        pq.write_table(pa.table(dict(zip(names, zip(*TABLE, strict=True), strict=True))), path)
    elif name.endswith(".jsonl"):
        rows = [json.dumps(dict(zip(names, row, strict=True))) for row in TABLE]
        path.write_text("\n".join(rows))
    else:
        between = {"dat": "::", "tsv": "\t", "data": "\t", "csv": ",", "txt": ";"}
        mark = between[name.rpartition(".")[2]]
        lines = [mark.join(str(cell) for cell in row) for row in TABLE]
        header = [] if name.endswith((".dat", ".data")) else [mark.join(names)]
        path.write_text("\n".join([*header, *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    "name", ["r.csv", "r.tsv", "r.dat", "r.data", "r.txt", "r.parquet", "r.jsonl"]
)
def test_every_format_reads_the_same(tmp_path, name):
    data = read_interactions(written(tmp_path, name))
    assert data.users.to_list() == ["u1", "u2"]
    assert data.items.to_list() == [10, 20]
    assert data.ratings.tolist() == [4.0, 5.0, 3.0]
    assert data.times.tolist() == [5, 7, 6]


@pytest.mark.parametrize("frame", [pandas.DataFrame, polars.DataFrame, pa.table, dict])
def test_every_kind_of_table_reads_the_same(frame):
    names = ("customer", "product", "stars", "date")
    columns = dict(zip(names, (list(cells) for cells in zip(*TABLE, strict=True)), strict=True))
    data = read_interactions(frame(columns))
    assert data.items.to_list(data.columns) == [10, 20, 10]
    assert data.ratings.tolist() == [4.0, 5.0, 3.0]


def test_a_sparse_matrix_has_users_as_rows():
    W = scipy.sparse.coo_array(([4.0, 5.0], ([0, 1], [2, 0])), shape=(2, 3))
    data = read_interactions(W, user_ids=["a", "b"], item_ids=["x", "y", "z"])
    assert (data.users.to_list(), data.items.to_list(data.columns)) == (["a", "b"], ["z", "x"])


def test_a_transposed_matrix_is_noticed_by_its_ids():
    W = scipy.sparse.coo_array(([4.0], ([0], [2])), shape=(2, 3))
    with pytest.raises(EckartError, match="2 × 3") as caught:
        read_interactions(W, user_ids=["a", "b", "c"], item_ids=["x", "y"])
    assert caught.value.code == "transposed"
    assert "W.T" in caught.value.hint


def test_columns_can_be_named(tmp_path):
    (tmp_path / "r.csv").write_text("who,what,liking\na,x,4\n")
    named = ColumnNames(user="who", item="what", rating="liking")
    assert read_interactions(tmp_path / "r.csv", named).ratings.tolist() == [4.0]
    with pytest.raises(EckartError, match="called like a user"):
        read_interactions(tmp_path / "r.csv")


def test_of_ratings_of_a_pair_the_last_in_time_counts_and_it_is_said():
    twice = {"user": [1, 1, 1], "item": [1, 1, 2], "rating": [5, 2, 3], "time": [9, 3, 1]}
    data = read_interactions(twice)
    assert data.ratings.tolist() == [5.0, 3.0]
    assert "1 ratings" in data.notes[0]
    del twice["time"]
    assert read_interactions(twice).ratings.tolist() == [2.0, 3.0]


def test_repeated_interactions_are_summed_and_it_is_said():
    data = read_interactions({"user": [1, 1, 1], "item": [1, 1, 2], "plays": [5, 2, 3]})
    assert data.weights.tolist() == [7.0, 3.0]
    assert "added" in data.notes[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_rating_that_is_none_is_refused_with_its_row(bad):
    with pytest.raises(EckartError, match=r"Row 2 .*user b, item 8.* finite") as caught:
        read_interactions({"user": ["a", "b"], "item": [7, 8], "rating": [1.0, bad]})
    assert caught.value.code == "bad-rating"


def test_a_rating_off_the_scale_is_refused_with_its_row():
    table = {"user": [1, 2, 3], "item": [7, 8, 9], "rating": [1.0, 9.0, 0.0]}
    with pytest.raises(EckartError, match=r"Row 2 .*outside 1 to 5; so have 1 more"):
        read_interactions(table, None, Feedback(scale=(1, 5)))


def test_a_missing_rating_in_a_file_is_refused_with_its_row(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\na,x,4\nb,y,\n")
    with pytest.raises(EckartError, match="Row 2"):
        read_interactions(tmp_path / "r.csv")


def test_a_word_among_the_ratings_is_refused_with_its_row(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\na,x,4\nb,y,good\n")
    with pytest.raises(EckartError, match=r"line 3, column 3 \('rating'\): 'good'"):
        read_interactions(tmp_path / "r.csv")


def test_a_negative_weight_is_refused_and_one_of_zero_is_left_out():
    with pytest.raises(EckartError, match="Row 1"):
        read_interactions({"user": [1], "item": [2], "weight": [-1.0]})
    kept = read_interactions({"user": [1, 2], "item": [2, 3], "weight": [0.0, 1.0]})
    assert (kept.users.to_list(), len(kept)) == ([2], 1)


def test_a_missing_id_is_refused_with_its_row():
    with pytest.raises(EckartError, match="Row 2 has no user"):
        read_interactions({"user": ["a", None], "item": [1, 2]})


def test_an_empty_table_is_refused(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\n")
    with pytest.raises(EckartError, match="no interactions"):
        read_interactions(tmp_path / "r.csv")
