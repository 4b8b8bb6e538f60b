"""Whatever is given instead of what is wanted gets one sentence, never a traceback."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse

from eckart import LowRankRecommender
from eckart.errors import EckartError
from eckart.recommend import export_factors, load_model, read_interactions, save_model
from eckart.recommend.storing import DOCUMENT

TABLE = {"user": [1, 1, 2, 2, 3, 3], "item": [10, 11, 10, 12, 11, 12],
         "rating": [5.0, 4.0, 5.0, 1.0, 4.0, 2.0]}  # fmt: skip
WRONG = ("2", "abc", None, 2.5, float("nan"), float("inf"), -1, [1], {}, 1 + 2j, True, object())


def fitted(table=TABLE, **settings) -> LowRankRecommender:
    return LowRankRecommender(**{"rank": 2, "regularization": 0.1, **settings}).fit(table)


@pytest.mark.parametrize("wrong", [*WRONG, 0], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", ["rank", "k", "k of similar", "k of all"])
def test_counts_are_whole_numbers_from_one(name, wrong):
    model = fitted()
    asks = {
        "rank": lambda: LowRankRecommender(rank=wrong),
        "k": lambda: model.recommend(1, k=wrong),
        "k of similar": lambda: model.similar(10, k=wrong),
        "k of all": lambda: model.recommend_all(k=wrong),
    }
    with pytest.raises(EckartError) as caught:
        asks[name]()
    assert caught.value.hint


@pytest.mark.parametrize("name", ["regularization", "count_exponent", "unobserved_weight",
                                  "implicit_features", "attribute_weight", "at_least", "scale",
                                  "method", "epochs", "seed", "disliked"])  # fmt: skip
@pytest.mark.parametrize(
    "wrong",
    ["2", [1], {}, float("nan"), float("inf"), 1 + 2j, True, object()],
    ids=lambda one: type(one).__name__,
)
def test_settings_of_a_wrong_type_are_refused_by_name(name, wrong):
    with pytest.raises(EckartError) as caught:
        LowRankRecommender(**{name: wrong})
    assert caught.value.hint


@pytest.mark.parametrize("scale", [(5, 1), (1, 1), (1,), (1, 2, 3), "15", (1, "5"), 5])
def test_a_scale_is_two_numbers_the_lower_first(scale):
    with pytest.raises(EckartError, match="scale is"):
        LowRankRecommender(scale=scale)


@pytest.mark.parametrize(
    "columns", [{"usr": "x"}, {"user": 3}, 3, "user", ["user"], {"user": None}]
)
def test_names_of_columns_are_a_mapping_of_texts_by_role(columns):
    with pytest.raises(EckartError) as caught:
        LowRankRecommender(columns=columns)
    assert "user, item, rating, weight, time" in caught.value.hint


@pytest.mark.parametrize("wrong", ["nope", 3, True, ["last"]])
def test_ways_of_testing_that_there_are_not_are_refused_with_those_there_are(wrong):
    with pytest.raises(EckartError) as caught:
        LowRankRecommender(rank=2).fit(TABLE, test=wrong)
    assert "random, last, users" in caught.value.hint


@pytest.mark.parametrize("name", ["implicit", "nonnegative"])
@pytest.mark.parametrize("wrong", ["yes", 1, 0.5, [True]])
def test_what_is_true_or_false_is_nothing_else(name, wrong):
    with pytest.raises(EckartError, match=name):
        LowRankRecommender(**{name: wrong})


@pytest.mark.parametrize("method", ["ALS", "", "svd", "Gibbs"])
def test_a_solver_that_there_is_not_is_refused_with_those_there_are(method):
    with pytest.raises(EckartError) as caught:
        LowRankRecommender(method=method)
    assert "als, cholesky, blocks, gd, gibbs" in caught.value.hint


def test_numbers_of_numpy_are_numbers(tmp_path):
    settings = {"rank": np.int64(2), "regularization": np.float32(0.5), "epochs": np.int32(2)}
    model = fitted(**settings, scale=(np.float32(0), 9), nonnegative=np.bool_(False))
    assert len(model.recommend(1, k=np.int8(1)).lines) == 1
    model.save(tmp_path / "m")
    assert LowRankRecommender.load(tmp_path / "m").settings == model.settings
    with pytest.raises(EckartError, match="outside 0 to 9"):
        LowRankRecommender.load(tmp_path / "m").partial_fit({**TABLE, "rating": [10.0] * 6})


def test_weights_that_are_all_zero_are_said():
    with pytest.raises(EckartError, match=r"^All weights of the table are 0\."):
        fitted({**TABLE, "weight": [0] * 6})


@pytest.mark.parametrize("size", [1e10, 1e20, -1e30, 1e38, 1e300])
def test_ratings_whose_squares_are_no_numbers_are_refused_in_a_sentence(size):
    for method in ("als", "cholesky", "gibbs", "gd"):
        with pytest.raises(EckartError) as caught:
            fitted({**TABLE, "rating": [5.0, 4.0, size, 1.0, 4.0, 2.0]}, method=method)
        assert caught.value.code in ("out-of-range", "bad-rating")


@pytest.mark.parametrize("method", ["als", "cholesky", "gibbs"])
def test_the_largest_ratings_that_are_taken_give_finite_predictions(method):
    table = {**TABLE, "rating": [0.9e9 * one for one in (1.0, -1.0, 0.5, 1.0, -1.0, 0.2)]}
    assert np.isfinite(fitted(table, method=method).predict([1, 2], [12, 11])).all()


@pytest.mark.parametrize("rating", [5, 0, 3.5])
def test_ratings_that_are_all_equal_are_said(rating):
    notes = fitted({**TABLE, "rating": [rating] * 6}).fitting.notes
    assert f"All ratings are {rating:g}" in " ".join(notes)


def test_two_columns_of_one_name_are_refused():
    columns = [*TABLE.values(), [1.0] * 6]
    table = pa.table([pa.array(one) for one in columns], names=[*TABLE, "rating"])
    with pytest.raises(EckartError, match="several columns called 'rating'"):
        read_interactions(table)


def test_complex_numbers_are_no_ratings():
    with pytest.raises(EckartError, match="complex"):
        fitted(scipy.sparse.csr_array(np.array([[1 + 2j, 0], [3, 1]])))


def test_any_changed_byte_of_the_document_of_a_model_is_noticed(tmp_path):
    save_model(fitted().model, tmp_path / "m")
    path = tmp_path / "m" / DOCUMENT
    text = path.read_text(encoding="utf-8")
    for old, new in (('"rank": 2', '"rank": 3'), ('"document": {', '"documend": {'),
                     ('"noise"', '"noisy"'), ("0.1", "0.2")):  # fmt: skip
        if old in text:
            path.write_text(text.replace(old, new, 1), encoding="utf-8")
            with pytest.raises(EckartError):
                load_model(tmp_path / "m")
    path.write_text(text, encoding="utf-8")
    assert load_model(tmp_path / "m").data.shape == (3, 3)


def test_ids_with_line_breaks_are_not_listed_by_line(tmp_path):
    model = fitted({**TABLE, "user": ["a\nb", "a\nb", "c", "c", "d", "d"]}).model
    with pytest.raises(EckartError, match="line break"):
        export_factors(model, tmp_path / "v.npy", "users")
    assert not list(tmp_path.iterdir())
    assert export_factors(model, tmp_path / "v.parquet", "users")
