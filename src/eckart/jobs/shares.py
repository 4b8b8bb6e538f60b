"""One budget for the layers of an adapter: what each gets, experts of a kind together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from eckart.allocation import allocate
from eckart.arrays import FLOAT64, Array
from eckart.errors import ArgumentError
from eckart.storage.adapters import StoredDType, adapter_bytes, matrix_shape, uniform_groups


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """What a layer would do with columns.

    Fields:
        module: Its name.
        shape: Of its weight.
        gains: What the squared error falls by with each column, descending; none for an expert that
            has not changed, which takes columns of zeros with the others.
        least: Columns that it gets in any case, as far as it has them.
        fixed: Columns that it gets whatever the budget, or None.
    """

    module: str
    shape: tuple[int, ...]
    gains: Array
    least: int = 0
    fixed: int | None = None


def share_out(
    claims: Iterable[Claim],
    budget: int,
    dtype: StoredDType,
    *,
    multiple: int = 1,
    most: int | None = None,
) -> dict[str, int]:
    """The rank of each layer, by module, that lowers the squared errors most for the bytes.

    Experts that PEFT stacks get one rank: their gains add, and so do their bytes. Layers with a
    fixed rank are paid first.

    Args:
        claims: One for each layer.
        budget: Bytes of all factors together.
        dtype: Of the stored factors.
        multiple: Ranks are multiples of it, or all that a layer has.
        most: Columns that a layer gets at most.

    Raises:
        ArgumentError: If the budget does not reach for the fixed and the least ranks, or for one
            column of any layer.

    Example:
        >>> claims = [Claim(module=name, shape=(4, 4), gains=np.array(gains))
        ...           for name, gains in (("q", [9.0, 1.0]), ("v", [4.0, 4.0]))]
        >>> share_out(claims, 3 * 4 * 8, "float32")
        {'q': 1, 'v': 2}
    """
    known = {claim.module: claim for claim in claims}
    ranks = {
        module: min(claim.fixed, *matrix_shape(claim.shape))
        for module, claim in known.items()
        if claim.fixed is not None
    }
    paid = sum(adapter_bytes(known[module].shape, rank, dtype) for module, rank in ranks.items())
    if paid > budget:
        raise ArgumentError(
            f"The ranks that are fixed take {paid} bytes, the budget is {budget}.",
            hint=f"Give a budget of at least {paid} bytes.",
            code="budget-too-small",
        )
    groups = _groups({module: claim for module, claim in known.items() if module not in ranks})
    chosen = allocate(
        [np.sqrt(_summed(group)) for group in groups],
        [sum(adapter_bytes(one.shape, 1, dtype) for one in group) for group in groups],
        budget - paid,
        multiple=multiple,
        least=[max(one.least for one in group) for group in groups],
        most=most,
    )
    for group, rank in zip(groups, chosen, strict=True):
        ranks |= {one.module: min(rank, *matrix_shape(one.shape)) for one in group}
    if known and not any(ranks.values()):
        cheapest = min(adapter_bytes(claim.shape, multiple, dtype) for claim in known.values())
        raise ArgumentError(
            f"A budget of {budget} bytes for the factors does not reach for one column of any.",
            hint=f"Give at least {cheapest - budget} bytes more.",
            code="budget-too-small",
        )
    return ranks


def _groups(claims: Mapping[str, Claim]) -> list[list[Claim]]:
    experts = uniform_groups(claims)
    stacked = {module for group in experts for module in group}
    alone = [[claim] for module, claim in claims.items() if module not in stacked]
    return [*alone, *([claims[module] for module in group] for group in experts)]


def _summed(group: list[Claim]) -> Array:
    total = np.zeros(max(len(one.gains) for one in group), FLOAT64)
    for one in group:
        total[: len(one.gains)] += one.gains
    return total
