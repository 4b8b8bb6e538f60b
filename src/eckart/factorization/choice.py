"""Why a rank was chosen, and whether a smaller one would do: sentences with their figures."""

import math

import numpy as np

from eckart.arrays import Array
from eckart.certificates import carried_bound, probable_bound
from eckart.factorization.stopping import Ending
from eckart.matrices import Matrix
from eckart.ranks import AboveThreshold, NoiseThreshold, RankRule, WithinTolerance
from eckart.subspaces import Evidence, Probing

FARTHEST = 16
"""How many ranks below the chosen one are tried before it is called a guess."""


def explain_rank(
    rule: RankRule,
    W: Matrix,
    values: Array | None,
    ending: Ending,
    probing: Probing,
    unit: float,
) -> str:
    """What a person should know of a rank that he did not give himself; else an empty text.

    Args:
        rule: That chose the rank.
        W: The working matrix.
        values: All its singular values, where they are known.
        ending: Of the run.
        probing: Its tests up to now.
        unit: W over the working matrix, for what a person is told.
    """
    evidence = ending.evidence() if ending.evidence is not None else None
    if isinstance(rule, NoiseThreshold | AboveThreshold):
        total = W.squared_norm() * unit * unit
        if values is not None:
            return rule.explain(W.shape, W.dtype, np.square(values * unit), total)
        if evidence is not None:
            return rule.explain(W.shape, W.dtype, evidence.ritz()[0] * unit * unit, total)
    if isinstance(rule, WithinTolerance) and values is None and evidence is not None:
        return _smallest(rule.tolerance, W, ending.rank, evidence, probing)
    return ""


def _smallest(tolerance: float, W: Matrix, rank: int, evidence: Evidence, probing: Probing) -> str:
    """Whether the bound on the best error of smaller ranks rules them out."""
    wanted = tolerance * math.sqrt(W.squared_norm())
    smallest = rank
    while smallest > 1 and rank - smallest < FARTHEST:
        bound = carried_bound(W, smallest - 1, evidence)
        if bound is None:
            bound = probable_bound(W, smallest - 1, evidence, probing)
        if bound is not None and bound > wanted:
            break
        smallest -= 1
    if smallest == rank:
        return f"Rank {rank} is the smallest within {tolerance:.2%}: no pair of a smaller one is."
    if smallest == rank - 1:
        return f"The smallest rank within {tolerance:.2%} is {rank} or {rank - 1}."
    if rank - smallest < FARTHEST:
        return f"The smallest rank within {tolerance:.2%} is from {smallest} to {rank}."
    return f"Whether a rank smaller than {rank} is within {tolerance:.2%} is not known."
