"""One pass: the same factors however the rows arrive, exact where they can be, near elsewhere."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from eckart.errors import ArgumentError, MatrixError
from eckart.matrices import Dense, Sparse
from eckart.solvers import Problem
from tolerances import close, rounding


def factors_of(W: np.ndarray, rank: int, blocks: list[int], seed: int = 0) -> eckart.Factors:
    sketch = eckart.Sketch(W.shape[1], rank, dtype=W.dtype, seed=seed)
    for block in np.split(W, blocks):
        sketch.add(block)
    return sketch.factors()


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 60), max_size=8).map(sorted), seed=st.integers(0, 99))
def test_the_factors_do_not_depend_on_how_the_rows_arrive(cuts, seed):
    W = market.spectral("exponential")
    whole, parts = factors_of(W, 4, [], seed), factors_of(W, 4, cuts, seed)
    # the least squares amplify rounding by their condition numbers, each below a hundred here
    assert close(parts.dense(), whole.dense(), 1e4 * rounding(W))


def test_single_rows_and_the_solver_give_the_same_factors():
    W = market.spectral("power law")
    sketch = eckart.Sketch(W.shape[1], 3, seed=np.random.Generator(np.random.Philox(5)))
    for row in W:
        sketch.add(row)
    run = eckart.factorize(W, 3, solver=eckart.SinglePass(), seed=5)
    assert close(sketch.factors().dense(), run.factors.dense(), 1e4 * rounding(W))


@pytest.mark.parametrize("sparse", [False, True])
def test_the_solver_reads_its_matrix_once(sparse):
    stored = scipy.sparse.random_array((400, 90), density=0.1, rng=np.random.default_rng(0))
    W = Sparse(stored) if sparse else Dense(stored.toarray())
    next(eckart.SinglePass().steps(Problem(W=W, rank=3, start=None))).factors()
    assert W.passes == 1


def test_a_sparse_matrix_gives_the_factors_of_the_dense_one():
    stored = scipy.sparse.random_array((400, 90), density=0.1, rng=np.random.default_rng(0))
    one, other = (
        eckart.factorize(W, 5, solver=eckart.SinglePass()).factors.dense()
        for W in (stored, stored.toarray())
    )
    assert close(one, other, 1e4 * rounding(other))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(80, 50), (50, 80), (1, 30), (30, 1), (6, 6)])
def test_a_matrix_of_low_rank_is_found_exactly(shape, dtype):
    generator = np.random.default_rng(0)
    rank = min(4, *shape)
    left, right = (generator.standard_normal((n, rank)) for n in shape)
    W = (left @ right.T).astype(dtype)
    found = eckart.factorize(W, rank, solver=eckart.SinglePass()).factors
    assert found.dtype == dtype
    assert close(found.dense(), W, 1e3 * rounding(W))


@pytest.mark.parametrize("size", [1e-10, 1.0, 1e10, 1e-30, 1e15])
def test_the_size_of_the_entries_does_not_matter_in_float32(size):
    W = market.spectral("exponential")
    found = eckart.factorize((size * W).astype(np.float32), 5, solver=eckart.SinglePass())
    assert found.certificate.error <= 2 * size * market.optimum(W, 5)


@pytest.mark.parametrize("name", ["power law", "exponential", "flat", "clustered"])
@pytest.mark.parametrize("width", [12, 20])
def test_the_mean_error_is_within_the_bound_of_the_paper(name, width):
    W = market.spectral(name)
    values, rank = np.linalg.svd(W, compute_uv=False), 4
    core = 2 * width + 1
    whole = min(
        (core - 1) / (core - width - 1) * (width + kept - 1) / (width - kept - 1)
        * float(np.sum(values[kept:] ** 2))
        for kept in range(1, width - 1)
    )  # fmt: skip
    errors = [
        np.linalg.norm(
            W - eckart.factorize(W, rank, solver=eckart.SinglePass(width=width), seed=seed)
            .factors.dense()
        )
        for seed in range(30)
    ]  # fmt: skip
    # ‖W − [M]_r‖ ≤ τ_r + 2·‖W − M‖ for any M, and Jensen's inequality for the mean of the root
    assert np.mean(errors) <= market.optimum(W, rank) + 2 * np.sqrt(whole)


def test_the_certificate_says_how_far_a_single_pass_is_from_the_best():
    W = market.spectral("power law")
    proof = eckart.factorize(W, 4, solver=eckart.SinglePass(width=10)).certificate
    assert proof.gap is not None
    assert 0.01 < proof.gap < 3


def test_zeros_give_zeros():
    assert (
        not eckart.factorize(np.zeros((5, 4)), 2, solver=eckart.SinglePass()).factors.dense().any()
    )


def test_rows_can_be_added_after_factors_were_taken():
    W = market.spectral("exponential")
    sketch = eckart.Sketch(W.shape[1], 4)
    sketch.add(W[:20])
    sketch.factors()
    sketch.add(W[20:])
    assert close(sketch.factors().dense(), factors_of(W, 4, []).dense(), 1e4 * rounding(W))


def test_what_cannot_be_sketched_is_refused():
    with pytest.raises(MatrixError):
        eckart.Sketch(5, 6)
    with pytest.raises(ArgumentError):
        eckart.Sketch(50, 6, width=5)
    with pytest.raises(ArgumentError):
        eckart.SinglePass(width=0)
    sketch = eckart.Sketch(5, 2)
    with pytest.raises(MatrixError):
        sketch.factors()
    with pytest.raises(MatrixError):
        sketch.add(np.ones(4))
    with pytest.raises(MatrixError, match="not finite"):
        sketch.add([1.0, np.nan, 0.0, 0.0, 0.0])
