"""The commands that read files of factors."""

from pathlib import Path

import numpy as np
import pytest

import eckart
from commandline import ARTICLE, error, result
from tolerances import FLOAT32_SOLUTION


class TestFilesOfFactors:
    def test_show_describes_them(self, run):
        result(run, "factor article.csv --rank 2 --json")
        document = result(run, "show article.factors.npz --json")
        part = document["parts"][0]
        assert (part["shape"], part["rank"], part["dtype"], part["bytes"]) == (
            [4, 4], 2, "float64", 128)  # fmt: skip
        np.testing.assert_allclose(
            part["singular_values"], np.linalg.svd(ARTICLE, compute_uv=False)[:2]
        )
        assert "eckart factor article.csv --rank 2" in document["made_by"]["command"]
        status, out, _ = run("show article.factors.npz")
        assert status == 0
        assert "4 × 4" in out

    def test_show_describes_factors_of_another_program(self, run):
        status, out, _ = run("show article_start.npz")
        assert status == 0
        assert "4 × 4" in out

    @pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".parquet", ".mtx", ".safetensors"])
    def test_expand_writes_the_product(self, run, suffix):
        result(run, "factor article.csv --rank 2 --json")
        run(f"expand article.factors.npz -o W2{suffix}")
        U, S, Vt = np.linalg.svd(ARTICLE)
        np.testing.assert_allclose(
            np.concatenate(list(eckart.read_matrix(f"W2{suffix}").row_blocks())),
            (U[:, :2] * S[:2]) @ Vt[:2],
            atol=1e-13,
        )

    def test_truncate_keeps_the_best(self, run):
        result(run, "factor article.csv --rank 3 --json")
        document = result(run, "truncate article.factors.npz --rank 1 --json")
        S = np.linalg.svd(ARTICLE, compute_uv=False)
        assert document["relative_change"] == pytest.approx(
            np.linalg.norm(S[1:]) / np.linalg.norm(S)
        )
        U, S, Vt = np.linalg.svd(ARTICLE)
        np.testing.assert_allclose(
            eckart.read_factors("article.factors.rank1.npz").dense(),
            S[0] * np.outer(U[:, 0], Vt[0]),
            atol=1e-13,
        )

    def test_apply_multiplies_without_forming_the_product(self, run):
        result(run, "factor article.csv --rank 4 --json")
        np.save("X.npy", np.arange(8.0).reshape(4, 2))
        document = result(run, "apply article.factors.npz X.npy --json")
        assert document["output"] == "X.applied.npy"
        expected = ARTICLE @ np.arange(8.0).reshape(4, 2)
        np.testing.assert_allclose(np.load("X.applied.npy"), expected, atol=1e-12)
        run("apply article.factors.npz X.npy --transpose -o T.npy")
        expected = ARTICLE.T @ np.arange(8.0).reshape(4, 2)
        np.testing.assert_allclose(np.load("T.npy"), expected, atol=1e-12)


class TestCertify:
    def test_the_gap_of_good_and_of_bad_factors(self, run):
        result(run, "factor article.csv --rank 2 --json")
        good = result(run, "certify article.csv article.factors.npz --accuracy 1e-9 --json")
        assert good["gap"] == pytest.approx(0, abs=1e-12)
        bad = result(run, "certify article.csv article_start.npz --accuracy 0.1 --json", 3)
        S = np.linalg.svd(ARTICLE, compute_uv=False)
        assert bad["gap"] == pytest.approx(np.linalg.norm(S) / np.linalg.norm(S[2:]) - 1)
        assert bad["relative_error"] == pytest.approx(1)

    def test_factors_of_another_matrix_are_refused(self, run):
        Path("t.csv").write_text("1,2\n3,4\n")
        assert error(run, "certify t.csv article_start.npz", 1)["code"] == "shapes-differ"
        np.savez("parts.npz", **{"R.B": np.ones((4, 1)), "R.A": np.ones((1, 4))})
        assert error(run, "certify article.csv parts.npz", 1)["code"] == "parts-differ"
        assert error(run, "certify nope.csv article_start.npz", 2)["code"] == "no-such-file"

    def test_a_table_for_a_person(self, run):
        status, out, _ = run("certify article.csv article_start.npz")
        assert status == 0
        assert "largest possible gap" in out
        assert "nothing is random" in out


@pytest.mark.parametrize(
    ("dtype", "size"), [("f4", 1e-30), ("f4", 1e30), ("f8", 1e-150), ("f8", 1e150)]
)
def test_commands_on_factors_do_not_depend_on_the_unit(run, dtype, size):
    W = np.random.default_rng(0).standard_normal((12, 8))
    figures = []
    for factor in (1.0, size):
        np.save("W.npy", (W * factor).astype(dtype))
        result(run, "factor W.npy --rank 4 -o F.npz --force --json")
        proof = result(run, "certify W.npy F.npz --json")
        cut = result(run, "truncate F.npz --rank 2 -o T.npz --force --json")
        shown = result(run, "show T.npz --json")["parts"][0]["singular_values"]
        found = result(run, "compare W.npy --rank 2 --solvers svd,krylov --json")["runs"]
        errors = [one["certificate"]["relative_error"] for one in found]
        result(run, "expand T.npz -o D.npy --force --json")
        written = np.linalg.norm(np.load("D.npy").astype(np.float64) / factor)
        unit = [value / factor for value in shown]
        figures.append([proof["relative_error"], cut["relative_change"], written, *unit, *errors])
    np.testing.assert_allclose(figures[1], figures[0], rtol=FLOAT32_SOLUTION)


@pytest.mark.parametrize(("size", "dtype"), [(1e25, np.float32), (1e200, np.float64)])
def test_products_that_leave_the_range_are_refused(size, dtype, run):
    big = np.full((3, 2), size, dtype)
    eckart.Factors(big, big.T).save("F.npz")
    np.save("X.npy", np.ones((3, 1), dtype))
    lines = ["expand F.npz -o D.npy --json", "apply F.npz X.npy -o Y.npy --json"]
    if dtype is np.float64:  # no wider dtype has their singular values
        lines += ["truncate F.npz --rank 1 -o T.npz --json", "show F.npz --json"]
    for line in lines:
        assert error(run, line, 1)["code"] == "out-of-range"


@pytest.mark.parametrize(
    ("B", "A"),
    [([[1e200]], [[1e200]]), ([[1e200, -1e200]], [[1e200], [1e200]]),
     (np.float32([[1e30]]), np.float32([[1e30]]))],
)  # fmt: skip
@pytest.mark.parametrize("command", ["expand f.npz -o o.npy", "expand f.npz -o o.csv"])
def test_a_product_without_range_is_not_written(B, A, command, run, recwarn):
    eckart.Factors(B, A).save("f.npz")
    assert error(run, command, 1)["code"] == "out-of-range"
    assert not list(Path().glob("o.*"))
    assert not recwarn.list


@pytest.mark.parametrize("command", ["show f.npz", "truncate f.npz --rank 1 -o o.npz"])
def test_what_is_said_of_a_product_without_range_is_that(command, run, recwarn):
    eckart.Factors([[1e200]], [[1e200]]).save("f.npz")
    assert error(run, command, 1)["code"] == "out-of-range"
    assert not recwarn.list
