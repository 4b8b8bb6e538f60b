"""Which tensors fine-tuning left alone."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from eckart.adapters.model_pair import COMPARED_ENTRIES, is_unchanged

FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
EVERY_HALF = np.arange(2**16, dtype=np.uint16)


@pytest.mark.parametrize("dtype", [*FLOATS, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7,), (40, 30), (2 * COMPARED_ENTRIES + 3,)])
def test_one_entry_makes_a_difference(dtype, shape):
    W = np.zeros(shape, dtype)
    assert is_unchanged(W, W.copy())
    if W.size:
        changed = W.copy()
        changed.reshape(-1)[-1] = 1
        assert not is_unchanged(W, changed)


@pytest.mark.parametrize("dtype", FLOATS)
def test_signs_of_zero_do_not_count_and_nan_is_never_equal(dtype):
    zeros = np.zeros((3, 4), dtype)
    assert is_unchanged(zeros, -zeros)
    damaged = zeros.copy()
    damaged[1, 2] = np.nan
    assert not is_unchanged(damaged, damaged)
    infinite = np.full((3, 4), -np.inf, dtype)
    assert is_unchanged(infinite, infinite)
    assert not is_unchanged(infinite, -infinite)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_every_half_is_judged_as_its_float_is(dtype):
    halves = EVERY_HALF.view(dtype)
    floats = halves.astype(np.float32)
    with np.errstate(invalid="ignore"):
        expected = [is_unchanged(number, number) for number in floats]
        assert [is_unchanged(number, number) for number in halves] == expected
    finite = halves[np.isfinite(floats)]
    assert is_unchanged(finite, finite.astype(np.float32))
    assert is_unchanged(finite.astype(np.float64), finite)


def test_different_dtypes_are_compared_after_exact_widening():
    tenth = np.full((2, 2), 0.1, np.float32)
    assert not is_unchanged(tenth, tenth.astype(np.float16))
    assert not is_unchanged(tenth, np.full((2, 2), 0.1))
    assert is_unchanged(np.float16([0.5]), ml_dtypes.bfloat16(0.5).reshape(1))


def test_another_shape_is_a_change():
    assert not is_unchanged(np.zeros((2, 3)), np.zeros((3, 2)))


def test_no_large_temporary_is_made():
    W = np.ones((1000, 1000), np.float32)
    other = W.astype(np.float16)
    tracemalloc.start()
    assert is_unchanged(W, other)
    assert tracemalloc.get_traced_memory()[1] < 16 * COMPARED_ENTRIES
    tracemalloc.stop()
