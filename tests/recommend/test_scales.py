"""A scale that was found in the ratings widens with them; one that was given does not."""

import pytest

from eckart import LowRankRecommender
from eckart.errors import EckartError

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
    from eckart.jobs.recommend.job import fit_recommender

    older = fitted().model
    again = fit_recommender(LOW, older=older)
    assert again.model.scale == (1, 7.5)
    with pytest.raises(EckartError, match="outside 2 to 5"):
        fit_recommender(LOW, older=fitted(scale=(2, 5)).model)
