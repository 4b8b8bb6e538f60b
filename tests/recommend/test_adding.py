"""Later interactions, users and items: added, removed, and fitted again from an older model."""

from dataclasses import replace

import pytest

from eckart.errors import EckartError
from eckart.recommend import (
    Settings,
    add_interactions,
    fit_recommender,
    load_model,
    predict_pairs,
    remove_user,
    top_items,
)
from eckart.recommend.fitting import fit_model
from recommend.samples import fitted, implicit, ratings, read
from tolerances import FLOAT32_SOLUTION, close


def test_a_user_who_is_added_is_the_one_who_was_fitted():
    # every user of a model is solved exactly at the end, by the equations that adding uses
    model = fitted()
    row = model.user(1007)
    own = model.data.select(model.data.rows == row)
    pairs = {
        "user": [7] * len(own),
        "item": own.items.to_list(own.columns),
        "rating": own.ratings,
    }
    with_twin = add_interactions(model, pairs).model
    twin = with_twin.offset.factors.B[with_twin.user(7)]
    assert close(twin, model.offset.factors.B[row], FLOAT32_SOLUTION)


@pytest.mark.parametrize("kind", ["explicit", "implicit", "implicit features"])
def test_new_users_and_items_are_taken_in(kind):
    data = implicit() if kind == "implicit" else read()
    model = fitted(data, implicit_features=0.5 if kind == "implicit features" else 0.0)
    new = {"user": [7, 7, 1000], "item": ["item 1", "novel", "novel"]}
    if kind != "implicit":
        new["rating"] = [5.0, 4.0, 2.0]
    result = add_interactions(model, new)
    assert (result.new_users, result.new_items, result.changed_users) == (1, 1, 1)
    after = result.model
    # what was known stays where it was, but for the users with new interactions
    assert (after.offset.factors.A[:, : data.shape[1]] == model.offset.factors.A).all()
    assert (after.offset.factors.B[1 : data.shape[0]] == model.offset.factors.B[1:]).all()
    assert after.offset.factors.A[:, after.item("novel")].any()
    assert len(after.data) == len(data) + 3
    assert top_items(after, [7], 3)[0].popular is False


def test_ids_that_are_added_are_of_the_kind_of_the_model():
    with pytest.raises(EckartError, match="whole numbers, and x is none"):
        add_interactions(fitted(), {"user": ["x"], "item": ["item 1"], "rating": [3.0]})


def test_adding_keeps_the_history_and_a_new_rating_takes_the_place_of_the_old():
    model = fitted()
    row, item = model.user(1000), model.data.items.at(model.data.columns[0])
    after = add_interactions(model, {"user": [1000], "item": [item], "rating": [1.0]}).model
    assert len(after.data) == len(model.data)
    here = (after.data.rows == row) & (after.data.columns == after.item(item))
    assert after.data.ratings[here].tolist() == [1.0]


def test_exchanged_users_and_items_are_noticed_by_their_ids():
    model = fitted()
    known = {"user": model.data.items.to_list()[:30], "item": model.data.users.to_list()[:30]}
    for call in (add_interactions, predict_pairs):
        with pytest.raises(EckartError, match="exchanged") as caught:
            call(model, {**known, "rating": [3.0] * 30})
        assert caught.value.code == "transposed"


def test_what_is_added_is_checked_against_a_scale_that_was_given():
    given = fit_model(replace(read(), scale=(1.0, 5.0)), Settings(rank=2, regularization=0.1)).model
    with pytest.raises(EckartError, match="outside 1 to 5"):
        add_interactions(given, {"user": [1000], "item": ["item 1"], "rating": [7.0]})


def test_a_user_who_is_removed_is_gone_and_the_others_are_as_they_were():
    model = fitted()
    after = remove_user(model, 1003)
    with pytest.raises(EckartError, match="no user 1003"):
        after.user(1003)
    assert len(after.data) == int((model.data.rows != 3).sum())
    for user in (1002, 1004):
        own, before = after.offset.factors.B[after.user(user)], model.user(user)
        assert (own == model.offset.factors.B[before]).all()
        assert top_items(after, [user]) == top_items(model, [user])


def test_a_refit_from_an_older_model_keeps_its_history_and_settings():
    model = fitted()
    new = {"user": [7], "item": ["item 1"], "rating": [5.0]}
    result = fit_recommender(new, older=model)
    assert len(result.model.data) == len(model.data) + 1
    assert result.model.objective.strength == model.objective.strength
    assert fit_recommender(None, older=result.model).fit.run.history[0].loss < 2 * (
        result.fit.run.history[-1].loss
    )


def test_an_interrupted_fit_gives_a_model_of_what_was_reached(tmp_path):
    def stop(step):
        if step.number == 2:
            raise KeyboardInterrupt

    settings = Settings(rank=2, regularization=0.1, epochs=50)
    result = fit_recommender(ratings(), tmp_path / "m", settings=settings, on_step=stop)
    assert result.grade == "interrupted"
    assert len(result.fit.run.history) == 3
    assert load_model(tmp_path / "m").data.shape == result.model.data.shape
