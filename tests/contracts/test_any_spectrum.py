"""Any spectrum: an answer near the optimum or one that says it is not, and no bound above it."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import eckart
import market
from drawn import SIZES, SMALL_SIZES, Case, Random, draw
from eckart import certificates
from eckart.engine import components
from eckart.engine.component_solver import DEFAULT_RESIDUALS
from eckart.matrices import Streamed, standardised
from eckart.solvers import Davidson
from streams import InMemory
from tolerances import FAR, SURELY, rounding

RESIDUAL = 1e-5
"""Of a component: it leaves at most that share of its own length, so that of ‖W‖ in the error."""
COMPONENTS = {
    "chosen": (None, False),
    "krylov": (eckart.BlockKrylov(tall=False, residual=RESIDUAL), False),
    "gram": (eckart.GramSVD(), False),
    "streamed": (None, True),
}
hard = pytest.mark.parametrize("name", market.HARD)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True)
def products_only(monkeypatch):
    """Nobody may compute all singular values, however small W is."""
    monkeypatch.setattr(certificates, "SMALL_SIDE", 0)
    monkeypatch.setattr(certificates, "EXACT_SIDE", 0)
    monkeypatch.setattr(import_module("eckart.factorization"), "FAST_SIDE", 0)
    chosen = import_module("eckart.engine.component_solver")
    monkeypatch.setattr(chosen, "EXACT_OPERATIONS", 0)
    monkeypatch.setattr(chosen, "GRAM_BLOCKS", 0)


class Drawn:
    """Choices of hypothesis."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number from low to high."""
        return self._data.draw(st.integers(low, high), label=name)

    def number(self, name: str, low: float, high: float) -> float:
        """A number between low and high."""
        return self._data.draw(st.floats(low, high), label=name)

    def pick(self, name: str, options: Sequence[Any]) -> Any:
        """One of the options."""
        return self._data.draw(st.sampled_from(options), label=name)


def factor(W: np.ndarray, rank: int, **arguments) -> eckart.Factorization:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eckart.ConvergenceWarning)
        return eckart.factorize(W, rank, solver=eckart.BlockKrylov(), **arguments)


def error_of(W: np.ndarray, run: eckart.Factorization) -> float:
    return float(np.linalg.norm(W.astype(np.float64) - run.factors.astype(np.float64).dense()))


def holds(error: float, best: float, run: Any, slack: float) -> None:
    """The laws of every answer; `slack` is what rounding of the dtype may do to it."""
    assert error <= FAR * best + slack
    assert run.outcome.grade != "success" or error <= SURELY * best + slack
    bound = run.certificate.best_possible_error
    assert bound is None or bound <= best + slack


@settings(max_examples=60)
@given(data=st.data(), certificate=st.booleans())
def test_factors_are_near_the_best_on_any_spectrum_or_say_that_they_are_not(data, certificate):
    case: Case = draw(Drawn(data), sizes=SMALL_SIZES)
    W = case.matrix()
    run = factor(W, case.rank, certificate=certificate, seed=case.seed)
    holds(error_of(W, run), case.optimum, run, case.rounding)


@pytest.mark.parametrize("seed", [7878, 21079, 29725])
def test_what_squares_take_from_factors_of_exact_rank_is_computed_again(seed):
    case = draw(Random([seed, 1]))
    W = case.matrix()
    run = factor(W, case.rank, certificate=False, seed=case.seed)
    holds(error_of(W, run), case.optimum, run, case.rounding)


@settings(max_examples=40)
@given(data=st.data(), road=st.sampled_from(sorted(COMPONENTS)))
def test_components_are_near_the_best_on_any_spectrum_or_say_that_they_are_not(data, road):
    case: Case = draw(Drawn(data), sizes=SMALL_SIZES)
    W, (solver, streamed) = case.matrix(), COMPONENTS[road]
    assume(case.dtype == "float64" or 1e-20 < case.values[0] < 1e20)  # else refused: out of range
    matrix = standardised(Streamed(InMemory(W)) if streamed else W, centre=False)
    run = components(matrix, case.rank, solver=solver, seed=case.seed)
    exact = W.astype(np.float64)
    A = run.A.astype(np.float64)
    slack = case.rounding + (RESIDUAL * np.linalg.norm(exact) if road == "krylov" else 0.0)
    holds(float(np.linalg.norm(exact - exact @ A.T @ A)), case.optimum, run, slack)
    if road != "krylov":
        values_of_lapack(run, W)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("many", [5, 24])
def test_equal_values_of_exact_rank_are_no_larger_than_they_are(many, seed):
    generator = np.random.default_rng(seed)
    U, V = (np.linalg.qr(generator.standard_normal((150, many)))[0] for _ in range(2))
    W = U @ V.T
    run = components(standardised(W, centre=False), 1, seed=seed)
    assert run.recipe.solver["name"] == "krylov"
    values_of_lapack(run, W)


def test_no_bound_is_above_the_optimum_where_eigenvalues_round_by_more_than_they_rise():
    case = draw(Random([7240, 1]), sizes=SIZES)
    W = case.matrix()
    run = factor(W, case.rank, certificate=True, seed=case.seed)
    assert run.certificate.best_possible_error is not None
    # rows that are orthogonal, so that W has the drawn values to a few eps of each
    assert run.certificate.best_possible_error <= case.optimum * (1 + 64 * np.finfo(float).eps)


def values_of_lapack(run: Any, W: np.ndarray) -> None:
    """Singular values as far from LAPACK's as both may be from the truth.

    A residual in float32 leaves the square of that over the distance to what lies outside
    the space; a tenth of σ² is taken for it here.
    """
    exact = np.linalg.svd(W.astype(np.float64), compute_uv=False)[: len(run.squares)]
    asked = DEFAULT_RESIDUALS[W.dtype] ** 2 / 0.1
    off = np.abs(np.sqrt(run.squares) - exact)
    assert (off <= 2 * rounding(W) / np.linalg.norm(exact) * exact[0] + asked * exact).all()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("seed", [57, 73, 132, 317, 395])
def test_drawn_spectra_that_had_wrong_components_are_right(seed, streamed):
    case = draw(Random([seed, 1]), sizes=SIZES)
    W = case.matrix()
    run = components(
        standardised(Streamed(InMemory(W)) if streamed else W, centre=False), case.rank
    )
    exact, A = W.astype(np.float64), run.A.astype(np.float64)
    holds(float(np.linalg.norm(exact - exact @ A.T @ A)), case.optimum, run, case.rounding)
    values_of_lapack(run, W)


@hard
@dtypes
@pytest.mark.parametrize("certificate", [True, False])
def test_krylov_is_within_half_a_percent_where_it_was_fooled(name, dtype, certificate):
    W, rank = market.hard(name, dtype), market.HARD[name][1]
    run = factor(W, rank, certificate=certificate)
    best = float(np.linalg.norm(market.HARD[name][0][rank:]))
    holds(error_of(W, run), best, run, rounding(W))
    assert run.outcome.grade == "success"
    assert run.estimated_gap is None or run.estimated_gap >= 0


@hard
@dtypes
@pytest.mark.parametrize("road", COMPONENTS)
def test_components_have_the_singular_values_of_lapack_where_they_were_fooled(name, dtype, road):
    (values, rank), (solver, streamed) = market.HARD[name], COMPONENTS[road]
    W = market.hard(name, dtype)
    matrix = standardised(Streamed(InMemory(W)) if streamed else W, centre=False)
    run = components(matrix, rank, solver=solver)
    exact, A = W.astype(np.float64), run.A.astype(np.float64)
    best = float(np.linalg.norm(values[rank:]))
    slack = rounding(W) + (RESIDUAL * np.linalg.norm(exact) if road == "krylov" else 0.0)
    holds(float(np.linalg.norm(exact - exact @ A.T @ A)), best, run, slack)
    # a residual of 10⁻⁵ leaves the square of that over the distance to the next value, here a
    # hundredth at least; rounding the rest
    lapack = np.linalg.svd(exact, compute_uv=False)[:rank]
    off = np.abs(np.sqrt(run.squares) - lapack)
    assert (off <= 1e-8 * lapack + rounding(W)).all()


@hard
@pytest.mark.parametrize(("dtype", "probe"), [("float32", False), ("float64", True)])
def test_components_foretold_by_a_sample_are_near_the_best_where_others_were_fooled(
    name, dtype, probe
):
    values, rank = market.HARD[name]
    W = market.with_spectrum(values, 2000, 260).astype(dtype)
    residual = DEFAULT_RESIDUALS[np.dtype(dtype)]
    run = components(
        standardised(W, centre=False), rank, solver=Davidson(residual=residual, probe=probe)
    )
    exact, A = W.astype(np.float64), run.A.astype(np.float64)
    slack = rounding(W) + residual * float(np.linalg.norm(values[:rank]))
    best = float(np.linalg.norm(values[rank:]))
    holds(float(np.linalg.norm(exact - exact @ A.T @ A)), best, run, slack)


@pytest.mark.parametrize("rank", [3, 30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_long_row_does_not_hide_what_is_a_millionth_of_it(rank, dtype):
    generator = np.random.default_rng(0)
    X = generator.standard_normal((900, 200))
    X = np.vstack([X, np.full((1, 200), 1e5)]).astype(dtype)
    exact = np.linalg.svd(X.astype(np.float64) - X.mean(axis=0, dtype=np.float64), compute_uv=False)
    for name in ("krylov", "gram"):
        found = components(standardised(X), rank, solver=COMPONENTS[name][0])
        off = np.abs(np.sqrt(found.squares) - exact[:rank])
        assert (off <= 1e-3 * exact[:rank] + rounding(X)).all(), name
