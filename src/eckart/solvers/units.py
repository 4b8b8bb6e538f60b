"""Known entries in a unit of their own, so that it does not matter in which they were given."""

import numpy as np

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.factors import Factors
from eckart.matrices import Entries
from eckart.offset import Offset


def spread(values: Array) -> float:
    """A power of 4 near the standard deviation of values, whose root is exact too.

    Example:
        >>> spread(np.array([1.0, 5.0])), spread(np.array([0.0, 99.0]))
        (1.0, 64.0)
    """
    found = float(np.std(values, dtype=FLOAT64))
    return 4.0 ** round(np.log(found) / np.log(4)) if found > 0 else 1.0


def in_units(entries: Entries, unit: float) -> Entries:
    """The entries with their values divided by the unit."""
    if unit == 1:
        return entries
    order = entries.by_rows
    weights = order.weights if len(order.weights) else None
    values = order.values / np.float32(unit)
    return Entries.of_rows(order.counts, order.indices, values, weights, entries.shape)


def offset_times(offset: Offset, unit: float) -> Offset:
    """What is the offset of entries that are `unit` times as large."""
    if unit == 1:
        return offset
    root, factors = np.sqrt(unit), offset.factors
    return Offset(
        offset.mean * unit,
        offset.row_bias * FLOAT32.type(unit),
        offset.column_bias * FLOAT32.type(unit),
        Factors(factors.B * FLOAT32.type(root), factors.A * FLOAT32.type(root)),
    )
