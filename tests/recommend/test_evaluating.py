"""What a model is measured by: parts of the data, figures, settings that were chosen by them."""

from dataclasses import replace

import numpy as np
import pytest

from eckart.errors import EckartError
from eckart.recommend import (
    AttributeTables,
    Settings,
    evaluate,
    fit_recommender,
    predict_pairs,
    read_interactions,
    split,
    top_items,
)
from eckart.recommend.attribute_tables import attach
from eckart.recommend.evaluation import TEST, Split
from eckart.recommend.fitting import fit_model, fit_split
from eckart.recommend.interactions import concatenate
from eckart.recommend.times import Clock
from eckart.recommend.tuning import choose_regularization
from recommend.samples import fitted, implicit, ratings, read
from tolerances import FLOAT32_SOLUTION, agree


def test_a_model_beats_what_it_has_to_beat():
    result = fit_recommender(ratings(users=200), test="random", settings=Settings(rank=2))
    figures = result.evaluation.figures
    assert figures["model"]["rmse"].value < figures["averages"]["rmse"].value
    assert result.choice.regularization in [one for one, _ in result.choice.tried]


def test_regularization_is_the_best_of_those_that_were_tried():
    choice = choose_regularization(read(users=100), Settings(rank=2))
    assert dict(choice.tried)[choice.regularization] == min(figure for _, figure in choice.tried)


@pytest.mark.parametrize("way", ["random", "last", "users"])
def test_parts_are_apart_and_together_everything(way):
    data = read()
    held = split(data, way)
    parts = [held.train, held.test, *([held.shown] if held.shown else [])]
    pairs = [set(zip(part.rows.tolist(), part.columns.tolist(), strict=True)) for part in parts]
    assert sum(len(part) for part in pairs) == len(data) == len(set.union(*pairs))


def test_last_holds_back_the_latest_of_each_user():
    data = read()
    hidden = split(data, "last").parts == TEST
    for row in np.unique(data.rows[hidden]):
        own = data.rows == row
        assert data.times[own & hidden].min() >= data.times[own & ~hidden].max()


def test_held_out_users_are_known_by_what_is_shown_of_them():
    held = split(read(users=100), "users", share=0.3)
    fit = fit_split(held, Settings(rank=2, regularization=0.05))
    tested = np.unique(held.test.rows)
    assert fit.model.offset.factors.B[tested].any(axis=1).all()
    assert not np.isin(tested, held.train.rows).any()


def test_a_test_user_with_nothing_to_be_found_is_left_out_of_the_means():
    data = read(users=100)
    held = split(data, "random")
    model = fitted(held.train)
    found = evaluate(model, held, relevant=5.0)
    wanted = held.test.ratings >= 5.0
    assert found.ranked_users == len(np.unique(held.test.rows[wanted]))


def test_without_anything_to_be_found_there_are_no_lists_and_no_nan():
    held = split(read(), "random")
    found = evaluate(fitted(held.train), held, relevant=6.0)
    assert "ndcg" not in found.figures["model"]
    assert found.ranked_users == 0


def test_the_implicit_model_finds_what_users_like_better_than_popularity():
    held = split(implicit(users=200), "users", share=0.3)
    fit = fit_split(held, Settings(rank=2, regularization=0.01))
    figures = evaluate(fit.model, held).figures
    own, popular = figures["model"]["ndcg"], figures["most popular"]["ndcg"]
    assert own.value > popular.value + 2 * popular.error


def test_unknown_users_and_items_are_predicted_by_what_is_known():
    model = fitted()
    pairs = {"user": [1000, "?", "?"], "item": ["?", "item 1", "?"], "rating": [3.0, 3.0, 3.0]}
    pairs["user"] = [str(one) for one in pairs["user"]]
    result = predict_pairs(model, pairs)
    offset = model.offset
    assert (result.unknown_users, result.unknown_items) == (2, 2)
    expected = [
        offset.mean + offset.row_bias[0],
        offset.mean + offset.column_bias[model.item("item 1")],
        offset.mean,
    ]
    assert agree(result.predicted, expected, share=FLOAT32_SOLUTION)


def test_clipped_predictions_are_within_the_scale():
    model = fitted()
    everything = {
        "user": np.repeat(model.data.users.to_list(), model.data.shape[1]),
        "item": model.data.items.to_list() * model.data.shape[0],
    }
    clipped = predict_pairs(model, everything, clip=True).predicted
    assert clipped.min() >= 1
    assert clipped.max() <= 5


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({"unobserved_weight": 0.1}, read),
        ({"implicit_features": 0.5}, implicit),
        ({"method": "gibbs"}, implicit),
    ],
)
def test_settings_that_mean_nothing_for_the_data_are_refused(settings, data):
    with pytest.raises(EckartError) as caught:
        fit_model(data(), Settings(**settings))
    assert caught.value.code == "option-does-not-apply"


@pytest.mark.parametrize("way", ["random", "last", "users"])
@pytest.mark.parametrize("data", [read, implicit])
def test_what_is_measured_is_what_a_list_answers(way, data):
    table = data(users=40, share=0.05) if way == "random" else data(users=40)
    if table.times is None:
        table = replace(table, times=np.arange(len(table)), clock=Clock(dated=False, digits=0))
    held = split(table, way, share=0.3)
    model = fit_split(held, Settings(rank=3, regularization=0.1)).model
    figures = evaluate(model, held, k=5, relevant=0.0).figures["model"]
    # the same lists from a model that knows what was shown of the users, and nothing more
    known = (
        model if held.shown is None else replace(model, data=concatenate(held.train, held.shown))
    )
    found = held.train.item_counts() > 0
    only = known.data.items.to_list(np.flatnonzero(found))
    target = held.test.select(found[held.test.columns])
    users = np.unique(target.rows)
    hits = []
    for user in users:
        lines = top_items(known, [known.data.users.at(user)], 5, only=only)[0].lines
        wanted = set(target.items.to_list(target.columns[target.rows == user]))
        hits.append(sum(line.item in wanted for line in lines) / len(wanted))
    assert figures["recall"].value == pytest.approx(np.mean(hits))


def test_a_user_without_training_entries_is_measured_by_the_popular_items():
    rated = {
        "user": ["a", "b", "c", "d", "e", "e"],
        "item": ["much", "much", "much", "much", "good", "fine"],
        "rating": [5.0, 1.0, 1.0, 1.0, 5.0, 4.0],
    }
    data = read_interactions(rated)
    parts = (data.rows == 0).astype(np.uint8)
    held = Split(
        way="random",
        train=data.select(parts == 0),
        test=data.select(parts == 1),
        shown=None,
        parts=parts,
        rest=data,
    )
    model = fit_split(held, Settings(rank=1, regularization=0.1)).model
    assert top_items(model, ["a"], 1)[0].lines[0].item == "much"
    assert evaluate(model, held, k=1).figures["model"]["recall"].value == 1


def test_items_that_only_attributes_tell_of_are_measured_as_they_are_listed():
    generator = np.random.default_rng(0)
    user, item = np.nonzero(generator.random((60, 30)) < 0.15)
    table = {"item": list(range(40)), "kind": [f"k{one % 3}" for one in range(40)]}
    data = read_interactions({"user": user, "item": item})
    data = attach(data, AttributeTables(items=table), None)[0]
    cold = (data.columns == 3) | (data.columns == 4)
    rest = cold | (generator.random(len(data)) < 0.2)
    held = replace(split(data, "random"), train=data.select(~rest), test=data.select(rest))
    model = fit_split(held, Settings(rank=3, regularization=0.05, epochs=5)).model
    found = evaluate(model, held, k=8)
    assert found.unknown_items == 0
    users = np.unique(held.test.rows)
    lists = top_items(model, data.users.to_list(users), 8)
    wanted = [
        {data.items.at(one) for one in held.test.columns[held.test.rows == user]} for user in users
    ]
    recall = [
        len(own & {line.item for line in one.lines}) / len(own)
        for own, one in zip(wanted, lists, strict=True)
    ]
    assert agree(found.figures["model"]["recall"].value, np.mean(recall))
