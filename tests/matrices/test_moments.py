"""A few random sums of rows, and the directions they hold."""

import itertools
import pickle

import numpy as np
import pytest

from eckart.matrices.sketches import Compression, random_signs
from streams import numbers
from tolerances import close, rounding


def made(X, sizes, height=25, seed=3):
    compression = Compression(*X.shape, height, X.dtype, seed)
    start = 0
    for size in sizes:
        compression.add(X[start : start + size])
        start += size
    return compression


@pytest.mark.parametrize("sizes", [[500], [1] * 500, [3, 200, 297], [499, 1]])
def test_the_sums_do_not_depend_on_the_blocks_in_which_rows_arrive(sizes):
    X = numbers()
    drawn = random_signs(3, 0, 500)
    expected = np.stack([
        drawn[20 * place : 20 * place + 20] @ X[20 * place : 20 * place + 20]
        for place in range(25)
    ])  # fmt: skip
    assert close(made(X, sizes).rows, expected, rounding(X, 4))


def test_a_shift_of_all_rows_and_scales_are_taken_off_afterwards():
    X, shift, scales = numbers(), np.arange(20.0), np.arange(1.0, 21.0)
    compression = made(X, [500])
    compression.move(shift, scales)
    assert close(compression.rows, made((X - shift) / scales, [500]).rows, rounding(X, 16))


def test_a_matrix_of_low_rank_gives_its_directions_whatever_its_size():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((500, 3)) @ generator.standard_normal((3, 20))
    for size in (1e-30, 1.0, 1e18):
        Q = made((size * X).astype(np.float32), [500]).directions(3)
        own = X / np.linalg.norm(X)
        assert np.linalg.norm(own - own @ Q @ Q.T) <= rounding(own, 4, np.float32)


@pytest.mark.parametrize("edges", [[0, 100, 500], [0, 7, 8, 9, 300, 500], [0, 250, 499, 500]])
def test_sketches_of_parts_add_up_to_that_of_the_whole(edges):
    X, probes = numbers(), np.random.default_rng(0).standard_normal((20, 3))
    whole = Compression(*X.shape, 25, X.dtype, 3, probes)
    whole.add(X)
    plan, joined = Compression(*X.shape, 25, X.dtype, 3, probes), None
    for first, last in itertools.pairwise(edges):
        part = plan.begun(first)
        part.add(X[first:last])
        joined = part.ended() if joined is None else joined + part.ended()
    assert close(joined.rows, whole.rows, rounding(X, 16))
    sums, shift = X.sum(axis=0), np.arange(20.0)
    assert close(
        joined.probed(500, sums, shift, probes), whole.probed(500, sums, shift, probes),
        rounding(X, 500 * 20),
    )  # fmt: skip
    joined.move(shift, None), whole.move(shift, None)
    assert close(joined.rows, whole.rows, 40 * rounding(X, 16))


def test_adding_changes_neither_sketch():
    X = numbers()
    plan = Compression(*X.shape, 7, X.dtype, 3, X[:20, :3].copy())
    one, other = plan.begun(0), plan.begun(110)
    one.add(X[:110])
    other.add(X[110:])
    one.ended(), other.ended()
    before = pickle.dumps((one, other))
    first = (one + other).rows
    assert pickle.dumps((one, other)) == before
    assert ((one + other).rows == first).all()


def test_there_are_no_more_directions_than_sums():
    assert made(numbers(), [500], height=2).directions(5).shape == (20, 2)
    assert made(numbers(5), [5], height=40).directions(30).shape == (20, 5)
