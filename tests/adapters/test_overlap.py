"""Two changes of one weight beside one another: figures of dense algebra, without the products."""

import json

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import eckart
from adapters.samples import layer
from eckart import Factors
from eckart.adapters.learnt import BestPart
from eckart.adapters.overlap import Directions, distance_between, overlap
from eckart.certificates import certify, spectrum
from eckart.matrices import Dense
from tolerances import agree, close, rounding


def basis(generator, rows, count):
    return np.linalg.qr(generator.standard_normal((rows, count)))[0]


def factors(generator, shape, rank, scale=1.0):
    """Of singular values within a factor of eight, so that spaces are known to 8 roundings."""
    sigma = scale * generator.uniform(1, 8, rank)
    B = basis(generator, shape[0], rank)
    A = basis(generator, shape[1], rank).T
    return Factors(B * np.sqrt(sigma), np.sqrt(sigma)[:, None] * A)


@st.composite
def changes(draw):
    """Two changes of one weight, of other ranks and scales, that may share directions."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    first, other = (
        factors(
            generator,
            shape,
            draw(st.integers(1, min(shape))),
            10.0 ** draw(st.sampled_from([-30, -3, 0, 3, 30])),
        )
        for _ in range(2)
    )
    if draw(st.booleans()):  # some directions in common
        shared = min(first.rank, other.rank, draw(st.integers(1, 3)))
        other = Factors(
            np.hstack([first.B[:, :shared], other.B]), np.vstack([first.A[:shared], other.A])
        ).truncate(min(shape[0], shape[1], shared + other.rank))
    return first, other


def known(first, other):
    """The norms, distance, cosine and energy by dense algebra, each change in its own unit."""
    X, Y = first.dense(), other.dense()
    (x, y), (a, b) = (np.linalg.norm(X), np.linalg.norm(Y)), (X, Y)
    unit = max(np.abs(X).max(), np.abs(Y).max())
    distance = unit * np.linalg.norm(X / unit - Y / unit)
    cosine = float(np.vdot(a / x, b / y))
    P, Q = (scipy.linalg.orth(one / np.linalg.norm(one)) for one in (X, X.T))
    energy = np.linalg.norm(P.T @ (Y / y) @ Q) ** 2
    return (x, y), distance, cosine, energy


ROUGH = 64
"""Chained computations with singular values a factor of eight apart: eight for each of eight."""


@given(changes())
@settings(max_examples=150)
def test_figures_are_those_of_dense_algebra(pair):
    first, other = pair
    found, (norms, distance, cosine, energy) = overlap(first, other), known(first, other)
    one = rounding(np.ones(first.shape) / np.sqrt(np.prod(first.shape)), ROUGH)
    assert agree(found.norms, norms, one)
    assert abs(found.distance - distance) <= one * max(norms)
    assert agree(found.relative_difference, found.distance / found.norms[0])
    assert abs(found.cosine - cosine) <= one
    assert -1 <= found.cosine <= 1
    assert abs(found.energy - energy) <= one
    assert 0 <= found.energy <= 1


def spaces(W):
    """Orthonormal bases of the column space and of the row space by SciPy."""
    unit = W / np.abs(W).max()
    return scipy.linalg.orth(unit), scipy.linalg.orth(unit.T)


def far_from(P, Q):
    """The sines of the principal angles, ascending: what of the smaller space lies outside."""
    P, Q = (P, Q) if P.shape[1] >= Q.shape[1] else (Q, P)
    return np.linalg.svd(Q - P @ (P.T @ Q), compute_uv=False)[::-1]


@given(changes())
@settings(max_examples=150)
def test_principal_angles_are_those_of_scipy_between_the_products(pair):
    first, other = pair
    found, (X, Y) = overlap(first, other), (first.dense(), other.dense())
    own = list(zip(spaces(X), spaces(Y), strict=True))
    assert found.ranks == (own[0][0].shape[1], own[0][1].shape[1])
    condition = max(Directions.of(x).S[0] / Directions.of(x).S[count - 1]
                    for x, count in zip(pair, found.ranks, strict=True))  # fmt: skip
    one = condition * rounding(np.ones(X.shape) / np.sqrt(X.size), ROUGH)
    for (P, Q), angles in zip(own, (found.column_angles, found.row_angles), strict=True):
        # SciPy knows small angles by their cosine only, so cosines are compared, and sines apart
        scipys = np.cos(scipy.linalg.subspace_angles(P, Q)[::-1])
        assert close(np.cos(angles), scipys, one * np.sqrt(len(angles)))
        assert close(np.sin(angles), far_from(P, Q), one * np.sqrt(len(angles)))
    document = found.to_dict()
    assert agree(document["column_cosines"], np.cos(found.column_angles))
    assert len(document["row_cosines"]) == min(found.ranks)


@given(changes())
@settings(max_examples=60)
def test_figures_of_both_are_the_same_in_either_order(pair):
    one, other = overlap(*pair), overlap(*pair[::-1])
    noise = rounding(np.ones(pair[0].shape) / np.sqrt(np.prod(pair[0].shape)), ROUGH)
    assert one.norms == other.norms[::-1]
    assert one.ranks == other.ranks[::-1]
    assert abs(one.distance - other.distance) <= noise * max(one.norms)
    assert abs(one.cosine - other.cosine) <= noise
    # spaces of the same numbers: only sums are in another order
    assert close(one.column_angles, other.column_angles, noise)
    assert close(one.row_angles, other.row_angles, noise)


@given(changes(), st.integers(0, 2**32))
@settings(max_examples=60)
def test_factors_of_the_same_products_have_the_same_figures(pair, seed):
    first, other = pair
    generator = np.random.default_rng(seed)
    mix = basis(generator, first.rank, first.rank) * generator.uniform(1, 8, first.rank)
    # powers of two change no digit, however far apart the two factors are
    turned = Factors(first.B @ mix * 2.0**60, np.linalg.solve(mix, first.A) * 2.0**-60)
    one, same = overlap(first, other), overlap(turned, other)
    # B·T and T⁻¹·A are rounded, with the condition of T, and so is their product
    noise = rounding(np.ones(first.shape) / np.sqrt(np.prod(first.shape)), 64 * ROUGH)
    assert one.ranks == same.ranks
    assert agree(one.norms, same.norms, noise)
    assert abs(one.distance - same.distance) <= noise * max(one.norms)
    assert abs(one.cosine - same.cosine) <= noise
    assert abs(one.energy - same.energy) <= noise
    assert close(one.column_angles, same.column_angles, noise)
    assert close(one.row_angles, same.row_angles, noise)


@pytest.mark.parametrize("angle", [1e-3, 1e-7, 1e-10, 1e-13])
def test_an_angle_close_to_zero_keeps_its_digits(angle):
    turned = Factors([[np.cos(angle)], [np.sin(angle)], [0.0]], [[1.0, 0.0]])
    found = overlap(Factors([[1.0], [0.0], [0.0]], [[1.0, 0.0]]), turned)
    assert abs(found.column_angles[0] - angle) <= rounding(np.ones((1, 1)))
    assert found.row_angles.tolist() == [0.0]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_float32_factors_of_any_size_keep_their_figures(scale):
    one, other = layer("a", (9, 7), 2).factors, layer("b", (9, 7), 3).factors
    B, A = (np.float32(scale) * X for X in (one.B, one.A))
    Y, X = (np.float32(scale) * X for X in (other.B, other.A))
    found, plain = overlap(Factors(B, A), Factors(Y, X)), overlap(one, other)
    noise = rounding(np.ones((1, 1), np.float32), 4)  # each entry is rounded once
    assert agree(found.norms, np.multiply(plain.norms, scale**2), noise)
    assert agree(found.relative_difference, plain.relative_difference, noise)
    assert abs(found.cosine - plain.cosine) <= noise
    # the condition of these factors is below 10
    assert close(found.column_angles, plain.column_angles, 10 * noise)
    far = overlap(Factors(B, A), other)
    assert all(map(np.isfinite, (far.distance, far.relative_difference, far.cosine, far.energy)))
    assert far.relative_difference > 0


def test_no_change_has_neither_a_cosine_nor_angles():
    none, some = Factors(np.zeros((4, 2)), np.zeros((2, 3))), layer("a", (4, 3)).factors
    for pair in ((none, some), (some, none), (none, none)):
        found = overlap(*pair)
        assert found.cosine is None
        assert len(found.column_angles) == len(found.row_angles) == 0
        json.dumps(found.to_dict(), allow_nan=False)
    assert (overlap(none, some).relative_difference, overlap(none, some).energy) == (None, 0.0)
    assert (overlap(some, none).relative_difference, overlap(some, none).energy) == (1.0, None)
    assert overlap(none, none).relative_difference == 0.0


def test_rounding_of_float32_adds_no_dimension():
    one = layer("a", (30, 20), 2).factors
    wide = Factors(np.hstack([one.B, one.B]), np.vstack([one.A, np.float32(1e-8) * one.A[::-1]]))
    assert Directions.of(wide).rank == 2
    assert distance_between(one, one) == 0.0


@given(st.integers(0, 2**32), st.integers(1, 7), st.sampled_from([1.0, 0.99, 0.5]))
@settings(max_examples=60)
def test_the_doubt_of_a_best_part_holds(seed, rank, ratio):
    generator = np.random.default_rng(seed)
    U, V = basis(generator, 10, 8), basis(generator, 9, 8)
    S = 4.0 * ratio ** np.arange(8)
    W = (U * S) @ V.T
    moved = W + 0.1 * generator.standard_normal(W.shape)
    # factors that are good and not the best
    near = eckart.factorize(moved, rank=rank).factors
    matrix, values = Dense(W), spectrum(Dense(W))
    best = (U[:, :rank] * S[:rank]) @ V[:, :rank].T
    proof = certify(matrix, near, values)
    for known in (values, None):  # those of a large matrix are not computed
        part = BestPart(factors=near, certificate=proof, singular_values=known)
        assert np.linalg.norm(near.dense() - best) <= part.doubt(matrix) + rounding(W, 8)
