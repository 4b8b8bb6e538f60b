"""LowRankReducer: scikit-learn's own checks, and PCA as the reference."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from eckart import LowRankReducer
from eckart.errors import EckartError
from streams import numbers
from tolerances import SIX_DIGITS, SQUARED

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
