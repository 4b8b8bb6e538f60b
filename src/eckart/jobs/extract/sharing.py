"""A budget for all layers together: which ranks, and the layers cut to them."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from eckart.arrays import Array
from eckart.jobs.extract.choice import LayerRanks
from eckart.jobs.extract.coverage import TensorPair
from eckart.jobs.extract.survey import FINAL, Finding, Survey
from eckart.jobs.extract.way import Way
from eckart.jobs.shares import Claim, share_out
from eckart.jobs.watching import OnTensor
from eckart.storage.adapters import StoredDType, adapter_bytes, matrix_shape, uniform_groups
from eckart.storage.checkpoints import Checkpoint

ROOM: Final = 4
"""Times the rank that the budget would buy for every layer: columns that are factored at first."""
FEWEST: Final = 16
ROUNDS: Final = 6
"""Times the layers whose share is all they were factored with are factored again, wider."""


def budget_bytes(ranks: LayerRanks, pairs: Iterable[TensorPair], tuned: Checkpoint) -> int:
    """The bytes that all factors may take together; a ratio is of the weights that become them."""
    if ranks.budget is not None:
        return ranks.budget
    stored = sum(
        tuned.tensors[pair.tuned].nbytes
        for pair in pairs
        if pair.way is Way.FACTORS and pair.tuned is not None
    )
    return int((ranks.ratio or 0.0) * stored)


def first_columns(
    ranks: LayerRanks, pairs: Sequence[TensorPair], budget: int, dtype: StoredDType
) -> dict[str, int]:
    """Columns that each layer is factored with before the budget is shared, by module."""
    layers = [pair for pair in pairs if pair.way is Way.FACTORS]
    uniform = budget // max(1, sum(adapter_bytes(pair.shape, 1, dtype) for pair in layers))
    caps: dict[str, int] = {}
    for pair in layers:
        wanted = max(FEWEST, ROOM * uniform, ranks.least)
        affordable = max(1, budget // adapter_bytes(pair.shape, 1, dtype))
        most = ranks.most or wanted
        caps[pair.module] = min(wanted, affordable, most, *matrix_shape(pair.shape))
    return caps


def shared(
    survey: Survey, findings: Sequence[Finding], budget: int, on_tensor: OnTensor | None
) -> list[Finding]:
    """The findings with every layer at the rank that the budget buys the smallest error with.

    Layers whose share is all the columns they were factored with may deserve more: they are
    factored again, with twice as many, until the shares are clear of that. Every round looks only
    at what the rounds before it found, so that a job that is gone on with comes to the same ranks.
    """
    known, shares = list(findings), dict[int, int]()
    for number in range(ROUNDS):
        shares = _shares(survey, known, budget)
        wider = {
            one.number: _twice(one, survey.ranks)
            for one in known
            if one.number in shares and _is_short(one, shares[one.number], survey.ranks)
        }
        if not wider:
            break
        known = _at(survey, known, wider, f"round-{number + 1}", on_tensor)
    return _at(survey, known, shares, FINAL, on_tensor)


def _at(
    survey: Survey,
    findings: Sequence[Finding],
    ranks: dict[int, int],
    stage: str,
    on_tensor: OnTensor | None,
) -> list[Finding]:
    """The findings with some layers at other ranks; their changes are read again."""
    changing = [
        one
        for one in findings
        if one.figures and ranks.get(one.number, one.figures.rank) != one.figures.rank
    ]
    done = {one.number: survey.at_stage(one, stage, ranks[one.number]) for one in changing}
    missing = [one for one in changing if done[one.number] is None]
    for one in survey.resized(missing, ranks, stage):
        done[one.number] = one
        if on_tensor is not None:
            on_tensor(one.pair.name, 0)  # its entries have counted already
    return [done.get(one.number) or one for one in findings]


def _shares(survey: Survey, findings: Sequence[Finding], budget: int) -> dict[int, int]:
    """The share of each changed layer by its number; experts that did not change are paid for."""
    ranks = survey.ranks
    typical = survey.calibration.typical() if survey.calibration else 1.0
    layers = [one for one in findings if one.pair.way is Way.FACTORS]
    stacked = {module for group in uniform_groups(_modules(layers)) for module in group}
    claims = [
        Claim(
            module=one.pair.module,
            shape=one.pair.shape,
            gains=_gains(one, ranks, typical),
            least=ranks.least,
            fixed=ranks.override(one.pair.module),
        )
        for one in layers
        if one.figures is not None or one.pair.module in stacked
    ]
    shares = share_out(claims, budget, survey.dtype, multiple=ranks.multiple, most=ranks.most)
    return {one.number: shares[one.pair.module] for one in layers if one.figures is not None}


def _modules(layers: Iterable[Finding]) -> list[str]:
    return [one.pair.module for one in layers]


def _gains(finding: Finding, ranks: LayerRanks, typical: float) -> Array:
    """What each column of a layer is worth; inputs that are not known are taken as typical."""
    figures = finding.figures
    if figures is None:
        return np.zeros(0)
    scale = typical if figures.weighted_error is None else 1.0
    if ranks.relative and figures.weight_norm:
        scale /= figures.weight_norm**2
    return scale * np.square(np.array(figures.spectrum.leading))


def _is_short(finding: Finding, share: int, ranks: LayerRanks) -> bool:
    """Whether a layer got all the singular values that are known of it, and there are more."""
    figures = finding.figures
    if figures is None or figures.spectrum.is_whole:
        return False
    known = len(figures.spectrum.leading)
    return share >= known and known < min(
        *matrix_shape(finding.pair.shape), ranks.most or share + 1
    )


def _twice(finding: Finding, ranks: LayerRanks) -> int:
    known = len(finding.figures.spectrum.leading) if finding.figures else 1
    return min(2 * known, *matrix_shape(finding.pair.shape), ranks.most or 2 * known)
