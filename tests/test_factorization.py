"""factorize(): the rank rules, bad input, the loop, the result."""

import json
import warnings

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse

import eckart
import market
from eckart.backends import HOST
from eckart.errors import ArgumentError, MatrixError
from tolerances import close, rounding

W = market.spectral("power law")


class TestTheRank:
    @pytest.mark.parametrize("tolerance", [0.9, 0.5, 0.2, 0.1])
    def test_a_tolerance_gives_the_smallest_rank_within_it(self, tolerance):
        run = eckart.factorize(W, tolerance=tolerance)
        norm = np.linalg.norm(W)
        assert run.certificate.relative_error <= tolerance
        assert market.optimum(W, run.factors.rank - 1) > tolerance * norm or run.factors.rank == 1

    def test_a_budget_and_a_ratio_give_the_largest_rank_that_fits(self):
        for arguments, most in (({"budget": 5000}, 5000), ({"ratio": 0.3}, int(0.3 * W.nbytes)),
                                ({"budget": "5kB"}, 5000)):  # fmt: skip
            factors = eckart.factorize(W, **arguments).factors
            assert factors.nbytes <= most < factors.nbytes + factors.nbytes // factors.rank

    def test_auto_finds_the_planted_rank_in_noise(self):
        generator = np.random.default_rng(0)
        noisy = market.with_spectrum(np.array([60.0, 50.0, 40.0]), 120, 80)
        noisy += generator.standard_normal((120, 80))
        assert eckart.factorize(noisy, "auto").factors.rank == 3

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [({}, "rank-not-chosen"), ({"rank": 2, "ratio": 0.1}, "rank-chosen-twice"),
         ({"rank": 0}, "rank-too-small"), ({"rank": 2.5}, "rank-not-whole"),
         ({"rank": "many"}, "rank-not-whole"), ({"rank": True}, "rank-not-whole"),
         ({"tolerance": 0.0}, "bad-tolerance"), ({"tolerance": np.nan}, "bad-tolerance"),
         ({"ratio": 1.0}, "bad-ratio"), ({"budget": 0}, "budget-too-small"),
         ({"budget": "ten"}, "bad-bytes"), ({"rank": 2, "accuracy": 0.0}, "bad-accuracy"),
         ({"rank": 2, "time_limit": -1.0}, "bad-time-limit"), ({"rank": 2, "seed": -1}, "bad-seed"),
         ({"rank": 2, "seed": "x"}, "bad-seed"), ({"rank": 2, "start": 3}, "bad-start")],
    )  # fmt: skip
    def test_arguments_that_are_wrong_whatever_w_holds(self, arguments, code):
        with pytest.raises(ArgumentError) as error:
            eckart.factorize(W, **arguments)
        assert error.value.code == code
        assert error.value.hint

    def test_a_rank_too_large_for_this_matrix(self):
        with pytest.raises(MatrixError, match="Rank 31 is too large for a 60 × 30") as error:
            eckart.factorize(W, 31)
        assert error.value.code == "rank-too-large"
        assert eckart.factorize(W, np.int32(30)).factors.rank == 30


class TestBadInput:
    @pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinite")])
    @pytest.mark.parametrize("sparse", [True, False])
    def test_the_first_entry_that_is_no_number_is_named(self, value, name, sparse):
        bad = np.eye(5)
        bad[3, 2] = value
        with pytest.raises(MatrixError, match=f"row 3, column 2 .* {name}") as error:
            eckart.factorize(scipy.sparse.csr_array(bad) if sparse else bad, 1)
        assert error.value.code == "not-finite"

    @pytest.mark.parametrize("scale", [1e200, 1e-200])
    def test_entries_whose_squares_leave_the_range_are_refused(self, scale):
        with pytest.raises(MatrixError) as error:
            eckart.factorize(W * scale, 1)
        assert error.value.code == "out-of-range"

    @pytest.mark.parametrize(
        ("bad", "code"),
        [(np.ones((0, 4)), "empty"), (np.ones((4, 0)), "empty"), (np.ones(4), "not-a-matrix"),
         (np.ones((2, 2, 2)), "not-a-matrix"), (np.ones((2, 2)) * 1j, "complex"),
         ([[1.0, 2.0], [3.0]], "not-a-matrix"), ([["a", "b"]], "not-numbers"),
         (None, "not-numbers")],
    )  # fmt: skip
    def test_what_is_no_matrix_is_refused_before_any_work(self, bad, code):
        with pytest.raises(MatrixError) as error:
            eckart.factorize(bad, 1)
        assert error.value.code == code
        assert error.value.hint

    def test_a_wrong_argument_is_seen_before_w_is_read(self):
        class Unread:
            shape, dtype, nbytes, passes, namespace = (3, 3), np.dtype(float), 72, 0, HOST

            def read(self, *_):
                raise AssertionError("W was read")

            times = transposed_times = gram_times = row_blocks = squared_norm = read

        for arguments in ({"rank": 0}, {"rank": 1, "seed": -1}, {"rank": 1, "accuracy": -1.0}):
            with pytest.raises(ArgumentError):
                eckart.factorize(Unread(), **arguments)

    def test_a_start_of_another_shape_is_refused(self):
        with pytest.raises(MatrixError, match=r"B of shape \(60, 2\)"):
            eckart.factorize(
                W, 2, solver=eckart.GradientDescent(), start=(np.ones((60, 3)), np.ones((3, 30)))
            )

    def test_a_start_for_a_solver_that_uses_none_is_refused(self):
        with pytest.raises(ArgumentError, match="uses none"):
            eckart.factorize(W, 2, start=(np.ones((60, 2)), np.ones((2, 30))))


@pytest.mark.parametrize(
    "kind", [np.float16, ml_dtypes.bfloat16, np.int16, np.uint8, bool, np.float32, np.float64]
)
def test_every_kind_of_number_is_factored(kind):
    array = np.rint(10 * market.spectral("exact rank 5")).astype(kind)
    run = eckart.factorize(array, 30)
    assert close(
        run.factors.dense(), array.astype(np.float64), rounding(array, 1, run.factors.dtype)
    )


def test_a_path_and_rows_of_numbers_are_matrices_too(tmp_path):
    np.save(tmp_path / "W.npy", W)
    assert eckart.factorize(tmp_path / "W.npy", 3).factors.shape == W.shape
    assert eckart.factorize(str(tmp_path / "W.npy"), 3).factors.shape == W.shape
    assert eckart.factorize([[1, 2], [3, 4]], 1).factors.shape == (2, 2)


def test_factors_are_a_matrix_and_can_be_factored():
    factors = eckart.factorize(W, 6).factors
    again = eckart.factorize(factors, 2)
    assert close(again.factors.dense(), factors.truncate(2).dense(), rounding(W, 8))


class TestTheLoop:
    def test_on_step_sees_every_step_and_the_history_keeps_its_loss(self):
        seen = []
        run = eckart.factorize(
            W, 3, solver=eckart.GradientDescent(epochs=25, stop_early=False), on_step=seen.append
        )
        assert [step.number for step in seen] == list(range(25))
        assert [step.loss for step in seen] == [record.loss for record in run.history]
        assert close(seen[-1].factors().dense(), run.factors.dense(), 0.0)

    def test_a_time_limit_stops_an_iteration(self):
        with pytest.warns(eckart.ConvergenceWarning, match="time limit"):
            run = eckart.factorize(
                W, 3, solver=eckart.GradientDescent(learning_rate=1e-9), time_limit=1e-9
            )
        assert run.outcome is eckart.Outcome.TIME_LIMIT
        assert len(run.history) == 1

    def test_ctrl_c_gives_the_partial_result(self):
        def stop(step):
            if step.number == 5:
                raise KeyboardInterrupt

        with pytest.raises(eckart.Interrupted) as error:
            eckart.factorize(W, 3, solver=eckart.GradientDescent(), on_step=stop)
        partial = error.value.partial
        assert partial.outcome is eckart.Outcome.INTERRUPTED
        assert len(partial.history) == 6
        assert partial.factors.shape == W.shape
        assert isinstance(error.value, KeyboardInterrupt)

    def test_ctrl_c_in_a_widening_space_gives_the_partial_result_too(self):
        def stop(step):
            raise KeyboardInterrupt

        with pytest.raises(eckart.Interrupted) as error:
            eckart.factorize(W, 3, solver=eckart.BlockKrylov(), on_step=stop)
        partial = error.value.partial
        assert partial.outcome.grade == "interrupted"
        assert partial.certificate.error >= market.optimum(W, 3) - rounding(W)
        assert partial.certificate.best_possible_error is None

    @pytest.mark.parametrize(
        "solver", [eckart.ExactSVD(), eckart.BlockKrylov(), eckart.GradientDescent(epochs=30)]
    )
    def test_watching_changes_nothing(self, solver):
        seen = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", eckart.ConvergenceWarning)
            watched = eckart.factorize(W, 3, solver=solver, on_step=seen.append)
            plain = eckart.factorize(W, 3, solver=solver)
        np.testing.assert_array_equal(watched.factors.dense(), plain.factors.dense())
        assert len(seen) == len(watched.history) == len(plain.history)

    def test_an_error_in_on_step_is_the_users_own(self):
        def fail(step):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            eckart.factorize(W, 3, on_step=fail)


class TestAccuracy:
    def test_an_accuracy_that_is_certified_is_a_success(self):
        run = eckart.factorize(W, 3, accuracy=1e-6)
        assert run.outcome is eckart.Outcome.ACCURATE
        assert run.outcome.grade == "success"

    def test_an_accuracy_that_is_not_reached_is_short(self):
        solver = eckart.GradientDescent(epochs=2, stop_early=False)
        with pytest.warns(eckart.ConvergenceWarning):
            run = eckart.factorize(W, 3, solver=solver, accuracy=1e-6)
        assert run.outcome is eckart.Outcome.INACCURATE

    def test_without_an_accuracy_a_tenth_of_a_percent_is_enough_when_epochs_run_out(self):
        whole = eckart.factorize(W, 3, solver=eckart.GradientDescent(epochs=4000, stop_early=False))
        gaps = [record.loss / market.optimum(W, 3) ** 2 for record in whole.history]
        enough = next(place for place, ratio in enumerate(gaps) if ratio < 1.0015) + 1
        run = eckart.factorize(W, 3, solver=eckart.GradientDescent(epochs=enough))
        assert run.outcome is eckart.Outcome.ACCURATE

    def test_without_a_certificate_only_the_error_is_measured(self):
        run = eckart.factorize(W, 3, certificate=False)
        assert abs(run.certificate.error - market.optimum(W, 3)) <= rounding(W, 2)
        assert run.certificate.best_possible_error is None
        assert run.certificate.gap is None


class TestTheResult:
    def test_it_is_strict_json(self):
        for solver in (eckart.ExactSVD(), eckart.GradientDescent()):
            run = eckart.factorize(np.zeros((3, 3)), 1, solver=solver)
            text = json.dumps(run.to_dict(), allow_nan=False)
            assert json.loads(text)["rank"] == 1

    def test_the_recipe_makes_the_same_bits_again(self):
        run = eckart.factorize(W, 3, solver=eckart.GradientDescent(), seed=11)
        recipe = run.recipe
        solver = {key: value for key, value in recipe.solver.items() if key != "name"}
        start = {key: value for key, value in recipe.start.items() if key != "name"}
        again = eckart.factorize(
            W,
            run.factors.rank,
            solver=eckart.GradientDescent(**solver),
            start=eckart.LoRAStart(**start),
            seed=recipe.seed,
        )
        np.testing.assert_array_equal(again.factors.B, run.factors.B)
        assert recipe.shape == (60, 30)
        assert set(recipe.versions) == {"python", "eckart", "numpy", "scipy"}
        assert recipe.threads >= 1

    @pytest.mark.parametrize("seed", [np.random.default_rng(3), np.random.RandomState(3)])
    def test_a_generator_is_a_seed_too_and_named_in_the_recipe(self, seed):
        run = eckart.factorize(W, 3, solver=eckart.GradientDescent(), seed=seed)
        assert run.recipe.seed == type(seed).__name__

    def test_the_approximation_is_the_factors(self):
        run = eckart.factorize(W, 3)
        assert run.approximation is run.factors
