"""The public names of recommend, for people and type checkers."""

from eckart.recommend.attribute_tables import AttributeTables as AttributeTables
from eckart.recommend.evaluation import Evaluation as Evaluation
from eckart.recommend.evaluation import evaluate as evaluate
from eckart.recommend.evaluation import split as split
from eckart.recommend.fit import Fitting as Fitting
from eckart.recommend.fit import fit_recommender as fit_recommender
from eckart.recommend.folding import add_interactions as add_interactions
from eckart.recommend.folding import remove_user as remove_user
from eckart.recommend.interaction_tables import read_interactions as read_interactions
from eckart.recommend.interactions import Interactions as Interactions
from eckart.recommend.model import Model as Model
from eckart.recommend.predictions import explain as explain
from eckart.recommend.predictions import predict_pairs as predict_pairs
from eckart.recommend.recommender import LowRankRecommender as LowRankRecommender
from eckart.recommend.settings import Feedback as Feedback
from eckart.recommend.settings import Settings as Settings
from eckart.recommend.storing import export_factors as export_factors
from eckart.recommend.storing import load_model as load_model
from eckart.recommend.storing import save_model as save_model
from eckart.recommend.top import similar_items as similar_items
from eckart.recommend.top import top_items as top_items
