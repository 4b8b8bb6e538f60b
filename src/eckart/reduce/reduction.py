"""`Reduction`: the components and moments of a table, with which new rows are projected."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType
from eckart.completion.entries import Entries
from eckart.completion.fold_in import fold_in
from eckart.completion.objective import Observed
from eckart.errors import ArgumentError, FormatError, MatrixError
from eckart.factors import Factors
from eckart.files.archives import read_arrays
from eckart.files.writing import settle
from eckart.matrices.moments import FAR_RATIO
from eckart.reduce import Document

ARRAYS: Final = ("A", "means", "scales", "squares", "measured", "away")
"""The fields of a reduction that are saved as arrays, and not in its document."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """A reduction gives rows X the scores ((X − 1·meansᵀ)/scales)·Aᵀ, whitened if requested.

    Fields:
        A: The components: orthonormal rows, of shape (rank, columns).
        means: Means of the columns; zeros if not centred.
        scales: Numbers by which the columns are divided; None if they are not.
        squares: σ² of each component.
        energy: ‖W‖²_F of all rows, centred and scaled.
        rows: Number of rows that the reduction was made from.
        rank: Number of components in use; A may hold more, for later rows.
        names: Names of the columns, or None.
        centred: Whether `means` are those of the columns.
        whitened: Whether scores are divided by their standard deviations.
        floor: Lower bound of the error of any approximation of this rank; None if not known.
        strength: λ of a fit with missing entries; 0 if there were none.
        missing: Number of missing entries in the rows that the reduction was made from.
        measured: Variances of the scores of these rows, if they are not σ²/(rows − 1): with missing
            entries or without centring.
        whole: Variance of these rows themselves, if `measured` is given.
        away: Means of the columns divided by the scales, if they are not subtracted.
        document: Facts on the run that made the reduction.
    """

    A: Array
    means: Array
    scales: Array | None
    squares: Array
    energy: float
    rows: int
    rank: int
    names: tuple[str, ...] | None = None
    centred: bool = True
    whitened: bool = False
    floor: float | None = None
    strength: float = 0.0
    missing: int = 0
    measured: Array | None = None
    whole: float | None = None
    away: Array | None = None
    document: Document = field(default_factory=dict[str, Any])

    @property
    def columns(self) -> int:
        """Number of columns of the table."""
        return self.A.shape[1]

    @property
    def labels(self) -> list[str]:
        """Names of the columns; their positions if they have none."""
        return list(self.names or map(str, range(self.columns)))

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the columns of scores."""
        return tuple(f"PC{place}" for place in range(1, self.rank + 1))

    @property
    def dtype(self) -> DType:
        """Type of the components and scores: float32 or float64."""
        return self.A.dtype

    @property
    def error(self) -> float:
        """Bound on ‖W − W·Aᵀ·A‖_F of all rows: the root of the energy that was dropped."""
        kept = float(self.squares[: self.rank].sum())
        # rounding can make the difference negative
        return math.sqrt(max(0.0, self.energy - kept))

    def promise(self) -> Document:
        """The certificate for all rows the reduction was made from, also those since dropped."""
        error = self.error
        floor = None if self.floor is None else min(self.floor, error)
        return {
            "error": error,
            "relative_error": error / math.sqrt(self.energy) if self.energy else 0.0,
            "best_possible_error": floor,
            "gap": error / floor - 1 if floor else None,
            "failure_probability": 0.0,
            "method": "at most the root of the energy that was let go",
        }

    @property
    def variances(self) -> Array:
        """Variance of the scores of each component in use, before whitening.

        Divided by rows − 1 as in scikit-learn's `PCA`; without centring divided by rows, as in its
        `TruncatedSVD`.
        """
        if self.measured is not None:
            return self.measured
        squares = self.squares[: self.rank]
        if self.away is None:
            return squares / max(1, self.rows - 1)
        # σ²/rows is the mean square of the scores: the square of their mean is taken off
        around = np.square(self.A[: self.rank] @ self.away)
        return np.maximum(squares / self.rows - around, 0.0)

    @property
    def shares(self) -> Array:
        """The variances as shares of the whole variance."""
        whole = self.whole
        if self.measured is None or whole is None:
            whole = self.energy / max(1, self.rows - 1)
            if self.away is not None:
                whole = self.energy / self.rows - float(np.square(self.away).sum())
        return self.variances / (whole if whole > 0 else 1.0)

    def project(self, X: Any, *, may_change: bool = False) -> Array:
        """The scores of rows, of shape (rows, rank); a sparse X is not made dense.

        Rows with missing entries (NaN) get the scores that fit their known entries best.

        Args:
            X: The rows, of shape (rows, columns).
            may_change: Whether X may be overwritten, so that no copy of it is made.
        """
        if X.shape[1] != self.columns:
            raise MatrixError(
                f"The data has {X.shape[1]} columns, the reduction was made of {self.columns}.",
                hint="Give a table with the same columns.",
                code="shapes-differ",
            )
        A = self.A[: self.rank]
        narrow = (A if self.scales is None else A / self.scales).astype(self.dtype)
        # subtracting the means would make a sparse X dense
        if self._is_far and not hasattr(X, "toarray"):
            X = np.subtract(X, self.means.astype(X.dtype), out=X if may_change else None)
            left = np.zeros(len(self.means))
            scores = X @ narrow.T
        else:
            left = self.means
            scores = np.asarray(X @ narrow.T) - (left @ narrow.T.astype(FLOAT64)).astype(X.dtype)
        unknown = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if unknown.size:  # a NaN in a row makes its scores NaN
            rows = X[unknown]
            around = (rows.toarray() if hasattr(rows, "toarray") else rows) - left
            around = around if self.scales is None else around / self.scales
            scores[unknown] = scores_of_known(around, A, self.ridges)
        if self.whitened:
            scores = scores / self._lengths()
        return scores.astype(self.dtype, copy=False)

    def filled(self, X: Array) -> Array:
        """Rows with missing entries replaced by what the scores restore; X itself if none is."""
        gaps = np.isnan(X)
        if not gaps.any():
            return X
        return np.where(gaps, self.restore(self.project(X)), X)

    def restore(self, scores: Array) -> Array:
        """The rows that scores represent, of shape (rows, columns).

        Raises:
            MatrixError: If the number of scores in a row is not that of the components.
        """
        if scores.shape[1] != self.rank:
            raise MatrixError(
                f"There are {scores.shape[1]} scores in a row, the reduction has {self.rank} "
                "components.",
                hint="Give scores that this reduction made.",
                code="shapes-differ",
            )
        rows = (scores * self._lengths()) @ self.A[: self.rank]
        if self.scales is not None:
            rows = rows * self.scales
        return (rows + self.means).astype(self.dtype, copy=False)

    def arrays(self) -> dict[str, Array]:
        """The arrays of the saved reduction, by name."""
        own = {"A": self.A, "means": self.means, "squares": self.squares}
        more = {"scales": self.scales, "variances": self.measured, "away": self.away}
        return own | {name: array for name, array in more.items() if array is not None}

    def facts(self) -> Document:
        """The other fields of the saved reduction, as plain numbers and text."""
        plain = (one.name for one in fields(self) if one.name not in ARRAYS)
        return {"kind": "reduction", **{name: getattr(self, name) for name in plain}}

    @property
    def ridges(self) -> Array:
        """The penalty of each squared score of a row with missing entries, of shape (rank,).

        For a fit with missing entries it is λ/σ, which is what ‖B‖² costs if B and A are balanced.
        Else it is the mean variance in the directions left out over that of the component, as for
        probabilistic principal components.
        """
        squares = np.maximum(self.squares[: self.rank], np.finfo(FLOAT64).tiny)
        if self.strength > 0:
            return self.strength / np.sqrt(squares)
        return self.error**2 / max(1, self.columns - self.rank) / squares

    @property
    def _is_far(self) -> bool:
        """Whether the means are so large that digits are lost unless they are subtracted first."""
        means = self.means if self.scales is None else self.means / self.scales
        # an infinite square is far as well
        with np.errstate(over="ignore"):
            return self.rows * float(np.square(means).sum()) > FAR_RATIO * self.energy

    def _lengths(self) -> Array:
        """The numbers by which scores are divided: standard deviations if whitened, else ones."""
        if not self.whitened:
            return np.ones(self.rank)
        found = np.sqrt(self.variances)
        # a component without variance is left as it is, not divided by 0
        return np.where(found > 0, found, 1.0)


def read_reduction(path: Path) -> Reduction:
    """Read a saved reduction."""
    check_model_path(path)
    # a run that was killed may have left new files that are not yet in their places
    settle(path)
    return read_back(*read_arrays(path), path)


def check_model_path(path: Path) -> None:
    """Refuse a path that cannot be a saved reduction."""
    if path.suffix.lower() != ".npz":
        raise ArgumentError(
            f"A reduction is an .npz file, not {path.name}.",
            hint="eckart reduce writes it beside the scores: NAME.model.npz.",
            code="unknown-suffix",
        )


def read_back(arrays: Mapping[str, Array], facts: Mapping[str, Any], path: object) -> Reduction:
    """Make a reduction from the arrays and facts of its file."""
    try:
        A, means, squares = arrays["A"], arrays["means"], arrays["squares"]
        names, scales, away = facts["names"], arrays.get("scales"), arrays.get("away")
        columns, variances = (A.shape[1],), arrays.get("variances")
        fits = means.shape == columns and squares.shape == (A.shape[0],)
        fits = fits and all(one is None or one.shape == columns for one in (scales, away))
        fits = fits and (variances is None or variances.shape == (facts["rank"],))
        fits = fits and (names is None or len(names) == A.shape[1])
        if facts["kind"] != "reduction" or not fits or not 1 <= facts["rank"] <= len(A):
            raise KeyError("kind")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise KeyError("NaN")
        return Reduction(
            A=A,
            means=means,
            scales=scales,
            squares=squares,
            energy=_number(facts["energy"]),
            rows=max(1, int(_number(facts["rows"]))),
            rank=int(facts["rank"]),
            names=None if names is None else tuple(map(str, names)),
            centred=bool(facts["centred"]),
            whitened=bool(facts["whitened"]),
            floor=None if facts["floor"] is None else _number(facts["floor"]),
            strength=_number(facts.get("strength", 0.0)),
            missing=int(_number(facts.get("missing", 0))),
            measured=variances,
            whole=None if facts.get("whole") is None else _number(facts["whole"]),
            away=away,
            document=dict(facts["document"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FormatError(
            f"{path} holds no reduction.",
            hint="Give the .npz file that `eckart reduce` wrote beside its scores.",
            code="not-a-reduction",
        ) from error


def _number(value: Any) -> float:
    """Check that a value of a document is a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no finite number from 0")
    return float(value)


LEAST_RIDGE: Final = 1e-6
"""The smallest penalty: in float32 a smaller one makes no difference to none."""


def scores_of_known(around: Array, A: Array, ridges: Array) -> Array:
    """The scores s of each row x that minimise Σ_known (x − s·A)² + Σ ridges·s².

    Args:
        around: The rows, centred and scaled, of shape (rows, columns); missing entries are NaN.
        A: The components: orthonormal rows, of shape (rank, columns).
        ridges: The penalty of each squared score, of shape (rank,), at least 0.

    Cost:
        rank² operations for each known entry and rank³/3 for each row.

    Reference:
        Tipping, Bishop (1999), Journal of the Royal Statistical Society B 61(3).
    """
    if np.isinf(around).any():
        raise MatrixError(
            "An entry is infinite.", hint="Correct it, or leave it empty.", code="not-finite"
        )
    rows, columns = np.nonzero(~np.isnan(around))
    if not len(rows):
        return np.zeros((len(around), len(A)))
    sizes = np.where(np.isnan(around), 0.0, np.abs(around)).max(axis=1, keepdims=True)
    units = np.ldexp(1.0, np.frexp(sizes)[1])  # a power of two brings each row near 1
    # with components of these lengths one penalty holds for all scores, as `fold_in` needs
    lengths = 1 / np.sqrt(np.maximum(ridges, LEAST_RIDGE))[:, np.newaxis]
    # near 1 for float32, in which rows are solved
    unit = float(np.square(lengths * A).max()) or 1.0
    near_one = (around / units)[rows, columns]
    known = Entries.of(rows, columns, near_one, shape=around.shape)
    scaled = Factors(np.zeros((1, len(A))), lengths * A / np.sqrt(unit))
    objective = Observed(regularization=1 / unit, count_exponent=0, biases=False)
    return fold_in(scaled, objective, known).factors.B * (lengths.T / np.sqrt(unit)) * units
