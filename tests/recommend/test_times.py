"""Times are one unit, however they are written, or refused; the later of two ratings counts."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart import LowRankRecommender
from eckart.errors import EckartError
from eckart.recommend import Settings, fit_recommender, load_model, read_interactions, save_model
from eckart.recommend.interactions import align, merge
from eckart.recommend.times import EARLIEST

UTC = datetime.UTC
SECOND = 10**9


def moment(second: int) -> datetime.datetime:
    """A moment of a number of seconds from 1970."""
    return datetime.datetime.fromtimestamp(second, UTC)


WRITTEN = {
    "seconds": int,
    "milliseconds": lambda one: one * 10**3,
    "microseconds": lambda one: one * 10**6,
    "nanoseconds": lambda one: one * 10**9,
    "seconds as floats": float,
    "milliseconds as floats": lambda one: one * 1e3,
    "nanoseconds as floats": lambda one: one * 1e9,
    "decimals": decimal.Decimal,
    "seconds as text": str,
    "moments": lambda one: moment(one).replace(tzinfo=None),
    "moments with a zone": lambda one: moment(one).astimezone(
        datetime.timezone(datetime.timedelta(hours=5))
    ),
    "moments of NumPy": lambda one: np.datetime64(one, "s"),
    "moments of pandas": lambda one: pd.Timestamp(one, unit="s"),
    "text": lambda one: moment(one).strftime("%Y-%m-%d %H:%M:%S"),
    "text with T and Z": lambda one: moment(one).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "text with a zone": lambda one: moment(one - 7200).strftime("%Y-%m-%dT%H:%M:%S-02:00"),
    "text with a fraction": lambda one: moment(one).strftime("%Y-%m-%d %H:%M:%S.000001"),
    "text with a zone by name": lambda one: moment(one).strftime("%Y-%m-%d %H:%M:%S UTC"),
    "text with a comma before the fraction": lambda one: moment(one).strftime(
        "%Y-%m-%dT%H:%M:%S,5"
    ),
    "bytes": lambda one: moment(one).strftime("%Y-%m-%d %H:%M:%S").encode(),
    "text of a spreadsheet": lambda one: moment(one).strftime("%d.%m.%Y %H:%M:%S"),
}
EARLY, LATE = 1_577_966_645, 1_717_200_001


def rated(rating: float, time: object) -> dict:
    """One rating of one pair, or two of one user, with their times."""
    return {"user": ["a"], "item": ["x"], "rating": [rating], "time": [time]}


def fitted(times: list) -> LowRankRecommender:
    table = {"user": list("aabb"), "item": list("xyxy"), "rating": [1, 5, 2, 4], "time": times}
    return LowRankRecommender(rank=1, regularization=0.1, epochs=3).fit(table)


@pytest.mark.parametrize("old", WRITTEN)
def test_the_later_of_two_ratings_counts_however_the_times_of_two_tables_are_written(old):
    for kind, write in WRITTEN.items():
        for times, rating in (((EARLY, LATE), 5), ((LATE, EARLY), 1)):
            early = read_interactions(rated(1, WRITTEN[old](times[0])))
            late = read_interactions(rated(5, write(times[1])))
            notes = []
            both = merge(early, align(late, early.users, early.items), notes)
            assert both.ratings.tolist() == [rating], kind
            assert bool(notes) == (rating == 1)


@pytest.mark.parametrize(("old", "new"), [("moments", "seconds"), ("milliseconds", "seconds"),
                                          ("text", "text"), ("seconds", "text")])  # fmt: skip
def test_a_later_rating_that_is_added_takes_the_place_of_an_earlier_one(old, new):
    model = fitted([WRITTEN[old](EARLY)] * 4).partial_fit(rated(5, WRITTEN[new](LATE)))
    assert model.model.data.ratings[0] == 5
    model = fitted([WRITTEN[old](LATE)] * 4).partial_fit(rated(5, WRITTEN[new](EARLY)))
    assert model.model.data.ratings[0] == 1
    assert "1 new interactions are earlier" in " ".join(model.addition.notes)


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(sorted(WRITTEN)),
    seconds=st.lists(st.integers(EARLY, EARLY + 100), min_size=2, max_size=12),
)
def test_of_ratings_of_a_pair_the_latest_counts_however_times_are_written(kind, seconds):
    count = len(seconds)
    times = [WRITTEN[kind](one) for one in seconds]
    table = {"user": ["a"] * count, "item": ["x"] * count, "rating": range(count), "time": times}
    latest = max(range(count), key=lambda place: (seconds[place], place))
    assert read_interactions(table).ratings.tolist() == [latest]


@settings(deadline=None, max_examples=20)
@given(
    kinds=st.tuples(st.sampled_from(sorted(WRITTEN)), st.sampled_from(sorted(WRITTEN))),
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 5), st.integers(0, 10**6)),
        min_size=4, max_size=14, unique_by=lambda row: (row[0], row[1], row[3]),
    ),
)  # fmt: skip
def test_a_history_that_comes_in_parts_is_that_of_the_whole(kinds, rows):
    parts = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    written = [
        [
            (user, f"i{item}", rating, WRITTEN[kind](EARLY + time))
            for user, item, rating, time in part
        ]
        for kind, part in zip(kinds, parts, strict=True)
    ]
    tables = [
        dict(zip(("user", "item", "rating", "time"), zip(*part, strict=True), strict=True))
        for part in (*written, [(user, f"i{item}", *rest) for user, item, *rest in rows])
    ]
    model = LowRankRecommender(rank=1, regularization=0.1, epochs=1).fit(tables[0])
    model.partial_fit(tables[1])
    assert pairs(model.model.data) == pairs(read_interactions(tables[2]))
    settings_of = Settings(rank=1, regularization=0.1, epochs=1)
    older = LowRankRecommender(rank=1, regularization=0.1, epochs=1).fit(tables[0]).model
    again = fit_recommender(read_interactions(tables[1]), older=older, settings=settings_of)
    assert pairs(again.model.data) == pairs(read_interactions(tables[2]))


def pairs(data) -> dict:
    """Rating by user and item."""
    users, items = data.users.to_list(data.rows), data.items.to_list(data.columns)
    return dict(zip(zip(users, items, strict=True), data.ratings.tolist(), strict=True))


CLOSE = {
    "floats in nanoseconds": [1600000001e9, 1600000000e9, float("nan")],
    "floats a microsecond apart": [1600000000.000001, 1600000000.0, 1599999999.0],
    "moments a nanosecond apart": pa.array([2, 1, 0], pa.timestamp("ns")),
    "text a nanosecond apart": [f"2020-01-01T10:00:00.00000000{one}" for one in "210"],
    "shares of a day": [0.1000000002, 0.1000000001, 0.1],
    "durations": pd.to_timedelta([2, 1, 0], unit="s"),
    "days": pa.array([2, 1, 0], pa.date32()),
    "years far away": [datetime.datetime(9999, 1, 2), datetime.datetime(9999, 1, 1), None],
    "text of years far away": ["9999-01-02", "9999-01-01", "0001-01-01"],
    "unsigned numbers": np.array([2, 1, 0], np.uint64),
    "categories": pd.Categorical(["2020-01-02", "2020-01-01", "2020-01-01"]),
    "American dates": ["12/13/2010 8:26", "12/1/2010 18:26", "1/2/2010 8:00"],
    "numbers without signs": [20240601123000, 20240601122959, 20231231000000],
    "fractions behind commas": [f"2020-01-01 10:00:00,{one}" for one in ("2", "15", "149")],
    "years of two digits": ["12/31/01", "12/31/99", "12/30/99"],
    "days and months without zeros": ["2020-1-10", "2020-1-9", "2020-1-2"],
    "months": ["2020-10", "2020-9", "2019-12"],
    "names of months": ["02-Jan-2020", "31-Dec-2019", "30-Dec-2019"],
    "dates of reviews": ["10 9, 2009", "09 13, 2009", "9 1, 2009"],
    "moments and nothing": [pd.Timestamp("2020-01-02"), pd.Timestamp("2020-01-01"), pd.NaT],
    "days of NumPy": [
        np.datetime64("2020-01-02"),
        np.datetime64("2020-01-01"),
        np.datetime64("NaT"),
    ],
    "words for nothing": ["2020-01-02", "2020-01-01", "NA"],
    "large text": pa.array(["2020-01-02", "2020-01-01", None], pa.large_string()),
}


@pytest.mark.parametrize("kind", CLOSE)
def test_times_that_differ_never_become_the_same(kind):
    table = {"user": list("aab"), "item": list("xxy"), "rating": [5, 1, 3], "time": CLOSE[kind]}
    assert read_interactions(table).ratings.tolist() == [5, 3]
    model = LowRankRecommender(rank=1, regularization=0.1).fit(table)
    assert model.model.data.ratings.tolist() == [5, 3]


REFUSED = {
    "words": (["spring"] * 5 + ["fall"], "'spring'"),
    "times of day": ([datetime.time(one) for one in range(6)], "times of day"),
    "times of day as text": ([f"1{one}:00:00" for one in range(6)], "'10:00:00'"),
    "too large": (np.arange(6, dtype=np.uint64) + 2**63, "too large"),
    "infinite": ([1.0, 2.0, 3.0, 4.0, 5.0, float("inf")], "too large"),
    "two ends of a year": (["01/02/03"] * 6, "two ways"),
    "a zone by name that is none": (["2020-01-01 10:00 GMT"] * 5 + ["soon GMT"], "'soon GMT'"),
    "days or months": (["1/2/2010"] * 3 + ["2/1/2010"] * 3, "two ways"),
    "seconds and milliseconds": ([EARLY] * 3 + [LATE * 1000] * 3, "several units"),
    "a word among numbers": (["1577966645", "nil", "1577966646"] * 2, "'nil'"),
    "numbers and dates": (["1577966645"] * 3 + ["2020-01-01"] * 3, "'1577966645'"),
    "truth values": ([True, False] * 3, "bool"),
    "periods": (pd.period_range("2020", periods=6, freq="M"), "period"),
    "two types": ([1, "2020-01-01"] * 3, "several types"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_say_which_is_later_is_refused_in_a_sentence(kind):
    times, why = REFUSED[kind]
    table = {"user": [1, 1, 2, 2, 3, 3], "item": [1, 2] * 3, "rating": range(6), "time": times}
    with pytest.raises(EckartError, match=why):
        read_interactions(table)


def test_times_of_day_in_a_file_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("user,item,time\n1,1,10:00:00\n1,2,11:00:00\n", encoding="utf-8")
    with pytest.raises(EckartError, match="times of day"):
        read_interactions(path)


@pytest.mark.parametrize("new", [None, 2024, 19000.5, "7"])
def test_what_cannot_be_compared_with_the_history_counts_as_later_and_it_is_said(new):
    model = fitted([moment(EARLY)] * 4)
    model.partial_fit(
        rated(5, new) if new is not None else {"user": ["a"], "item": ["x"], "rating": [5]}
    )
    data = model.model.data
    assert data.ratings.tolist() == [5, 5, 2, 4]
    assert data.times is not None
    assert np.argmax(data.times) == 0
    assert "count as later" in " ".join(model.addition.notes)


def test_a_history_without_times_is_earlier():
    table = {"user": list("aabb"), "item": list("xyxy"), "rating": [1, 5, 2, 4]}
    model = LowRankRecommender(rank=1, regularization=0.1, epochs=3).fit(table)
    data = model.partial_fit(rated(5, "2020-01-01")).model.data
    assert data.ratings.tolist() == [5, 5, 2, 4]
    assert (data.times[1:] == EARLIEST).all()


def test_a_later_dislike_counts_and_an_earlier_one_does_not():
    table = {"user": list("aab"), "item": list("xyx"), "rating": [5, 5, 5], "time": [EARLY] * 3}
    for time, sign in ((LATE, -1), (EARLY - 1, 1)):
        model = LowRankRecommender(rank=1, regularization=0.1, at_least=4, disliked=2).fit(table)
        data = model.partial_fit(rated(1, time)).model.data
        weights = np.ones(3) if data.weights is None else data.weights
        assert np.sign(weights[0]) == sign


def test_what_times_count_is_kept_in_the_folder(tmp_path):
    save_model(fitted([EARLY * 1000] * 4).model, tmp_path / "m")
    model = LowRankRecommender.load(tmp_path / "m")
    assert model.model.data.clock == load_model(tmp_path / "m").data.clock
    assert model.partial_fit(rated(5, "2024-06-01")).model.data.ratings[0] == 5


FEEDBACKS = [{}, {"at_least": 4}, {"at_least": 4, "disliked": 2}, {"implicit": True},
             {"implicit": True, "disliked": 2}]  # fmt: skip
ROWS = [("a", "x", 5, 1), ("a", "y", 4, 2), ("b", "x", 3, 3), ("b", "y", 5, 4), ("c", "x", 1, 5),
        ("c", "y", 5, 6), ("d", "z", 5, 7)]  # fmt: skip
LATER = [("a", "x", 1, 9), ("a", "y", 5, 9), ("b", "x", 5, 9), ("b", "y", 3, 9), ("c", "x", 4, 9),
         ("c", "y", 2, 0), ("e", "x", 3, 9), ("e", "z", 5, 9)]  # fmt: skip


def columns_of(rows: list) -> dict:
    return dict(zip(("user", "item", "rating", "time"), zip(*rows, strict=True), strict=True))


@pytest.mark.parametrize(("feedback", "turned"), [*((one, False) for one in FEEDBACKS), ({}, True),
                                                  ({"implicit": True}, True)], ids=str)  # fmt: skip
def test_a_later_rating_counts_whatever_ratings_stand_for(feedback, turned):
    first, later = (LATER, ROWS) if turned else (ROWS, LATER)
    whole = LowRankRecommender(rank=1, regularization=0.1, epochs=1, **feedback)
    whole.fit(columns_of(first + later))
    parts = LowRankRecommender(rank=1, regularization=0.1, epochs=1, **feedback)
    parts.fit(columns_of(first)).partial_fit(columns_of(later))
    again = fit_recommender(columns_of(later), older=LowRankRecommender(
        rank=1, regularization=0.1, epochs=1, **feedback).fit(columns_of(first)).model)  # fmt: skip
    assert entries(parts.model.data) == entries(whole.model.data) == entries(again.model.data)


def entries(data) -> set:
    """User, item, rating and weight of each entry."""
    weights = np.ones(len(data)) if data.weights is None else data.weights
    ratings = weights if data.ratings is None else data.ratings
    users, items = data.users.to_list(data.rows), data.items.to_list(data.columns)
    return set(zip(users, items, ratings.tolist(), weights.tolist(), strict=True))


@pytest.mark.parametrize("kind", [int, float, str])
@pytest.mark.parametrize("written", [202406011230, 20240601123000])
def test_a_date_that_is_written_as_a_number_is_no_number_of_seconds(kind, written):
    early = read_interactions(rated(1, kind(written)))
    late = read_interactions(rated(5, "2024-06-02"))
    notes = []
    both = merge(early, align(late, early.users, early.items), notes)
    assert both.ratings.tolist() == [5]
    assert "numbers of their own" in notes[0]
    again = read_interactions(rated(2, kind(written + 100)))
    both = merge(early, align(again, early.users, early.items), notes)
    assert both.ratings.tolist() == [2]
