"""What a model keeps of its fit for later tables: names of columns, settings, what ratings say."""

import json

import numpy as np
import pandas as pd
import pytest

from eckart import LowRankRecommender
from eckart.cli.main import main
from eckart.errors import EckartError
from eckart.recommend import (
    AttributeTables,
    Feedback,
    Settings,
    fit_recommender,
    load_model,
    predict_pairs,
    save_model,
)
from eckart.recommend.columns import ColumnNames

OURS = {"user": "klant", "item": "artikel", "rating": "cijfer"}
HISTORY = {
    "klant": list("aabbccdd"),
    "user": list("zzzzzzzz"),
    "artikel": list("xyxzyzxw"),
    "cijfer": [5, 4, 5, 1, 4, 2, 3, 3],
}
LATER = {"klant": ["e", "a"], "user": ["z", "z"], "artikel": ["x", "z"], "cijfer": [5, 1]}
SMALL = Settings(rank=2, regularization=0.1, epochs=3)


@pytest.fixture
def model():
    named = ColumnNames.of(OURS)
    return fit_recommender(HISTORY, named=named, settings=SMALL).model


def test_later_tables_have_the_columns_of_the_fit(model, tmp_path):
    save_model(model, tmp_path / "m")
    for one in (model, load_model(tmp_path / "m")):
        added = LowRankRecommender.load(tmp_path / "m").partial_fit(LATER).model
        assert added.data.users.to_list() == list("abcde")
        again = fit_recommender(LATER, older=one)
        assert again.model.data.users.to_list() == list("abcde")
        assert again.model.document["columns"] == OURS
        assert predict_pairs(one, LATER).users.to_pylist() == ["e", "a"]


def test_a_later_table_may_have_common_names_or_others_that_are_given(model):
    common = {"user": ["e"], "item": ["x"], "rating": [5]}
    assert fit_recommender(common, older=model).model.data.users.to_list() == list("abcde")
    assert predict_pairs(model, common).unknown_users == 1
    turned = {"wie": ["f"], "artikel": ["x"], "cijfer": [5], "klant": ["no"]}
    again = fit_recommender(turned, older=model, named=ColumnNames(user="wie"))
    assert again.model.data.users.to_list() == list("abcdf")
    assert again.model.document["columns"] == {**OURS, "user": "wie"}


def command(*words: object) -> int:
    """The exit code of `eckart recommend`."""
    return main(["recommend", *map(str, words)])


def test_the_command_line_and_python_take_the_same_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(HISTORY).to_csv("h.csv", index=False)
    pd.DataFrame(LATER).to_csv("l.csv", index=False)
    options = [word for role, name in OURS.items() for word in (f"--{role}", name)]
    fitted = ["--rank", 2, "--regularization", 0.1, "--epochs", 3]
    assert command("fit", "h.csv", *options, *fitted, "-o", "m") == 0
    assert command("add", "m", "l.csv", "-o", "more") == 0
    ours = LowRankRecommender(rank=2, regularization=0.1, epochs=3, columns=OURS)
    ours.fit("h.csv").partial_fit("l.csv")
    assert LowRankRecommender.load("more").recommend_all() == ours.recommend_all()
    capsys.readouterr()
    assert command("predict", "m", "l.csv", "--json") == 0
    said = json.loads(capsys.readouterr().out)["result"]["predictions"]
    assert [one["user"] for one in said] == ["e", "a"]


def test_tables_of_ids_have_the_columns_of_the_fit(tmp_path, monkeypatch, capsys, model):
    monkeypatch.chdir(tmp_path)
    save_model(model, "m")
    for name, text in (
        ("users.csv", "land,klant\nnl,a\nnl,b\n"),
        ("one.csv", "klant\na\nb\n"),
        ("items.csv", "artikel\nz\nw\n"),
        ("titles.csv", "naam,artikel\nTee,x\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    for table in ("users.csv", "one.csv"):
        assert command("top", "m", "--users", table, "-o", "o.csv", "--force") == 0
        assert pd.read_csv("o.csv")["user"].unique().tolist() == ["a", "b"]
    assert command("top", "m", "--user", "a", "--seen", "--only", "items.csv", "--json") == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["users"][0]["items"]
    assert sorted(one["item"] for one in listed) == ["w", "z"]
    assert command("similar", "m", "--item", "x", "--names", "titles.csv") == 0
    assert "None of the items is in titles.csv" in capsys.readouterr().err


def test_an_empty_id_is_no_user_of_whom_nothing_is_known(tmp_path, monkeypatch, capsys, model):
    monkeypatch.chdir(tmp_path)
    save_model(model, "m")
    assert command("top", "m", "--user", " ") == 2
    assert "The id of a user is empty." in capsys.readouterr().err


def test_ids_of_attributes_are_in_the_column_of_the_fit(model):
    people = {"user": ["z", "y"], "klant": ["a", "b"], "town": ["s", "s"]}
    again = fit_recommender(LATER, older=model, attributes=AttributeTables(users=people))
    assert again.model.data.user_attributes.id_column == "klant"


@pytest.mark.parametrize(
    "given", [{"epochs": 2}, {"rank": 3}, {"method": "cholesky"}, {"regularization": 0.2}, None]
)
def test_a_setting_that_is_given_leaves_the_others_of_the_older_model(given):
    kept = Settings(rank=2, regularization=0.3, count_exponent=0.5, implicit_features=0.2, seed=3)
    older = fit_recommender(HISTORY, named=ColumnNames.of(OURS), settings=kept).model
    found = fit_recommender(None, older=older, settings=given).model.document["settings"]
    wanted = {**kept.to_dict(), "seed": 0, "epochs": None, **(given or {})}
    assert found == wanted


def test_options_of_a_fit_from_an_older_model_leave_its_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = {"user": HISTORY["klant"], "item": HISTORY["artikel"]}
    older = LowRankRecommender(rank=2, regularization=0.05, unobserved_weight=0.4).fit(table)
    older.save("m")
    assert command("fit", "--from", "m", "--epochs", 2, "-o", "n") == 0
    settings = load_model("n").document["settings"]
    assert (settings["rank"], settings["regularization"]) == (2, 0.05)
    assert (settings["unobserved_weight"], settings["epochs"]) == (0.4, 2)
    assert command("fit", "--from", "m", "--regularization", -1, "-o", "o") == 2


def ratings(users=60, items=20):
    generator = np.random.default_rng(0)
    user, item = np.nonzero(generator.random((users, items)) < 0.4)
    return {"user": user, "item": item, "rating": generator.integers(1, 6, len(user))}


def test_ratings_of_a_history_become_interactions_where_that_is_asked_for():
    table, feedback = ratings(), Feedback(at_least=4)
    older = fit_recommender(table, settings=SMALL).model
    again = fit_recommender(None, older=older, feedback=feedback, settings={"rank": 2})
    wanted = fit_recommender(table, feedback=feedback, settings=SMALL).model.data
    for name in ("rows", "columns", "ratings", "weights"):
        np.testing.assert_array_equal(getattr(again.model.data, name), getattr(wanted, name))
    # a λ of ratings is none for interactions
    assert again.choice is not None
    more = {"user": [0, 100], "item": [table["item"][0], 1], "rating": [1, 5]}
    later = fit_recommender(more, older=older, feedback=feedback, settings={"rank": 2}).model
    both = {name: [*table[name], *more[name]] for name in table}
    wanted = fit_recommender(both, feedback=feedback, settings=SMALL).model.data
    assert later.data.ratings is None
    pairs = [
        set(zip(one.users.to_list(one.rows), one.items.to_list(one.columns), strict=True))
        for one in (later.data, wanted)
    ]
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize("older", [{"method": "gibbs", "epochs": 3}, {"implicit_features": 0.5}])
def test_settings_of_ratings_are_none_of_the_interactions_that_they_become(older):
    model = fit_recommender(ratings(), settings=Settings(rank=2, **older)).model
    again = fit_recommender(None, older=model, feedback=Feedback(implicit=True)).model
    kept = again.document["settings"]
    assert not again.explicit
    assert (kept["rank"], kept["method"], kept["implicit_features"]) == (2, "als", 0.0)


def test_attributes_stay_where_ratings_of_a_history_become_interactions():
    table = ratings()
    people = {"user": list(range(80)), "town": [f"t{one % 3}" for one in range(80)]}
    attributes = AttributeTables(users=people)
    older = fit_recommender(table, settings=SMALL, attributes=attributes).model
    again = fit_recommender(None, older=older, feedback=Feedback(at_least=5), settings={"rank": 2})
    data = again.model.data
    assert data.users.to_list() == list(range(80))
    words = data.user_attributes.matrix.indices
    assert words.tolist() == [one % 3 for one in range(80)]


def test_ratings_that_a_history_does_not_have_any_more_are_not_asked_for():
    older = fit_recommender(ratings(), feedback=Feedback(at_least=4), settings=SMALL).model
    with pytest.raises(EckartError, match="no ratings any more"):
        fit_recommender(None, older=older, feedback=Feedback(at_least=3))
    assert fit_recommender(None, older=older, settings={"rank": 2}).model.data.ratings is None


def test_a_scale_that_is_given_holds_for_the_history_too():
    older = fit_recommender(ratings(), settings=SMALL).model
    with pytest.raises(EckartError, match=r"of the history .*outside 2 to 5"):
        fit_recommender(None, older=older, feedback=Feedback(scale=(2, 5)))


def test_users_and_items_that_are_exchanged_are_no_later_history():
    older = fit_recommender(
        {"user": [f"u{one}" for one in ratings()["user"]],
         "item": [f"i{one}" for one in ratings()["item"]]}, settings=SMALL
    ).model  # fmt: skip
    turned = {"user": ["i1", "i2", "i3"], "item": ["u1", "u2", "u3"]}
    with pytest.raises(EckartError, match="are exchanged"):
        fit_recommender(turned, older=older)
    assert len(fit_recommender({"user": ["u1"], "item": ["i1"]}, older=older).model.data) >= 1


@pytest.mark.parametrize("most", [1, 5])
def test_new_users_whose_numbers_are_those_of_items_are_taken_in(most):
    generator = np.random.default_rng(1)
    user, item = np.nonzero(generator.random((12, 40)) < 0.5)
    table = {"user": user, "item": item, "rating": generator.integers(1, 6, len(user))}
    model = LowRankRecommender(rank=2, regularization=0.1, epochs=2).fit(table)
    new = {"user": [12] * most, "item": list(range(most)), "rating": [5] * most}
    added = model.partial_fit(new)
    assert added.addition.new_users == 1
    assert "if they are exchanged" in " ".join(added.addition.notes)
    assert predict_pairs(model.model, {**new, "user": [20] * most}).unknown_users == most
    assert (
        fit_recommender({**new, "user": [21] * most}, older=model.model).model.data.shape[0] == 14
    )
    # whoever was removed comes back as one who is new
    again = model.remove(3).partial_fit({"user": [3], "item": [0], "rating": [5]})
    assert not again.recommend(3).popular


def test_a_model_of_a_history_alone_names_the_table_of_that(model):
    again = fit_recommender(None, older=model)
    assert again.source == again.model.document["source"] == "dict"
