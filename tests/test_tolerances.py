"""The helpers that all tests trust, and the rule that no other file has a tolerance of its own."""

import ast
from pathlib import Path

import numpy as np
import pytest

from tolerances import agree, close, rounding

HERE = Path(__file__).parent
LAWS = [*sorted((HERE / "unit").glob("*.py")), *sorted((HERE / "contracts").glob("*.py"))]


def test_close_compares_norms_and_shapes():
    assert close(np.zeros((2, 2)), np.full((2, 2), 0.5), 1.0)
    assert not close(np.zeros((2, 2)), np.full((2, 2), 0.51), 1.0)
    assert not close(np.zeros((2, 2)), np.zeros((2, 1)), 1.0)


def test_nothing_is_close_to_nan():
    assert not close(np.array([[np.nan]]), np.zeros((1, 1)), 1.0)
    assert not agree(np.nan, np.nan)


def test_agree_compares_number_by_number_and_shapes():
    assert agree([1.0, 1e-300], [1.0 + 2**-48, 1e-300])
    assert not agree([1.0, 1e-300], [1.0, 2e-300])
    assert agree(100.0, 101.0, share=0.01)
    assert not agree([1.0], 1.0)


def test_rounding_scales_with_the_matrix_and_the_dtype():
    W = np.ones((4, 4))
    assert rounding(2 * W) == 2 * rounding(W)
    assert rounding(W, dtype=np.float32) > 1e8 * rounding(W)


@pytest.mark.parametrize("page", LAWS, ids=lambda page: page.name)
def test_no_law_has_a_tolerance_of_its_own(page):
    naked = [
        f"{page.name}:{call.lineno}"
        for call in ast.walk(ast.parse(page.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and (
            any(argument.arg in ("rtol", "atol", "rel", "abs") for argument in call.keywords)
            or (isinstance(call.func, ast.Attribute) and call.func.attr in LOOSE)
        )
    ]
    assert naked == []


LOOSE = ("approx", "allclose", "isclose", "assert_allclose", "assert_almost_equal")
