"""The objective over known entries, which alone count, or count more than the rest."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias, final

import numpy as np
from scipy.sparse import issparse

from eckart.arguments import check_flag, check_number
from eckart.arrays import FLOAT32, FLOAT64, Array, plain_array
from eckart.completion.entries import NONE, Compressed, Entries
from eckart.errors import ArgumentError, MatrixError

Attributes: TypeAlias = Any
"""A NumPy array or a SciPy sparse matrix, which has no types, of shape (rows, attributes)."""
RATINGS_REGULARIZATION: Final = 0.1
"""Default regularization for ratings."""
IMPLICIT_REGULARIZATION: Final = 0.003
"""Default regularization with an unobserved weight."""
BLOCK_ENTRIES: Final = 2**20
"""Number of entries that a sum converts to float64 at a time: 8 MB."""
LEAST_VALUE: Final = 1e-12
"""Least absolute value of the largest entry; see `MOST_VALUE`."""
MOST_VALUE: Final = 1e9
"""Largest absolute value of an entry: between both, squares and products stay in the range of
float32, also those of conjugate gradients, which square factors of their size twice."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """The error over known entries, with a penalty on the factors.

    For ratings (`unobserved_weight` 0), with ŷ = mean + row bias + column bias + (B·A):

        Σ_known w·(W − ŷ)² + λ·Σ_rows n_i^ν·(‖B_i‖² + bias_i²) + the same for columns

    where n is the number of entries of the row or column. For implicit feedback, such as views or
    purchases (`unobserved_weight` α above 0), the values of the entries are their confidence c, and
    all other entries count a little as zeros. If weights are given, they are c, and the value
    replaces the 1, such as a zero for a disliked item:

        Σ_known c·(1 − ŷ)² + α·Σ_all ŷ² + λ·Σ_rows (n_i + α·columns)^ν·‖B_i‖² + the same for columns

    Fields:
        regularization: λ, above 0. None takes 0.1 for ratings and 0.003 with an unobserved weight.
        count_exponent: ν. With 1 the penalty grows with the number of entries, with 0 it is the
            same for all rows.
        unobserved_weight: α, at least 0.
        biases: Whether rows and columns have biases, which every sweep fits; not possible with an
            unobserved weight. None fits them for ratings only.
        row_biases: False fits biases of columns only, as principal component analysis does.
        implicit_features: Weight, at least 0, of a second matrix that holds 1 for known entries and
            0 for others; it is factored together with the first and shares its B and its A.
        nonnegative: Whether B and A (not the biases) must not be negative.
        row_attributes: Array or SciPy sparse matrix of shape (rows, attributes): further columns of
            W, all known; n counts them too, each by its weight.
        column_attributes: Array of shape (columns, attributes): further rows of W.
        attribute_weight: Weight of the squared error of attributes.

    Raises:
        ArgumentError: If a field is out of its range, or two fields exclude each other.

    Example:
        >>> Observed(regularization=0.05).settings()["regularization"]
        0.05

    Reference:
        Zhou et al. (2008), ALS-WR; Koren (2008), section 2; Cortes (2018), arXiv 1809.00366
        (implicit features); Rendle et al. (2022), arXiv 2110.14037 (the unobserved weight).
    """

    regularization: float | None = None
    count_exponent: float = 1.0
    unobserved_weight: float = 0.0
    biases: bool | None = None
    row_biases: bool = True
    implicit_features: float = 0.0
    nonnegative: bool = False
    row_attributes: Attributes | None = None
    column_attributes: Attributes | None = None
    attribute_weight: float = 1.0

    def __post_init__(self) -> None:
        _at_least(self.unobserved_weight, "unobserved weight")
        _at_least(self.strength, "regularization", above=True)
        _at_least(self.count_exponent, "count exponent")
        _at_least(self.implicit_features, "weight of implicit features")
        _at_least(self.attribute_weight, "weight of attributes", above=True)
        for name in ("biases", "row_biases", "nonnegative"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_flag(name, getattr(self, name)))
        if self.biases and self.unobserved_weight > 0:
            raise ArgumentError(
                "Biases do not go together with an unobserved weight.",
                hint="Leave one of them out.",
                code="bad-biases",
            )

    @property
    def strength(self) -> float:
        """λ, the given one or its default."""
        if self.regularization is not None:
            return self.regularization
        return IMPLICIT_REGULARIZATION if self.unobserved_weight > 0 else RATINGS_REGULARIZATION

    @property
    def has_biases(self) -> bool:
        """Whether rows and columns have biases, given or by default."""
        return self.unobserved_weight == 0 if self.biases is None else self.biases

    def mean(self, entries: Entries) -> float:
        """Weighted mean of the values, to which biases are added; 0 without biases."""
        if not self.has_biases or len(entries) == 0:
            return 0.0
        each = self._sum(entries)
        return self._sum(entries, lambda values: values) / each if each > 0 else 0.0

    def loss_of_zeros(self, entries: Entries) -> float:
        """Error of factors that are zero: Σ w·(W − mean)²."""
        mean = self.mean(entries)
        return self._sum(entries, lambda values: np.square(values - mean))

    def size(self, entries: Entries) -> float:
        """Σ w·(W² + 1): the scale of a loss of these entries, whatever their mean."""
        return self._sum(entries, np.square) + self._sum(entries)

    def _sum(self, entries: Entries, of: Callable[[Array], Array] | None = None) -> float:
        """Σ w·of(W) in float64, or Σ w; of targets that are all one the function is one too."""
        weights, targets = self.weights(entries.by_rows), self.targets(entries.by_rows)
        sums: list[float] = []
        # block by block: float64 copies of all entries would take more memory
        for start in range(0, len(entries), BLOCK_ENTRIES):
            here = slice(start, min(start + BLOCK_ENTRIES, len(entries)))
            if of is not None and len(targets):
                found = of(targets[here].astype(FLOAT64))
                weighed = len(weights) > 0
                sums.append(
                    float(found @ weights[here].astype(FLOAT64) if weighed else found.sum())
                )
            elif len(weights):
                sums.append(float(np.sum(weights[here], dtype=FLOAT64)))
            else:
                sums.append(float(here.stop - here.start))
        return math.fsum(sums)

    def is_nuclear(self, entries: Entries) -> bool:
        """Whether the objective is just ‖W − B·A‖² + λ(‖B‖² + ‖A‖²) over the known entries."""
        plain = self._has_ratings_only and self.count_exponent == 0 and not self.has_biases
        return plain and entries.weights is None

    @property
    def _has_ratings_only(self) -> bool:
        attributes = (self.row_attributes, self.column_attributes)
        more = self.unobserved_weight > 0 or self.implicit_features > 0 or self.nonnegative
        return not more and all(one is None for one in attributes)

    @property
    def for_ratings_only(self) -> bool:
        """Whether there are only ratings and biases, which every solver can fit."""
        return self._has_ratings_only and self.row_biases

    def ridge(self, order: Compressed, others: int, attributes: Attributes | None = None) -> Array:
        """Penalty of each row (or column) of an order, λ·(n + α·others + w·attributes)^ν.

        The number in parentheses is at least 1, so that a row without entries has a penalty.
        """
        counts = order.counts + self.unobserved_weight * others
        if attributes is not None:
            counts = counts + self.attribute_weight * attributes.shape[1]
        return (self.strength * np.maximum(counts, 1.0) ** self.count_exponent).astype(FLOAT32)

    def targets(self, order: Compressed) -> Array:
        """Target of each entry; of length 0 if all are one."""
        # the values are confidences then, and every target is 1
        counts_only = self.unobserved_weight > 0 and not len(order.weights)
        return NONE if counts_only else order.values

    def weights(self, order: Compressed) -> Array:
        """Weight of each entry; of length 0 if all are one."""
        if self.unobserved_weight == 0 or len(order.weights):
            return order.weights
        # without an array of ones kernels skip the multiplication
        return NONE if (order.values == 1).all() else order.values

    def check(self, entries: Entries) -> None:
        """Refuse entries that do not fit the objective.

        Raises:
            MatrixError: If there are no entries, all weights are 0, a confidence is negative, the
                values are far from 1, or attributes do not fit.
        """
        if len(entries) == 0:
            raise MatrixError("No entry is known.", hint="Give at least one.", code="empty")
        if entries.weights is not None and not entries.weights.any():
            raise MatrixError(
                "All weights are 0, so no entry counts.",
                hint="Give some weights above 0.",
                code="empty",
            )
        # the objective may have no minimum if a c is negative
        if self.unobserved_weight > 0 and entries.weights is None and entries.values.min() < 0:
            raise MatrixError(
                "With an unobserved weight values say how much an entry counts; one is negative.",
                hint="Leave out what was disliked, or give weights.",
                code="bad-confidence",
            )
        largest = max(float(entries.values.max()), -float(entries.values.min()))
        if self.unobserved_weight == 0 and largest > 0 and not LEAST_VALUE < largest < MOST_VALUE:
            raise MatrixError(
                f"The largest value is {largest:.1e}, too far from 1 for fits in float32.",
                hint="Multiply the values by a power of ten that brings them near 1.",
                code="out-of-range",
            )
        for attributes, count, name in (
            (self.row_attributes, entries.shape[0], "row"),
            (self.column_attributes, entries.shape[1], "column"),
        ):
            if attributes is not None and _count_rows(attributes, name) != count:
                raise MatrixError(
                    f"There are attributes of {attributes.shape[0]} {name}s, of {count}.",
                    hint=f"Give one for each {name}.",
                    code="shapes-differ",
                )

    def settings(self) -> dict[str, Any]:
        """Return the name and the settings, for the recipe; attributes as their number only."""
        own: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("row_attributes", "column_attributes"):
            own[name] = None if own[name] is None else own[name].shape[1]
        return {
            "name": "observed",
            **own,
            "regularization": self.strength,
            "biases": self.has_biases,
            "row_biases": self.has_biases and self.row_biases,
        }


def _count_rows(attributes: Attributes, name: str) -> int:
    """Return the number of rows or columns that have attributes."""
    shape, dtype = getattr(attributes, "shape", ()), getattr(attributes, "dtype", np.dtype("O"))
    numbers: Attributes = attributes
    if issparse(attributes):
        numbers = getattr(attributes, "data", None)
    if len(shape) == 2 and dtype.kind in "biuf" and np.isfinite(plain_array(numbers)).all():
        return int(shape[0])
    raise MatrixError(
        f"The {name} attributes are not a matrix of finite numbers.",
        hint="Give an array with a row for each, or a SciPy sparse one.",
        code="bad-attributes",
    )


def _at_least(number: float, name: str, *, above: bool = False) -> None:
    found = check_number(name, number)
    if not (found > 0 if above else found >= 0) or not math.isfinite(found):
        raise ArgumentError(
            f"The {name} is {number}.",
            hint="Give a positive number." if above else "Give a number of at least 0.",
            code=f"bad-{name.replace(' ', '-')}",
        )
