"""Tables with gaps: components of what is known, beside what would be known without them."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart.errors import EckartError, MatrixError
from eckart.matrices import Streamed, as_matrix
from eckart.reduce.fit import fit_pca, start_incremental, update
from eckart.reduce.reduction import LEAST_RIDGE, read_back, scores_of_known
from eckart.reduce.table import known_entries
from streams import InMemory
from tolerances import GAPS, TURNED_ROWS


def table(rows=300, columns=30, rank=3, noise=0.1, share=0.2, seed=0):
    """Rows around a mean, the same with gaps, and what they are without noise."""
    generator = np.random.default_rng(seed)
    B = generator.standard_normal((rows, rank)) * (3.0 / np.arange(1, rank + 1))
    truth = (
        5 + 3 * generator.standard_normal(columns) + B @ generator.standard_normal((rank, columns))
    )
    X = truth + noise * generator.standard_normal((rows, columns))
    hidden = generator.random((rows, columns)) < share
    hidden[np.arange(columns), np.arange(columns)] = False  # no column is without an entry
    return np.where(hidden, np.nan, X), X, truth, hidden


def root_mean_square(X):
    return float(np.sqrt(np.mean(np.square(X))))


def test_what_a_low_rank_table_hides_is_found_again():
    gaps, X, _, hidden = table(noise=0.0, share=0.3)
    reduction, found = fit_pca(gaps, 3)
    assert found.outcome.grade == "success"
    assert root_mean_square((reduction.filled(gaps) - X)[hidden]) < GAPS * root_mean_square(X)
    np.testing.assert_allclose(reduction.A @ reduction.A.T, np.eye(3), atol=TURNED_ROWS)
    whole, _ = fit_pca(X, 3)
    assert np.linalg.svd(reduction.A @ whole.A.T)[1].min() > 1 - GAPS
    np.testing.assert_allclose(reduction.variances, whole.variances, rtol=GAPS)
    assert reduction.missing == hidden.sum()


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    share=st.sampled_from([0.02, 0.2, 0.5]),
    scale=st.booleans(),
    noise=st.sampled_from([0.05, 0.5]),
)
def test_gaps_are_met_better_than_by_the_means_or_by_components_of_them(seed, share, scale, noise):
    gaps, _, truth, hidden = table(share=share, noise=noise, seed=seed)
    reduction, _ = fit_pca(gaps, 3, scale=scale)
    by_mean = np.where(hidden, np.nanmean(gaps, axis=0), gaps)
    imputed, _ = fit_pca(by_mean, 3, scale=scale)
    off = root_mean_square((reduction.filled(gaps) - truth)[hidden])
    assert off < root_mean_square((by_mean - truth)[hidden])
    assert off < root_mean_square((imputed.restore(imputed.project(by_mean)) - truth)[hidden])


def test_moments_are_those_of_what_is_known():
    gaps, *_ = table()
    known = known_entries(as_matrix(gaps), centre=True, scale=True)
    np.testing.assert_allclose(known.means, np.nanmean(gaps, axis=0))
    np.testing.assert_allclose(known.scales, np.nanstd(gaps, axis=0, ddof=1))
    there = ~np.isnan(gaps)
    rows, columns = np.nonzero(there)
    np.testing.assert_array_equal(known.entries.rows, rows)
    np.testing.assert_array_equal(known.entries.columns, columns)
    expected = ((gaps - known.means) / known.scales)[there]
    np.testing.assert_allclose(known.entries.values, expected, rtol=TURNED_ROWS, atol=TURNED_ROWS)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_scores_of_a_row_with_gaps_solve_its_normal_equations(ridge):
    generator = np.random.default_rng(3)
    A = np.linalg.qr(generator.standard_normal((12, 3)))[0].T
    x = generator.standard_normal((5, 12))
    x[generator.random(x.shape) < 0.4] = np.nan
    x[4] = np.nan
    ridges = ridge * np.array([1.0, 2.0, 5.0])
    for row, scores in zip(x, scores_of_known(x, A, ridges), strict=True):
        there = ~np.isnan(row)
        system = A[:, there] @ A[:, there].T + np.diag(np.maximum(ridges, LEAST_RIDGE))
        expected = np.linalg.solve(system, A[:, there] @ row[there])
        np.testing.assert_allclose(scores, expected, atol=GAPS * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("choice", [{"variance": 0.99}, {"tolerance": 0.1}, {"rank": "auto"}])
def test_the_rank_is_found(choice):
    gaps, X, *_ = table(noise=0.05, columns=40)
    reduction, _ = fit_pca(gaps, **choice)
    assert reduction.rank == fit_pca(X, **choice)[0].rank
    assert reduction.rank <= 3


def test_a_wide_rank_is_found_by_doubling():
    gaps, *_ = table(rows=200, columns=40, rank=24, noise=0.0, share=0.05)
    assert 16 < fit_pca(gaps, variance=0.9999)[0].rank <= 24


def test_streamed_rows_give_what_rows_in_memory_give():
    gaps, *_ = table()
    streamed, _ = fit_pca(Streamed(InMemory(gaps), memory=10**6), 3)
    here, _ = fit_pca(gaps, 3)
    np.testing.assert_allclose(streamed.A, here.A, atol=TURNED_ROWS)


def test_a_reduction_keeps_how_it_was_fitted():
    gaps, *_ = table()
    reduction, _ = fit_pca(gaps, 3, whiten=True)
    again = read_back(reduction.arrays(), reduction.facts(), "t.npz")
    np.testing.assert_array_equal(again.project(gaps), reduction.project(gaps))
    assert again.missing == reduction.missing > 0


def test_new_rows_with_gaps_are_scored_by_a_reduction_of_whole_rows():
    gaps, X, *_ = table(noise=0.01)
    reduction, _ = fit_pca(X, 3)
    scores, whole = reduction.project(gaps), reduction.project(X)
    complete = ~np.isnan(gaps).any(axis=1)
    np.testing.assert_array_equal(scores[complete], whole[complete])
    assert root_mean_square(scores - whole) < 0.05 * root_mean_square(whole)
    nothing = reduction.project(np.full((1, X.shape[1]), np.nan))
    np.testing.assert_array_equal(nothing, 0)  # a row of which nothing is known is the mean


def test_rows_with_gaps_are_taken_in():
    gaps, X, *_ = table(noise=0.01)
    kept = update(start_incremental(gaps[:100], 3), gaps[100:])
    assert kept.rows == 300
    assert kept.floor is None
    assert np.linalg.svd(kept.A[:3] @ fit_pca(X, 3)[0].A.T)[1].min() > 1 - GAPS
    sparse = scipy.sparse.csr_array(gaps[100:])
    np.testing.assert_allclose(update(start_incremental(gaps[:100], 3), sparse).A, kept.A)


@pytest.mark.parametrize(
    ("rows", "value", "code"),
    [(slice(0, 1), np.inf, "not-finite"), (slice(None), np.nan, "empty-column")],
)
def test_what_cannot_be_is_refused(rows, value, code):
    gaps, *_ = table()
    gaps[rows, 4] = value
    with pytest.raises(EckartError) as error:
        fit_pca(gaps, 3)
    assert error.value.code == code


def test_what_does_not_fit_the_memory_is_refused():
    gaps, *_ = table(rows=5000, columns=40)
    with pytest.raises(MatrixError, match="5 MB here; 1 MB") as error:
        fit_pca(Streamed(InMemory(gaps), memory=10**6), 3)
    assert error.value.code == "memory-too-small"


def test_a_tiny_table_is_reduced_too():
    reduction, found = fit_pca([[1.0, 2.0, np.nan], [2.0, np.nan, 6.0], [3.0, 6.0, 9.0]], 1)
    assert "too few" in found.message
    assert np.isfinite(reduction.A).all()


@pytest.mark.parametrize("kind", ["a row", "means"])
def test_components_that_rounding_hides_are_no_success(kind):
    gaps, X, _, hidden = table(share=0.01)
    if kind == "a row":
        gaps[0] = np.where(hidden[0], np.nan, 1e8 * X[0])
        _, found = fit_pca(gaps, 3)
    else:
        _, found = fit_pca(gaps + 1e6, 3, centre=False)
    assert found.outcome.grade == "short"
    assert "within the rounding" in found.message
    assert fit_pca(table(share=0.01)[0], 3)[1].outcome.grade == "success"
