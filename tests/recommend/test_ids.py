"""An id is the same however it is typed, or is refused in a sentence; it is never another one."""

import datetime
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart import LowRankRecommender
from eckart.errors import EckartError
from eckart.recommend import predict_pairs, read_interactions, top_items
from eckart.recommend.columns import read_ids, read_names
from eckart.recommend.top import write_top
from eckart.recommend.vocabulary import Vocabulary

USERS = [1, 1, 2, 2, 3, 3]
ITEMS = [10, 11, 10, 12, 11, 12]
RATINGS = [5.0, 4.0, 5.0, 1.0, 4.0, 2.0]


def fitted(users=USERS, items=ITEMS) -> LowRankRecommender:
    table = {"user": users, "item": items, "rating": RATINGS}
    return LowRankRecommender(rank=2, regularization=0.1, epochs=3).fit(table)


TYPES = {
    "int": int,
    "float": float,
    "text": str,
    "text of a float": lambda one: f"{one}.0",
    "float32": np.float32,
    "float16": np.float16,
    "int8": np.int8,
    "uint64": np.uint64,
    "decimal": decimal.Decimal,
    "decimal with places": lambda one: decimal.Decimal(one).quantize(decimal.Decimal("0.00")),
    "bytes": lambda one: str(one).encode(),
    "text of NumPy": lambda one: np.str_(one),
}


@pytest.mark.parametrize("kind", TYPES)
def test_an_id_of_any_type_is_that_of_the_fit(kind):
    model, typed = fitted(), TYPES[kind]
    user, item = typed(2), typed(10)
    assert model.recommend(user) == model.recommend(2)
    assert not model.recommend(user).popular
    assert model.recommend(2, seen=True, only=[item]) == model.recommend(2, seen=True, only=[10])
    assert model.recommend_all([user]) == model.recommend_all([2])
    assert model.similar(item) == model.similar(10)
    assert model.explain(user, item) == model.explain(2, 10)
    assert model.predict([user], [item]) == model.predict([2], [10])
    added = fitted().partial_fit({"user": [user], "item": [typed(12)], "rating": [3.0]})
    assert added.model.data.shape == (3, 3)
    assert model.remove(user).model.data.users.to_list() == [1, 3]


@settings(deadline=None, max_examples=60)
@given(
    fit_kind=st.sampled_from(sorted(set(TYPES) - {"text of a float"})),
    ask_kind=st.sampled_from(sorted(TYPES)),
    numbers=st.lists(st.integers(0, 100), min_size=1, max_size=9, unique=True),
)
def test_places_do_not_depend_on_types(fit_kind, ask_kind, numbers):
    column = [TYPES[fit_kind](one) for one in numbers]
    known, places = Vocabulary.encode(column)
    asked = known.places(pa.array([str(one) for one in numbers]))
    assert asked.tolist() == places.tolist()
    # text like 2.0 is a number among numbers only
    typed = (
        TYPES[ask_kind] if pa.types.is_integer(known.ids.type) or "of a" not in ask_kind else str
    )
    assert [known.place(typed(one)) for one in numbers] == places.tolist()


COLUMNS = {
    "categories": lambda numbers: pd.Categorical(numbers),
    "unused categories": lambda numbers: pd.Categorical(numbers, categories=[9, 8, 3, 2, 1]),
    "nullable": lambda numbers: pd.array(numbers, dtype="Int64"),
    "objects": lambda numbers: np.array(numbers, dtype=object),
    "masked": lambda numbers: np.ma.array(numbers, mask=False),
    "a generator": iter,
    "arrow": lambda numbers: pa.chunked_array([numbers[:2], numbers[2:]]),
    "dictionaries": lambda numbers: pa.array([float(one) for one in numbers]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_any_kind_has_the_same_ids(kind):
    read = read_interactions({"user": COLUMNS[kind](USERS), "item": ITEMS, "rating": RATINGS})
    assert read.users.to_list() == [1, 2, 3]
    assert read.rows.tolist() == [0, 0, 1, 1, 2, 2]


WORDS = {
    "truth values": [True, False, True],
    "bytes": [b"u1", b"u2", b"u3"],
    "uuids": [uuid.UUID(int=one) for one in (7, 8, 9)],
    "dates": [datetime.date(2020, 1, one) for one in (1, 2, 3)],
    "moments": [datetime.datetime(2020, 1, 1, second=one) for one in (1, 2, 3)],
    "numbers with a fraction": [0.5, 2.0, 3.0],
    "large numbers": [2**70, 2**70 + 1, 2**70 + 2],
    "large unsigned numbers": [2**63, 2**63 + 1, 5],
}


@pytest.mark.parametrize("kind", WORDS)
def test_ids_that_are_no_64_bit_numbers_are_found_again(kind):
    ids = [WORDS[kind][place - 1] for place in USERS]
    model = fitted(ids)
    assert not any(model.recommend(one).popular for one in ids)
    assert not any(one.popular for one in model.recommend_all(ids))
    assert model.explain(ids[0], 10).user == model.model.data.users.at(model.model.user(ids[0]))


def test_a_moment_is_the_same_id_in_any_unit():
    moments = [datetime.datetime(2020, 1, 1, second=one) for one in USERS]
    for unit in ("s", "ms", "us", "ns"):
        read = read_interactions({"user": pa.array(moments, pa.timestamp(unit)), "item": ITEMS})
        assert read.users.to_list()[0] == "2020-01-01 00:00:01"


@pytest.mark.parametrize(
    "bad",
    [None, float("nan"), float("inf"), pd.NA, pd.NaT, [1, 2], {1}, 1 + 2j, object(), b"\xff",
     "a\udcff", 1e19, datetime.timedelta(1)],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_what_can_be_no_id_is_refused_wherever_it_is_given(bad):
    model = fitted()
    for ask in (
        lambda: model.recommend(bad),
        lambda: model.recommend_all([bad]),
        lambda: model.recommend(1, only=[bad]),
        lambda: model.recommend(1, without=[bad]),
        lambda: model.similar(bad),
        lambda: model.explain(bad, 10),
        lambda: model.explain(1, bad),
        lambda: model.remove(bad),
        lambda: model.predict([bad], [10]),
        lambda: fitted([1, 1, 2, 2, bad, 3]),
        lambda: fitted(items=[10, 11, 10, 12, bad, 12]),
    ):
        with pytest.raises(EckartError):
            ask()


@pytest.mark.parametrize("users", [np.array([1, 1, 2, 2, np.nan, 3]), [1, 1, 2, 2, np.nan, 3],
                                   ["1", "1", "2", "2", np.nan, "3"], [1, 1, 2, 2, pd.NA, 3],
                                   pa.array([1, 1, 2, 2, np.nan, 3]).dictionary_encode(),
                                   np.ma.array(USERS, mask=[0, 0, 0, 0, 1, 0])])  # fmt: skip
def test_a_gap_is_no_user(users):
    with pytest.raises(EckartError, match=r"^Row 5 has no user\."):
        fitted(users)


@pytest.mark.parametrize(("kind", "size"), [(np.float64, 2**53), (np.float32, 2**24),
                                            (np.float16, 2**11)])  # fmt: skip
def test_a_float_that_stands_for_several_numbers_is_no_id(kind, size):
    with pytest.raises(EckartError, match="several whole numbers"):
        fitted(np.array([size, size, 2, 2, 3, 3], kind))
    assert (
        fitted(np.array([size - 1, size - 1, 2, 2, 3, 3], kind)).model.data.users.at(2) == size - 1
    )


@pytest.mark.parametrize("ids", ["12", 12, b"12"])
def test_lists_of_ids_are_lists(ids):
    with pytest.raises(EckartError, match="which is no column"):
        fitted().recommend(1, only=ids)


def test_large_numbers_stay_numbers_when_small_ones_come_and_the_reverse():
    one = {"item": [10], "rating": [5.0]}
    large = fitted([2**70 + user for user in USERS]).partial_fit({"user": [7], **one})
    assert large.model.data.users.to_list()[-1] == 7
    assert fitted().partial_fit({"user": [2**70], **one}).model.data.users.to_list()[-1] == 2**70


def test_a_table_of_floats_as_text_has_the_ids_of_the_numbers(tmp_path):
    frame = pd.DataFrame({"user": USERS, "item": ITEMS, "rating": RATINGS})
    frame.astype({"user": float}).to_csv(tmp_path / "f.csv", index=False)
    frame.to_csv(tmp_path / "i.csv", index=False)
    read, other = (read_interactions(tmp_path / name) for name in ("f.csv", "i.csv"))
    assert read.users.to_list() == other.users.to_list() == [1, 2, 3]
    (tmp_path / "codes.csv").write_text("user,item\n007,a\n7,b\n1.10,c\n", encoding="utf-8")
    assert read_interactions(tmp_path / "codes.csv").users.to_list() == ["007", "1.10", "7"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_of_ids_may_hold_floats(tmp_path, suffix):
    frame = pd.DataFrame({"user": [2.0, 3.0]})
    path = tmp_path / f"users.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    model = fitted().model
    ids = read_ids(path, "user")
    assert top_items(model, ids, 3) == top_items(model, [2, 3], 3)
    assert write_top(model, tmp_path / "out.csv", ids, 3).popular == 0
    titles = pd.DataFrame({"item": [10.0, 11.0], "title": ["ten", "eleven"]})
    titles.to_parquet(tmp_path / "titles.parquet")
    assert read_names(tmp_path / "titles.parquet") == {"10": "ten", "11": "eleven"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_ids_are_written_as_those_of_the_model_whoever_is_unknown(tmp_path, suffix):
    model, path = fitted().model, tmp_path / f"o.{suffix}"
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet,
            "jsonl": lambda path: pd.read_json(path, lines=True, dtype=False)}[suffix]  # fmt: skip
    for users, wanted in ((["1", "3"], [1, 3]), (["1", "99"], [1, 99]), ([1, 99], [1, 99]),
                          (["2.0", "98.0"], [2, 98])):  # fmt: skip
        write_top(model, path, users, 1, seen=True, force=True)
        assert read(path)["user"].tolist() == wanted
        assert [one.user for one in top_items(model, users, 1)] == wanted
    write_top(model, path, ["1", "x"], 1, seen=True, force=True)
    assert read(path)["user"].tolist() == ["1", "x"]
    assert [one.user for one in top_items(model, ["1", "x"], 1)] == [1, "x"]
    pairs = {"user": [1.0, 2.0], "item": [10.0, 99.0]}
    assert predict_pairs(model, pairs, names={"10": "ten"}).titles == ("ten", "")


TITLES = {
    "floats": "item,title\n10.0,ten\n11.0,eleven\n12.0,twelve\n",
    "floats and a word": "item,title\n10.0,ten\nother,none\n11,eleven\n12.0,twelve\n",
    "blanks": "item,title\n 10 ,ten\n11,eleven\n 12,twelve\n",
    "a title of its own": "item,title\n10.0,no\n10,ten\n11,eleven\n12,twelve\n",
}


@pytest.mark.parametrize("kind", TITLES)
def test_titles_of_a_text_file_are_found_however_its_ids_are_written(tmp_path, kind):
    path = tmp_path / "titles.csv"
    path.write_text(TITLES[kind], encoding="utf-8")
    (listed,) = top_items(fitted().model, [1], 3, seen=True, names=read_names(path))
    titles = {10: "ten", 11: "eleven", 12: "twelve"}
    assert [line.title for line in listed.lines] == [titles[line.item] for line in listed.lines]


def test_a_missing_id_of_a_table_of_users_is_said(tmp_path):
    (tmp_path / "users.csv").write_text("user,n\n1,1\nNA,2\n", encoding="utf-8")
    with pytest.raises(EckartError, match=r"^Row 2 of users.csv has no user"):
        top_items(fitted().model, read_ids(tmp_path / "users.csv", "user"), 3)


@pytest.mark.parametrize("kind", [kind for kind in COLUMNS if kind != "a generator"])
def test_ids_of_a_sparse_matrix_may_be_columns_of_any_kind(kind):
    W = scipy.sparse.csr_array(np.array([[5.0, 4.0], [3.0, 0.0], [0.0, 2.0]]))
    read = read_interactions(W, user_ids=COLUMNS[kind]([1, 2, 3]), item_ids=[10.0, 11.0])
    assert read.users.to_list() == [1, 2, 3]
    assert read.items.to_list() == [10, 11]


@pytest.mark.parametrize("ids", [[1, "a", 2.5], [1, 2, float("nan")], [1, 2, [3]], "abc"])
def test_ids_of_a_sparse_matrix_that_are_none_are_refused(ids):
    W = scipy.sparse.csr_array(np.eye(3))
    with pytest.raises(EckartError):
        read_interactions(W, user_ids=ids)
