"""Recommend: known entries of a users × items matrix in, ranked answers out."""

from eckart.jobs.recommend.recommender import LowRankRecommender

__all__ = ["LowRankRecommender"]
