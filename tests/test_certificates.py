"""The certificate against answers of LAPACK: it holds, from good factors and bad."""

import json
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from eckart.certificates import EXACT_SIDE, certify, spectrum
from eckart.errors import ArgumentError, MatrixError
from eckart.matrices import Dense, Sparse
from eckart.matrices.protocol import BLOCK_BYTES
from eckart.objectives import residual_norm
from eckart.subspaces import FAILURE_PROBABILITY
from tolerances import EXPANDED, MEASURED, agree, rounding


@pytest.mark.parametrize("order", ["descending", "ascending", "in a list"])
def test_singular_values_are_taken_in_any_order(order):
    W = market.spectral("power law")
    values = np.linalg.svd(W, compute_uv=False)
    given_values = {"descending": values, "ascending": values[::-1], "in a list": list(values)}
    poor = eckart.Factors(np.ones((60, 2)), np.eye(2, 30))
    proof = certify(W, poor, given_values[order])
    assert agree(proof.best_possible_error, certify(W, poor).best_possible_error)


@pytest.mark.parametrize(
    "change",
    [lambda values: values[:5], lambda values: 2 * values, lambda values: -values,
     lambda values: values * np.nan, lambda values: np.append(values, 0.0), np.diag],
)  # fmt: skip
def test_singular_values_of_another_matrix_prove_nothing(change):
    W = market.spectral("power law")
    values = change(np.linalg.svd(W, compute_uv=False))
    with pytest.raises(ArgumentError, match="not those of this matrix"):
        certify(W, eckart.Factors(np.ones((60, 2)), np.eye(2, 30)), values)


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(market.SPECTRA)),
    shape=st.sampled_from(sorted(market.SHAPES)),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([np.float32, np.float64]),
    rank=st.integers(1, 30),
    kind=st.sampled_from(["best", "noise", "zero", "half", "too large"]),
)
def test_the_bound_is_never_above_the_optimum(name, shape, seed, dtype, rank, kind):
    W = market.with_spectrum(market.SPECTRA[name], *market.SHAPES[shape], seed).astype(dtype)
    generator = np.random.default_rng(seed)
    best = eckart.factorize(W, rank)
    B, A = best.factors.B, best.factors.A
    if kind == "noise":
        B = generator.standard_normal(B.shape)
    elif kind == "zero":
        B = np.zeros_like(B)
    elif kind == "half":
        B = B * (generator.random(rank) > 0.5)
    elif kind == "too large":
        B = B * 1e6
    factors = eckart.Factors(B, A)
    exact = W.astype(np.float64)
    for proof in (certify(W, factors), certify(W, factors, best.singular_values)):
        assert proof.best_possible_error <= market.optimum(W, rank) + rounding(exact)
        error = np.linalg.norm(exact - factors.astype(np.float64).dense())
        assert abs(proof.error - error) <= 2 * rounding(exact - factors.dense()) + rounding(exact)
        assert proof.gap is None or proof.gap >= 0
        assert proof.failure_probability == 0
        if proof.gap:
            assert agree(1 + proof.gap, proof.error / proof.best_possible_error)
            assert agree(proof.share_of_optimum, proof.best_possible_error / proof.error)


def test_the_best_factors_have_a_gap_of_rounding_only():
    W = market.spectral("power law")
    proof = certify(W, eckart.factorize(W, 5).factors)
    assert proof.gap <= rounding(W, 4) / proof.error


def test_factors_that_equal_w_are_exact_to_rounding():
    for dtype in (np.float32, np.float64):
        W = market.spectral("exact rank 5").astype(dtype)
        proof = certify(W, eckart.factorize(W, 5).factors)
        assert proof.method == "exact to rounding"
        assert (proof.gap, proof.share_of_optimum) == (0.0, 1.0)


def test_an_error_where_none_is_possible_has_no_bounded_gap():
    W = market.spectral("exact rank 5")
    best = eckart.factorize(W, 5).factors
    proof = certify(W, eckart.Factors(best.B * (1 + 1e-9), best.A))
    assert proof.gap is None
    assert proof.share_of_optimum is None


def test_the_zero_matrix_is_exact():
    W = np.zeros((4, 3))
    proof = certify(W, eckart.Factors(np.zeros((4, 1)), np.zeros((1, 3))))
    assert (proof.error, proof.relative_error, proof.gap) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-9, 0.0])
def test_the_error_of_a_sparse_matrix_is_that_of_its_dense_copy(size):
    stored = market.sparse()
    W = stored.toarray()
    U, S, Vt = np.linalg.svd(W)
    factors = eckart.Factors(U[:, :40] * S * (1 + size), Vt)
    thin, thick = residual_norm(Sparse(stored), factors), residual_norm(Dense(W), factors)
    assert agree(thin, thick, EXPANDED) or abs(thin - thick) <= rounding(W)


def test_a_sparse_matrix_is_not_made_dense_for_its_error(monkeypatch):
    W = Sparse(scipy.sparse.random_array((3000, 1000), density=0.001, rng=0))

    def refuse(*_):
        raise AssertionError("row_blocks makes dense blocks")

    monkeypatch.setattr(Sparse, "row_blocks", refuse)
    assert residual_norm(W, eckart.Factors(np.ones((3000, 1)), np.ones((1, 1000)))) > 0


def test_a_matrix_too_large_for_all_its_singular_values_is_bounded_by_products():
    side = EXACT_SIDE + 1
    diagonal = np.exp(-np.arange(side) / 50.0)
    W = Sparse(scipy.sparse.diags_array(diagonal))
    assert spectrum(W) is None
    truth = float(np.linalg.norm(diagonal[3:]))
    B, A = np.eye(side, 3) * diagonal[:3], np.eye(3, side)
    best, bad = certify(W, eckart.Factors(B, A)), certify(W, eckart.Factors(B, A[::-1]))
    assert abs(best.error - truth) <= EXPANDED * truth
    for proof in (best, bad):
        assert 0 < proof.best_possible_error <= truth
        assert 0 < proof.failure_probability <= FAILURE_PROBABILITY
        assert "bounded by products" in proof.method
    assert bad.gap > best.gap > 0


def test_without_the_bound_only_the_error_is_measured():
    W = market.spectral("power law")
    proof = certify(W, eckart.factorize(W, 3).factors, bound=False)
    assert proof.best_possible_error is None
    assert proof.gap is None
    assert abs(proof.error - market.optimum(W, 3)) <= rounding(W, 2)


def test_the_error_is_read_in_one_pass_and_no_copy_of_w_is_made():
    array = np.random.default_rng(0).standard_normal((4000, 600)).astype(np.float32)
    W, factors = Dense(array), eckart.Factors(np.ones((4000, 2)), np.ones((2, 600)))
    W.squared_norm()
    before = W.passes
    tracemalloc.start()
    residual_norm(W, factors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert W.passes == before + 1
    # two blocks of 16 MiB where all of W in float64 has 18: what is bounded is the block
    assert peak < 3 * BLOCK_BYTES


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bound", [True, False])
def test_what_a_solver_knows_of_the_error_is_right_to_what_is_said(dtype, bound):
    values = np.exp(-np.arange(1500) / 40.0)
    W = market.with_spectrum(values, 1500, 1600).astype(dtype)
    run = eckart.factorize(W, 30, solver=eckart.BlockKrylov(), certificate=bound)
    measured = residual_norm(Dense(W), run.factors)
    how = run.certificate.method.split(";")[0]
    known, said = how.startswith("error by products of the solver, to "), 0.0
    assert known or (dtype is np.float32 and bound)  # where rounding leaves too much open
    if known:
        said = float(how.split(" to ")[1].split(" ")[0])
    assert agree(run.certificate.error, measured, 1.05 * said + MEASURED)


def test_a_certificate_is_strict_json():
    W = market.spectral("exact rank 5")
    for factors in (eckart.factorize(W, 5).factors, eckart.factorize(W, 4).factors):
        document = certify(W, factors).to_dict()
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        assert set(document) == {
            "error",
            "relative_error",
            "best_possible_error",
            "gap",
            "failure_probability",
            "method",
            "share_of_optimum",
            "regularized_gap",
        }


def test_factors_of_another_shape_are_refused():
    with pytest.raises(MatrixError, match="subtracted"):
        certify(np.eye(3), eckart.Factors(np.ones((2, 1)), np.ones((1, 3))))
