"""A model on disk: the same answers after reading, and clear errors where it is not whole."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import eckart
from eckart.errors import EckartError
from eckart.recommend import export_factors, load_model, save_model, top_items
from eckart.recommend.storing import FILES
from recommend.samples import fitted, implicit, ratings, read
from tolerances import FLOAT32_SOLUTION, close


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    save_model(fitted(), path)
    return path


@pytest.mark.parametrize("kind", ["explicit", "implicit", "implicit features"])
def test_a_model_answers_the_same_after_reading(tmp_path, kind):
    data = implicit() if kind == "implicit" else read()
    model = fitted(data, implicit_features=0.5 if kind == "implicit features" else 0.0)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    users = model.data.users.to_list()
    assert again.data.users.to_list() == users
    assert top_items(again, users, 3) == top_items(model, users, 3)
    assert again.objective.settings() == model.objective.settings()
    assert (again.data.ratings is None) == (kind == "implicit")


@pytest.mark.parametrize("ids", [["007", "x"], [2**80, 3]], ids=["text", "huge"])
def test_ids_keep_their_type_on_disk(tmp_path, ids):
    from eckart.recommend import read_interactions

    data = read_interactions({"user": ids, "item": [1, 2], "rating": [1.0, 2.0]})
    save_model(fitted(data, rank=1), tmp_path / "m")
    assert load_model(tmp_path / "m").data.users.to_list(data.rows) == ids


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / name).unlink()
    with pytest.raises(EckartError, match=name) as caught:
        load_model(tmp_path / "m")
    assert caught.value.code == "missing-file"


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "m")
    content = bytearray((tmp_path / "m" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m" / name).write_bytes(content)
    with pytest.raises(EckartError, match=name) as caught:
        load_model(tmp_path / "m")
    assert caught.value.code == "damaged-file"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 2}, "other-version"),
        ({"format": "something"}, "not-a-model"),
        ({"files": None}, "damaged-file"),
        ({"approximation": {"kind": "offset"}}, "damaged-file"),
        ({"interactions": 1}, "damaged-file"),
    ],
)
def test_another_document_is_an_error(folder, tmp_path, change, code):
    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(EckartError) as caught:
        load_model(tmp_path / "m")
    assert caught.value.code == code


def test_nothing_but_a_model_is_overwritten(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(EckartError, match="holds thesis"):
        save_model(load_model(folder), tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_nothing_is_pickled(folder):
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".parquet"}


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_products_of_exported_vectors_rank_as_the_model_does(tmp_path, folder, suffix):
    model = load_model(folder)
    vectors = {}
    for side in ("users", "items"):
        path = tmp_path / f"{side}{suffix}"
        export_factors(model, path, side)
        if suffix == ".npy":
            vectors[side] = np.load(path, allow_pickle=False)
            ids = path.with_suffix(".ids.txt").read_text().splitlines()
        else:
            table = pq.read_table(path)
            vectors[side] = np.array(table.column("vector").to_pylist(), np.float32)
            ids = [str(one) for one in table.column("id").to_pylist()]
        own = model.data.users if side == "users" else model.data.items
        assert ids == [str(one) for one in own.to_list()]
    offset = model.offset
    same = offset.mean + offset.row_bias[:, None]
    scores = offset.scores(slice(None)) - same
    product = vectors["users"] @ vectors["items"].T
    assert close(product, scores, FLOAT32_SOLUTION * float(np.linalg.norm(scores)))


def test_the_recommender_is_saved_and_loaded(tmp_path):
    made = eckart.LowRankRecommender(rank=2, regularization=0.1).fit(ratings())
    made.save(tmp_path / "m")
    again = eckart.LowRankRecommender.load(tmp_path / "m")
    assert again.recommend(1000) == made.recommend(1000)
    assert again.similar("item 1", 3) == made.similar("item 1", 3)
    assert again.explain(1000, "item 1").score == made.explain(1000, "item 1").score
    again.partial_fit({"user": [7], "item": ["item 1"], "rating": [5.0]})
    assert again.recommend(7).popular is False
    assert again.remove(7).recommend(7).popular is True


def test_a_recommender_that_is_not_fitted_says_so():
    with pytest.raises(EckartError, match="not fitted"):
        eckart.LowRankRecommender().recommend(1)
