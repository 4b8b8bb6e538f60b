"""Recommend: known entries of a users × items matrix in, ranked items out.

`LowRankRecommender` offers everything as one object; the plain functions on a `Model` do the work.
Names are resolved on first use, so that `eckart recommend --help` loads no numerical library.
"""

from importlib import import_module

_HOMES = {
    "AttributeTables": "attribute_tables",
    "Evaluation": "evaluation",
    "Feedback": "settings",
    "Fitting": "fit",
    "Interactions": "interactions",
    "LowRankRecommender": "recommender",
    "Model": "model",
    "Settings": "settings",
    "add_interactions": "folding",
    "evaluate": "evaluation",
    "explain": "predictions",
    "export_factors": "storing",
    "fit_recommender": "fit",
    "load_model": "storing",
    "predict_pairs": "predictions",
    "read_interactions": "interaction_tables",
    "remove_user": "folding",
    "save_model": "storing",
    "similar_items": "top",
    "split": "evaluation",
    "top_items": "top",
}


def __getattr__(name: str) -> object:
    # asked for by `from eckart.recommend import *`
    if name == "__all__":
        return sorted(_HOMES)
    if name not in _HOMES:
        raise AttributeError(f"module 'eckart.recommend' has no attribute '{name}'")
    return getattr(import_module(f"eckart.recommend.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
