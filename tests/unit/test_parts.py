"""The small pieces: factors, ranks, starts, stopping, thumbnails, LAPACK, norms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
import market
from eckart.arrays import FLOAT64
from eckart.errors import ArgumentError, MatrixError
from eckart.factorization import Record
from eckart.factorization.stopping import has_converged, has_diverged
from eckart.lapack import singular_values, svd
from eckart.matrices import Dense
from eckart.matrices.derived import thumbnail
from eckart.ranks import byte_count, tail_errors
from eckart.starts import default_sigma
from eckart.subspaces import largest_singular_value
from tolerances import close, rounding


class TestFactors:
    @settings(max_examples=50)
    @given(rows=st.integers(1, 12), columns=st.integers(1, 12), rank=st.integers(1, 14),
           seed=st.integers(0, 10**6))  # fmt: skip
    def test_truncation_is_the_best_of_its_rank(self, rows, columns, rank, seed):
        generator = np.random.default_rng(seed)
        factors = eckart.Factors(generator.standard_normal((rows, rank)),
                                 generator.standard_normal((rank, columns)))  # fmt: skip
        W = factors.dense()
        kept = 1 + seed % rank
        smaller = factors.truncate(kept)
        assert smaller.rank == kept
        error = np.linalg.norm(W - smaller.dense())
        size = np.linalg.norm(factors.B) * np.linalg.norm(factors.A) / np.linalg.norm(W)
        assert error <= market.optimum(W, kept) + rounding(W, 4) * size

    def test_balanced_factors_have_equal_diagonal_grams_and_the_same_product(self):
        factors = eckart.factorize(market.spectral("power law"), 6).factors
        balanced = factors.balance()
        W = factors.dense()
        assert close(balanced.dense(), W, rounding(W, 4))
        assert close(balanced.B.T @ balanced.B, balanced.A @ balanced.A.T, rounding(W, 4))
        assert close(balanced.B.T @ balanced.B, np.diag(factors.singular_values()), rounding(W, 4))

    def test_singular_values_are_those_of_the_product(self):
        factors = eckart.factorize(market.spectral("clustered"), 12).factors
        expected = np.linalg.svd(factors.dense(), compute_uv=False)[:12]
        assert close(factors.singular_values(), expected, rounding(factors.dense(), 2))

    @pytest.mark.parametrize("rank", [0, 7])
    def test_a_rank_that_is_not_there_is_refused(self, rank):
        with pytest.raises((ArgumentError, MatrixError)):
            eckart.factorize(market.spectral("flat"), 6).factors.truncate(rank)

    def test_nan_is_refused(self):
        with pytest.raises(MatrixError, match="NaN"):
            eckart.Factors([[np.nan]], [[1.0]])

    def test_they_are_saved_by_suffix(self, tmp_path):
        factors = eckart.Factors([[1.0], [2.0]], [[3.0, 4.0]])
        factors.save(tmp_path / "f.npz")
        np.testing.assert_array_equal(
            eckart.read_factors(tmp_path / "f.npz").dense(), [[3, 4], [6, 8]]
        )
        with pytest.raises(ArgumentError):
            factors.save(tmp_path / "f.npz")

    def test_data_of_another_length_is_refused(self):
        with pytest.raises(MatrixError, match="3 rows"):
            _ = eckart.Factors(np.ones((2, 1)), np.ones((1, 3))) @ np.ones((2, 1))


class TestRanks:
    def test_tail_errors_are_the_best_errors_of_every_rank(self):
        values = np.sort(np.random.default_rng(0).random(20))[::-1]
        expected = [np.linalg.norm(values[rank:]) for rank in range(21)]
        np.testing.assert_allclose(tail_errors(values), expected, rtol=1e-14)

    def test_the_smallest_are_summed_first(self):
        values = np.concatenate([[1.0], np.full(10**6, 1e-10)])
        assert tail_errors(values)[1] == pytest.approx(1e-7, rel=1e-12)

    @pytest.mark.parametrize(
        ("text", "count"),
        [("10MB", 10**7), ("1.5 kB", 1500), ("2KiB", 2048), ("7", 7), ("3g", 3 * 10**9), (12, 12)],
    )
    def test_bytes_are_read_with_and_without_units(self, text, count):
        assert byte_count(text) == count

    @pytest.mark.parametrize("text", ["", "MB", "10XB", "ten MB", "nan", "inf"])
    def test_what_is_no_number_of_bytes_is_refused(self, text):
        with pytest.raises(ArgumentError):
            byte_count(text)


class TestStarts:
    @pytest.mark.parametrize("gaussian", ["A", "B"])
    def test_one_factor_is_zero_and_the_other_has_the_given_deviation(self, gaussian):
        W = Dense(np.ones((300, 200)))
        start = eckart.LoRAStart(gaussian=gaussian, sigma=0.5)
        factors = start.factors(W, 50, np.random.default_rng(0))
        drawn, zero = (factors.A, factors.B) if gaussian == "A" else (factors.B, factors.A)
        assert not zero.any()
        # the deviation of n draws is within 5/√(2n) of σ with a failure probability below 10⁻⁶
        assert abs(drawn.std() / 0.5 - 1) < 5 / np.sqrt(2 * drawn.size)

    def test_the_default_deviation_makes_the_gram_as_large_as_the_leading_singular_value(self):
        W = market.with_spectrum(np.array([20.0, 1.0]), 500, 400)
        assert default_sigma(Dense(W)) == pytest.approx(np.sqrt(20 / 400), rel=1e-6)
        assert default_sigma(Dense(W), "B") == pytest.approx(np.sqrt(20 / 500), rel=1e-6)

    @pytest.mark.parametrize("settings_", [{"sigma": 0.0}, {"sigma": np.nan}, {"gaussian": "C"}])
    def test_settings_out_of_range_are_refused(self, settings_):
        with pytest.raises(ArgumentError):
            eckart.LoRAStart(**settings_)


class TestStopping:
    def history(self, losses) -> list[Record]:
        return [Record(step=n, loss=float(loss), seconds=0.0) for n, loss in enumerate(losses)]

    def test_a_loss_that_still_falls_goes_on(self):
        assert not has_converged(self.history(np.exp(-np.arange(100) / 20)), 1.0, FLOAT64)

    def test_a_loss_that_falls_like_one_over_the_step_is_not_stopped_by_its_small_steps(self):
        assert not has_converged(self.history(1 + 1 / np.arange(1, 2000)), 2.0, FLOAT64)

    def test_a_flat_loss_stops(self):
        assert has_converged(self.history(1 + np.exp(-np.arange(100.0))), 2.0, FLOAT64)

    def test_a_plateau_that_is_being_left_goes_on(self):
        growing = 1 - 1e-12 * np.exp(np.arange(50) / 5)
        assert not has_converged(self.history(growing), 1.0, FLOAT64)

    def test_a_few_steps_prove_nothing(self):
        assert not has_converged(self.history(np.ones(19)), 1.0, FLOAT64)

    @pytest.mark.parametrize(("loss", "diverged"), [(np.inf, True), (101.0, True), (99.0, False)])
    def test_divergence_is_a_hundred_times_the_highest_sound_loss(self, loss, diverged):
        assert has_diverged(loss, 1.0) is diverged
        assert has_diverged(None, 1.0) is False


class TestThumbnails:
    @settings(max_examples=40)
    @given(rows=st.integers(1, 40), columns=st.integers(1, 40), most=st.integers(1, 12),
           seed=st.integers(0, 999))  # fmt: skip
    def test_every_cell_is_the_mean_of_what_it_covers(self, rows, columns, most, seed):
        W = np.random.default_rng(seed).standard_normal((rows, columns))
        small = thumbnail(Dense(W), most)
        tall, wide = min(rows, most), min(columns, most)
        assert small.shape == (tall, wide)
        down = np.linspace(0, rows, tall + 1).astype(int)
        across = np.linspace(0, columns, wide + 1).astype(int)
        expected = [
            [W[down[i] : down[i + 1], across[j] : across[j + 1]].mean() for j in range(wide)]
            for i in range(tall)
        ]
        np.testing.assert_allclose(small, expected, rtol=1e-10, atol=1e-12)

    def test_a_small_matrix_is_its_own_thumbnail(self):
        W = np.random.default_rng(0).standard_normal((5, 7))
        np.testing.assert_allclose(thumbnail(Dense(W)), W)


class TestLapack:
    @pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
    def test_singular_values_of_any_scale(self, scale):
        W = market.spectral("power law")
        expected = scale * np.linalg.svd(W, compute_uv=False)
        np.testing.assert_allclose(singular_values(W * scale), expected, rtol=1e-12)

    def test_where_divide_and_conquer_fails_qr_iteration_answers(self, monkeypatch):
        import scipy.linalg

        true_svd = scipy.linalg.svd

        def failing(X, **arguments):
            if arguments.get("lapack_driver", "gesdd") == "gesdd":
                raise scipy.linalg.LinAlgError("SVD did not converge")
            return true_svd(X, **arguments)

        monkeypatch.setattr(scipy.linalg, "svd", failing)
        W = market.spectral("clustered")
        U, S, Vt = svd(W)
        assert close((U * S) @ Vt, W, rounding(W))


@pytest.mark.parametrize("name", market.SPECTRA)
@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_of_the_norm_is_a_lower_bound_and_close(name, seed):
    W = market.spectral(name, seed=seed)
    estimate = largest_singular_value(Dense(W))
    largest = float(np.linalg.norm(W, 2))
    assert estimate <= largest + rounding(W)
    assert estimate >= 0.9 * largest
