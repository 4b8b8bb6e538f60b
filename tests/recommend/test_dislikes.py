"""Dislikes among interactions: zeros that count, by the thresholds of the fit."""

import numpy as np
import pytest

import eckart
from eckart.errors import EckartError
from eckart.recommend import (
    Feedback,
    Settings,
    add_interactions,
    evaluate,
    explain,
    fit_recommender,
    load_model,
    read_interactions,
    save_model,
    split,
    top_items,
)
from eckart.recommend.fitting import fit_split
from eckart.recommend.interactions import align, merge
from recommend.samples import fitted, ratings
from tolerances import FLOAT32_SOLUTION, agree, close

BOTH = Feedback(at_least=3.5, disliked=2.0)


def read(feedback=BOTH, **arguments):
    return read_interactions(ratings(**arguments), None, feedback)


def test_low_ratings_are_dislikes_and_the_middle_is_left_out():
    table = ratings()
    data = read()
    assert data.ratings is None
    assert int(data.liked.sum()) == int((table["rating"] >= 3.5).sum())
    assert int((~data.liked).sum()) == int((table["rating"] <= 2.0).sum())
    everything = read(Feedback(implicit=True, disliked=2.0))
    assert len(everything) == len(table["rating"])
    assert int((~everything.liked).sum()) == int((table["rating"] <= 2.0).sum())


def test_of_ratings_of_a_pair_the_last_decides():
    table = {"user": [1, 1, 1], "item": [7, 7, 8], "rating": [5, 1, 4], "time": [1, 2, 3]}
    data = read_interactions(table, None, Feedback(at_least=4, disliked=2))
    assert data.weights.tolist() == [-1.0, 1.0]


def test_weights_stay_and_count_for_dislikes_too():
    table = {"user": [1, 1], "item": [7, 8], "rating": [5, 1], "weight": [2.0, 3.0]}
    data = read_interactions(table, None, Feedback(implicit=True, disliked=2))
    assert data.weights.tolist() == [2.0, -3.0]


def test_dislikes_are_zeros_in_the_equations_of_a_user():
    # the reference solves (α·A·Aᵀ + Σ w·z·zᵀ + λ·(n + α·items)·I)·x = Σ_liked w·z in float64
    data = read()
    model = fitted(data, method="cholesky")
    A, alpha = model.offset.factors.A.astype(np.float64), model.objective.unobserved_weight
    both = np.intersect1d(data.rows[data.liked], data.rows[~data.liked])
    assert len(both) > 9
    for row in both:
        here = data.rows == row
        D, liked = A.T[data.columns[here]], data.liked[here]
        ridge = model.objective.strength * (len(D) + alpha * A.shape[1])
        system = alpha * A @ A.T + D.T @ D + ridge * np.eye(len(A))
        x = np.linalg.solve(system, D[liked].sum(axis=0))
        own = model.offset.factors.B[row]
        assert close(own, x, FLOAT32_SOLUTION * float(np.linalg.norm(x)))


def test_what_is_like_a_dislike_comes_later():
    # two kinds of items; a user who likes one of a kind and dislikes one of the other
    drawn = np.random.default_rng(3)
    rows, columns = np.nonzero(drawn.random((80, 20)) < 0.4)
    liked = (columns < 10) == (rows % 2 == 0)
    table = {"user": rows, "item": columns, "rating": np.where(liked, 5.0, 1.0)}
    model = fit_recommender(
        table, feedback=BOTH, settings=Settings(rank=2, regularization=0.05)
    ).model
    likes, hates = ({"user": [100, 100], "item": [3, 15], "rating": [5.0, low]} for low in (5, 1))
    before, after = (add_interactions(model, one).model for one in (likes, hates))
    scores = [one.scores(np.array([one.user(100)]))[0, 10:] for one in (before, after)]
    assert scores[1].max() < scores[0].min()


def test_what_was_disliked_is_never_listed_nor_popular():
    data = read()
    model = fitted(data)
    for one in top_items(model, data.users.to_list(), 5):
        row = model.user(one.user)
        seen = set(data.items.to_list(data.columns[data.rows == row]))
        assert {line.item for line in one.lines}.isdisjoint(seen)
    counts = np.bincount(data.columns[data.weights > 0], minlength=len(data.items))
    (popular,) = top_items(model, ["nobody"], 3)
    assert [line.score for line in popular.lines] == sorted(counts, reverse=True)[:3]


def test_dislikes_are_not_to_be_found():
    held = split(read(users=120), "random", share=0.3)
    fit = fit_split(held, Settings(rank=2, regularization=0.02))
    found = evaluate(fit.model, held)
    assert found.ranked_users == len(np.unique(held.test.rows[held.test.liked]))


def test_explanations_with_dislikes_sum_to_the_score():
    found = explain(fitted(read()), 1000, "item 3")
    assert agree(found.base + sum(reason.adds for reason in found.reasons), found.score)
    assert close(np.array([found.score]), np.array([found.fitted]), FLOAT32_SOLUTION)


@pytest.mark.parametrize("kind", ["added", "read and added"])
def test_what_is_added_is_taken_as_at_the_fit(tmp_path, kind):
    model = fit_recommender(
        ratings(), feedback=BOTH, settings=Settings(rank=2, regularization=0.05)
    ).model
    if kind == "read and added":
        save_model(model, tmp_path / "m")
        model = load_model(tmp_path / "m")
    new = {"user": [7, 7, 7], "item": ["item 1", "item 2", "item 3"], "rating": [5.0, 1.0, 3.0]}
    after = add_interactions(model, new)
    assert after.interactions == 2
    here = after.model.data.rows == after.model.user(7)
    assert after.model.data.weights[here].tolist() == [1.0, -1.0]
    assert after.model.data.users.to_list()[:60] == model.data.users.to_list()


def test_a_refit_from_an_older_model_takes_ratings_as_that_did():
    older = fit_recommender(
        ratings(), feedback=BOTH, settings=Settings(rank=2, regularization=0.05)
    ).model
    new = {"user": [7, 7, 7], "item": ["item 1", "item 2", "item 3"], "rating": [5.0, 1.0, 3.0]}
    model = fit_recommender(new, older=older, feedback=Feedback(scale=(1.0, 5.0))).model
    assert model.data.weights[model.data.rows == model.user(7)].tolist() == [1.0, -1.0]
    assert model.feedback.disliked == BOTH.disliked


def test_rows_of_weight_zero_may_be_added():
    model = fitted(read_interactions({"user": [1, 1, 2], "item": [5, 6, 5], "plays": [1, 2, 3]}))
    after = add_interactions(model, {"user": [3, 4], "item": [5, 6], "plays": [0.0, 2.0]}).model
    assert after.data.users.to_list() == [1, 2, 4]
    assert after.data.items.to_list() == [5, 6]


def test_the_recommender_takes_dislikes(tmp_path):
    model = eckart.LowRankRecommender(rank=2, regularization=0.05, at_least=3.5, disliked=2.0)
    model.fit(ratings()).save(tmp_path / "m")
    again = eckart.LowRankRecommender.load(tmp_path / "m")
    again.partial_fit({"user": [7, 7], "item": ["item 1", "item 2"], "rating": [5.0, 1.0]})
    assert not again.recommend(7).popular
    assert again.model.data.weights.min() == -1.0


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ({"disliked": 2.0}, "option-does-not-apply"),
        ({"disliked": 4.0, "at_least": 4.0}, "bad-disliked"),
    ],
)
def test_thresholds_that_do_not_go_together_are_refused(numbers, code):
    with pytest.raises(EckartError) as caught:
        Feedback(**numbers)
    assert caught.value.code == code


def test_dislikes_need_ratings():
    with pytest.raises(EckartError, match="no ratings"):
        read_interactions({"user": [1], "item": [2]}, None, Feedback(implicit=True, disliked=2))


def test_who_changes_his_mind_later_has_the_later_opinion():
    first = {"user": [1, 1, 2, 2], "item": [7, 8, 7, 8], "rating": [5, 1, 5, 5]}
    then = {"user": [1, 1, 2], "item": [7, 8, 7], "rating": [1, 5, 5]}
    old, new = (read_interactions(table, None, BOTH) for table in (first, then))
    together = merge(old, align(new, old.users, old.items))
    assert together.weights.tolist() == [-1.0, 1.0, 2.0, 1.0]
