"""From attributes to factors: who did nothing is what those who are like him are on average."""

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt
import scipy.linalg

from eckart.arrays import FLOAT32, FLOAT64, Array
from eckart.jobs.recommend.interactions import Interactions
from eckart.offset import Offset
from eckart.threads import one_blas_thread

Side: TypeAlias = Literal["rows", "columns"]
DAMPING: Final = 2.0
"""Users of the average who stand beside those of each attribute."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mapping:
    """Factors and bias of a user or item by its attributes: [M 1]·Γ.

    The equations of the fit alone would take it for one who was shown everything and chose nothing;
    and factors that explain attributes best are not those that attributes predict best.

    Fields:
        weights: Γ, of shape (attributes + 1, rank + 1), the average and the bias last.
        lowest: Of each factor: 0 where factors must not be negative, else −∞.

    Reference:
        Gantner et al. (2010), ICDM: attribute-to-feature mappings for cold starts.
    """

    weights: Array
    lowest: float

    def applied(self, matrix: Any) -> tuple[Array, Array]:
        """Factors and biases of the rows of a matrix of attributes."""
        found = (matrix @ self.weights[:-1] + self.weights[-1]).astype(FLOAT32)
        return np.maximum(found[:, :-1], self.lowest), found[:, -1]


def learned_mapping(
    offset: Offset, data: Interactions, side: Side, *, nonnegative: bool
) -> Mapping | None:
    """The best Γ for those who have both interactions and attributes, drawn towards their average.

    Args:
        offset: Factors and biases.
        data: Whose they are.
        side: rows for users, columns for items.
        nonnegative: Whether factors must not be negative.

    Returns:
        None where nobody has both.

    Cost:
        Pairs of attributes of each user or item, and width³/3 operations.
    """
    attributes, counts = _of(data, side)
    if attributes is None:
        return None
    both = np.flatnonzero(attributes.known & (counts > 0))
    if not len(both):
        return None
    factors, bias = (
        (offset.factors.B, offset.row_bias)
        if side == "rows"
        else (offset.factors.A.T, offset.column_bias)
    )
    X = np.column_stack([factors[both], bias[both]]).astype(FLOAT64)
    M = attributes.matrix[both].astype(FLOAT64)
    average = X.mean(axis=0)
    means = np.asarray(M.mean(axis=0)).ravel()
    with one_blas_thread():
        G = (M.T @ M).toarray() - len(both) * np.outer(means, means)
        right = M.T @ (X - average)
        G[np.diag_indices_from(G)] += DAMPING
        weights = scipy.linalg.solve(G, right, assume_a="pos")
        constant = average - means @ weights
    return Mapping(weights=np.vstack([weights, constant]), lowest=0.0 if nonnegative else -np.inf)


def mapped(offset: Offset, data: Interactions, side: Side, *, nonnegative: bool) -> Offset:
    """With factors by attributes for all who have no interactions."""
    mapping = learned_mapping(offset, data, side, nonnegative=nonnegative)
    return offset if mapping is None else placed(mapping, offset, data, side)


def placed(
    mapping: Mapping,
    offset: Offset,
    data: Interactions,
    side: Side,
    places: npt.NDArray[Any] | None = None,
) -> Offset:
    """With what a mapping gives for those who have attributes and no interactions.

    Args:
        mapping: From attributes to factors.
        offset: That is changed.
        data: Of its rows and columns.
        side: Which are changed.
        places: Those that may be; None lets all.
    """
    attributes, counts = _of(data, side)
    assert attributes is not None
    cold = attributes.known & (counts == 0)
    here = np.flatnonzero(cold) if places is None else places[cold[places]]
    if not len(here):
        return offset
    found, bias = mapping.applied(attributes.matrix[here])
    if side == "rows":
        B, row_bias = offset.factors.B.copy(), offset.row_bias.copy()
        B[here], row_bias[here] = found, bias
        return offset.with_rows(B, row_bias)
    A, column_bias = offset.factors.A.copy(), offset.column_bias.copy()
    A[:, here], column_bias[here] = found.T, bias
    return offset.with_columns(A, column_bias)


def _of(data: Interactions, side: Side) -> tuple[Any, npt.NDArray[np.int64]]:
    if side == "rows":
        return data.user_attributes, data.user_counts()
    return data.item_attributes, data.item_counts()
