"""What a fitted model answers, and what users of other libraries had to complain about."""

import json
import subprocess
import sys

import numpy as np
import pytest

import eckart
from eckart.errors import EckartError
from eckart.recommend import (
    Settings,
    add_interactions,
    explain,
    fit_recommender,
    load_model,
    predict_pairs,
    read_interactions,
    remove_user,
    save_model,
    similar_items,
    split,
    top_items,
)
from eckart.recommend.fitting import fit_model, fit_split, make_solver
from eckart.recommend.ranking import averages
from eckart.threads import limited_threads
from recommend.samples import bits, fitted, implicit, ratings, read, sums_to_score
from tolerances import FLOAT32_SOLUTION, agree

# --- ids in, ids out; lists ------------------------------------------------------------------


def test_lists_hold_ids_and_nothing_that_was_seen():
    model = fitted()
    for one in top_items(model, model.data.users.to_list(), 5):
        row = model.user(one.user)
        seen = set(model.data.items.to_list(model.data.columns[model.data.rows == row]))
        assert {line.item for line in one.lines}.isdisjoint(seen)
        scores = [line.score for line in one.lines]
        assert scores == sorted(scores, reverse=True)


def test_seen_items_come_where_they_are_asked_for():
    model = fitted()
    everything = top_items(model, [1000], model.data.shape[1], seen=True)[0]
    assert len(everything.lines) == model.data.shape[1]


def test_scores_of_lists_are_those_of_predict():
    model = fitted()
    found = top_items(model, [1000], 5)[0]
    pairs = {"user": [1000] * 5, "item": [line.item for line in found.lines]}
    predicted = predict_pairs(model, pairs).predicted
    assert agree(predicted, [line.score for line in found.lines], share=FLOAT32_SOLUTION)


def test_only_and_without():
    model = fitted()
    only = ["item 1", "item 2", "item 3"]
    found = top_items(model, [1000], 5, seen=True, only=only, without=["item 2"])[0]
    assert {line.item for line in found.lines} == {"item 1", "item 3"}
    with pytest.raises(EckartError, match="no item nothing"):
        top_items(model, [1000], only=["nothing"])


def test_a_user_with_every_item_gets_an_empty_list():
    columns = {"user": [1, 1, 1, 2], "item": [1, 2, 3, 1], "rating": [3.0, 4.0, 5.0, 2.0]}
    model = fitted(read_interactions(columns), rank=1)
    assert top_items(model, [1], 5)[0].lines == ()


def test_a_user_without_history_gets_the_popular_items_and_is_told_so():
    model = fitted()
    found = top_items(model, ["nobody"], 3)[0]
    counts = model.data.item_counts()
    assert found.popular
    assert [line.score for line in found.lines] == sorted(counts, reverse=True)[:3]


def test_one_item_only():
    for columns in (
        {"user": [1, 2], "item": [7, 7], "rating": [3.0, 5.0]},
        {"user": [1, 2], "item": [7, 7]},
    ):
        model = fitted(read_interactions(columns), rank=4)
        assert top_items(model, [3], 2)[0].lines[0].item == 7
        assert np.isfinite(predict_pairs(model, {"user": [1], "item": [7]}).predicted).all()


@pytest.mark.parametrize("rank", [5, 64])
def test_a_rank_above_the_number_of_items_is_lowered_and_said(rank):
    columns = {"user": [1, 2, 3, 3], "item": [7, 7, 8, 7], "rating": [3.0, 5.0, 4.0, 1.0]}
    result = fit_recommender(columns, settings=Settings(rank=rank, regularization=0.1))
    assert result.model.offset.rank == 2
    assert any(f"Rank {rank}" in note for note in result.notes)
    assert np.isfinite(result.model.offset.factors.A).all()


def test_equal_ratings_give_that_rating():
    columns = {"user": [1, 1, 2, 2], "item": [1, 2, 1, 2], "rating": [4.0] * 4}
    model = fitted(read_interactions(columns), rank=2)
    assert agree(predict_pairs(model, columns).predicted, 4 * np.ones(4), share=FLOAT32_SOLUTION)


SMALL = {
    "one interaction": {"user": [1], "item": [2], "rating": [3.0]},
    "one user": {"user": [1] * 30, "item": list(range(30)), "rating": [1.0, 2.0, 3.0] * 10},
    "one item": {"user": list(range(30)), "item": [1] * 30, "rating": [1.0, 2.0, 3.0] * 10},
    "all zero": {"user": [1, 2] * 20, "item": list(range(40)), "rating": [0.0] * 40},
    "below zero": {"user": [1, 2] * 20, "item": list(range(40)), "rating": [-10.0, 10.0] * 20},
}


NO_RATINGS = {name: SMALL["one user"][name] for name in ("user", "item")}


@pytest.mark.parametrize("data", [*SMALL.values(), NO_RATINGS], ids=[*SMALL, "no ratings"])
def test_whatever_is_small_or_equal_is_fitted_and_never_nan(data):
    result = fit_recommender(data)
    json.dumps(result.report_document(), allow_nan=False)
    assert np.isfinite(result.model.scores(np.array([0]))).all()


@pytest.mark.parametrize("kind", ["one user", "one item", "all zero"])
def test_figures_of_what_is_small_or_equal_are_no_nan(kind):
    result = fit_recommender(SMALL[kind], test="random")
    json.dumps(result.report_document(), allow_nan=False)


def test_one_interaction_leaves_nothing_to_test_on():
    with pytest.raises(EckartError, match="too few"):
        fit_recommender(SMALL["one interaction"], test="random")


# --- a posterior -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bayesian():
    held = split(read(users=120), "random", share=0.2)
    return held, fit_split(held, Settings(rank=2, method="gibbs", epochs=40)).model


def test_the_deviations_of_a_posterior_are_as_large_as_its_errors(bayesian):
    held, model = bayesian
    test = held.test
    pairs = {
        "user": test.users.column(test.rows),
        "item": test.items.column(test.columns),
        "rating": test.ratings,
    }
    result = predict_pairs(model, pairs)
    within = np.abs(result.predicted - test.ratings) <= 2 * result.deviation
    # 95 % of a Gaussian; ratings are rounded and kept to a scale, so a little room on both sides
    assert 0.9 <= within.mean() <= 0.995
    assert result.rmse.value < averages_error(held)


def averages_error(held):
    base = averages(held.train).predict(held.test.rows, held.test.columns)
    return np.sqrt(np.mean(np.square(base - held.test.ratings)))


def test_a_posterior_takes_new_users_and_items_in_and_forgets_users(bayesian):
    _, model = bayesian
    new = {"user": [7, 7, 1000], "item": ["item 1", "novel", "novel"], "rating": [5.0, 4.0, 2.0]}
    after = add_interactions(model, new).model
    assert len(after.approximation.draws) == len(model.approximation.draws)
    assert np.isfinite(after.scores(np.array([after.user(7)]))).all()
    assert remove_user(after, 7).data.shape[0] == model.data.shape[0]
    with pytest.raises(EckartError, match="no sum over"):
        explain(model, 1000, "item 1")


def test_a_posterior_is_the_same_after_reading(bayesian, tmp_path):
    _, model = bayesian
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert top_items(again, [1000, 1001], 3) == top_items(model, [1000, 1001], 3)
    own = add_interactions(again, {"user": [7], "item": ["item 1"], "rating": [5.0]})
    assert own.new_users == 1


@pytest.mark.parametrize("method", ["cholesky", "blocks", "gd"])
def test_every_solver_beats_averages(method):
    held = split(read(users=120), "random", share=0.2)
    fit = fit_split(held, Settings(rank=2, method=method, regularization=0.02, epochs=60))
    test = held.test
    predicted = fit.model.predict(test.rows, test.columns, clip=True)
    assert np.sqrt(np.mean(np.square(predicted - test.ratings))) < averages_error(held)


def test_factors_are_not_negative_where_they_must_not_be():
    for data in (read(), implicit()):
        model = fitted(data, nonnegative=True)
        assert model.offset.factors.B.min() >= 0
        assert model.offset.factors.A.min() >= 0
        later = {"user": [99] * 3, "item": list(data.items.ids[:3])}
        if model.explicit:
            later["rating"] = [5, 1, 4]
        added = add_interactions(model, later).model
        assert added.offset.factors.B.min() >= 0


# --- the same answer every time --------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    assert bits(fitted(seed=3)) == bits(fitted(seed=3))
    assert bits(fitted(seed=3)) != bits(fitted(seed=4))


def test_the_number_of_threads_changes_nothing():
    found = []
    for threads in (1, 2):
        with limited_threads(threads):
            found.append(bits(fitted()))
    assert found[0] == found[1]


def test_fitting_twice_begins_anew():
    data = ratings()
    recommender = eckart.LowRankRecommender(rank=3, regularization=0.1)
    first = bits(recommender.fit(data).model)
    assert bits(recommender.fit(data).model) == first
    other = recommender.fit(ratings(users=20)).model
    assert other.data.shape[0] == 20


def test_two_processes_find_the_same(tmp_path):
    code = (
        "import sys, eckart; sys.path.insert(0, 'tests'); from recommend.samples import ratings;"
        "m = eckart.LowRankRecommender(rank=3, regularization=0.1).fit(ratings()).model;"
        "print(m.offset.factors.A.tobytes().hex()[:4000])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout != ""


# --- explanations, likeness ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["explicit", "implicit", "implicit features", "weighted"])
def test_explanations_sum_to_the_score(kind):
    data = implicit() if kind == "implicit" else read()
    if kind == "weighted":
        weights = np.random.default_rng(0).uniform(0.5, 2, len(ratings()["user"]))
        data = read_interactions({**ratings(), "weight": weights})
    model = fitted(data, implicit_features=0.5 if kind == "implicit features" else 0.0)
    for user in (1000, 1009):
        for item in ("item 3", "item 17"):
            found = explain(model, user, item)
            assert sums_to_score(found)
            assert len(found.reasons) == int((model.data.rows == model.user(user)).sum())


def test_an_item_is_like_those_of_the_same_direction():
    drawn = np.random.default_rng(1)
    group = drawn.integers(0, 2, 80)
    rows, columns = np.nonzero(drawn.random((80, 20)) < 0.5)
    liked = np.where((columns < 10) == (group[rows] == 0), 5.0, 1.0)
    model = fitted(read_interactions({"user": rows, "item": columns, "rating": liked}), rank=2)
    assert all(line.item < 10 for line in similar_items(model, 3, 9).lines)


def test_an_unknown_item_that_is_a_user_is_said_to_be_one():
    with pytest.raises(EckartError, match="but a user of that id"):
        similar_items(fitted(), 1000)


# --- choosing and measuring ------------------------------------------------------------------


def test_interactions_with_weights_are_ones_that_count_by_them():
    drawn = np.random.default_rng(0)
    table = {"user": drawn.integers(0, 30, 400), "item": drawn.integers(0, 20, 400)}
    data = read_interactions(table)
    settings = Settings(rank=3, regularization=0.01, epochs=4)
    fit = fit_model(data, settings)
    assert data.weights.max() > 1
    ones = np.ones(len(data))
    reference = eckart.factorize(
        eckart.Entries.of(data.rows, data.columns, ones, data.weights, data.shape),
        settings.rank,
        objective=fit.model.objective,
        solver=make_solver(settings, data.shape),
        seed=settings.seed,
    )
    np.testing.assert_array_equal(fit.run.factors.B, reference.factors.B)
    np.testing.assert_array_equal(fit.run.factors.A, reference.factors.A)
