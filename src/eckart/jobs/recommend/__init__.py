"""Recommend: known entries of a users × items matrix in, ranked answers out.

`LowRankRecommender` is all of it as one object; under it are plain functions of a `Model`.
"""

from eckart.jobs.recommend.attribute_tables import AttributeTables
from eckart.jobs.recommend.evaluation import Evaluation, evaluate
from eckart.jobs.recommend.explain import explain
from eckart.jobs.recommend.exporting import export_factors
from eckart.jobs.recommend.feedback import Feedback
from eckart.jobs.recommend.folding import add_interactions, remove_user
from eckart.jobs.recommend.interactions import Interactions, read_interactions
from eckart.jobs.recommend.job import Fitting, fit_recommender
from eckart.jobs.recommend.model import Model
from eckart.jobs.recommend.predict import predict_pairs
from eckart.jobs.recommend.recommender import LowRankRecommender
from eckart.jobs.recommend.settings import Settings
from eckart.jobs.recommend.similarity import similar_items
from eckart.jobs.recommend.splitting import split
from eckart.jobs.recommend.storing import load_model, save_model
from eckart.jobs.recommend.top import top_items

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
