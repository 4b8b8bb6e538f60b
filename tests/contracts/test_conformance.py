"""The test matrices of the peers, with products only, against LAPACK and against the peers."""

import warnings
from importlib import import_module

import numpy as np
import pytest
from sklearn.utils.extmath import randomized_svd

import conformance
import eckart
from eckart import certificates
from eckart.engine import Outcome
from eckart.errors import MatrixError
from market import optimum
from tolerances import SETTLED, hidden, rounding

RANK = 10
matrices = pytest.mark.parametrize("name", conformance.MATRICES)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture(autouse=True)
def products_only(monkeypatch):
    """Nobody may compute all singular values, however small W is."""
    monkeypatch.setattr(certificates, "SMALL_SIDE", 0)
    monkeypatch.setattr(certificates, "EXACT_SIDE", 0)
    monkeypatch.setattr(import_module("eckart.factorization"), "FAST_SIDE", 0)


@matrices
@dtypes
def test_krylov_is_within_a_tenth_of_a_percent_and_proves_no_more_than_is_true(name, dtype):
    W = conformance.MATRICES[name]().astype(dtype)
    exact = W.astype(np.float64)
    run = eckart.factorize(W, RANK, solver=eckart.BlockKrylov())
    best, slack = optimum(W, RANK), rounding(W, 2)
    error = float(np.linalg.norm(exact - run.factors.astype(np.float64).dense()))
    assert best - slack <= error
    assert error**2 <= ((1 + SETTLED) * best + slack) ** 2 + hidden(W)
    assert abs(run.certificate.error - error) <= slack
    bound = run.certificate.best_possible_error
    assert bound is None or bound <= best + slack


@matrices
def test_krylov_is_not_behind_subspace_iteration(name):
    W = conformance.MATRICES[name]()
    run = eckart.factorize(W, RANK, solver=eckart.BlockKrylov())
    U, S, Vt = randomized_svd(W, RANK, random_state=0)
    theirs = float(np.linalg.norm(W - (U * S) @ Vt))
    limit = (1 + SETTLED) * theirs + rounding(W, 2)
    assert run.certificate.error**2 <= limit**2 + hidden(W)


@matrices
def test_an_accuracy_is_certified_or_said_to_be_missed(name):
    W = conformance.MATRICES[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eckart.ConvergenceWarning)
        run = eckart.factorize(W, RANK, solver=eckart.BlockKrylov(), accuracy=SETTLED)
    error = float(np.linalg.norm(W - run.factors.dense()))
    met = run.certificate.gap is not None and run.certificate.gap <= SETTLED
    assert met is (run.outcome is Outcome.ACCURATE)
    assert not met or error <= (1 + SETTLED) * optimum(W, RANK) + rounding(W, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_entry_that_is_no_number_is_refused_with_its_place(bad):
    W = conformance.MATRICES["randUBV: 1/i"]()
    W[17, 3] = bad
    with pytest.raises(MatrixError, match="row 17, column 3"):
        eckart.factorize(W, RANK, solver=eckart.BlockKrylov())
