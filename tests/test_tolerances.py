"""The helper that all tests trust."""

import numpy as np

from tolerances import close, rounding


def test_close_compares_norms_and_shapes():
    assert close(np.zeros((2, 2)), np.full((2, 2), 0.5), 1.0)
    assert not close(np.zeros((2, 2)), np.full((2, 2), 0.51), 1.0)
    assert not close(np.zeros((2, 2)), np.zeros((2, 1)), 1.0)


def test_rounding_scales_with_the_matrix_and_the_dtype():
    W = np.ones((4, 4))
    assert rounding(2 * W) == 2 * rounding(W)
    assert rounding(W, dtype=np.float32) > 1e8 * rounding(W)
