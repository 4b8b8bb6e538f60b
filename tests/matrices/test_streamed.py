"""Rows that are read by a thread, one block ahead."""

import numpy as np
import pytest

from eckart.errors import MatrixError
from eckart.matrices import Streamed
from eckart.matrices.derived import dense
from streams import InMemory, numbers
from tolerances import close, rounding


def test_every_walk_is_a_pass_and_gives_the_file_back():
    source = InMemory(numbers())
    W = Streamed(source, memory=20 * 8 * 100)
    assert W.height < 500
    np.testing.assert_array_equal(dense(W), source.array)
    for block in W.row_blocks():
        assert len(block) <= W.height
        break  # the reader is still waiting for a free buffer
    assert (W.passes, source.opened, source.closed) == (2, 2, 2)


@pytest.mark.parametrize("rows", [None, 1, 100, 1000])
def test_a_walk_that_ends_early_is_one_pass_whatever_the_height(rows):
    W = Streamed(InMemory(numbers()), memory=16_000)
    next(W.row_blocks(rows))
    assert W.passes == 1
    blocks = W.row_blocks(rows)
    next(blocks)
    assert W.passes == 2  # as soon as it has begun
    list(blocks)
    assert W.passes == 2


@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_blocks_of_any_height_are_the_whole(rows):
    source = InMemory(numbers())
    blocks = [block.copy() for block in Streamed(source, memory=16_000).row_blocks(rows)]
    assert all(len(block) == rows for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks), source.array)


def test_a_file_that_ends_too_early_is_damaged():
    with pytest.raises(MatrixError, match="ends 100 rows before"):
        list(Streamed(InMemory(numbers(), ends_at=400), memory=16_000).row_blocks())


def test_what_goes_wrong_in_the_thread_is_raised_where_the_rows_are_used():
    W = Streamed(InMemory(numbers(), fails_at=200), memory=16_000)
    with pytest.raises(OSError, match="Input/output"):
        W.gram_times(np.ones((20, 1)))


def test_a_memory_of_a_few_rows_is_refused():
    with pytest.raises(MatrixError) as error:
        Streamed(InMemory(numbers()), memory=2000)
    assert error.value.code == "memory-too-small"


def test_products_are_those_of_the_array():
    X = numbers()
    W, P, Y = Streamed(InMemory(X), memory=16_000), np.ones((20, 2)), np.ones((500, 3))
    size = rounding(X, 4) * 500
    assert close(W.times(P), X @ P, size)
    assert close(W.transposed_times(Y), X.T @ Y, size)
    assert close(W.gram_times(P), X.T @ (X @ P), size * float(np.linalg.norm(X)))
