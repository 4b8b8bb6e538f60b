"""Rank allocation: one byte budget over many layers. Arithmetic only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import Array
from eckart.errors import ArgumentError

T = TypeVar("T")


def allocate(
    spectra: Sequence[Array],
    costs: Sequence[int],
    budget: int,
    *,
    weights: Sequence[float] | None = None,
    multiple: int | Sequence[int] = 1,
    least: int | Sequence[int] = 0,
    most: int | Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Choose the rank of each layer: the largest weight·σ²/cost first, while the budget lasts.

    At ranks r the weighted error is Σ weight·(σ²_{r+1} + …), by Eckart and Young. Because the
    singular values of a layer descend, taking the largest gain per byte first is optimal for the
    bytes spent up to the first block that does not fit. So no other ranks within the budget have an
    error smaller by more than the gain of that one block; where all costs are equal and blocks have
    one column, the ranks are optimal. Smaller blocks of other layers then fill the rest of the
    budget. A block that gains nothing is never taken.

    Args:
        spectra: Singular values of each layer, descending; those beyond `most` are ignored.
        costs: Bytes of one column of B and one row of A, for each layer.
        budget: Bytes of all factors together.
        weights: Weight of the squared error of each layer, such as 1/‖W‖²; None weights all alike.
        multiple: Number of which ranks are multiples, unless a layer is used up.
        least: Smallest rank of a layer, as far as it has so many columns.
        most: Largest rank of a layer.

    Returns:
        One rank for each layer, 0 for a layer that is better left out.

    Raises:
        ArgumentError: If the least ranks exceed the budget, or an argument does not hold one number
            for each layer.

    Cost:
        One sort of all singular values.

    Example:
        The second layer has the larger values, but its columns cost ten times as much:

        >>> allocate([np.array([3.0, 1.0]), np.array([4.0, 2.0])], costs=[10, 100], budget=120)
        (2, 1)
    """
    count = len(spectra)
    shares = _each(weights, 1.0, count, "weights")
    blocks_of = _each(multiple, 1, count, "multiple")
    limits = _each(most, None, count, "most")
    layers = list(map(_layer, spectra, shares, blocks_of, limits))
    prices = _each(costs, 1, count, "costs")
    firsts = _each(least, 0, count, "least")
    start = [layer.blocks_for(first) for layer, first in zip(layers, firsts, strict=True)]
    spent = sum(
        layer.columns(blocks) * price
        for layer, blocks, price in zip(layers, start, prices, strict=True)
    )
    if spent > budget:
        raise ArgumentError(
            f"The least ranks already take {spent} bytes, the budget is {budget}.",
            hint=f"Give a budget of at least {spent} bytes.",
            code="budget-too-small",
        )
    taken = _greedy(layers, prices, start, budget - spent)
    return tuple(layer.columns(blocks) for layer, blocks in zip(layers, taken, strict=True))


@final
@dataclass(frozen=True, slots=True)
class _Layer:
    """Gains of the blocks of one layer, and the number of columns up to the end of each block."""

    gains: Array  # (blocks,), each the sum over its columns
    ends: npt.NDArray[np.int64]  # (blocks,)

    def columns(self, blocks: int) -> int:
        """Number of columns of the first `blocks` blocks."""
        return int(self.ends[blocks - 1]) if blocks else 0

    def blocks_for(self, columns: int) -> int:
        """The fewest blocks that hold so many columns, or all blocks."""
        # the first block whose end reaches `columns`; none for 0 columns
        return min(int(np.searchsorted(self.ends, columns)) + (columns > 0), len(self.ends))


def _layer(spectrum: Array, weight: float, block: int, most: int | None) -> _Layer:
    gains = weight * np.square(np.asarray(spectrum, np.float64)[:most])
    starts = np.arange(0, len(gains), block)
    ends = np.minimum(starts + block, len(gains)).astype(np.int64)
    summed = np.add.reduceat(gains, starts) if len(gains) else gains
    return _Layer(summed, ends)


def _greedy(
    layers: Sequence[_Layer], prices: Sequence[int], start: Sequence[int], left: int
) -> list[int]:
    """Number of blocks of each layer after `left` bytes went to the largest gains per byte."""
    owners, blocks, bytes_of = _candidates(layers, prices, start)
    # the first blocks that fit together are taken at once, because a loop over all is slow
    fitting = int(np.searchsorted(np.cumsum(bytes_of), left, side="right"))
    taken = np.array(start, dtype=np.int64)
    # not taken[owners] += 1, which counts a repeated layer once
    np.add.at(taken, owners[:fitting], 1)
    left -= int(bytes_of[:fitting].sum())
    smallest = np.minimum.accumulate(bytes_of[::-1])[::-1]
    for place in range(fitting, len(owners)):
        if smallest[place] > left:  # no block from here on fits
            break
        owner = owners[place]
        # a block can only follow the one before it
        if taken[owner] == blocks[place] and bytes_of[place] <= left:
            taken[owner] += 1
            left -= int(bytes_of[place])
    return [int(number) for number in taken]


def _candidates(
    layers: Sequence[_Layer], prices: Sequence[int], start: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Layer, number and bytes of every block that gains something, the best gain per byte first."""
    owners, blocks, bytes_of, densities = [], [], [], []
    for owner, (layer, price, first) in enumerate(zip(layers, prices, start, strict=True)):
        cost = np.diff(layer.ends, prepend=0)[first:] * price
        gains = layer.gains[first:]
        # the mean of equal numbers may round upwards, and no block may come before the last one
        density = np.minimum.accumulate(gains / cost) if len(gains) else gains
        # densities descend, so those that gain something come first
        useful = int(np.count_nonzero(density > 0))
        owners.append(np.full(useful, owner, np.int64))
        blocks.append(first + np.arange(useful, dtype=np.int64))
        bytes_of.append(cost[:useful])
        densities.append(density[:useful])
    if not owners:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    owner, block = np.concatenate(owners), np.concatenate(blocks)
    # the last key counts first; layer and block make equal gains deterministic
    order = np.lexsort((block, owner, -np.concatenate(densities)))
    return owner[order], block[order], np.concatenate(bytes_of)[order]


def _each(given: T | Sequence[T] | None, default: T, count: int, name: str) -> list[T]:
    """Return one value for each layer: a single value is repeated, None gives the default."""
    if given is None:
        return [default] * count
    if not isinstance(given, Sequence | np.ndarray):
        return [given] * count
    if len(given) != count:
        raise ArgumentError(
            f"There are {len(given)} {name} for {count} layers.",
            hint="Give one for each layer.",
            code="lengths-differ",
        )
    return list(given)
