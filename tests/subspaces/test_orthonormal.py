"""Orthonormal columns, Krylov spaces and what lies outside, in both dtypes and at any scale."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import market
from eckart.matrices import Dense
from eckart.subspaces import KrylovSpace, outside_bound
from eckart.subspaces.directions import orthonormal
from tolerances import close, rounding

named = pytest.mark.parametrize("name", market.SPECTRA)


def random(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns))


class TestOrthonormal:
    @settings(max_examples=80)
    @given(length=st.integers(1, 40), width=st.integers(0, 20), count=st.integers(1, 20),
           seed=st.integers(0, 10**6), decay=st.sampled_from([0.0, 0.3, 1.0]),
           dtype=st.sampled_from([np.float32, np.float64]))  # fmt: skip
    def test_columns_are_orthonormal_to_one_another_and_to_those_before(
        self, length, width, count, seed, decay, dtype
    ):
        V = np.linalg.qr(random(length, min(width, length), seed))[0].astype(dtype)
        X = (random(length, count, seed + 1) * np.exp(-decay * np.arange(count))).astype(dtype)
        Q = orthonormal(X, V, noise=rounding(X))
        whole = np.hstack([V, Q])
        size = whole.shape[1]
        assert size <= length
        identity = np.eye(size, dtype=dtype)
        assert close(whole.T @ whole, identity, rounding(np.eye(length, dtype=dtype), 4))

    @pytest.mark.parametrize("kept", [1, 3, 6])
    def test_directions_that_are_only_noise_are_dropped(self, kept):
        X = random(30, kept) @ random(kept, 8, seed=1)
        Q = orthonormal(X, np.zeros((30, 0)), noise=rounding(X))
        assert Q.shape == (30, kept)
        assert close(Q @ (Q.T @ X), X, rounding(X, 4))


class TestKrylovSpace:
    @pytest.mark.parametrize("restarted", [False, True])
    @pytest.mark.parametrize(
        "name", ["power law", "flat", "clustered", "exact rank 5", "wide", "float32", "one row",
                 "one column", "huge entries", "tiny float32", "repeated columns", "Hilbert"],
    )  # fmt: skip
    def test_it_is_what_it_says_after_every_block(self, name, restarted):
        W = market.MATRICES[name]()
        space = KrylovSpace(Dense(W), 4, np.random.default_rng(0))
        exact = W.astype(np.float64)
        squared = rounding(W, 8) * float(np.linalg.norm(exact))
        for block in range(6):
            if space.is_whole:
                break
            space.grow()
            if restarted and block == 2 and space.width > 6:
                space.restart(6)
            V, Y = space.V.astype(np.float64), space.Y.astype(np.float64)
            identity = np.eye(space.width)
            assert close(V.T @ V, identity, rounding(np.eye(max(W.shape), dtype=W.dtype), 4))
            assert close(Y, exact @ V, rounding(W, 4))
            assert close(space.H, Y.T @ Y, squared)
            S = exact.T @ Y - V @ space.H
            assert close(space.rest @ space.tail, S, squared)
            root = space.evidence().root()
            assert close(root.T @ root, S.T @ S, squared * np.linalg.norm(exact) ** 2)

    @named
    def test_ritz_values_rise_to_the_squared_singular_values_and_never_above(self, name):
        W = market.spectral(name)
        truth = scipy.linalg.svdvals(W) ** 2
        space = KrylovSpace(Dense(W), 5, np.random.default_rng(0))
        last = np.zeros(0)
        while not space.is_whole:
            space.grow()
            values = space.ritz()[0]
            slack = rounding(W, 2) * float(np.linalg.norm(W))
            assert (values <= truth[: len(values)] + slack).all()
            assert (values[: len(last)] >= last - slack).all()
            last = values
        assert close(np.pad(last, (0, 30 - len(last))), truth, slack)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_an_exact_rank_is_explored_to_its_end(self, dtype):
        W = market.spectral("exact rank 5").astype(dtype)
        space = KrylovSpace(Dense(W), 3, np.random.default_rng(0))
        space.grow()
        space.grow()
        assert close(space.Y @ space.V.T, W, rounding(W, 4))

    def test_a_matrix_of_zeros_is_whole_at_once(self):
        space = KrylovSpace(Dense(np.zeros((6, 4))), 2, np.random.default_rng(0))
        space.grow()
        assert space.is_whole


class TestOutside:
    @settings(max_examples=150)
    @given(
        name=st.sampled_from(sorted(market.SPECTRA)),
        shape=st.sampled_from(sorted(market.SHAPES)),
        seed=st.integers(0, 10**6),
        width=st.integers(0, 20),
        dtype=st.sampled_from([np.float32, np.float64]),
    )
    def test_what_lies_outside_is_never_above_its_bound(self, name, shape, seed, width, dtype):
        W = market.with_spectrum(market.SPECTRA[name], *market.SHAPES[shape], seed).astype(dtype)
        V = np.linalg.qr(random(W.shape[1], width, seed))[0].astype(dtype)
        probes = np.random.Generator(np.random.Philox(seed))  # never those that made V
        outside = np.linalg.norm(W.astype(np.float64) @ (np.eye(W.shape[1]) - V @ V.T), 2)
        bound = np.sqrt(outside_bound(Dense(W), V, 1e-6, probes))
        assert bound >= outside - rounding(W)
        # ‖Mω‖ is at most (√rank(M) + 5)·‖M‖, but with probability e^(−12.5)
        most = (1e6 ** (1 / 6) * np.sqrt(2 / np.pi) * (np.sqrt(min(W.shape)) + 5)) ** (1 / 11)
        assert bound <= most * outside + rounding(W)

    @pytest.mark.parametrize("scale", [1e-30, 1e30])
    def test_the_bound_of_what_lies_outside_scales_with_the_matrix(self, scale):
        W, V = market.spectral("power law"), np.eye(30, 4)
        plain, large = (
            outside_bound(Dense(size * W), V, 1e-6, np.random.default_rng(0))
            for size in (1.0, scale)
        )
        assert abs(large / scale**2 - plain) <= rounding(np.array([[plain]]), 64)
