"""Rank rules and budgets: the number of columns. Arithmetic only; nothing here reads W."""

from eckart.ranks.choice import (
    AboveThreshold,
    NoiseThreshold,
    check_one_way,
    noise_threshold,
    rank_rule,
)
from eckart.ranks.rules import (
    RANK_GUESS,
    GivenRank,
    GrowingRule,
    RankRule,
    WithinBytes,
    WithinTolerance,
    byte_count,
    check_open_unit,
    tail_errors,
)

__all__ = [
    "RANK_GUESS",
    "AboveThreshold",
    "GivenRank",
    "GrowingRule",
    "NoiseThreshold",
    "RankRule",
    "WithinBytes",
    "WithinTolerance",
    "byte_count",
    "check_one_way",
    "check_open_unit",
    "noise_threshold",
    "rank_rule",
    "tail_errors",
]
