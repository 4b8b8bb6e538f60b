"""Intervals of a Bayesian model hold as often as they say, whoever they are of."""

import numpy as np
import pytest

from eckart import LowRankRecommender, fold_in
from eckart.approximations import BiasedFactors, PosteriorSamples
from eckart.completion.entries import Entries
from eckart.completion.objective import Observed
from eckart.errors import ArgumentError
from eckart.factors import Factors
from eckart.recommend import Settings, read_interactions, split
from eckart.recommend.fitting import fit_split

NINETY = 1.645
"""Standard deviations on both sides that hold 90 % of a Gaussian."""
ROOM = (0.83, 0.96)
"""Of the share that is held: users share the draws of the items, so their errors are correlated;
between seeds it has a standard deviation of 0.025, of which this is three."""
OLD = 100
"""Rows, or columns, that are there at the fit."""


def truth(seed: int, rows: int = 150, columns: int = 60) -> np.ndarray:
    """Ratings of rank 3 with biases and noise, of all pairs."""
    drawn = np.random.default_rng(seed)
    mixed = drawn.standard_normal((rows, 3)) @ drawn.standard_normal((3, columns))
    users, items = drawn.standard_normal((rows, 1)), drawn.standard_normal((1, columns))
    return 3 + 0.6 * users + 0.4 * items + 0.6 * mixed + 0.3 * drawn.standard_normal(mixed.shape)


def known_of(drawn: np.random.Generator, count: int) -> np.ndarray:
    """Which of 150 × 60 are known: two fifths, of the rows after the first 100 so many each."""
    known = drawn.random((150, 60)) < 0.4
    for row in range(OLD, 150):
        known[row] = False
        known[row, drawn.choice(60, count, replace=False)] = True
    return known


def table(W: np.ndarray, known: np.ndarray, *, turned: bool) -> dict:
    """Known entries; turned the rows are the items."""
    rows, columns = np.nonzero(known)
    names = ("item", "user") if turned else ("user", "item")
    return {names[0]: rows, names[1]: columns, "rating": W[rows, columns]}


def held_share(model, users, items, actual) -> float:
    """How often an interval of 90 % holds the rating."""
    posterior = model.model.approximation
    rows, columns = model.model.data.users.places(users), model.model.data.items.places(items)
    off = np.abs(actual - posterior.predict(rows, columns))
    return float(np.mean(off < NINETY * posterior.deviation(rows, columns)))


@pytest.mark.parametrize("turned", [False, True], ids=["users", "items"])
@pytest.mark.parametrize("count", [1, 2, 5, 18])
def test_intervals_of_what_is_added_hold_as_often_as_those_of_what_was_fitted(count, turned):
    W, drawn = truth(count), np.random.default_rng(count)
    known = known_of(drawn, count)
    first = known & (np.arange(150) < OLD)[:, None]
    model = LowRankRecommender(rank=4, scale=(-100, 100), method="gibbs", epochs=60)
    model.fit(table(W, first, turned=turned))
    model.partial_fit(table(W, known & ~first, turned=turned))
    rows, columns = np.nonzero(~known & ~first & (np.arange(150) >= OLD)[:, None])
    pairs = (columns, rows) if turned else (rows, columns)
    assert ROOM[0] < held_share(model, *pairs, W[rows, columns]) < ROOM[1]


@pytest.mark.parametrize("unit", [1e-3, 0.05, 10.0, 100.0, 1e6])
def test_the_unit_of_the_ratings_does_not_matter(unit):
    W, drawn = unit * truth(2), np.random.default_rng(2)
    known = known_of(drawn, 5)
    first = known & (np.arange(150) < OLD)[:, None]
    model = LowRankRecommender(rank=4, scale=(-1e9, 1e9), method="gibbs", epochs=60)
    model.fit(table(W, first, turned=False))
    model.partial_fit(table(W, known & ~first, turned=False))
    for part in (slice(0, OLD), slice(OLD, 150)):
        rows, columns = np.nonzero(~known[part])
        rows += part.start
        assert ROOM[0] < held_share(model, rows, columns, W[rows, columns]) < ROOM[1]
    rows, columns = np.nonzero(~known[:OLD])
    off = model.model.approximation.predict(rows, columns) - W[rows, columns]
    assert np.sqrt(np.mean(np.square(off))) < 0.5 * unit


def test_intervals_of_users_who_are_held_out_hold_as_often():
    W, drawn = truth(7), np.random.default_rng(7)
    data = read_interactions(table(W, drawn.random(W.shape) < 0.4, turned=False))
    held = split(data, "users", share=0.3)
    model = fit_split(held, Settings(rank=4, method="gibbs", epochs=60)).model
    off = np.abs(held.test.ratings - model.approximation.predict(held.test.rows, held.test.columns))
    spread = model.approximation.deviation(held.test.rows, held.test.columns)
    assert ROOM[0] < np.mean(off < NINETY * spread) < ROOM[1]


def test_a_user_of_whom_hardly_anything_is_known_is_less_certain_than_one_with_a_history():
    W, drawn = truth(3), np.random.default_rng(3)
    known = known_of(drawn, 1)
    model = LowRankRecommender(rank=4, method="gibbs", epochs=40, scale=(-100, 100))
    model.fit(table(W, known & (np.arange(150) < OLD)[:, None], turned=False))
    model.partial_fit(table(W, known & (np.arange(150) >= OLD)[:, None], turned=False))
    deviation = [
        model.model.approximation.deviation(np.full(60, row), np.arange(60)).mean()
        for row in (0, OLD)
    ]
    assert deviation[1] > 1.5 * deviation[0]


def test_the_same_addition_gives_the_same_bits():
    W, drawn = truth(5), np.random.default_rng(5)
    known = known_of(drawn, 2)
    model = LowRankRecommender(rank=2, method="gibbs", epochs=20, scale=(-100, 100))
    model.fit(table(W, known & (np.arange(150) < OLD)[:, None], turned=False))
    start, later = model.model, table(W, known & (np.arange(150) >= OLD)[:, None], turned=False)
    found = []
    for _ in range(2):
        model._model = start
        found.append(model.partial_fit(later).model.approximation)
    assert (found[0].factors.B == found[1].factors.B).all()


def test_draws_without_priors_fold_nothing_in():
    draw = BiasedFactors(0.0, [0.0], [0.0], Factors([[1.0]], [[2.0]]))
    new = Entries.of([0], [0], [4.0], shape=(1, 1))
    with pytest.raises(ArgumentError, match="no priors"):
        fold_in(PosteriorSamples(draws=(draw,), noise=1.0), Observed(), new)
