"""Sums whose order does not depend on the number of tasks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eckart.cluster.sender import aligned
from eckart.cluster.tree import PIECES, added, cut, pairs, spread
from eckart.factors import Factors


@given(rows=st.integers(1, 10_000), nbytes=st.integers(0, 2**40), threads=st.integers(1, 300))
def test_segments_hold_every_row_once_in_whole_pieces(rows, nbytes, threads):
    segments = cut(rows, nbytes, threads)
    assert segments[0].first == 0
    assert segments[-1].last == rows
    for one, other in itertools.pairwise(segments):
        assert one.last == other.first
    heights = np.diff([0, *(edge for one in segments for edge in one.edges[1:])])
    assert heights.min() > 0
    assert set(heights[:-1]) <= {heights[0]}
    assert heights[-1] <= heights[0]
    assert len(segments) <= 4 * threads


@given(rows=st.integers(1, 3000))
def test_pieces_do_not_depend_on_the_threads(rows):
    pieces = {
        threads: sorted({edge for one in cut(rows, 0, threads) for edge in one.edges})
        for threads in (1, 2, 3, 4, 16)
    }
    assert len({tuple(edges) for edges in pieces.values()}) == 1


@given(rows=st.integers(1, 3000), seed=st.integers(0, 99))
def test_a_sum_has_the_same_bits_for_any_number_of_tasks(rows, seed):
    values = np.random.default_rng(seed).standard_normal(PIECES)
    found = set()
    for threads in (1, 2, 3, 5, 32):
        place, level = 0, []
        for segment in cut(rows, 0, threads):
            count = len(segment.edges) - 1
            level.append(added(values[place : place + count], lambda x, y: x + y))
            place += count
        while len(level) > 1:
            level = [one if other is None else one + other for one, other in pairs(level)]
        found.add(float(level[0]))
    assert len(found) == 1


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_neighbours_are_together_and_threads_count(count):
    owners = spread(count, [("a", 1), ("b", 3)])
    assert owners == sorted(owners)
    assert abs(owners.count("b") - 0.75 * count) <= 1


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("wrapped", [lambda X: X, lambda X: (X, 0), lambda X: Factors(X, X.T)])
def test_products_with_what_arrived_do_not_depend_on_where_it_lies(order, wrapped):
    X = np.asarray(np.random.default_rng(0).standard_normal((501, 7)), np.float32, order=order)
    row = np.random.default_rng(1).standard_normal((1, 501)).astype(np.float32)

    def product(value):
        found = aligned(value)
        return row @ (found[0] if isinstance(found, tuple) else getattr(found, "B", found))

    for start in range(1, 9):  # bytes after a multiple of 64
        room = np.empty(X.nbytes + 64 + start, np.uint8)
        begin = -room.ctypes.data % 64 + start
        there = room[begin : begin + X.nbytes].view(X.dtype).reshape(X.shape, order=order)
        there[...] = X
        assert there.flags.aligned == (start % 4 == 0)
        assert product(wrapped(there)).tobytes() == product(wrapped(X)).tobytes()
