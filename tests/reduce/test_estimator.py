"""LowRankReducer: scikit-learn's own checks, and PCA as the reference."""

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from eckart import LowRankReducer
from eckart.errors import EckartError
from streams import numbers
from tolerances import FLOAT32_SOLUTION, ONE_CELL, SIX_DIGITS, SQUARED

DIGITS = load_digits()


@pytest.mark.filterwarnings("ignore:Skipping check:sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [LowRankReducer(), LowRankReducer(2), LowRankReducer(1, center=False),
     LowRankReducer(scale=True), LowRankReducer(whiten=True)]
)  # fmt: skip
def test_scikit_learn_has_nothing_to_complain_of(estimator, check):
    check(estimator)


@pytest.mark.parametrize("whiten", [False, True])
def test_every_line_after_pca_still_works(whiten):
    ours = LowRankReducer(n_components=20, whiten=whiten).fit(DIGITS.data)
    theirs = PCA(n_components=20, whiten=whiten, svd_solver="full").fit(DIGITS.data)
    for name in (
        "explained_variance_", "explained_variance_ratio_", "singular_values_", "mean_",
        "noise_variance_", "components_",
    ):  # fmt: skip
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), rtol=SIX_DIGITS, atol=SQUARED
        )
    assert (ours.n_components_, ours.n_features_in_, ours.n_samples_) == (20, 64, 1797)
    scores = theirs.transform(DIGITS.data)
    size = SQUARED * np.abs(scores).max()
    np.testing.assert_allclose(ours.transform(DIGITS.data), scores, atol=size)
    np.testing.assert_allclose(ours.fit_transform(DIGITS.data), scores, atol=size)
    np.testing.assert_allclose(
        ours.inverse_transform(scores), theirs.inverse_transform(scores), atol=size
    )
    if not whiten:  # PCA scales its components twice there
        known = theirs.score(DIGITS.data)
        assert ours.score(DIGITS.data) == pytest.approx(known, rel=SIX_DIGITS)


def test_a_neighbour_classifier_is_as_right_on_the_scores():
    classifier = KNeighborsClassifier(3)
    found = [
        cross_val_score(make_pipeline(reducer, classifier), DIGITS.data, DIGITS.target, cv=3).mean()
        for reducer in (LowRankReducer(16), PCA(16, svd_solver="full"))
    ]
    assert found[0] == found[1]


def test_a_grid_search_chooses_the_number_of_components():
    pipeline = make_pipeline(LowRankReducer(), KNeighborsClassifier(3))
    grid = {"lowrankreducer__n_components": [2, 20]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(DIGITS.data[:500], DIGITS.target[:500])
    assert search.best_params_["lowrankreducer__n_components"] == 20


@pytest.mark.parametrize("center", [True, False])
def test_sparse_rows_give_what_the_dense_ones_give_and_are_not_made_dense(center, monkeypatch):
    stored = scipy.sparse.random_array((2000, 900), density=0.02, rng=np.random.default_rng(0))
    stored = scipy.sparse.csr_array(stored @ scipy.sparse.diags_array(1 / np.arange(1, 901)))
    thick = stored.toarray()
    known = (PCA(6, svd_solver="full") if center else TruncatedSVD(6, algorithm="arpack")).fit(
        thick
    )
    monkeypatch.setattr(scipy.sparse.csr_array, "toarray", lambda _: pytest.fail("made dense"))
    found = LowRankReducer(6, center=center, tol=1e-9).fit(stored)
    np.testing.assert_allclose(found.singular_values_, known.singular_values_, rtol=SIX_DIGITS)
    scores = found.transform(stored)
    assert scores.shape == (2000, 6)
    expected = np.abs(known.transform(thick))
    np.testing.assert_allclose(np.abs(scores), expected, atol=1e-5 * expected.max())


def test_a_share_of_the_variance_or_the_noise_chooses_how_many():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((400, 3)) @ generator.standard_normal((3, 60)) * 5
    X += generator.standard_normal(X.shape)
    assert LowRankReducer("auto").fit(X).n_components_ == 3
    share = LowRankReducer(0.8).fit(X)
    exact = PCA(svd_solver="full").fit(X).explained_variance_ratio_.cumsum()
    assert share.n_components_ == int(np.searchsorted(exact, 0.8)) + 1


def test_rows_may_arrive_in_parts_and_the_promise_holds():
    X = numbers(900, 30)
    reducer = LowRankReducer(5)
    for start in range(0, 900, 90):
        reducer.partial_fit(X[start : start + 90])
    centred = X - X.mean(axis=0)
    missed = np.linalg.norm(X - reducer.inverse_transform(reducer.transform(X)))
    best = np.sqrt(np.square(np.linalg.svd(centred, compute_uv=False)[5:]).sum())
    promised = reducer.certificate_
    np.testing.assert_allclose(reducer.mean_, X.mean(axis=0))
    assert promised["best_possible_error"] <= best * (1 + SQUARED)
    assert best * (1 - SQUARED) <= missed <= promised["error"] * (1 + SQUARED)
    assert promised["error"] <= 1.01 * best


def test_names_come_out_and_pandas_too():
    frame = LowRankReducer(2).set_output(transform="pandas").fit_transform(DIGITS.data)
    assert list(frame.columns) == ["lowrankreducer0", "lowrankreducer1"]


@pytest.mark.parametrize("wrong", [0, 65, 1.5, "many", True])
def test_a_number_of_components_that_cannot_be_is_refused(wrong):
    with pytest.raises((ValueError, EckartError)):
        LowRankReducer(wrong).fit(DIGITS.data)


def test_the_same_seed_gives_the_same_bits():
    X = numbers(5000, 900)
    first, again = (LowRankReducer(5, random_state=3).fit(X).components_ for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_gaps_are_fitted_and_scored():
    X = numbers(columns=12)
    gaps = X.copy()
    gaps[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    reducer = LowRankReducer(n_components=6)
    scores = reducer.fit_transform(gaps)
    known = ~np.isnan(gaps)
    restored = reducer.inverse_transform(scores)
    by_means = np.broadcast_to(np.nanmean(gaps, axis=0), X.shape)
    assert np.linalg.norm((restored - X)[~known]) < np.linalg.norm((by_means - X)[~known])
    assert np.isfinite(reducer.score(gaps))
    assert reducer.partial_fit(gaps).n_samples_ == 2 * len(X)


def test_one_missing_cell_hardly_changes_the_figures():
    X = load_iris().data
    gaps = X.copy()
    gaps[3, 1] = np.nan
    known = PCA(3).fit(X)
    found = LowRankReducer(3).fit(gaps)
    for name in ("explained_variance_", "explained_variance_ratio_", "singular_values_"):
        np.testing.assert_allclose(getattr(found, name), getattr(known, name), rtol=ONE_CELL)
    assert found.noise_variance_ == pytest.approx(known.noise_variance_, rel=ONE_CELL)


@pytest.mark.parametrize("size", [1.0, 1e6, 1e9])
@pytest.mark.parametrize("center", [True, False])
def test_the_noise_beside_a_direction_of_any_size_is_that_of_the_rest(size, center):
    X = numbers(300, 9) * np.where(np.arange(9) == 0, size, 1.0)
    around = X - X.mean(axis=0) if center else X
    rest = np.linalg.svd(around, compute_uv=False)[2:]
    found = LowRankReducer(2, center=center).fit(X).noise_variance_
    assert found == pytest.approx(np.square(rest).sum() / 299 / 7, rel=SIX_DIGITS)


def test_a_share_of_the_variance_is_refused_where_means_are_not_subtracted():
    with pytest.raises(EckartError, match="about their means"):
        LowRankReducer(0.9, center=False).fit(numbers())


def test_a_sparse_table_with_nan_is_refused_in_a_sentence():
    X = scipy.sparse.csr_array([[1.0, np.nan], [0.0, 2.0], [3.0, 1.0]])
    with pytest.raises(EckartError, match=r"row 0, column 1 .* is NaN"):
        LowRankReducer(1).fit(X)


def gapped(share=0.1, seed=0, rows=200):
    X = numbers(rows, columns=12, seed=seed)
    gaps = np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)
    gaps[0] = X[0]
    return gaps


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("make", [numbers, gapped, scipy.sparse.csr_array])
def test_the_explained_variances_are_those_of_the_scores(center, scale, make):
    X = make(numbers(columns=12)) if make is scipy.sparse.csr_array else make()
    reducer = LowRankReducer(4, center=center, scale=scale).fit(X)
    scores = reducer.transform(X)
    variances = scores.var(axis=0, ddof=int(center))
    np.testing.assert_allclose(reducer.explained_variance_, variances, rtol=SIX_DIGITS)
    whitened = LowRankReducer(4, center=center, scale=scale, whiten=True).fit_transform(X)
    np.testing.assert_allclose(whitened.std(axis=0, ddof=int(center)), 1.0, rtol=SIX_DIGITS)
    assert 0 < reducer.explained_variance_ratio_.sum() <= 1 + SQUARED


@pytest.mark.parametrize("mean", [0.0, 16.0, 1e4])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_without_centring_the_figures_are_those_of_truncated_svd(mean, make):
    X = make(numbers(columns=9) + mean)
    known = TruncatedSVD(4, algorithm="arpack", random_state=0).fit(X)
    found = LowRankReducer(4, center=False).fit(X)
    np.testing.assert_allclose(found.singular_values_, known.singular_values_, rtol=SIX_DIGITS)
    for name in ("explained_variance_", "explained_variance_ratio_"):
        np.testing.assert_allclose(getattr(found, name), getattr(known, name), rtol=SIX_DIGITS)


@pytest.mark.parametrize("center", [True, False])
def test_rows_in_parts_give_the_figures_of_all_rows_where_nothing_is_let_go(center):
    X = numbers(300, 6)
    parts = LowRankReducer(6, center=center)
    for start in range(0, 300, 60):
        parts.partial_fit(X[start : start + 60])
    whole = LowRankReducer(6, center=center).fit(X)
    for name in ("explained_variance_", "explained_variance_ratio_", "singular_values_"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=SIX_DIGITS)


@pytest.mark.parametrize("scale", [True, False])
def test_the_likelihood_is_the_density_of_the_model(scale):
    X = numbers(300, 8)
    reducer = LowRankReducer(3, scale=scale).fit(X)
    around = (X - reducer.mean_) / (reducer.scale_ if scale else 1.0)
    density = scipy.stats.multivariate_normal(np.zeros(8), reducer.get_covariance())
    np.testing.assert_allclose(reducer.score_samples(X), density.logpdf(around), rtol=SIX_DIGITS)
    product = reducer.get_covariance() @ reducer.get_precision()
    np.testing.assert_allclose(product, np.eye(8), atol=SIX_DIGITS)


@pytest.mark.parametrize("rows", [6, 10])
def test_a_row_off_the_span_is_never_likely_where_nothing_is_left_out(rows):
    generator = np.random.default_rng(0)
    X, others = generator.standard_normal((rows, 30)), generator.standard_normal((20, 30))
    whole, some = LowRankReducer().fit(X), LowRankReducer(3).fit(X)
    assert whole.score(others) < some.score(others)
    assert np.isfinite(whole.score(others))
    grid = {"n_components": [2, None]}
    search = GridSearchCV(LowRankReducer(), grid, cv=2).fit(np.vstack([X, others]))
    assert search.best_params_["n_components"] == 2


@pytest.mark.parametrize(("dtype", "tens"), [("f4", 30), ("f4", -30), ("f8", 150), ("f8", -150)])
@pytest.mark.parametrize("gaps", [False, True])
def test_figures_of_tables_of_any_size_are_finite_numbers(dtype, tens, gaps):
    X = gapped() if gaps else numbers()
    factor = 2.0 ** round(tens * np.log2(10))
    near = LowRankReducer(3).fit(X.astype(dtype))
    far = LowRankReducer(3).fit((X * factor).astype(dtype))
    for name in ("explained_variance_ratio_", "components_"):
        np.testing.assert_allclose(
            getattr(far, name), getattr(near, name), rtol=FLOAT32_SOLUTION, atol=FLOAT32_SOLUTION
        )
    spread = np.sqrt(far.explained_variance_) / factor
    np.testing.assert_allclose(spread, np.sqrt(near.explained_variance_), rtol=FLOAT32_SOLUTION)
    assert np.isfinite(far.score(X * factor))


def test_what_is_masked_is_a_gap():
    gaps = gapped()
    masked = np.ma.masked_invalid(gaps)
    masked.data[masked.mask] = 1e20
    np.testing.assert_array_equal(
        LowRankReducer(3).fit_transform(masked), LowRankReducer(3).fit_transform(gaps)
    )


@pytest.mark.parametrize("scores", [np.ones(3), np.ones((2, 2)), np.ones((2, 3, 1)), "x", None])
def test_scores_that_are_none_are_refused(scores):
    reducer = LowRankReducer(3).fit(numbers())
    with pytest.raises(EckartError):
        reducer.inverse_transform(scores)


def test_sparse_scores_are_restored_as_dense_ones():
    reducer = LowRankReducer(3).fit(numbers())
    scores = np.eye(3)
    np.testing.assert_array_equal(
        reducer.inverse_transform(scipy.sparse.csr_array(scores)), reducer.inverse_transform(scores)
    )
