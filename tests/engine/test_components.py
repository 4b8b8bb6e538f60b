"""Components of every solver against LAPACK, and what they promise."""

import sys

import numpy as np
import pytest
import scipy.sparse

import market
from eckart import certificates
from eckart.engine import Outcome, components
from eckart.engine.component_solver import DEFAULT_RESIDUALS, component_solver
from eckart.errors import ArgumentError, MatrixError
from eckart.matrices import Dense, Streamed, standardised
from eckart.solvers import BlockKrylov, Davidson, ExactSVD, GramSVD, Problem
from streams import InMemory, numbers
from tolerances import SETTLED, SIX_DIGITS, SQUARED, agree, close, hidden, rounding

components_module = sys.modules["eckart.engine.component_solver"]
SOLVERS = {
    "svd": ExactSVD(),
    "gram": GramSVD(),
    "krylov": BlockKrylov(residual=1e-8, tall=False),
    "krylov, tall": BlockKrylov(residual=1e-8),
    "davidson": Davidson(residual=1e-8),
    "davidson, not probed": Davidson(residual=1e-8, probe=False),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("spectrum", ["power law", "square root law", "exponential", "clustered"])
def test_their_values_are_those_of_lapack_and_their_rows_orthonormal(solver, spectrum):
    X = market.spectral(spectrum)
    found = components(Dense(X), market.RANK, solver=SOLVERS[solver])
    exact = np.square(np.linalg.svd(X, compute_uv=False))
    assert close(found.squares, exact[: market.RANK], SQUARED * exact[0])
    A = found.A
    assert close(A @ A.T, np.eye(market.RANK), SQUARED)
    missed = np.linalg.norm(X - X @ A.T @ A)
    assert missed >= market.optimum(X, market.RANK) * (1 - SQUARED)
    assert abs(found.certificate.error - missed) <= SQUARED * np.linalg.norm(X)
    assert found.certificate.best_possible_error <= market.optimum(X, market.RANK) * (1 + SQUARED)
    residuals = X.T @ (X @ A.T) - A.T * found.squares
    assert np.linalg.norm(residuals, axis=0).max() <= SIX_DIGITS * exact[0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_entry_of_largest_size_in_each_row_is_positive(solver):
    A = components(Dense(market.spectral("power law")), 4, solver=SOLVERS[solver]).A
    assert (A[np.arange(4), np.abs(A).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("solver", ["svd", "gram", "krylov", "krylov, tall"])
def test_a_tolerance_finds_the_smallest_rank(solver):
    X = market.spectral("power law")
    found = components(Dense(X), tolerance=0.3, solver=SOLVERS[solver])
    tails = [market.optimum(X, rank) / np.linalg.norm(X) for rank in range(31)]
    assert len(found.squares) == next(rank for rank, tail in enumerate(tails) if tail <= 0.3)


@pytest.mark.parametrize("solver", sorted(SOLVERS.keys() - {"svd"}))
def test_a_matrix_of_less_rank_has_rows_of_zeros_for_the_rest(solver):
    X = market.spectral("exact rank 5")
    found = components(Dense(X), 8, solver=SOLVERS[solver])
    assert found.certificate.relative_error <= SQUARED
    assert close(found.squares[5:], np.zeros(3), SQUARED)


def test_a_streamed_table_is_read_once_and_gives_what_the_array_gives():
    X = numbers()
    source = Streamed(InMemory(X), memory=40_000)
    found = components(standardised(source), 4)
    known = components(standardised(X), 4)
    assert source.passes == 1
    assert found.recipe.solver["name"] == "gram"
    assert agree(found.squares, known.squares, SQUARED)
    assert close(found.A, known.A, SQUARED)
    assert agree(found.total, known.total, SQUARED)


def test_a_streamed_table_that_is_too_wide_for_its_gram_matrix_takes_a_pass_for_each_block():
    X = numbers(rows=3000, columns=300)
    source = Streamed(InMemory(X), memory=2_000_000)
    W = standardised(source, width=20, seed=np.random.default_rng(0), whole=False)
    found = components(W, 5)
    assert found.recipe.solver["name"] == "krylov"
    assert source.passes == 1 + len(found.history)
    optimum = market.optimum(X - X.mean(axis=0), 5)
    assert optimum * (1 - SQUARED) <= found.certificate.error <= 1.001 * optimum
    assert found.certificate.best_possible_error <= optimum * (1 + SQUARED)
    assert 0 < found.certificate.failure_probability <= 1e-6


@pytest.mark.parametrize("table", ["power law", "square root law", "a cut cluster", "a long row"])
@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("rank", [4, 15])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_a_streamed_table_is_promised_holds_and_is_close(table, centre, rank, seed):
    X = streamed_tables()[table]
    source = Streamed(InMemory(X), memory=4_000_000)
    solver = BlockKrylov(tall=False)
    W = standardised(
        source, centre=centre, width=solver.width(source, rank), seed=np.random.default_rng(seed),
        whole=False,
    )  # fmt: skip
    found = components(W, rank, seed=seed)
    exact = X.astype(np.float64) - (X.mean(axis=0, dtype=np.float64) if centre else 0.0)
    optimum, proof = market.optimum(exact, rank), found.certificate
    A = found.A.astype(np.float64)
    missed = np.linalg.norm(exact - exact @ A.T @ A)
    assert missed <= (1 + SETTLED) * optimum
    doubt = hidden(exact.astype(np.float32)) / (2 * optimum)
    assert missed - doubt <= proof.error <= (1 + SETTLED) * optimum + doubt
    assert proof.best_possible_error is None or proof.best_possible_error <= optimum * (1 + SQUARED)


def streamed_tables():
    """Float32 rows around a mean that is not 0, each kind of spectrum with its trouble."""
    places, generator = np.arange(1, 201.0), np.random.default_rng(5)
    turn = np.linalg.qr(generator.standard_normal((200, 200)))[0]
    drawn = generator.standard_normal((3000, 200))
    sigmas = {
        "power law": 1 / places,
        "square root law": places**-0.5,
        "a cut cluster": np.where(places <= 30, 1.0, 0.3),
        "a long row": 1 / places,
    }
    tables = {
        name: (drawn * sigma @ turn + 0.1 * turn[0]).astype(np.float32)
        for name, sigma in sigmas.items()
    }
    tables["a long row"][7] *= 300
    return tables


def test_the_run_ends_when_the_directions_are_as_exact_as_was_asked():
    X = numbers(rows=4000, columns=200)
    solver = BlockKrylov(residual=1e-3, tall=False)
    loose = components(standardised(X), 5, solver=solver)
    strict = components(standardised(X), 5, solver=BlockKrylov(residual=1e-9, tall=False))
    assert loose.outcome is Outcome.RESOLVED
    assert len(loose.history) < len(strict.history)


def test_a_row_that_the_sample_missed_is_found():
    X = numbers(rows=6400, columns=100) / 10
    X[1] = 0.0
    X[1, 7] = 100.0  # one row in 32 is sampled; this is none of them
    found = components(standardised(X), 2, solver=BlockKrylov(residual=1e-6, tall=False))
    exact = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    assert agree(np.sqrt(found.squares), exact[:2], SIX_DIGITS)


def test_what_the_gram_solver_knows_bounds_the_best_error(monkeypatch):
    monkeypatch.setattr(certificates, "SMALL_SIDE", 0)  # as if the matrix were large
    W = np.random.default_rng(0).standard_normal((300, 40))
    step = next(GramSVD().steps(Problem(W=Dense(W), rank=3, start=None)))
    proof = certificates.certify(W, step.factors(), evidence=step.evidence())
    best = market.optimum(W, 3)
    assert proof.best_possible_error <= best + rounding(W)
    assert proof.error <= best + rounding(W)


def tall(spectrum="square root law", rows=8000, columns=160, dtype=np.float64):
    """Rows of a distribution with a mean, far more of them than columns."""
    drawn = np.random.default_rng(3)
    places = np.arange(1, columns + 1.0)
    sigmas = {
        "square root law": places**-0.5,
        "power law": 1 / places,
        "flat": np.ones(columns),
        "cut": np.where(places <= 5, 1.0, 1e-3),
    }[spectrum]
    turn = np.linalg.qr(drawn.standard_normal((columns, columns)))[0]
    return ((drawn.standard_normal((rows, columns)) * sigmas + 0.2) @ turn).astype(dtype)


@pytest.mark.parametrize("spectrum", ["square root law", "power law", "flat", "cut"])
@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("probe", [True, False])
def test_directions_that_a_sample_foretold_are_as_exact_as_was_asked(
    spectrum, centre, scale, probe
):
    X = tall(spectrum)
    W = standardised(X, centre=centre, scale=scale)
    found = components(W, 5, solver=Davidson(residual=1e-5, probe=probe))
    own = X - X.mean(axis=0) if centre else X
    own = own / X.std(axis=0, ddof=1) if scale else own
    exact = np.square(np.linalg.svd(own, compute_uv=False))
    assert found.outcome is Outcome.RESOLVED
    assert close(found.A @ found.A.T, np.eye(5), SQUARED)
    values = np.square(own @ found.A.T).sum(axis=0)
    assert close(found.squares, values, SQUARED * exact[0])
    residuals = own.T @ (own @ found.A.T) - found.A.T * values
    assert np.linalg.norm(residuals, axis=0).max() <= 1e-5 * exact[0] * (1 + SQUARED)
    proof, optimum = found.certificate, market.optimum(own, 5)
    assert proof.best_possible_error <= optimum * (1 + SQUARED)
    assert proof.error >= optimum * (1 - SQUARED)


def test_directions_are_only_probed_where_no_certificate_is_asked_for():
    W = standardised(tall("cut", rows=40_000, columns=300))
    widths = {}
    for probe in (True, False):
        problem, solver = Problem(W=W, rank=5, start=None), Davidson(residual=1e-4, probe=probe)
        steps = list(zip(solver.steps(problem), range(2), strict=False))
        widths[probe] = [step.evidence().width for step, _ in steps]
    assert widths[True][0] == widths[True][1]
    assert widths[False][0] < widths[False][1]
    assert component_solver(W, 5, certificate=False).probe
    assert not component_solver(W, 5).probe


@pytest.mark.parametrize("solver", [Davidson(), BlockKrylov(residual=1e-6, tall=False)])
def test_the_spectrum_ends_where_it_is_not_known(solver):
    X = tall("square root law")
    found = components(standardised(X), 5, solver=solver)
    exact = np.square(np.linalg.svd(X - X.mean(axis=0), compute_uv=False))
    known = found.spectrum
    assert 5 < len(known) < len(exact)
    # each is within a tenth of itself of some squared singular value, and at most its own
    assert (known <= exact[: len(known)] * (1 + SQUARED)).all()
    assert (np.abs(known[:, np.newaxis] - exact).min(axis=1) <= 0.1 * known).all()


def test_a_sample_that_is_unlike_the_rows_is_left_aside():
    X = tall(rows=6400, columns=100)
    X[:3] = 1000.0 * np.eye(3, 100)  # three rows that hold all there is, hardly ever in a sample
    found = components(standardised(X), 6, solver=Davidson(residual=1e-6))
    exact = np.square(np.linalg.svd(X - X.mean(axis=0), compute_uv=False))
    assert close(found.squares, exact[:6], SIX_DIGITS * exact[0])


@pytest.mark.parametrize("probe", [True, False])
@pytest.mark.parametrize("spectrum", ["power law", "square root law", "cut"])
@pytest.mark.parametrize("centre", [True, False])
def test_a_direction_that_no_sampled_row_has_is_found(probe, spectrum, centre):
    X = tall(spectrum, rows=20_000)
    X[:, 7] = 0.0
    X[11, :], X[11, 7] = 0.0, 150.0  # nothing else has any of this column
    found = components(
        standardised(X, centre=centre), 6, solver=Davidson(residual=1e-4, probe=probe)
    )
    own = X - X.mean(axis=0) if centre else X
    exact = np.square(np.linalg.svd(own, compute_uv=False))
    assert close(found.squares, exact[:6], SIX_DIGITS * exact[0])


def test_a_sample_is_not_for_a_rank_that_is_to_be_found_nor_for_what_is_streamed():
    with pytest.raises(ArgumentError, match="takes a rank"):
        components(Dense(tall()), tolerance=0.3, solver=Davidson())
    streamed = standardised(Streamed(InMemory(numbers()), memory=40_000))
    with pytest.raises(MatrixError, match="in memory only"):
        components(streamed, 4, solver=Davidson())


def test_the_solver_is_chosen_by_the_shape():
    def solver(rows, columns, **known):
        W = standardised(np.ones((rows, columns), np.float32), centre=False)
        return type(component_solver(W, 5, **known))

    assert solver(40_000, 100) is ExactSVD
    assert solver(120_000, 100) is GramSVD
    assert solver(40_000, 300) is Davidson
    assert solver(40_000, 300, searched=True) is BlockKrylov
    assert solver(2_000, 3_000) is BlockKrylov


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sparse_matrix_of_few_rows_is_taken_from_their_side(centre, dtype, monkeypatch):
    monkeypatch.setattr(components_module, "EXACT_OPERATIONS", 0)
    drawn = np.random.default_rng(0)
    X = drawn.standard_normal((150, 3)) @ drawn.standard_normal((3, 700))
    X = np.where(drawn.random(X.shape) < 0.1, X, 0.0).astype(dtype)
    W = standardised(scipy.sparse.csr_array(X), centre=centre)
    found = components(W, 5)
    own = X.astype(np.float64) - (X.mean(axis=0, dtype=np.float64) if centre else 0.0)
    exact = np.square(np.linalg.svd(own, compute_uv=False))
    asked = DEFAULT_RESIDUALS[np.dtype(dtype)]
    assert found.A.shape == (5, 700)
    assert found.outcome is Outcome.RESOLVED
    assert close(found.squares, exact[:5], asked * exact[0])
    residuals = own.T @ (own @ found.A.T) - found.A.T * found.squares
    assert np.linalg.norm(residuals, axis=0).max() <= asked * exact[0]
    assert close(found.A @ found.A.T, np.eye(5), 100 * np.finfo(dtype).eps)
    optimum, proof = market.optimum(own, 5), found.certificate
    doubt = hidden(own.astype(dtype)) / (2 * optimum)
    assert abs(proof.error - np.linalg.norm(own - own @ found.A.T @ found.A)) <= doubt
    assert optimum * (1 - 10 * asked) <= proof.best_possible_error <= optimum + doubt


def test_what_a_sparse_matrix_of_few_rows_has_no_more_of_is_zero(monkeypatch):
    monkeypatch.setattr(components_module, "EXACT_OPERATIONS", 0)
    X = np.zeros((40, 90))
    X[3, 4], X[5, 6] = 2.0, 1.0
    found = components(standardised(scipy.sparse.csr_array(X), centre=False), 4)
    assert close(found.squares, np.array([4.0, 1.0, 0.0, 0.0]), SQUARED)
    assert close(np.abs(found.A[:2]), np.eye(90)[[4, 6]], SQUARED)
    assert not found.A[2:].any()


@pytest.mark.parametrize("seed", range(4))
def test_what_rounding_leaves_of_a_direction_takes_no_place_of_another(seed):
    # WᵀW tells σ₃ from rounding of σ₁, but its direction to 10⁻⁴ only, which is above σ₇
    values = np.concatenate([[1e5], np.exp(-2.0 * np.arange(149)) + 1e-6])
    W = market.with_spectrum(values, 150, 150, seed)
    found = components(standardised(W, centre=False), 7, solver=GramSVD())
    error = float(np.linalg.norm(W - W @ found.A.T @ found.A))
    assert error <= 1.005 * float(np.linalg.norm(values[7:])) + rounding(W)
