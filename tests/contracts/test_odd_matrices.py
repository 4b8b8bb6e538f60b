"""Every solver on small matrices as they come up, at every kind of rank, against LAPACK."""

import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

import eckart
from eckart.solvers import Davidson
from registries import SOLVERS
from tolerances import SURELY, TURNED_ROWS, close, rounding

ALL = {**SOLVERS, "gram": eckart.GramSVD(), "davidson": Davidson()}
ORTHONORMAL = ("svd", "krylov", "gram", "davidson")
"""Solvers whose A has orthonormal rows."""
GENERATOR = np.random.default_rng(0)
DRAWN = GENERATOR.standard_normal((9, 7))
COLUMN = GENERATOR.standard_normal((9, 1))
ODD = {
    "one entry": np.array([[3.0]]),
    "one row": DRAWN[:1],
    "one column": COLUMN,
    "zeros": np.zeros((5, 4)),
    "ones": np.ones((6, 5)),
    "identity": np.eye(6),
    "permutation": np.eye(7)[GENERATOR.permutation(7)],
    "integers": GENERATOR.integers(-5, 5, (8, 6)),
    "truth values": DRAWN > 0,
    "bytes": GENERATOR.integers(0, 255, (8, 6)).astype(np.uint8),
    "large integers, nearly equal": GENERATOR.integers(0, 5, (6, 6)) + 2**60,
    "equal halves": np.full((8, 6), 60000, np.float16),
    "rank two": DRAWN[:, :2] @ DRAWN[:2],
    "one column again and again": np.repeat(COLUMN, 6, axis=1),
    "Toeplitz": scipy.linalg.toeplitz(np.arange(1.0, 9)),
    "Hankel": scipy.linalg.hankel(np.arange(1.0, 9)),
    "Hilbert": scipy.linalg.hilbert(10),
    "outlier": np.diag([1e8] + [1.0] * 9),
    "step": np.diag([1.0] * 5 + [0.1] * 5),
    "backwards": DRAWN[::-1, ::-2],
    "columns first": np.asfortranarray(DRAWN),
    "other byte order": DRAWN.astype(">f8"),
    "long doubles": DRAWN.astype(np.longdouble),
    "float32": DRAWN.astype(np.float32),
    "small": DRAWN * 1e-140,
    "large": DRAWN * 1e140,
    "large and tall": np.repeat(DRAWN * 1e140, 20, axis=0),
    "sparse": scipy.sparse.csr_array(DRAWN * (DRAWN > 1)),
    "sparse without entries": scipy.sparse.csr_array((6, 5)),
    "sparse truth values": scipy.sparse.coo_array(DRAWN > 1),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("solver", ALL)
def test_what_is_said_of_an_answer_is_so(solver, name):
    W = ODD[name]
    exact = (W.toarray() if scipy.sparse.issparse(W) else W).astype(np.float64)
    values = np.linalg.svd(exact, compute_uv=False)
    for rank in {1, min(2, *W.shape), min(W.shape)}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eckart.ConvergenceWarning)
            run = eckart.factorize(W, rank, solver=ALL[solver])
        proof, wide = run.certificate, run.factors.astype(np.float64)
        error, optimum = float(np.linalg.norm(exact - wide.dense())), np.linalg.norm(values[rank:])
        slack = rounding(exact, 4, run.factors.dtype)
        assert abs(proof.error - error) <= slack
        assert proof.best_possible_error is None or proof.best_possible_error <= optimum + slack
        if run.outcome.grade == "success" and solver != "single-pass":
            assert error <= SURELY * optimum + slack
        if solver in ORTHONORMAL:
            told = values[:rank] > TURNED_ROWS * values[0]
            A = wide.A[told]
            assert close(A @ A.T, np.eye(len(A)), TURNED_ROWS)


@pytest.mark.parametrize("name", ["ones", "rank two", "zeros", "outlier", "step"])
@pytest.mark.parametrize(
    "choice", [{"rank": "auto"}, {"tolerance": 0.1}, {"ratio": 0.9}, {"budget": "10kB"}], ids=str
)
def test_a_rule_chooses_the_rank_that_it_chooses_by_all_singular_values(name, choice):
    expected = eckart.factorize(ODD[name], **choice).factors.rank
    for solver in ("krylov", "gram", "single-pass"):
        assert eckart.factorize(ODD[name], **choice, solver=ALL[solver]).factors.rank == expected
