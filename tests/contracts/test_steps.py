"""Laws of the steps that solvers give, and of solvers that somebody else wrote."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest

import eckart
import market
import ratings
from registries import SOLVERS
from tolerances import CONVERGED, agree, hidden, summed

FEW = 12
ALS = eckart.AlternatingLeastSquares(epochs=4)
KNOWN = {
    "als": (ALS, eckart.Observed()),
    "als, exact": (replace(ALS, by=eckart.Cholesky()), eckart.Observed()),
    "als, implicit features": (ALS, eckart.Observed(implicit_features=0.5)),
    "als, clicks": (ALS, eckart.Observed(unobserved_weight=0.3)),
    "als, nothing negative": (ALS, eckart.Observed(nonnegative=True)),
    "sgd": (eckart.StochasticGradient(epochs=4), eckart.Observed()),
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_step_that_is_kept_forms_the_factors_of_its_own_loss(solver):
    W, steps, chosen = market.spectral("power law"), [], SOLVERS[solver]
    if hasattr(chosen, "epochs"):
        chosen = replace(chosen, epochs=FEW)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eckart.ConvergenceWarning)
        eckart.factorize(W, 4, solver=chosen, on_step=steps.append)
    assert steps
    for step in steps:
        if step.loss is not None:
            left = np.linalg.norm(W - step.factors().dense()) ** 2
            assert agree(step.loss, left, hidden(W) / left)


@pytest.mark.parametrize("name", KNOWN)
def test_a_step_of_known_entries_that_is_kept_forms_what_its_own_loss_is_of(name):
    solver, objective = KNOWN[name]
    entries = ratings.clicks() if objective.unobserved_weight > 0 else ratings.known()
    steps = []
    run = eckart.factorize(entries, 3, objective=objective, solver=solver, on_step=steps.append)
    assert [step.loss for step in steps] == [record.loss for record in run.history]
    slack = summed(len(entries), objective.loss_of_zeros(entries) + steps[0].loss)
    for step in steps:
        formed = step.approximation()
        np.testing.assert_array_equal(formed.factors.B, step.factors().B)
        assert abs(step.loss - ratings.loss(entries, objective, formed)) <= slack


def test_a_draw_that_is_kept_is_not_joined_by_later_ones():
    steps = []
    solver = eckart.GibbsSampling(samples=5, burn_in=2)
    eckart.factorize(ratings.known(), 2, solver=solver, on_step=steps.append)
    kept = [step.approximation() for step in steps]
    assert [len(one.draws) for one in kept] == [1, 1, 1, 2, 3, 4, 5]
    for step, one in zip(steps, kept, strict=True):
        np.testing.assert_array_equal(step.factors().B, one.draws[-1].factors.B)


class Alternating:
    """Alternating least squares for a whole matrix, as somebody else would write it."""

    def __init__(self, epochs=50, stop_early=False, growth=1.0):
        self.epochs, self.stop_early, self.growth = epochs, stop_early, growth

    def settings(self):
        return {"name": "theirs"}

    def steps(self, problem):
        W, A = problem.W, problem.randomness.standard_normal((problem.rank, problem.W.shape[1]))
        for number in itertools.count():
            B = W.times(np.linalg.pinv(A))
            A = W.transposed_times(np.linalg.pinv(B).T).T * self.growth ** (number + 1)
            factors = eckart.Factors(B, A)
            left = np.linalg.norm(W.times(np.eye(W.shape[1])) - factors.dense()) ** 2
            yield eckart.solvers.Step(number=number, loss=left, factors=lambda one=factors: one)


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_an_iteration_that_somebody_else_wrote_is_run_by_its_own_rule(scale):
    W = market.spectral("exponential") * scale
    run = eckart.factorize(W, 3, solver=Alternating())
    assert (run.outcome, len(run.history)) == (eckart.Outcome.EPOCHS_DONE, 50)
    assert run.recipe.solver == {"name": "theirs"}
    assert agree(run.certificate.error, market.optimum(W, 3), CONVERGED)
    run = eckart.factorize(W, 3, solver=Alternating(epochs=500, stop_early=True))
    assert run.outcome is eckart.Outcome.CONVERGED
    with pytest.warns(eckart.ConvergenceWarning):
        run = eckart.factorize(W, 3, solver=Alternating(epochs=2, stop_early=True))
    assert run.outcome is eckart.Outcome.EPOCH_LIMIT


def test_an_iteration_that_somebody_else_wrote_and_that_diverges_is_no_answer():
    with pytest.raises(eckart.Diverged) as raised:
        eckart.factorize(market.spectral("exponential"), 3, solver=Alternating(growth=10.0))
    assert raised.value.partial.outcome is eckart.Outcome.DIVERGED
    with pytest.raises(eckart.EckartError, match="at its first step"):
        eckart.factorize(np.eye(4), 2, solver=Alternating(growth=1e9))


class Growing:
    """A subspace that grows without end, as somebody else would write it."""

    blocks = 3

    def steps(self, problem):
        solver = eckart.GradientDescent(learning_rate=1e-3)
        start = eckart.Factors(np.ones((problem.W.shape[0], 1)), np.ones((1, problem.W.shape[1])))
        return solver.steps(replace(problem, start=start))

    def settings(self):
        return {"name": "growing"}


def test_the_blocks_of_a_solver_that_somebody_else_wrote_limit_its_steps():
    with pytest.warns(eckart.ConvergenceWarning):
        run = eckart.factorize(np.eye(4), 1, solver=Growing())
    assert len(run.history) == Growing.blocks


def test_an_iteration_that_somebody_else_wrote_for_given_factors_says_what_to_derive_it_from():
    class Own(Growing):
        def suggested_rate(self, problem):
            return "Try another."

    with pytest.raises(eckart.ArgumentError, match="IterativeSolver"):
        eckart.factorize(np.eye(4), 1, solver=Own())
