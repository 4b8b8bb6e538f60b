"""The bound on the leading singular values: it holds for every subspace, also adversarial ones."""

import itertools

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import eckart.solvers
import market
from eckart import certificates
from eckart.certificates import certify
from eckart.matrices import Dense
from eckart.subspaces import FailureBudget, RitzData, leading_squares_bound, outside_bound
from tolerances import rounding


def evidence_of(W: np.ndarray, V: np.ndarray) -> RitzData:
    Y = W @ V
    H = Y.T @ Y
    S = W.T @ Y - V @ H
    return RitzData(V=V, H=H, rest=S.T @ S, tail=np.eye(V.shape[1]))


def subspace(kind: str, W: np.ndarray, width: int, generator: np.random.Generator) -> np.ndarray:
    """A random one, the leading one, one that misses the leading direction, a perturbed one."""
    Vt = scipy.linalg.svd(W)[2]
    noise = generator.standard_normal((W.shape[1], width))
    X = {
        "random": noise,
        "leading": Vt[:width].T,
        "blind": Vt[1 : width + 1].T if width < len(Vt) else Vt.T[:, ::-1][:, :width],
        "trailing": Vt[-width:].T,
        "perturbed": Vt[:width].T + 10.0 ** -generator.integers(1, 8) * noise,
    }[kind]
    return np.linalg.qr(X)[0]


@settings(max_examples=200)
@given(
    name=st.sampled_from(sorted(market.SPECTRA)),
    shape=st.sampled_from(sorted(market.SHAPES)),
    kind=st.sampled_from(["random", "leading", "blind", "trailing", "perturbed"]),
    rank=st.integers(1, 12),
    extra=st.integers(0, 15),
    slack=st.sampled_from([1.0, 1.5, 10.0]),
    seed=st.integers(0, 10**6),
)
def test_it_holds_for_every_subspace(name, shape, kind, rank, extra, slack, seed):
    W = market.with_spectrum(market.SPECTRA[name], *market.SHAPES[shape], seed)
    V = subspace(kind, W, min(rank + extra, W.shape[1]), np.random.default_rng(seed))
    outside = slack * float(np.linalg.norm(W - W @ V @ V.T, 2)) ** 2
    total = float(np.sum(W**2))
    truth = float(np.sum(scipy.linalg.svdvals(W)[:rank] ** 2))
    bound = leading_squares_bound(evidence_of(W, V), rank, outside, total)
    assert bound >= truth - rounding(W, 4) * np.linalg.norm(W)


def test_it_is_tight_for_the_leading_subspace_of_a_spectrum_with_a_gap():
    W = market.spectral("exponential")
    V = subspace("leading", W, 8, np.random.default_rng(0))
    outside = float(np.linalg.norm(W - W @ V @ V.T, 2)) ** 2
    truth = float(np.sum(scipy.linalg.svdvals(W)[:5] ** 2))
    bound = leading_squares_bound(evidence_of(W, V), 5, outside, float(np.sum(W**2)))
    assert bound <= truth + rounding(W, 4) * np.linalg.norm(W)


@pytest.mark.parametrize("outside", [0.0, 1e-40, 1e-20])
@pytest.mark.parametrize("smallest", [-1e-24, 0.0, 1e-24])
def test_ritz_values_and_residuals_that_are_rounding_raise_it_by_no_more(outside, smallest):
    H = np.diag([1.0, 0.5, smallest, smallest / 2])
    residuals = np.full((4, 4), 1e-15)
    given = RitzData(V=np.eye(6, 4), H=H, rest=residuals.T @ residuals, tail=np.eye(4))
    bound = leading_squares_bound(given, 3, outside, 2.0)
    assert 1.5 <= bound <= 1.5 + 3 * outside + 1e-14


@pytest.mark.parametrize("name", market.SPECTRA)
def test_what_lies_outside_is_bounded_and_not_by_much_more(name):
    W = market.spectral(name)
    V = subspace("leading", W, 3, np.random.default_rng(0))
    truth = float(np.linalg.norm(W - W @ V @ V.T, 2)) ** 2
    for seed in range(50):
        bound = outside_bound(Dense(W), V, 1e-6, np.random.default_rng(seed))
        # at most (α·√(2/π)·max‖ω‖)^(2/11) above, with ‖ω‖ below 10 for 30 entries, but for 10⁻⁹
        assert truth * (1 - 1e-9) <= bound <= truth * 80 ** (2 / 11) or truth < 1e-20


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "shape"), list(itertools.product(market.SPECTRA, market.SHAPES)))
def test_certificates_from_products_hold_for_every_solver_and_for_bad_factors(
    name, shape, dtype, monkeypatch
):
    monkeypatch.setattr(certificates, "SMALL_SIDE", 0)  # as if the matrix were large
    for seed in range(5):
        W = market.with_spectrum(market.SPECTRA[name], *market.SHAPES[shape], seed).astype(dtype)
        best = market.optimum(W, 4)
        problem = eckart.solvers.Problem(W=Dense(W), rank=4, start=None)
        step = next(eckart.BlockKrylov(oversampling=4).steps(problem))
        good = step.factors()
        bad = eckart.Factors(good.B[::-1], good.A)
        for proof in (
            certify(W, good, evidence=step.evidence()),
            certify(W, good),
            certify(W, bad, evidence=step.evidence(), probing=FailureBudget()),
        ):
            assert proof.failure_probability <= 1e-6
            if proof.best_possible_error is not None:
                assert proof.best_possible_error <= best + rounding(W)
                assert proof.best_possible_error <= proof.error
