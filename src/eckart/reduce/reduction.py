"""What a reduction keeps of a table: the column side, which new rows are projected with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType
from eckart.completion.entries import Entries
from eckart.completion.fold_in import fold_in
from eckart.completion.objective import Observed
from eckart.errors import FormatError, MatrixError
from eckart.factors import Factors
from eckart.matrices.moments import FAR


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """Scores are ((X − 1·meansᵀ)/scales)·Aᵀ, divided by their deviations where they are whitened.

    Fields:
        A: Orthonormal rows, of shape (rank, columns): the components.
        means: Of the columns; zeros where they are not centred.
        scales: By which the columns are divided; None for none.
        squares: σ² of each component.
        energy: ‖W‖²_F of all rows, centred and scaled.
        rows: How many rows it was made of.
        rank: How many components are used; A may hold more, for rows that are still to come.
        names: Of the columns, or None.
        centred: Whether the means are those of the columns.
        whitened: Whether scores have variance 1.
        floor: Nothing of this rank has a smaller error, where it is known.
        strength: λ by which it was fitted around gaps; 0 where there were none.
        missing: Entries that were not known, of those it was made of.
        measured: Variances of the scores of the rows it was made of, where these are not σ²/(rows −
            1): of rows with gaps, or that are not centred.
        whole: Of the rows themselves, with the same.
        away: Means of the columns, divided by the scales, where they are not subtracted.
        document: What the run that made it said.
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
    document: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def columns(self) -> int:
        """Of the table."""
        return self.A.shape[1]

    @property
    def dtype(self) -> DType:
        """float32 or float64."""
        return self.A.dtype

    @property
    def error(self) -> float:
        """‖W − W·Aᵀ·A‖_F of all rows is at most the root of the energy that was let go."""
        kept = float(self.squares[: self.rank].sum())
        return math.sqrt(max(0.0, self.energy - kept))

    def promise(self) -> dict[str, Any]:
        """What can be said of all rows it was made of, also of those that are gone."""
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
        """Variance of the scores of each component that is used, before they are whitened.

        As `PCA` has it, divided by rows − 1; where columns are not centred as `TruncatedSVD` has
        it, divided by rows.
        """
        if self.measured is not None:
            return self.measured
        squares = self.squares[: self.rank]
        if self.away is None:
            return squares / max(1, self.rows - 1)
        around = np.square(self.A[: self.rank] @ self.away)
        return np.maximum(squares / self.rows - around, 0.0)

    @property
    def shares(self) -> Array:
        """The same as shares of the whole variance."""
        whole = self.whole
        if self.measured is None or whole is None:
            whole = self.energy / max(1, self.rows - 1)
            if self.away is not None:
                whole = self.energy / self.rows - float(np.square(self.away).sum())
        return self.variances / (whole if whole > 0 else 1.0)

    def project(self, X: Any, *, may_change: bool = False) -> Array:
        """The scores of rows, of shape (rows, rank), without making a sparse X dense.

        Args:
            X: Of shape (rows, columns).
            may_change: Whether X may be overwritten, so that no copy of it is made.

        Rows with gaps, which are NaN, get the scores that meet what is known of them best.

        Raises:
            MatrixError: If X has another number of columns, or an entry is infinite.
        """
        self._check_columns(X.shape[1])
        A = self.A[: self.rank]
        narrow = (A if self.scales is None else A / self.scales).astype(self.dtype)
        if self._is_far and not hasattr(X, "toarray"):
            X = np.subtract(X, self.means.astype(X.dtype), out=X if may_change else None)
            left = np.zeros(len(self.means))
            scores = X @ narrow.T
        else:
            left = self.means
            scores = np.asarray(X @ narrow.T) - (left @ narrow.T.astype(FLOAT64)).astype(X.dtype)
        unknown = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if unknown.size:  # a NaN in a row is one in its scores
            rows = X[unknown]
            around = (rows.toarray() if hasattr(rows, "toarray") else rows) - left
            around = around if self.scales is None else around / self.scales
            scores[unknown] = scores_of_known(around, A, self.ridges)
        if self.whitened:
            scores = scores / self._lengths()
        return scores.astype(self.dtype, copy=False)

    def filled(self, X: Array) -> Array:
        """Rows with what is missing as their scores restore it; X itself where nothing is."""
        gaps = np.isnan(X)
        if not gaps.any():
            return X
        return np.where(gaps, self.restore(self.project(X)), X)

    def restore(self, scores: Array) -> Array:
        """The rows that scores stand for, of shape (rows, columns).

        Raises:
            MatrixError: If there are more or fewer scores in a row than components.
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
        """What is written to a file, by name."""
        own = {"A": self.A, "means": self.means, "squares": self.squares}
        more = {"scales": self.scales, "variances": self.measured, "away": self.away}
        return own | {name: array for name, array in more.items() if array is not None}

    def facts(self) -> dict[str, Any]:
        """The rest of what is written, as plain numbers and text."""
        return {
            "kind": "reduction",
            "energy": self.energy,
            "rows": self.rows,
            "rank": self.rank,
            "names": None if self.names is None else list(self.names),
            "centred": self.centred,
            "whitened": self.whitened,
            "floor": self.floor,
            "strength": self.strength,
            "missing": self.missing,
            "whole": self.whole,
            "document": self.document,
        }

    @property
    def ridges(self) -> Array:
        """What a squared score of a row with gaps is penalised by, of shape (rank,).

        Fitted around gaps, it is λ/σ: what ‖B‖² costs where B and A are of equal lengths. Else the
        mean variance of what is left out over that of the component, as for probabilistic
        principal components.
        """
        squares = np.maximum(self.squares[: self.rank], np.finfo(FLOAT64).tiny)
        if self.strength > 0:
            return self.strength / np.sqrt(squares)
        return self.error**2 / max(1, self.columns - self.rank) / squares

    @property
    def _is_far(self) -> bool:
        """Whether the means are so large that digits are lost unless they are subtracted first."""
        means = self.means if self.scales is None else self.means / self.scales
        with np.errstate(over="ignore"):
            return self.rows * float(np.square(means).sum()) > FAR * self.energy

    def _lengths(self) -> Array:
        """What scores are divided by."""
        if not self.whitened:
            return np.ones(self.rank)
        found = np.sqrt(self.variances)
        return np.where(found > 0, found, 1.0)

    def _check_columns(self, columns: int) -> None:
        if columns != self.columns:
            raise MatrixError(
                f"The data has {columns} columns, the reduction was made of {self.columns}.",
                hint="Give a table with the same columns.",
                code="shapes-differ",
            )


def read_back(arrays: Mapping[str, Array], facts: Mapping[str, Any], path: object) -> Reduction:
    """A reduction from the content of its file.

    Raises:
        FormatError: If it is no reduction, or its parts do not fit together.
    """
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
    """A number of a document, finite and from 0.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is another one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no finite number from 0")
    return float(value)


LEAST: Final = 1e-6
"""Of the penalty: float32 shows no difference between a smaller one and none."""


def scores_of_known(around: Array, A: Array, ridges: Array) -> Array:
    """The scores s of each row x that minimise Σ_known (x − s·A)² + Σ ridges·s².

    Args:
        around: Rows, centred and scaled, of shape (rows, columns); what is missing is NaN.
        A: Orthonormal rows, of shape (rank, columns).
        ridges: Array of shape (rank,), at least 0.

    Raises:
        MatrixError: If an entry is infinite.

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
    lengths = 1 / np.sqrt(np.maximum(ridges, LEAST))[:, np.newaxis]  # one penalty for all then
    unit = float(np.square(lengths * A).max()) or 1.0
    near_one = (around / units)[rows, columns]
    known = Entries.of(rows, columns, near_one, shape=around.shape)
    scaled = Factors(np.zeros((1, len(A))), lengths * A / np.sqrt(unit))
    objective = Observed(regularization=1 / unit, count_exponent=0, biases=False)
    return fold_in(scaled, objective, known).factors.B * (lengths.T / np.sqrt(unit)) * units
