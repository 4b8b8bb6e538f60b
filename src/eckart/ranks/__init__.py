"""How many columns: rank rules and budgets. Arithmetic only; nothing here touches W."""

from eckart.ranks.choice import byte_count, rank_rule
from eckart.ranks.noise import AboveThreshold, NoiseThreshold, noise_threshold
from eckart.ranks.rules import (
    GivenRank,
    GrowingRule,
    RankRule,
    WithinBytes,
    WithinTolerance,
    check_open_unit,
    tail_errors,
)

__all__ = [
    "AboveThreshold",
    "GivenRank",
    "GrowingRule",
    "NoiseThreshold",
    "RankRule",
    "WithinBytes",
    "WithinTolerance",
    "byte_count",
    "check_open_unit",
    "noise_threshold",
    "rank_rule",
    "tail_errors",
]
