"""Laws of every solver of known entries, against dense arrays."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import ratings
from eckart.threads import limited_threads
from tolerances import DUAL, FLOAT32_SOLUTION, SPREAD, close, solved, summed

OBJECTIVES = {
    "ratings": (eckart.Observed(), ratings.known()),
    "ratings, few of them": (eckart.Observed(), ratings.known(density=0.1)),
    "weighted ratings": (eckart.Observed(regularization=0.3), ratings.known(weighted=True)),
    "no biases": (eckart.Observed(biases=False, count_exponent=0.5), ratings.known()),
    "biases of columns only": (eckart.Observed(row_biases=False), ratings.known()),
    "implicit features": (eckart.Observed(implicit_features=0.5), ratings.known()),
    "clicks": (eckart.Observed(unobserved_weight=0.1, regularization=0.01), ratings.clicks()),
    "counted clicks": (eckart.Observed(unobserved_weight=0.3), ratings.clicks(counted=True)),
    "likes and dislikes": (
        eckart.Observed(unobserved_weight=0.3, count_exponent=0, regularization=1.0),
        ratings.known(weighted=True),
    ),
}
objectives = pytest.mark.parametrize("name", OBJECTIVES)
ROWS = {
    "cg": eckart.ConjugateGradients(),
    "exact": eckart.Cholesky(),
    "blocks": eckart.CoordinateBlocks(width=2),
}
by_rows = pytest.mark.parametrize("by", ROWS)


def fit(name, by="exact", rank=4, epochs=3, **arguments):
    objective, entries = OBJECTIVES[name]
    solver = eckart.AlternatingLeastSquares(by=ROWS[by], epochs=epochs)
    run = eckart.factorize(entries, rank, objective=objective, solver=solver, **arguments)
    return objective, entries, run


@objectives
@pytest.mark.parametrize("rank", [1, 4, 25])
def test_the_columns_solve_the_normal_equations_for_the_rows(name, rank):
    objective, entries, run = fit(name, rank=rank)
    offset = run.approximation
    for j, (H, b) in enumerate(ratings.systems(entries, objective, offset)):
        x = offset.factors.A[:, j].astype(np.float64)
        if objective.has_biases:
            x = np.append(x, offset.column_bias[j])
        wanted = np.linalg.solve(H, b)
        scale = np.linalg.norm(np.linalg.solve(H, np.abs(b))) + np.linalg.norm(wanted)
        assert np.linalg.norm(x - wanted) <= solved(H, np.array([scale]))


@objectives
@by_rows
def test_the_loss_is_the_objective_and_never_rises(name, by):
    objective, entries, run = fit(name, by, epochs=6)
    losses = [record.loss for record in run.history]
    slack = summed(len(entries), objective.loss_of_zeros(entries) + losses[0])
    assert abs(losses[-1] - ratings.loss(entries, objective, run.approximation)) <= slack
    assert (np.diff(losses) <= slack).all()


@objectives
def test_more_steps_of_conjugate_gradients_are_the_exact_solution(name):
    objective, entries = OBJECTIVES[name]
    by = eckart.ConjugateGradients(steps=60)
    run = eckart.factorize(
        entries, 4, objective=objective, solver=eckart.AlternatingLeastSquares(by=by, epochs=3)
    )
    exact = fit(name)[2]
    slack = summed(len(entries), objective.loss_of_zeros(entries) + exact.history[0].loss)
    assert abs(run.history[-1].loss - exact.history[-1].loss) <= slack


@objectives
@by_rows
def test_the_bits_do_not_depend_on_threads(name, by):
    first = fit(name, by)[2]
    with limited_threads(1):
        second = fit(name, by)[2]
    np.testing.assert_array_equal(first.factors.B, second.factors.B)
    np.testing.assert_array_equal(first.factors.A, second.factors.A)


@objectives
def test_folding_in_gives_the_solution_of_the_row(name):
    objective, entries, run = fit(name)
    for side in ("rows", "columns"):
        offset = eckart.fold_in(run.approximation, objective, entries, side)
        factor, bias = (
            (offset.factors.B, offset.row_bias)
            if side == "rows"
            else (offset.factors.A.T, offset.column_bias)
        )
        for i, (H, b) in enumerate(ratings.systems(entries, objective, run.approximation, side)):
            x = np.append(factor[i], bias[i]) if objective.has_biases else factor[i]
            wanted = np.linalg.solve(H, b)
            scale = np.linalg.norm(np.linalg.solve(H, np.abs(b))) + np.linalg.norm(wanted)
            assert np.linalg.norm(x - wanted) <= solved(H, np.array([scale]))


def test_folding_in_gives_no_negative_factors_where_the_fit_allowed_none():
    objective = eckart.Observed(regularization=0.01, biases=False, nonnegative=True)
    entries = ratings.known()
    run = eckart.factorize(entries, 3, objective=objective)
    for side in ("rows", "columns"):
        offset = eckart.fold_in(run.approximation, objective, entries, side)
        factor = offset.factors.B if side == "rows" else offset.factors.A.T
        for x, (H, b) in zip(
            factor, ratings.systems(entries, objective, run.approximation, side), strict=True
        ):
            L = np.linalg.cholesky(H)
            wanted = scipy.optimize.nnls(L.T, np.linalg.solve(L, b))[0]
            assert x.min() >= 0
            assert np.linalg.norm(x - wanted) <= solved(H, np.array([2 * np.linalg.norm(wanted)]))


SOLVERS = {
    "als": eckart.AlternatingLeastSquares(epochs=3),
    "sgd": eckart.StochasticGradient(epochs=3),
    "gibbs": eckart.GibbsSampling(samples=3, burn_in=1),
}
solvers = pytest.mark.parametrize("solver", SOLVERS)


@solvers
def test_the_same_seed_gives_the_same_bits_and_another_one_others(solver):
    entries = ratings.known()
    first, second, other = (
        eckart.factorize(entries, 3, solver=SOLVERS[solver], seed=seed) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first.factors.dense(), second.factors.dense())
    assert not np.array_equal(first.factors.dense(), other.factors.dense())


@solvers
def test_two_processes_give_the_same_bits(solver):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import eckart, ratings, zlib\n"
        f"run = eckart.factorize(ratings.known(), 3, solver=eckart.{SOLVERS[solver]!r})\n"
        "print(zlib.crc32(run.factors.dense().tobytes()))"
    )
    folder = str(__import__("pathlib").Path(ratings.__file__).parent)
    command = [sys.executable, "-c", script, folder]
    outputs = {
        subprocess.run(command, capture_output=True, check=True, text=True).stdout for _ in range(2)
    }
    assert len(outputs) == 1


@solvers
@pytest.mark.parametrize(
    ("rows", "columns", "density"),
    [(8, 1, 1.0), (1, 8, 1.0), (1, 1, 1.0), (9, 7, 1.0), (40, 3, 0.1)],
)
def test_tiny_matrices_are_factored_at_any_rank(solver, rows, columns, density):
    entries = ratings.known(rows, columns, density, seed=3)
    run = eckart.factorize(entries, 12, solver=SOLVERS[solver])
    assert run.approximation.shape == (rows, columns)
    assert np.isfinite(run.approximation.scores(slice(None))).all()
    assert np.isfinite(run.certificate.error)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_row_without_entries_is_zero_and_one_with_all_of_them_is_met(alpha):
    row, column = np.zeros(6, int), np.arange(6)
    entries = eckart.Entries.of(row, column, np.ones(6), shape=(3, 7))
    objective = eckart.Observed(unobserved_weight=alpha, regularization=1e-3)
    run = eckart.factorize(entries, 2, objective=objective)
    assert not run.factors.B[1:].any()
    assert not run.approximation.row_bias[1:].any()
    # (1 − ŷ)² + α·ŷ² is least at ŷ = 1/(1 + α), the penalty takes a little more
    assert (run.approximation.predict(row, column) > 0.95 / (1 + alpha)).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), rank=st.integers(1, 5))
def test_factors_without_negative_numbers_are_those_of_nnls(seed, rank):
    entries = ratings.known(12, 9, 0.6, seed)
    objective = eckart.Observed(nonnegative=True, biases=False)
    run = eckart.factorize(entries, rank, objective=objective)
    offset = run.approximation
    assert offset.factors.B.min() >= 0
    assert offset.factors.A.min() >= 0
    for j, (H, b) in enumerate(ratings.systems(entries, objective, offset)):
        R = np.linalg.cholesky(H)
        wanted = scipy.optimize.nnls(R.T, np.linalg.solve(R, b))[0]
        x = offset.factors.A[:, j]
        value, best = x @ H @ x - 2 * b @ x, wanted @ H @ wanted - 2 * b @ wanted
        # coordinate descent stops where a cycle gains 10⁻¹⁰ of the sum, or after 20 cycles a sweep
        assert value - best <= 1e-3 * float(np.square(entries.values).sum())


def test_attributes_are_more_columns_of_the_matrix():
    entries = ratings.clicks()
    attributes = np.random.default_rng(0).random((30, 5))
    objective = eckart.Observed(unobserved_weight=0.1, row_attributes=attributes)
    solver = eckart.AlternatingLeastSquares(by=eckart.Cholesky(), epochs=8)
    run = eckart.factorize(entries, 6, objective=objective, solver=solver)
    assert run.approximation.extra_columns.shape == (6, 5)
    losses = [record.loss for record in run.history]
    assert (np.diff(losses) <= summed(len(entries), losses[0])).all()
    nobody = eckart.Entries.of([], [], [], shape=(30, 20))
    folded = eckart.fold_in(run.approximation, objective, nobody)
    assert folded.factors.B.any()  # a row without entries is known by its attributes


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_the_penalty_of_a_row_counts_its_attributes(alpha):
    entries = ratings.clicks() if alpha else ratings.known()
    attributes = np.random.default_rng(0).random((30, 5))
    objective = eckart.Observed(
        unobserved_weight=alpha, row_attributes=attributes, attribute_weight=0.5, biases=False,
        regularization=0.2, count_exponent=0.7,
    )  # fmt: skip
    run = eckart.factorize(entries, 4, objective=objective)
    found = eckart.fold_in(run.approximation, objective, entries).factors.B
    A = run.approximation.factors.A.T.astype(np.float64)
    C = run.approximation.extra_columns.T.astype(np.float64)
    for row in range(30):
        columns, values = entries.row(row)
        D = A[columns]
        ridge = 0.2 * (len(columns) + alpha * len(A) + 0.5 * 5) ** 0.7
        system = D.T @ D + alpha * A.T @ A + 0.5 * C.T @ C + ridge * np.eye(4)
        x = np.linalg.solve(system, D.T @ values + 0.5 * C.T @ attributes[row])
        assert close(found[row], x, FLOAT32_SOLUTION * float(np.linalg.norm(x)))


def soft_impute(W, known, strength):
    """min ½‖P(W − X)‖² + λ‖X‖_* by proximal steps, to convergence."""
    X = np.zeros_like(W)
    for _ in range(5000):
        U, S, Vt = np.linalg.svd(X + known * (W - X), full_matrices=False)
        X = (U * np.maximum(S - strength, 0)) @ Vt
    return 0.5 * (known * (W - X) ** 2).sum() + strength * np.linalg.svd(X, compute_uv=False).sum()


def test_the_dual_of_the_nuclear_norm_proves_the_global_optimum():
    entries = ratings.known(12, 9, 0.6)
    W, known = np.zeros(entries.shape), np.zeros(entries.shape)
    W[entries.rows, entries.columns], known[entries.rows, entries.columns] = entries.values, 1
    objective = eckart.Observed(regularization=2.0, count_exponent=0, biases=False)
    solver = eckart.AlternatingLeastSquares(by=eckart.Cholesky(), epochs=400)
    run = eckart.factorize(entries, 9, objective=objective, solver=solver)
    best = soft_impute(W, known, 2.0)
    assert run.history[-1].loss / 2 <= (1 + DUAL) * best
    assert 0 <= run.certificate.regularized_gap <= DUAL
    early = eckart.AlternatingLeastSquares(epochs=2)
    rough = eckart.factorize(entries, 9, objective=objective, solver=early)
    U = rough.factors
    value = 0.5 * (known * (W - U.dense()) ** 2).sum() + 2.0 * U.singular_values().sum()
    assert value / best - 1 <= rough.certificate.regularized_gap * (1 + DUAL) + DUAL


def test_draws_from_the_posterior_know_the_noise_and_their_own_spread():
    generator = np.random.default_rng(0)
    W = generator.standard_normal((150, 2)) @ generator.standard_normal((2, 100))
    W += 0.5 * generator.standard_normal(W.shape)
    row, column = np.nonzero(generator.random(W.shape) < 0.3)
    test = np.arange(len(row)) % 2 == 0
    entries = eckart.Entries.of(row[~test], column[~test], W[row[~test], column[~test]])
    run = eckart.factorize(entries, 2, solver=eckart.GibbsSampling(samples=150, burn_in=50))
    there = row[test][:2000], column[test][:2000]
    left = W[there] - run.approximation.predict(*there)
    assert abs(np.std(left / run.approximation.deviation(*there)) - 1) <= SPREAD
    assert abs(np.sqrt(run.approximation.noise) / 0.5 - 1) <= SPREAD
    folded = eckart.fold_in(run.approximation, eckart.Observed(), entries)
    assert np.std(W[there] - folded.predict(*there)) <= (1 + SPREAD) * np.std(left)


def test_stochastic_gradients_come_near_the_loss_of_alternating_least_squares():
    entries = ratings.known(60, 40)
    run = eckart.factorize(entries, 3, solver=eckart.StochasticGradient(epochs=300, decay=0.995))
    best = eckart.factorize(entries, 3, solver=eckart.AlternatingLeastSquares(epochs=100))
    objective = eckart.Observed()
    assert run.history[-1].loss <= 1.1 * best.history[-1].loss
    slack = summed(len(entries), objective.loss_of_zeros(entries))
    assert abs(run.history[-1].loss - ratings.loss(entries, objective, run.approximation)) <= slack


def test_stochastic_gradients_that_diverge_say_so_and_return_what_they_had():
    with pytest.raises(eckart.Diverged, match="without bound") as caught:
        eckart.factorize(ratings.known(), 3, solver=eckart.StochasticGradient(learning_rate=5.0))
    assert np.isfinite(caught.value.partial.factors.B).all()


def test_a_warm_start_goes_on_where_the_last_run_ended():
    entries = ratings.known()
    solver = eckart.AlternatingLeastSquares(by=eckart.Cholesky(), epochs=5)
    first = eckart.factorize(entries, 3, solver=solver)
    second = eckart.factorize(entries, 3, solver=solver, start=first.approximation)
    assert second.history[0].loss <= first.history[-1].loss
    assert eckart.factorize(entries, 3, solver=solver, start=first.factors).factors.rank == 3


SMALL = eckart.BiasedFactors(0.0, [0], [0], eckart.Factors([[1]], [[1]]))


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("needs-every-entry", {"objective": eckart.Entire()}),
        ("needs-every-entry", {"solver": eckart.GradientDescent()}),
        ("observed-rank", {"rank": None, "tolerance": 0.1}),
        ("bad-start", {"start": eckart.LoRAStart()}),
        ("rank-too-small", {"rank": 0}),
        ("start-does-not-fit", {"start": SMALL}),
        (
            "needs-als",
            {"solver": eckart.GibbsSampling(), "objective": eckart.Observed(nonnegative=True)},
        ),
        (
            "nonnegative-by",
            {
                "solver": eckart.AlternatingLeastSquares(by=eckart.Cholesky()),
                "objective": eckart.Observed(nonnegative=True),
            },
        ),
    ],
)
def test_what_does_not_go_together_is_refused(code, arguments):
    with pytest.raises(eckart.EckartError) as caught:
        eckart.factorize(ratings.known(), **{"rank": 2, **arguments})
    assert caught.value.code == code


def test_a_whole_matrix_refuses_solvers_of_known_entries():
    with pytest.raises(eckart.EckartError, match="known entries only"):
        eckart.factorize(np.eye(3), 1, solver=eckart.AlternatingLeastSquares())
    with pytest.raises(eckart.EckartError, match="cannot be seen"):
        eckart.factorize(np.eye(3), 1, objective=eckart.Observed())


@pytest.mark.parametrize(
    "arguments",
    [
        {"regularization": 0},
        {"regularization": np.nan},
        {"count_exponent": -1},
        {"unobserved_weight": -0.1},
        {"biases": True, "unobserved_weight": 1.0},
        {"implicit_features": -1},
    ],
)
def test_settings_out_of_range_are_refused(arguments):
    with pytest.raises(eckart.EckartError, match=r"Give|Leave"):
        eckart.Observed(**arguments)


def test_a_run_can_be_written_as_plain_numbers():
    import json

    document = eckart.factorize(ratings.known(), 2).to_dict()
    assert json.loads(json.dumps(document))["recipe"]["solver"]["name"] == "als"
    assert document["certificate"]["best_possible_error"] is None
    assert close(np.array([document["passes"]]), np.array([30.0]), 0)
