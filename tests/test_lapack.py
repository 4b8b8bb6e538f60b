"""Decompositions of dense arrays: any scale, and the fallback."""

import numpy as np
import pytest
import scipy.linalg

import market
from eckart.backends import scaled, singular_values, svd
from tolerances import close, rounding


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_singular_values_of_any_scale(scale):
    W = market.spectral("power law")
    expected = np.linalg.svd(W, compute_uv=False)
    assert close(singular_values(W * scale) / scale, expected, rounding(W, 2))


@pytest.mark.parametrize("name", market.MATRICES)
def test_singular_values_are_those_of_the_other_algorithm_in_float64(name):
    W = market.MATRICES[name]()
    expected = scipy.linalg.svd(W.astype(np.float64), compute_uv=False, lapack_driver="gesvd")
    values = singular_values(W)
    assert values.dtype == np.float64
    assert close(values, expected, rounding(W, 2, np.float64))
    assert (np.diff(values) <= 0).all()


@pytest.mark.parametrize("name", market.MATRICES)
def test_a_power_of_two_changes_no_digit(name):
    W = market.MATRICES[name]()
    near_one, exponent = scaled(W)
    assert near_one.dtype == W.dtype
    assert np.abs(near_one).max() < 1 <= 2 * np.abs(near_one).max() or not W.any()
    np.testing.assert_array_equal(np.ldexp(near_one, exponent), W)


@pytest.mark.parametrize("name", market.MATRICES)
def test_the_decomposition_multiplies_to_the_matrix(name):
    W = scaled(market.MATRICES[name]())[0]
    U, S, Vt = svd(W)
    assert close((U * S) @ Vt, W, rounding(W, 2))
    identity = np.eye(len(S), dtype=W.dtype)
    assert close(U.T @ U, identity, rounding(np.eye(*U.shape, dtype=W.dtype), 2))
    assert close(Vt @ Vt.T, identity, rounding(np.eye(*Vt.shape, dtype=W.dtype), 2))


@pytest.fixture
def no_divide_and_conquer(monkeypatch):
    """LAPACK's gesdd never converges, under either of its names."""
    true_svd = scipy.linalg.svd

    def failing(X, **arguments):
        if arguments.get("lapack_driver", "gesdd") == "gesdd":
            raise scipy.linalg.LinAlgError("SVD did not converge")
        return true_svd(X, **arguments)

    def refusing(*_, **__):
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(scipy.linalg, "svd", failing)
    monkeypatch.setattr(np.linalg, "svd", refusing)


@pytest.mark.usefixtures("no_divide_and_conquer")
def test_where_divide_and_conquer_fails_qr_iteration_answers():
    W = market.spectral("clustered")
    U, S, Vt = svd(W)
    assert close((U * S) @ Vt, W, rounding(W))
    assert close(singular_values(W), market.SPECTRA["clustered"], rounding(W, 2))
