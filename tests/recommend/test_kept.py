"""What is asked of a recommender survives its folder, and what it writes others can read."""

import json

import numpy as np
import pytest

from eckart import LowRankRecommender
from eckart.files.tables import write_table
from eckart.recommend import predict_pairs
from recommend.samples import ratings

DUTCH = {"user": "klant", "item": "artikel", "rating": "cijfer", "time": "wanneer"}
TABLE = {"user": [1, 1, 2, 2, 3, 3], "item": [10, 11, 10, 12, 11, 12],
         "rating": [5.0, 4.0, 5.0, 1.0, 4.0, 2.0], "time": range(6)}  # fmt: skip


def loaded(model: LowRankRecommender, folder) -> LowRankRecommender:
    model.save(folder / "m")
    return LowRankRecommender.load(folder / "m")


def test_names_of_columns_are_kept(tmp_path):
    table = {DUTCH[role]: values for role, values in TABLE.items()}
    model = LowRankRecommender(rank=2, regularization=0.1, columns=DUTCH).fit(table)
    later = {"klant": [9], "artikel": [10], "cijfer": [5.0], "wanneer": [7]}
    assert loaded(model, tmp_path).partial_fit(later).model.data.shape == (4, 3)
    assert LowRankRecommender.load(tmp_path / "m").fit(table).model.data.times is not None


@pytest.mark.parametrize(
    "settings",
    [{}, {"rank": 8, "epochs": 2}, {"at_least": 3.0, "unobserved_weight": 0.2},
     {"implicit": True}, {"at_least": 4.0, "disliked": 2.0}, {"scale": (0, 9)},
     {"method": "gibbs", "epochs": 3}],
    ids=str,
)  # fmt: skip
def test_a_recommender_that_was_read_fits_as_the_one_that_was_written(tmp_path, settings):
    model = LowRankRecommender(**{"rank": 3, "epochs": 2, **settings}).fit(TABLE)
    again, other = loaded(model, tmp_path), ratings(users=20)
    assert again.settings == model.settings
    one, two = (each.fit(other).model for each in (model, again))
    assert one.objective.settings() == two.objective.settings()
    assert (one.offset.factors.B == two.offset.factors.B).all()


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_deviation_that_is_not_known_is_missing_in_every_table(tmp_path, suffix):
    model = LowRankRecommender(rank=2, method="gibbs", epochs=5).fit(TABLE).model
    result = predict_pairs(model, {"user": ["nobody", "1"], "item": [10, 10]})
    path = tmp_path / f"p.{suffix}"
    write_table(path, result.columns())
    if suffix == "jsonl":
        rows = [
            json.loads(line, parse_constant=pytest.fail)
            for line in path.read_text("utf-8").splitlines()
        ]
        assert rows[0]["deviation"] is None
        assert rows[1]["deviation"] > 0
    elif suffix == "csv":
        assert path.read_text(encoding="utf-8").splitlines()[1].endswith(",")
    else:
        from pyarrow import parquet

        assert parquet.read_table(path).column("deviation").null_count == 1


def test_lines_of_json_hold_no_constants_that_json_does_not_know(tmp_path):
    write_table(tmp_path / "t.jsonl", {"x": np.array([1.0, np.nan, np.inf, -np.inf])})
    text = (tmp_path / "t.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert [line["x"] for line in lines] == [1.0, None, None, None]


@pytest.mark.parametrize("method", ["als", "cholesky", "blocks", "gd"])
def test_a_history_that_is_added_again_changes_no_user_and_explains_his_scores(method):
    drawn = np.random.default_rng(0)
    places = drawn.choice(450, 250, replace=False)
    users, items = places // 18, places % 18
    W = drawn.standard_normal((25, 3)) @ drawn.standard_normal((3, 18))
    table = {"user": users, "item": items, "rating": np.clip(np.round(3 + W[users, items]), 1, 5)}
    model = LowRankRecommender(rank=4, regularization=0.05, method=method).fit(table)
    why = model.explain(3, 5)
    assert why.score == pytest.approx(why.fitted, abs=1e-3)
    before = model.predict([3], [5], clip=False)
    own = {name: np.asarray(values)[users == 3] for name, values in table.items()}
    after = model.partial_fit(own).predict([3], [5], clip=False)
    assert after == pytest.approx(before, abs=1e-3)
