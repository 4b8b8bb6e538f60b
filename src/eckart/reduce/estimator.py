"""The estimator for scikit-learn; no other module imports it, since its import takes seconds."""

import math
import warnings
from typing import Any, Self, final

import numpy as np

from eckart.arguments import check_flag
from eckart.arrays import Array, as_randomness, unmasked
from eckart.errors import ArgumentError, ConvergenceWarning, MatrixError, MissingExtra
from eckart.matrices import as_matrix
from eckart.matrices.derived import dense
from eckart.reduce.fit import fit_pca, start_incremental, update
from eckart.reduce.reduction import Reduction

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingExtra(
        "LowRankReducer needs scikit-learn, which is not installed.",
        hint="pip install 'eckart[sklearn]'",
        code="missing-extra",
    ) from error


@final
class LowRankReducer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Principal component analysis by products with the data, for sparse and growing tables too.

    Scores are (X − mean)·Aᵀ, where the rows of A are the leading right singular vectors of
    W = X − mean, each with ‖WᵀWv − σ²v‖ ≤ tol·σ₁². Without centring it is a truncated SVD. A sparse
    X stays sparse, centred or not. Entries that are NaN or masked are missing: the components are
    fitted to the known entries, and the scores of a row to its known entries.

    Args:
        n_components: Number of components: a whole number; a share of the variance below 1, if
            centred; "auto" for those above the noise; None for min(rows, columns).
        center: Whether to subtract the means of the columns.
        scale: Whether to divide the columns by their standard deviations; constant ones stay.
        whiten: Whether to divide the scores by their standard deviations.
        tol: Residual of the components; None takes 1e-8, and 3e-4 in float32.
        certificate: Whether to bound the best possible error, by further products.
        random_state: Seed of the random directions, in the forms of scikit-learn.

    Fields:
        components_: A, of shape (components, features); the entry of largest size in each row is
            positive.
        explained_variance_: Variance of the scores of each component, defined as in `PCA`, and
            without centring as in `TruncatedSVD`. In float64, like the next two, since it may
            leave the range of float32.
        explained_variance_ratio_: These variances as shares of the variance of X.
        singular_values_: The singular values of X − mean.
        mean_: Means of the features.
        scale_: Standard deviations of the features; None if they are not scaled.
        noise_variance_: Mean variance of the directions that are left out.
        n_components_: Number of components.
        n_samples_: Number of rows seen.
        certificate_: The error of the rows and a bound on the best possible one, as a dictionary.

    Cost:
        One pass for the means, a few for the components, one for the scores.

    Example:
        >>> X = np.outer(np.arange(6.0), [1.0, 2.0]) + 5
        >>> LowRankReducer(n_components=1).fit(X).explained_variance_ratio_.round(6)
        array([1.])
    """

    def __init__(
        self,
        n_components: int | float | str | None = None,
        *,
        center: bool = True,
        scale: bool = False,
        whiten: bool = False,
        tol: float | None = None,
        certificate: bool = False,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.center = center
        self.scale = scale
        self.whiten = whiten
        self.tol = tol
        self.certificate = certificate
        self.random_state = random_state

    def fit(self, X: object, y: object = None) -> Self:
        """Find the components of the rows of X.

        Args:
            X: The rows, dense or sparse, of shape (rows, features).
            y: Ignored.
        """
        del y
        checked = self._checked(X, reset=True)
        # warned below instead, with the stack level of the caller
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            reduction, found = fit_pca(
                checked,
                **self._choice(checked.shape),
                **self._flags(),
                tol=self.tol,
                certificate=check_flag("certificate", self.certificate),
                seed=self._seed(),
            )
        if found.outcome.grade == "short":
            warnings.warn(found.message, ConvergenceWarning, stacklevel=2)
        self.certificate_ = found.certificate.to_dict()
        return self._learned(reduction, None if reduction.missing else found.certificate.error)

    def partial_fit(self, X: object, y: object = None) -> Self:
        """Update the components with more rows, without the earlier rows.

        The first rows must be at least as many as the components, and with `scale` their standard
        deviations stay in use. The certificate then states that the error is at most the root of
        the energy that was dropped.
        """
        del y
        first = not hasattr(self, "_reduction")
        checked = self._checked(X, reset=first)
        if first:
            choice = self._choice(checked.shape)
            if not isinstance(choice.get("rank"), int):
                raise ArgumentError(
                    "partial_fit needs to know how many components there are.",
                    hint="Give n_components as a whole number.",
                    code="not-growing",
                )
            reduction = start_incremental(checked, choice["rank"], **self._flags())
        else:
            reduction = update(self._reduction, checked)
        self.certificate_ = reduction.promise()
        return self._learned(reduction)

    def transform(self, X: object) -> Array:
        """The scores of the rows of X, of shape (rows, components)."""
        check_is_fitted(self)
        return self._reduction.project(self._checked(X, reset=False))

    def fit_transform(self, X: object, y: object = None, **fit_params: object) -> Array:
        """Call `fit`, then `transform`."""
        return self.fit(X, y, **fit_params).transform(X)

    def inverse_transform(self, X: object) -> Array:
        """The rows that scores represent, of shape (rows, features).

        Raises:
            MatrixError: If the scores are not a matrix with one column for each component.
        """
        check_is_fitted(self)
        scores = as_matrix(X)
        return self._reduction.restore(scores.namespace.get(dense(scores)))

    def get_covariance(self) -> Array:
        """The covariance of the features by the model: AᵀΛA, and equal noise elsewhere."""
        check_is_fitted(self)
        A, noise = self.components_.astype(np.float64), self.noise_variance_
        inner = (A.T * np.maximum(self._squares_each() - noise, 0.0)) @ A
        return inner + noise * np.eye(A.shape[1])

    def get_precision(self) -> Array:
        """The inverse of `get_covariance`, with noise of at least the size of rounding."""
        check_is_fitted(self)
        A, (lengths, noise) = self.components_.astype(np.float64), self._model()
        inside = (A.T / lengths) @ A
        beside = np.eye(A.shape[1]) - A.T @ A
        # with all directions kept there are no others, and `beside` would be rounding over noise
        return inside if len(A) == A.shape[1] else inside + beside / noise

    def score_samples(self, X: object) -> Array:
        """The log-likelihood of each row under the Gaussian model of the components.

        Reference:
            Tipping, Bishop (1999), Mixtures of probabilistic principal component analysers.
        """
        check_is_fitted(self)
        checked: Any = self._checked(X, reset=False)
        rows: Any = checked.toarray() if hasattr(checked, "toarray") else checked
        rows = self._reduction.filled(rows)
        around = (rows - self.mean_) / (1.0 if self.scale_ is None else self.scale_)
        A, (lengths, noise) = self.components_.astype(np.float64), self._model()
        scores = around @ A.T
        outside = np.square(around - scores @ A).sum(axis=1)
        with np.errstate(over="ignore"):
            # a row far outside may overflow: its log-likelihood is then −∞
            size = (np.square(scores) / lengths).sum(axis=1) + outside / noise
        left = A.shape[1] - len(A)
        logarithm = np.log(lengths).sum() + left * math.log(noise)
        return -0.5 * (size + A.shape[1] * math.log(2 * math.pi) + logarithm)

    def score(self, X: object, y: object = None) -> float:
        """The mean of `score_samples`, by which scikit-learn selects models."""
        del y
        return float(np.mean(self.score_samples(X)))

    @property
    def n_features_out_(self) -> int:
        """Number of columns of the scores."""
        return self.n_components_

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _checked(self, X: object, *, reset: bool) -> Any:
        return validate_data(
            self,
            unmasked(X),
            reset=reset,
            accept_sparse=("csr", "csc"),
            # in `fit` infinite entries are found by the sums over the columns
            ensure_all_finite=False if reset else "allow-nan",
            dtype=(np.float64, np.float32),
            ensure_min_samples=2 if reset else 1,
        )

    def _choice(self, shape: tuple[int, int]) -> dict[str, Any]:
        """The number of components as arguments of `fit_pca`."""
        wanted = self.n_components
        if wanted is None:
            return {"rank": min(shape)}
        if isinstance(wanted, str) and wanted == "auto":
            return {"rank": "auto"}
        if isinstance(wanted, float | np.floating) and 0 < wanted < 1:
            return {"variance": float(wanted)}
        # True is an int, but not a number of components
        if isinstance(wanted, int | np.integer) and not isinstance(wanted, bool):
            if wanted > min(shape):
                raise MatrixError(
                    f"n_components={wanted} must be between 1 and min(n_samples, n_features)="
                    f"{min(shape)}.",
                    code="rank-too-large",
                )
            return {"rank": int(wanted)}
        raise ArgumentError(
            f"n_components={wanted!r} is no number of components.",
            hint='Give a whole number, a share of the variance between 0 and 1, or "auto".',
            code="bad-n-components",
        )

    def _flags(self) -> dict[str, Any]:
        return {
            "centre": check_flag("center", self.center),
            "scale": check_flag("scale", self.scale),
            "whiten": check_flag("whiten", self.whiten),
        }

    def _seed(self) -> Any:
        state = self.random_state
        # both mean NumPy's global generator, as scikit-learn has it
        if state is None or state is np.random:
            return check_random_state(state)
        as_randomness(state)  # raises the error that says what is wrong
        return state

    def _learned(self, reduction: Reduction, error: float | None = None) -> Self:
        """Set the fields; a measured error has digits that a difference of energies loses."""
        self._reduction = reduction
        rank, rows, columns = reduction.rank, reduction.rows, reduction.columns
        self.components_ = reduction.A[:rank]
        self.explained_variance_ = reduction.variances
        self.explained_variance_ratio_ = reduction.shares
        self.singular_values_ = np.sqrt(np.maximum(reduction.squares[:rank], 0.0))
        dtype, scales = reduction.dtype, reduction.scales
        self.mean_ = reduction.means.astype(dtype)
        self.scale_ = None if scales is None else scales.astype(dtype)
        left = min(rows, columns) - rank
        unexplained = (reduction.error if error is None else error) ** 2
        self.noise_variance_ = unexplained / (rows - 1) / left if left > 0 else 0.0
        self.n_components_ = rank
        self.n_samples_ = rows
        return self

    def _squares_each(self) -> Array:
        """Mean squares of the scores about `mean_`, which are their variances if centred."""
        reduction = self._reduction
        return reduction.squares[: reduction.rank] / (reduction.rows - 1)

    def _model(self) -> tuple[Array, float]:
        """The variances along the components, and the variance of the noise in other directions.

        If no direction is left out the noise is that of rounding, so that a row outside their span
        is never likely.
        """
        squares = self._squares_each()
        eps, tiny = np.finfo(self.components_.dtype).eps, np.finfo(np.float64).tiny
        noise = max(self.noise_variance_, float(eps * squares[0]), float(tiny))
        return np.maximum(squares, noise), noise
