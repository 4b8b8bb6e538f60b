"""A scale that was found in the ratings widens with them; one that was given does not."""

import numpy as np
import pytest

from eckart import LowRankRecommender
from eckart.errors import EckartError
from tolerances import FLOAT32_SOLUTION

FIRST = {"user": [1, 1, 2, 2, 3, 3], "item": [10, 11, 10, 12, 11, 12], "rating": [5, 4, 5, 2, 4, 2]}
LOW = {"user": [9, 9], "item": [10, 11], "rating": [1.0, 7.5]}


def fitted(**settings) -> LowRankRecommender:
    return LowRankRecommender(rank=2, regularization=0.1, epochs=3, **settings).fit(FIRST)


@pytest.mark.parametrize("method", ["als", "gibbs"])
@pytest.mark.parametrize("loaded", [False, True])
def test_an_inferred_scale_widens_and_it_is_said(tmp_path, method, loaded):
    model = fitted(method=method)
    if loaded:
        model.save(tmp_path / "m")
        model = LowRankRecommender.load(tmp_path / "m")
    assert model.model.scale == (2, 5)
    model.partial_fit(LOW)
    assert model.model.scale == (1, 7.5)
    assert "was 2 to 5 and is now 1 to 7.5" in " ".join(model.addition.notes)
    model.save(tmp_path / "n")
    assert LowRankRecommender.load(tmp_path / "n").model.scale == (1, 7.5)
    assert model.partial_fit({**LOW, "rating": [3, 3]}).model.scale == (1, 7.5)


def test_a_model_that_was_read_can_be_fitted_to_other_ratings(tmp_path):
    fitted().save(tmp_path / "m")
    assert LowRankRecommender.load(tmp_path / "m").fit(LOW).model.scale == (1, 7.5)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_given_scale_refuses_what_is_outside(tmp_path, loaded):
    model = fitted(scale=(1, 5))
    if loaded:
        model.save(tmp_path / "m")
        model = LowRankRecommender.load(tmp_path / "m")
    with pytest.raises(EckartError, match="outside 1 to 5"):
        model.partial_fit(LOW)
    with pytest.raises(EckartError, match="outside 1 to 5"):
        model.fit(LOW)


def test_a_fit_from_an_older_model_widens_its_scale(tmp_path):
    from eckart.recommend import fit_recommender

    older = fitted().model
    again = fit_recommender(LOW, older=older)
    assert again.model.scale == (1, 7.5)
    with pytest.raises(EckartError, match="outside 2 to 5"):
        fit_recommender(LOW, older=fitted(scale=(2, 5)).model)


def rated(unit: float, rows: int = 60, columns: int = 40) -> dict:
    """Ratings of rank 3 that are known in part, from one to five units."""
    drawn = np.random.default_rng(5)
    table = drawn.standard_normal((rows, 3)) @ drawn.standard_normal((3, columns))
    users, items = np.nonzero(drawn.random(table.shape) < 0.4)
    ratings = np.clip(np.round(3 + table[users, items]), 1, 5)
    return {"user": users, "item": items, "rating": unit * ratings}


@pytest.mark.parametrize("method", ["als", "gd"])
@pytest.mark.parametrize("power", [-20, -12, 8, 16])
def test_ratings_are_learned_in_any_unit(method, power):
    unit = 2.0**power
    found = LowRankRecommender(rank=3, method=method).fit(rated(unit), test="random").fitting
    figures = {name: own["rmse"].value / unit for name, own in found.evaluation.figures.items()
               if "rmse" in own}  # fmt: skip
    plain = LowRankRecommender(rank=3, method=method).fit(rated(1.0), test="random").fitting
    as_usual = plain.evaluation.figures["model"]["rmse"].value
    assert figures["averages"] == pytest.approx(
        plain.evaluation.figures["averages"]["rmse"].value, rel=FLOAT32_SOLUTION
    )
    assert figures["model"] < (as_usual + figures["averages"]) / 2


def test_a_large_penalty_does_not_make_stochastic_descent_diverge():
    penalty, ratings = 10_000, rated(1.0)["rating"]
    model = LowRankRecommender(rank=3, method="gd", regularization=penalty, epochs=5)
    found = model.fit(rated(1.0)).predict([1, 2], [3, 4])
    assert (np.abs(found - ratings.mean()) <= np.ptp(ratings) / penalty).all()


def test_ratings_that_float32_does_not_tell_apart_are_refused():
    table = rated(1.0)
    with pytest.raises(EckartError, match="differ by 4 only") as caught:
        LowRankRecommender().fit({**table, "rating": table["rating"] + 9e8})
    assert caught.value.hint.startswith("Subtract 900000001 from all")
    LowRankRecommender(rank=1, regularization=0.1, epochs=1).fit(
        {**table, "rating": table["rating"] + 1e5}
    )
