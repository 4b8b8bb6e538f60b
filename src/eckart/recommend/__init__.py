"""Recommend: known entries of a users × items matrix in, ranked items out.

`LowRankRecommender` offers everything as one object; the plain functions on a `Model` do the work.
"""

from eckart.recommend.attribute_tables import AttributeTables
from eckart.recommend.evaluation import Evaluation, evaluate, split
from eckart.recommend.fit import Fitting, fit_recommender
from eckart.recommend.folding import add_interactions, remove_user
from eckart.recommend.interaction_tables import read_interactions
from eckart.recommend.interactions import Interactions
from eckart.recommend.model import Model
from eckart.recommend.predictions import explain, predict_pairs
from eckart.recommend.recommender import LowRankRecommender
from eckart.recommend.settings import Feedback, Settings
from eckart.recommend.storing import export_factors, load_model, save_model
from eckart.recommend.top import similar_items, top_items

__all__ = [
    "AttributeTables",
    "Evaluation",
    "Feedback",
    "Fitting",
    "Interactions",
    "LowRankRecommender",
    "Model",
    "Settings",
    "add_interactions",
    "evaluate",
    "explain",
    "export_factors",
    "fit_recommender",
    "load_model",
    "predict_pairs",
    "read_interactions",
    "remove_user",
    "save_model",
    "similar_items",
    "split",
    "top_items",
]
