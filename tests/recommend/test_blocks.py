"""Tables that come in blocks are read as if they came whole, and in little memory."""

import gzip
import os
import subprocess
import sys

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eckart.recommend.ids
from eckart.errors import EckartError
from eckart.files import tables
from eckart.files.text import table
from eckart.recommend import Feedback, chunked, evaluation, read_interactions, split
from eckart.recommend.chunked import (
    SLAB_NUMBERS,
    Growing,
    count_repeats,
    pair_order,
    without_repeats,
)
from eckart.recommend.ids import Encoder
from eckart.recommend.ranking import averages
from recommend.samples import read
from tolerances import summation

PER_RATING = 3 * 12
"""Bytes that a fit may take for each rating: three times a user, an item and a rating."""
OF_BLOCKS = 40_000_000
"""Bytes of a block of rows in all its forms, and of pieces that are not full."""
MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(usage.ru_maxrss)
sys.exit(process.returncode)
"""
"""Runs a command and prints the most memory that it held. A small process does this, because the
system counts the memory of whoever starts a process as its own."""


@pytest.fixture
def small_blocks(monkeypatch):
    """A few rows at a time."""
    monkeypatch.setattr(tables, "BATCH_ROWS", 3)
    monkeypatch.setattr(table, "BLOCK_BYTES", 40)
    monkeypatch.setattr(eckart.recommend.ids, "FEW", 2)


BLOCKS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=8)


@given(blocks=BLOCKS, few=st.integers(0, 5), coded=st.booleans())
def test_ids_that_come_in_blocks_have_the_codes_of_pandas(blocks, few, coded):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eckart.recommend.ids, "FEW", few)
        encoder = Encoder("user")
        for block in blocks:
            column = pa.array(block, pa.string())
            encoder.add(column.dictionary_encode() if coded else column)
        distinct, codes = encoder.finish()
    expected, ids = pandas.factorize(np.array([one for block in blocks for one in block], object))
    assert codes.tolist() == expected.tolist()
    assert distinct.to_pylist() == list(ids)


PAIRS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40
)


@given(pairs=PAIRS)
def test_pairs_are_in_the_order_of_a_stable_sort(pairs):
    rows, columns, _ = np.array(pairs, np.int32).T.copy()
    order = pair_order(rows, columns, (5, 4))
    assert order.tolist() == np.lexsort((columns, rows)).tolist()
    same = count_repeats(rows[order], columns[order])
    assert same == len(pairs) - len(set(zip(rows.tolist(), columns.tolist(), strict=True)))
    assert (count_repeats(rows, columns) < 0) == (order.tolist() != list(range(len(pairs))))


@given(pairs=PAIRS, timed=st.booleans(), weighted=st.booleans())
def test_of_repeated_pairs_the_latest_stays_and_weights_are_summed(pairs, timed, weighted):
    rows, columns, third = np.array(pairs, np.int32).T.copy()
    times = third.astype(np.int64) if timed else None
    weights = (third + 1).astype(np.float32) if weighted else None
    frame = pandas.DataFrame({
        "row": rows, "column": columns, "time": times if timed else 0, "entry": range(len(rows)),
        "weight": weights if weighted else 1.0,
    })  # fmt: skip
    latest = frame.sort_values(["row", "column", "time", "entry"]).drop_duplicates(
        ["row", "column"], keep="last"
    )
    order = pair_order(rows, columns, (5, 4))
    kept, totals = without_repeats(order, (rows, columns), times, weights, add=True)
    assert kept.tolist() == latest["entry"].tolist()
    if totals is not None:
        assert totals.tolist() == frame.groupby(["row", "column"])["weight"].sum().tolist()


def test_what_grows_is_joined_in_order():
    growing = Growing(np.int32)
    parts = [np.arange(SLAB_NUMBERS - 1), np.arange(5), np.arange(0), np.arange(SLAB_NUMBERS + 3)]
    for part in parts:
        growing.add(part)
    assert len(growing) == sum(len(part) for part in parts)
    np.testing.assert_array_equal(growing.join(), np.concatenate(parts))
    assert len(growing) == 0


def test_sums_by_blocks_are_those_of_all_entries():
    drawn = np.random.default_rng(0)
    places = drawn.integers(0, 7, 2 * chunked.BLOCK + 5).astype(np.int32)
    whole = drawn.integers(0, 9, len(places)).astype(float)  # whole numbers have exact sums
    counts = np.bincount(places, minlength=9)
    np.testing.assert_array_equal(chunked.bincount(places, 9), counts)
    sums = chunked.bincount(places, 9, lambda here: whole[here])
    np.testing.assert_array_equal(sums, np.bincount(places, whole, minlength=9))
    np.testing.assert_array_equal(chunked.take(whole, places), whole[places])


LINES = [f"{7 * row % 5},i{row % 4},{row % 3 + 0.5},{100 - row}" for row in range(20)]


def written(folder, name):
    """The lines as a file of some format."""
    path = folder / name
    text = "\n".join(["user,item,rating,time", *LINES]) + "\n"
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    elif name.endswith(".dat"):
        path.write_text("\n".join(LINES).replace(",", "::"))
    elif name.endswith(".parquet"):
        cells = list(zip(*(line.split(",") for line in LINES), strict=True))
        table = pa.table({
            "user": [int(cell) for cell in cells[0]], "item": pa.array(cells[1]),
            "rating": [float(cell) for cell in cells[2]], "time": [int(cell) for cell in cells[3]],
        })  # fmt: skip
        pq.write_table(table, path, row_group_size=7)
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("feedback", [None, Feedback(at_least=2, disliked=1)])
@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.dat", "r.parquet"])
def test_a_file_in_blocks_is_read_as_a_whole_one(tmp_path, monkeypatch, name, feedback):
    path = written(tmp_path, name)
    whole = read_interactions(path, None, feedback)
    monkeypatch.setattr(tables, "BATCH_ROWS", 3)
    monkeypatch.setattr(table, "BLOCK_BYTES", 40)
    monkeypatch.setattr(eckart.recommend.ids, "FEW", 2)
    blocks = read_interactions(path, None, feedback)
    assert blocks.notes == whole.notes
    assert blocks.users.to_list() == whole.users.to_list() == [0, 1, 2, 3, 4]
    assert blocks.items.to_list() == whole.items.to_list()
    for field in ("rows", "columns", "ratings", "weights", "times"):
        np.testing.assert_array_equal(getattr(blocks, field), getattr(whole, field))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "times",
    [
        ["3", "20", "100.5", "4"],
        ["2020-01-03", "2020-01-20", "2021-01-01 10:00:00", "2020-01-04"],
        ["2020-01-03", "2020-01-20 10:00Z", "2021-01-01 10:00:00.5+01:00", "2020-01-04"],
        ["", "20", "100", "4"],
    ],
    ids=["whole, then fractions", "days, then hours", "days, then text", "missing first"],
)
def test_times_whose_blocks_look_unlike_are_still_in_their_order(tmp_path, times):
    lines = [f"user {place},an item of many letters,{one}" for place, one in enumerate(times)]
    (tmp_path / "r.csv").write_text("\n".join(["user,item,time", *lines]) + "\n")
    read = read_interactions(tmp_path / "r.csv")
    assert np.argsort(read.times, kind="stable").tolist() == [0, 3, 1, 2]


def test_a_missing_time_is_the_earliest_in_text_too():
    data = {"user": [1, 2, 3], "item": [1, 1, 1], "time": ["2020-01-02", None, "2020-01-01"]}
    read = read_interactions(data)
    assert np.argsort(read.times).tolist() == [1, 2, 0]
    assert "1 times are missing" in read.notes[0]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["r.csv", "r.parquet"])
def test_the_row_of_what_is_missing_is_counted_from_the_first_block(tmp_path, name):
    users = [*range(10), None, 11]
    path = tmp_path / name
    if name == "r.csv":
        lines = [f"{'' if user is None else user},item,4" for user in users]
        path.write_text("\n".join(["user,item,rating", *lines]) + "\n")
    else:
        pq.write_table(pa.table({"user": users, "item": [1] * 12}), path)
    with pytest.raises(EckartError, match="Row 11 has no user"):
        read_interactions(path)


@pytest.mark.usefixtures("small_blocks")
def test_the_row_of_a_word_in_a_later_block_is_named(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\n" + "a,x,4\n" * 20 + "b,y,good\n")
    with pytest.raises(EckartError, match=r"line 22, column 3 \('rating'\): 'good'"):
        read_interactions(tmp_path / "r.csv")


@pytest.mark.parametrize("way", ["random", "last", "users"])
def test_a_split_made_by_blocks_of_users_is_the_same(monkeypatch, way):
    data = read()
    whole = split(data, way)
    monkeypatch.setattr(evaluation, "BLOCK", 7)
    blocks = split(data, way)
    for part in ("train", "test"):
        one, other = getattr(whole, part), getattr(blocks, part)
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.columns, other.columns)


@pytest.mark.parametrize("way", ["random", "last", "users"])
def test_the_parts_of_a_split_tell_the_whole_again(way):
    data = read()
    joined = split(data, way).join()
    for name in ("rows", "columns", "ratings", "times"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(data, name))
    assert joined.weights is data.weights
    assert joined.users is data.users


def test_averages_of_parts_are_those_of_the_whole():
    data = read()
    some = data.rows % 3 == 0
    parts = averages(data.select(some), data.select(~some))
    whole = averages(data)
    # ten sweeps over sums of all ratings, of which each may be 5
    most = 10 * summation(len(data)) * 5
    assert abs(parts.mean - whole.mean) < most
    assert np.abs(parts.row_bias - whole.row_bias).max() < most
    assert np.abs(parts.column_bias - whole.column_bias).max() < most


QUICK = ("--regularization", 0.1, "--rank", 4, "--epochs", 1, "--force", "-o", "model")


def generated(count: int) -> pa.Table:
    """Ratings at random, 150 of each user and 1000 of each item."""
    drawn = np.random.default_rng(0)
    return pa.table({
        "user": 10**12 + drawn.integers(0, count // 150, count),
        "item": drawn.integers(0, count // 1000, count),
        "rating": drawn.integers(1, 11, count) / 2,
    })  # fmt: skip


def peak(*words) -> int:
    """Bytes that the command held at most."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    line = [sys.executable, "-m", "eckart", "recommend", "fit", *map(str, words), "--quiet"]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, *line],
        env={**os.environ, **threads}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(measured.stdout) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts memory in another unit")
@pytest.mark.parametrize(
    "more",
    [(), ("--min-rating", 3, "--disliked", 2.5), ("--user-attributes", "users.parquet")],
    ids=["ratings", "dislikes", "attributes"],
)
def test_the_command_takes_at_most_three_times_twelve_bytes_for_a_rating(
    tmp_path, monkeypatch, more
):
    monkeypatch.chdir(tmp_path)
    count = 1_000_000
    table = generated(count)
    pq.write_table(table, "many.parquet")
    pq.write_table(table.slice(0, 1000), "few.parquet")
    users = table["user"].unique()
    ages = np.arange(len(users)) % 80
    pq.write_table(pa.table({"user": users, "age": ages}), "users.parquet")
    few = [peak("few.parquet", *QUICK, *more) for _ in range(2)]  # the first may compile
    assert peak("many.parquet", *QUICK, *more) - min(few) < PER_RATING * count + OF_BLOCKS


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts memory in another unit")
def test_holding_back_the_last_ratings_takes_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    half = 1_500_000
    table = generated(2 * half)
    times = np.random.default_rng(1).integers(0, 10**9, 2 * half)
    table = table.append_column("time", pa.array(times))
    pq.write_table(table, "all.parquet")
    pq.write_table(table.slice(0, half), "half.parquet")
    # both rank as many users in their evaluation, so that what this takes is in both
    whole, part = (peak(f"{name}.parquet", *QUICK, "--test", "last") for name in ("all", "half"))
    # pieces that are not full are in the difference of the two
    assert whole - part < PER_RATING * half + OF_BLOCKS // 4
