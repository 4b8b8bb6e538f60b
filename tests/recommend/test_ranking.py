"""Lists and their figures, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eckart import LowRankRecommender
from eckart.recommend import ranking as blocks
from eckart.recommend import read_interactions
from eckart.recommend.ranking import rank, ranking_figures, ranking_per_user, rating_figures
from recommend.samples import read
from tolerances import agree

SEEDS = st.integers(0, 2**32 - 1)


def drawn_case(seed):
    drawn = np.random.default_rng(seed)
    users, items, k = drawn.integers(1, 12), drawn.integers(1, 15), int(drawn.integers(1, 8))
    scores = drawn.integers(0, 6, (users, items)).astype(np.float32)  # many are equal
    known = drawn.random((users, items)) < 0.3
    hidden = ~known & (drawn.random((users, items)) < 0.3)
    return scores, known, hidden, k


def interactions(mask):
    """Those of a mask, over all ids."""
    rows, columns = np.nonzero(np.ones_like(mask))
    data = read_interactions({"user": rows, "item": columns})
    return data.select(mask[rows, columns])


@given(SEEDS)
def test_lists_are_those_of_a_plain_sort(seed):
    scores, known, _, k = drawn_case(seed)
    users = np.arange(len(scores))
    got = rank(
        lambda rows: scores[rows].copy(), users, scores.shape[1], k, seen=interactions(known)
    )
    for user in users:
        left = [item for item in range(scores.shape[1]) if not known[user, item]]
        best = sorted(left, key=lambda item: (-scores[user, item], item))[:k]
        chosen = got.items[user][got.items[user] >= 0]
        # which of equal scores at the end is taken is free, the scores are not
        assert scores[user, chosen].tolist() == scores[user, best].tolist()
        assert set(chosen) <= set(left)
        assert np.isnan(got.scores[user, len(best) :]).all()


@given(SEEDS)
def test_figures_are_those_of_plain_loops(seed):
    scores, known, hidden, k = drawn_case(seed)
    got = rank(
        lambda rows: scores[rows].copy(),
        np.arange(len(scores)),
        scores.shape[1],
        k,
        seen=interactions(known),
    )
    each = ranking_per_user(got, interactions(hidden))
    expected = [plain(got.items[user], np.flatnonzero(row), k) for user, row in enumerate(hidden)]
    kept = [one for one in expected if one is not None]
    for name, values in each.items():
        assert agree(values, [one[name] for one in kept])


def plain(listed, wanted, k):
    """The definitions of docs/recommend.md, one after the other."""
    if not len(wanted):
        return None
    hits = [int(item in wanted) if item >= 0 else 0 for item in listed]
    best = min(len(wanted), k)
    ideal = sum(1 / np.log2(place + 2) for place in range(best))
    average = sum(sum(hits[: place + 1]) / (place + 1) for place in range(k) if hits[place])
    first = next((place + 1 for place in range(k) if hits[place]), None)
    return {
        "recall": sum(hits) / len(wanted),
        "precision": sum(hits) / k,
        "ndcg": sum(hit / np.log2(place + 2) for place, hit in enumerate(hits)) / ideal,
        "map": average / best,
        "mrr": 1 / first if first else 0.0,
    }


def test_precision_divides_by_k_also_where_fewer_are_to_be_found():
    test = interactions(np.array([[True, False, False]]))
    scores = np.array([[3.0, 2.0, 1.0]], np.float32)
    got = rank(lambda rows: scores[rows].copy(), np.array([0]), 3, 3)
    assert agree(ranking_figures(got, test)["precision"].value, 1 / 3)


def test_blocks_change_nothing(monkeypatch):
    data = read()
    scores = np.random.default_rng(0).standard_normal(data.shape).astype(np.float32)
    users = np.arange(data.shape[0])
    whole = rank(lambda rows: scores[rows].copy(), users, data.shape[1], 5, seen=data)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    single = rank(lambda rows: scores[rows].copy(), users, data.shape[1], 5, seen=data)
    assert (whole.items == single.items).all()


def test_errors_of_ratings_are_those_of_their_definitions():
    predicted, actual = np.array([1.0, 2.0, 5.0]), np.array([2.0, 2.0, 3.0])
    figures = rating_figures(predicted, actual, np.array([0, 0, 1]))
    assert agree(figures["rmse"].value, np.sqrt(5 / 3))
    assert agree(figures["mae"].value, 1.0)


def test_the_standard_error_is_that_of_repeated_draws():
    # users whose ratings share an error: taking ratings as independent would be far too small
    drawn = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(200):
        shared = np.repeat(np.abs(drawn.standard_normal(50)), 20)
        figure = rating_figures(shared, np.zeros(1000), np.repeat(np.arange(50), 20))["mae"]
        values.append(figure.value)
        errors.append(figure.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(1, 30),
    levels=st.integers(1, 4),
    dropped=st.integers(0, 3),
)
def test_of_equal_scores_the_earlier_item_comes_first_whatever_the_length(
    seed, items, levels, dropped
):
    drawn = np.random.default_rng(seed)
    scores = drawn.integers(0, levels, (5, items)).astype(np.float32)
    allowed = np.ones(items, np.bool_)
    allowed[drawn.integers(0, items, dropped)] = False
    places = np.flatnonzero(allowed)
    expected = [
        sorted(places.tolist(), key=lambda item, row=row: (-scores[row, item], item))
        for row in range(5)
    ]
    for k in range(1, items + 2):
        found = rank(lambda users: scores[users].copy(), np.arange(5), items, k, allowed=allowed)
        assert [[item for item in row if item >= 0] for row in found.items.tolist()] == [
            one[:k] for one in expected
        ]


def test_a_shorter_list_is_the_beginning_of_a_longer_one():
    alike = {"user": [f"u{one}" for one in range(12)], "item": [f"i{one:02d}" for one in range(12)]}
    rated = {
        "user": np.repeat(np.arange(30), 40),
        "item": np.tile([f"i{one:02d}" for one in range(40)], 30),
        "rating": np.repeat(np.arange(30) % 5 + 1.0, 40),
    }
    rated = {name: [*values, other] for (name, values), other in zip(
        rated.items(), ("99", "other", 3.0), strict=True)}  # fmt: skip
    rated["user"] = [str(one) for one in rated["user"]]
    for table, user in ((alike, "nobody"), (alike, "u3"), (rated, "99"), (rated, "nobody")):
        model = LowRankRecommender(rank=2, regularization=0.01, method="cholesky").fit(table)
        whole = model.recommend(user, k=len(model.model.data.items)).lines
        for k in range(1, len(whole)):
            assert model.recommend(user, k=k).lines == whole[:k]
        tied = [line.item for line in whole if line.score == whole[0].score]
        assert tied == sorted(tied)
