"""A budget for all layers together: which ranks, and the layers cut to them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from eckart.allocation import allocate
from eckart.arrays import Array
from eckart.jobs.extract.choice import LayerRanks
from eckart.jobs.extract.coverage import TensorPair, Way
from eckart.jobs.extract.survey import FINAL, Finding, Survey
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


def shared(survey: Survey, findings: Sequence[Finding], budget: int) -> list[Finding]:
    """The findings with every layer at the rank that the budget buys the smallest error with.

    Layers whose share is all the columns they were factored with may deserve more: they are
    factored again, with twice as many, until the shares are clear of that. Every round looks only
    at what the rounds before it found, so that a job that is gone on with comes to the same ranks.
    """
    known, shares = list(findings), dict[int, int]()
    for number in range(ROUNDS):
        layers = [one for one in known if one.figures is not None]
        shares = _shares(survey, layers, budget)
        wider = {
            one.number: _twice(one, survey.ranks)
            for one in layers
            if _is_short(one, shares[one.number], survey.ranks)
        }
        if not wider:
            break
        known = _at(survey, known, wider, f"round-{number + 1}")
    return _at(survey, known, shares, FINAL)


def _at(
    survey: Survey, findings: Sequence[Finding], ranks: dict[int, int], stage: str
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
    return [done.get(one.number) or one for one in findings]


@final
@dataclass(frozen=True, slots=True)
class _Item:
    """Layers that share one rank: one, or all experts of a kind."""

    members: tuple[Finding, ...]

    def values(self) -> Array:
        """Root of the summed squares of the singular values of all."""
        spectra = [one.figures.spectrum.leading for one in self.members if one.figures]
        count = max(len(spectrum) for spectrum in spectra)
        padded = np.array([[*spectrum, *[0.0] * (count - len(spectrum))] for spectrum in spectra])
        return np.sqrt(np.square(padded).sum(axis=0))

    def weight(self, relative: bool, typical: float) -> float:
        """What a squared error counts; that of weights whose inputs are not known, as typical."""
        figures = [one.figures for one in self.members if one.figures]
        scale = 1.0 if all(one.weighted_error is not None for one in figures) else typical
        norm = math.hypot(*(one.weight_norm for one in figures))
        return scale / norm**2 if relative and norm else scale


def _shares(survey: Survey, layers: Sequence[Finding], budget: int) -> dict[int, int]:
    ranks, dtype = survey.ranks, survey.dtype
    typical = survey.calibration.typical() if survey.calibration else 1.0
    items, fixed = _items(layers), {}
    free: list[_Item] = []
    for item in items:
        own = ranks.override(item.members[0].pair.module)
        if own is None:
            free.append(item)
            continue
        for one in item.members:
            fixed[one.number] = min(own, *matrix_shape(one.pair.shape))
            budget -= adapter_bytes(one.pair.shape, fixed[one.number], dtype)
    chosen = allocate(
        [item.values() for item in free],
        [sum(adapter_bytes(one.pair.shape, 1, dtype) for one in item.members) for item in free],
        max(0, budget),
        weights=[item.weight(ranks.relative, typical) for item in free],
        multiple=ranks.multiple,
        least=ranks.least,
        most=ranks.most,
    )
    for item, rank in zip(free, chosen, strict=True):
        for one in item.members:
            fixed[one.number] = min(rank, *matrix_shape(one.pair.shape))
    return fixed


def _items(layers: Sequence[Finding]) -> list[_Item]:
    by_module = {one.pair.module: one for one in layers}
    groups = uniform_groups(by_module)
    grouped = {module for group in groups for module in group}
    alone = [_Item((one,)) for one in layers if one.pair.module not in grouped]
    return [*alone, *(_Item(tuple(by_module[module] for module in group)) for group in groups)]


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
