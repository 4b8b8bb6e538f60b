"""What is known of users and items beside their interactions: read, fitted, kept, refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import eckart
from eckart.errors import EckartError
from eckart.recommend import (
    AttributeTables,
    Settings,
    add_interactions,
    explain,
    fit_recommender,
    load_model,
    predict_pairs,
    read_interactions,
    remove_user,
    save_model,
    split,
    top_items,
    tuning,
)
from eckart.recommend.attribute_tables import attach
from eckart.recommend.fitting import DAMPING, fit_model, fit_split
from eckart.recommend.storing import ATTRIBUTES
from eckart.recommend.tuning import choose_regularization, tune
from recommend.samples import sums_to_score
from tolerances import FLOAT32_SOLUTION, close

USERS, ITEMS, COLD = 90, 45, 9
PLACES = ("north", "south", "west")
KINDS = ["explicit", "implicit", "implicit features"]


def truth(seed=0):
    """Users of three places, who like the items of three kinds, and tables that say so."""
    drawn = np.random.default_rng(seed)
    place, kind = np.arange(USERS) % 3, np.arange(ITEMS) % 3
    users = {
        "user": np.arange(USERS) + 100,
        "place": [PLACES[one] for one in place],
        "age": drawn.integers(18, 80, USERS),
    }
    items = {
        "item": [f"i{one}" for one in range(ITEMS)],
        "tags": [f"{PLACES[one]}|{'new' if number % 2 else 'old'}"
                 for number, one in enumerate(kind)],
    }  # fmt: skip
    return place, kind, users, items


def known(kind="explicit", seed=0):
    """Interactions of all but the first nine users and items, with their attributes."""
    place, of_item, users, items = truth(seed)
    drawn = np.random.default_rng(seed + 1)
    seen = drawn.random((USERS, ITEMS)) < 0.4
    seen[:COLD], seen[:, :COLD] = False, False
    liked = place[:, None] == of_item[None, :]
    if kind == "implicit":
        seen &= liked | (drawn.random(seen.shape) < 0.1)
    rows, columns = np.nonzero(seen)
    table = {"user": rows + 100, "item": [f"i{one}" for one in columns]}
    if kind != "implicit":
        noise = 0.3 * drawn.standard_normal(len(rows))
        table["rating"] = np.clip(np.where(liked[rows, columns], 4.5, 2.0) + noise, 1, 5)
    return attach(read_interactions(table), AttributeTables(users=users, items=items), None)[0]


def fitted(kind="explicit", **settings):
    chosen = {"rank": 4, "regularization": 0.02, **settings}
    if kind == "implicit features":
        chosen["implicit_features"] = 0.5
    return fit_model(known(kind), Settings(**chosen)).model


def bits(model):
    own = model.data
    matrices = [side.matrix for side in (own.user_attributes, own.item_attributes)]
    return [array.tobytes() for matrix in matrices
            for array in (matrix.data, matrix.indices, matrix.indptr)]  # fmt: skip


# --- who did nothing is known by what he is --------------------------------------------------


@pytest.mark.parametrize("method", ["als", "cholesky", "blocks"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_user_without_interactions_gets_the_items_of_his_group(kind, method):
    place, of_item, users, _ = truth()
    model = fitted(kind, method=method)
    for row in range(COLD):
        (found,) = top_items(model, [users["user"][row]], 5)
        assert not found.popular
        assert {of_item[int(line.item[1:])] for line in found.lines} == {place[row]}


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_without_interactions_comes_to_the_users_of_its_group(kind):
    place, of_item, users, _ = truth()
    model = fitted(kind)
    items = [f"i{column}" for column in range(COLD)]
    for row in (20, 21, 22):
        found = predict_pairs(model, {"user": [users["user"][row]] * COLD, "item": items})
        liked = of_item[:COLD] == place[row]
        assert found.unknown_items == 0
        assert found.predicted[liked].min() > found.predicted[~liked].max()


def test_of_whom_nothing_is_known_gets_the_popular_items():
    _, _, users, _ = truth()
    del users["age"]
    users["place"][0] = None
    data = known()
    bare = replace(data, user_attributes=None, item_attributes=None)
    model = fit_model(attach(bare, AttributeTables(users=users), None)[0], Settings(rank=2)).model
    popular, by_place = top_items(model, users["user"][:2].tolist(), 3)
    assert popular.popular
    assert not by_place.popular


def test_attributes_are_part_of_the_equations_of_a_user():
    # (Σ z·zᵀ + w·CᵀC + λ·(n + w·attributes)·I)·x = Σ z·t + w·Cᵀ·m, solved in float64
    model = fitted(attribute_weight=0.7, method="cholesky")
    offset, data, objective = model.offset, model.data, model.objective
    C = offset.extra_columns.T.astype(np.float64)
    M = data.user_attributes.matrix.toarray()
    for row in (model.user(120), model.user(140)):
        here = np.flatnonzero(data.rows == row)
        items = data.columns[here]
        D = np.column_stack([offset.factors.A.T[items].astype(np.float64), np.ones(len(here))])
        targets = data.ratings[here] - offset.mean - offset.column_bias[items]
        count = len(here) + 0.7 * M.shape[1]
        system = D.T @ D + objective.strength * count * np.eye(D.shape[1])
        system[:-1, :-1] += 0.7 * C.T @ C
        right = D.T @ targets
        right[:-1] += 0.7 * C.T @ M[row]
        x = np.linalg.solve(system, right)
        own = np.append(offset.factors.B[row], offset.row_bias[row])
        assert close(own, x, FLOAT32_SOLUTION * float(np.linalg.norm(x)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["users", "items"])
def test_who_did_nothing_is_what_a_ridge_regression_says_of_his_attributes(kind, side):
    model = fitted(kind)
    offset, data = model.offset, model.data
    if side == "users":
        attributes, counts = data.user_attributes, data.user_counts()
        found = np.column_stack([offset.factors.B, offset.row_bias])
    else:
        attributes, counts = data.item_attributes, data.item_counts()
        found = np.column_stack([offset.factors.A.T, offset.column_bias])
    M, there = attributes.matrix.toarray().astype(np.float64), counts > 0
    assert (~there).sum() == COLD
    reference = Ridge(alpha=DAMPING).fit(M[there], found[there].astype(np.float64))
    expected = reference.predict(M[~there])
    assert close(found[~there], expected, FLOAT32_SOLUTION * float(np.linalg.norm(expected)))


def test_factors_by_attributes_are_not_negative_where_they_must_not_be():
    for kind in ("explicit", "implicit"):
        model = fitted(kind, nonnegative=True)
        assert model.offset.factors.B.min() >= 0
        assert model.offset.factors.A.min() >= 0


def test_the_choice_of_regularization_knows_the_attributes():
    # one or two ratings of each user say little; where he is from says all
    place, of_item, users, items = truth()
    drawn = np.random.default_rng(5)
    rows = np.repeat(np.arange(USERS), 2)
    columns = drawn.integers(0, ITEMS, len(rows))
    liked = np.where(place[rows] == of_item[columns], 5.0, 1.0)
    table = {"user": rows + 100, "item": [f"i{one}" for one in columns], "rating": liked}
    plain = read_interactions(table)
    data = attach(plain, AttributeTables(users=users, items=items), None)[0]
    with_them, without = (choose_regularization(one, Settings(rank=4)) for one in (data, plain))
    best = [dict(choice.tried)[choice.regularization] for choice in (with_them, without)]
    assert best[0] < best[1]


def test_a_sample_of_users_keeps_their_attributes(monkeypatch):
    data = known()
    monkeypatch.setattr(tuning, "MOST_ENTRIES", len(data) // 2)
    part = tuning.sample_users(data, 0)
    assert len(part.users) < len(data.users)
    places = data.users.places(part.users.ids)
    own = data.user_attributes.matrix.toarray()[places]
    assert (part.user_attributes.matrix.toarray() == own).all()


def test_tuning_chooses_the_weight_of_attributes_too():
    pytest.importorskip("optuna")
    found = tune(known(), Settings(rank=3, epochs=3), trials=3)
    assert found.trials[0]["attribute_weight"] == 1.0
    assert len({trial["attribute_weight"] for trial in found.trials}) == 3
    assert "attributes" in found.sentence()


def test_held_out_users_are_known_by_what_is_shown_and_what_they_are():
    held = split(known(), "users", share=0.2)
    fit = fit_split(held, Settings(rank=4, regularization=0.02))
    assert fit.model.data.user_attributes is not None
    tested = np.unique(held.test.rows)
    assert fit.model.offset.factors.B[tested].any(axis=1).all()
    assert fit.model.offset.extra_columns.shape == (4, held.train.user_attributes.width)


# --- explained, kept, added to ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_explanations_with_attributes_sum_to_the_score(kind):
    model = fitted(kind)
    for user in (100, 150):
        assert sums_to_score(explain(model, user, "i7"))
    assert explain(model, 100, "i7").reasons == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_attributes_answers_the_same_after_reading(tmp_path, kind):
    model = fitted(kind)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert bits(again) == bits(model)
    assert again.data.user_attributes.features == model.data.user_attributes.features
    users = model.data.users.to_list()
    assert top_items(again, users, 3) == top_items(model, users, 3)
    new = {"user": [7], "place": ["south"], "age": [33]}
    later = [add_interactions(one, None, attributes=AttributeTables(users=new)).model
             for one in (model, again)]  # fmt: skip
    assert top_items(later[0], [7], 9) == top_items(later[1], [7], 9)
    suffixes = {path.suffix for path in (tmp_path / "m").iterdir()}
    assert suffixes == {".json", ".safetensors", ".parquet"}


@pytest.mark.parametrize("change", ["missing", "changed"])
def test_a_file_of_attributes_that_is_not_whole_is_named(tmp_path, change):
    save_model(fitted(), tmp_path / "m")
    path = tmp_path / "m" / ATTRIBUTES
    if change == "missing":
        path.unlink()
    else:
        shutil.copy(tmp_path / "m" / "factors.safetensors", path)
    with pytest.raises(EckartError, match=ATTRIBUTES):
        load_model(tmp_path / "m")


def test_features_that_do_not_fit_the_numbers_are_a_damaged_model(tmp_path):
    save_model(fitted(), tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    document = json.loads(path.read_text())
    document["attributes"]["users"]["features"].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(EckartError) as caught:
        load_model(tmp_path / "m")
    assert caught.value.code == "damaged-file"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [0, 40], ids=["without interactions", "with them"])
def test_a_user_who_is_added_with_attributes_is_the_one_who_was_fitted(kind, number):
    model = fitted(kind)
    row = model.user(100 + number)
    _, _, users, _ = truth()
    own = model.data.select(model.data.rows == row)
    table = None
    if len(own):
        table = {"user": [7] * len(own), "item": own.items.to_list(own.columns)}
        if own.ratings is not None:
            table["rating"] = own.ratings
    twin = {name: [7 if name == "user" else values[number]] for name, values in users.items()}
    after = add_interactions(model, table, attributes=AttributeTables(users=twin))
    assert after.new_users == 1
    B = after.model.offset.factors.B
    assert close(B[after.model.user(7)], model.offset.factors.B[row], FLOAT32_SOLUTION)


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_that_is_added_with_attributes_comes_to_its_group(kind):
    place, _, users, _ = truth()
    model = fitted(kind)
    new = {"item": [f"n{one}" for one in range(3)], "tags": ["north|new", "south|new", "west|new"]}
    after = add_interactions(model, None, attributes=AttributeTables(items=new))
    assert (after.new_items, after.new_users, after.interactions) == (3, 0, 0)
    for row in (20, 21, 22):
        pairs = {"user": [users["user"][row]] * 3, "item": new["item"]}
        assert np.argmax(predict_pairs(after.model, pairs).predicted) == place[row]
    # what was known stays where it was
    columns = model.data.shape[1]
    assert (after.model.offset.factors.A[:, :columns] == model.offset.factors.A).all()


def test_a_known_user_with_other_attributes_is_solved_anew():
    place, of_item, _, _ = truth()
    assert place[0] == 0
    moved = {"user": [100], "place": ["west"], "age": [40]}
    after = add_interactions(fitted(), None, attributes=AttributeTables(users=moved))
    assert after.changed_users == 1
    (found,) = top_items(after.model, [100], 5)
    assert {of_item[int(line.item[1:])] for line in found.lines} == {2}


def test_words_that_were_not_there_at_the_fit_are_left_out_and_said():
    new = {"user": [7], "place": ["south|moon"], "age": [40]}
    after = add_interactions(fitted(), None, attributes=AttributeTables(users=new))
    assert any("1 values of the column 'place'" in note for note in after.notes)


def test_a_user_who_is_removed_takes_his_attributes_along():
    model = fitted("implicit features")
    after = remove_user(model, 103)
    kept = np.delete(model.data.user_attributes.matrix.toarray(), model.user(103), axis=0)
    assert (after.data.user_attributes.matrix.toarray() == kept).all()
    for user in (102, 104):
        assert top_items(after, [user]) == top_items(model, [user])


def test_a_refit_from_an_older_model_keeps_its_attributes():
    model = fitted()
    new = {"user": [7, 100], "item": ["i7", "i8"], "rating": [5.0, 4.0]}
    result = fit_recommender(new, older=model)
    own = result.model.data.user_attributes
    assert len(own) == USERS + 1
    assert not own.known[result.model.user(7)]
    other = {"user": [100, 101], "place": ["east", "east"]}
    replaced = fit_recommender(new, older=model, attributes=AttributeTables(users=other))
    assert replaced.model.data.user_attributes.features[0].levels == ("east",)


def test_the_recommender_takes_attributes(tmp_path):
    _, of_item, users, items = truth()
    data = known()
    table = {
        "user": data.users.to_list(data.rows),
        "item": data.items.to_list(data.columns),
        "rating": data.ratings,
    }
    model = eckart.LowRankRecommender(rank=4, regularization=0.02, attribute_weight=2.0)
    model.fit(table, user_attributes=users, item_attributes=items)
    counted = model.fitting.to_dict()["attributes"]["users"]
    assert counted == {
        "columns": ["place", "age"],
        "width": 4,
        "known": USERS,
        "unknown": 0,
        "without_interactions": COLD,
    }
    model.save(tmp_path / "m")
    again = eckart.LowRankRecommender.load(tmp_path / "m")
    assert again.settings.attribute_weight == 2.0
    again.partial_fit(user_attributes={"user": [7], "place": ["west"], "age": [40]})
    found = again.recommend(7, 5)
    assert {of_item[int(line.item[1:])] for line in found.lines} == {2}


# --- what is refused -------------------------------------------------------------------------

SMALL = {"user": ["a", "b"], "item": [1, 2], "rating": [3.0, 4.0]}


@pytest.mark.parametrize(
    ("tables", "code"),
    [
        ({"users": {"user": [7], "place": ["west"]}}, "no-such-column"),
        ({"users": {"user": [7], "place": ["west"], "age": ["old"]}}, "not-numbers"),
        ({"users": {"user": ["x"], "place": ["west"], "age": [3]}}, "other-ids"),
    ],
)
def test_later_tables_have_the_columns_of_the_fit(tables, code):
    with pytest.raises(EckartError) as caught:
        add_interactions(fitted(), None, attributes=AttributeTables(**tables))
    assert caught.value.code == code


def test_a_model_without_attributes_takes_none():
    bare = fit_model(read_interactions(SMALL), Settings(rank=1, regularization=0.1)).model
    with pytest.raises(EckartError, match="without attributes of users"):
        add_interactions(bare, None, attributes=AttributeTables(users={"user": ["c"], "age": [3]}))


@pytest.mark.parametrize("method", ["gd", "gibbs"])
def test_solvers_that_take_no_attributes_say_so(method):
    with pytest.raises(EckartError, match="takes no attributes"):
        fit_model(known(), Settings(method=method))


def test_a_weight_of_attributes_without_any_is_refused():
    with pytest.raises(EckartError, match="nothing without any"):
        fit_model(read_interactions(SMALL), Settings(attribute_weight=2.0))
