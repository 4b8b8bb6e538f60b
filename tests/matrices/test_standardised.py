"""Centring and scaling while products are made, against NumPy."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse

from eckart.errors import MatrixError
from eckart.matrices import Sparse, Streamed, as_matrix, standardised
from eckart.matrices.gram import gram
from eckart.reduce.table import known_entries
from streams import InMemory
from tolerances import agree, close, rounding, summation


def truth(X, centre, scale):
    moved = X - X.mean(axis=0) if centre else X.copy()
    if scale:
        deviations = X.std(axis=0, ddof=1)
        moved = moved / np.where(deviations > 1e-9, deviations, 1.0)
    return moved


def tables():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((400, 12)) * np.arange(1, 13)
    X[:, 5] = 3.0
    return {"near 0": X, "far from 0": X + 1e4}


def kinds(X):
    return {
        "dense": X,
        "sparse": Sparse(scipy.sparse.csr_array(X)),
        "streamed": Streamed(InMemory(X), memory=12 * 8 * 150),
        "streamed, not whole": Streamed(InMemory(X), memory=12 * 8 * 90),
    }


@pytest.mark.parametrize("kind", ["dense", "sparse", "streamed", "streamed, not whole"])
@pytest.mark.parametrize("table", ["near 0", "far from 0"])
@pytest.mark.parametrize(("centre", "scale"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_products_are_those_of_the_table_that_numpy_centres_and_scales(kind, table, centre, scale):
    X = tables()[table]
    W = standardised(
        kinds(X)[kind], centre=bool(centre), scale=bool(scale), width=3,
        seed=np.random.default_rng(1), whole="not" not in kind,
    )  # fmt: skip
    expected = truth(X, centre, scale)
    generator = np.random.default_rng(2)
    P, Y = generator.standard_normal((12, 3)), generator.standard_normal((400, 2))
    size = rounding(np.linalg.norm(X) * np.ones((1, 1)), 8)
    assert close(W.times(P), expected @ P, size * float(np.linalg.norm(P)))
    assert close(W.transposed_times(Y), expected.T @ Y, size * float(np.linalg.norm(Y)))
    square = size * float(np.linalg.norm(X))
    assert close(W.gram_times(P), expected.T @ (expected @ P), square * float(np.linalg.norm(P)))
    assert close(gram(W), expected.T @ expected, square)
    energy = float(np.square(expected).sum())
    assert abs(W.squared_norm() - energy) <= square
    blocks = np.concatenate([block.copy() for block in W.row_blocks(37)])
    assert close(blocks, expected, size)


def test_one_pass_makes_the_moments_and_the_gram_matrix_of_a_streamed_table():
    X = tables()["far from 0"]
    source = Streamed(InMemory(X), memory=12 * 8 * 150)
    W = standardised(source)
    assert source.passes == 1
    gram(W)
    assert source.passes == 1


def test_a_long_constant_column_has_no_deviation_in_any_kind_of_matrix():
    rows = 400_000
    X = np.column_stack([np.full(rows, 0.1), np.random.default_rng(0).standard_normal(rows)])
    gaps = X.copy()
    gaps[5, 1] = np.nan
    found = {
        "dense": standardised(X, scale=True).moments.scales,
        "sparse": standardised(scipy.sparse.csr_array(X), scale=True).moments.scales,
        "gaps": known_entries(as_matrix(gaps), centre=True, scale=True).scales,
    }
    assert {kind: scales[0] for kind, scales in found.items()} == dict.fromkeys(found, 1.0)


@pytest.mark.parametrize("size", [1e-160, 1e-200, 1e-300])
@pytest.mark.parametrize("kind", ["dense", "sparse", "streamed", "gaps"])
def test_a_column_without_squares_is_refused_and_not_taken_for_a_constant_one(kind, size):
    X = np.random.default_rng(0).standard_normal((400, 12))
    X[:, 3] *= size
    W = kinds(X)["dense" if kind == "gaps" else kind]
    measure = partial(known_entries, centre=True) if kind == "gaps" else standardised
    with pytest.raises(MatrixError, match="column 3"):
        measure(as_matrix(W), scale=True)


def test_a_column_of_zeros_is_a_constant_one():
    X = np.random.default_rng(0).standard_normal((400, 3)) * [1, 0, 1e-150]
    scales = standardised(X, scale=True).moments.scales
    small = 1e-150 * (X[:, 2] * 1e150).std(ddof=1)
    assert agree(scales, [X[:, 0].std(ddof=1), 1, small], summation(len(X)))


def test_a_constant_column_survives_scaling():
    W = standardised(tables()["near 0"], scale=True)
    assert W.moments.scales[5] == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_not_finite_is_named_with_its_place(bad, stream):
    X = tables()["near 0"]
    X[7, 3] = bad
    W = Streamed(InMemory(X), memory=12 * 8 * 150) if stream else X
    with pytest.raises(MatrixError, match="row 7, column 3"):
        standardised(W)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("mean", [0.1, 1e3])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_small_products_and_those_of_all_rows_are_those_of_the_whole(centre, scale, mean, make):
    generator = np.random.default_rng(0)
    X = generator.standard_normal((900, 12)) + mean
    W, V = standardised(make(X), centre=centre, scale=scale), generator.standard_normal((12, 3))
    own = truth(X, centre, scale)
    size = float(np.linalg.norm(X))
    tolerance = rounding(size * np.ones((1, 1)), 8) * size * float(np.linalg.norm(V)) ** 2
    assert close(W.gram_of(V), (own @ V).T @ (own @ V), tolerance)
    few = W.few_rows(900, generator)
    assert few.shape == (900, 12)
    assert close(few.covariance() if make is np.asarray else gram(few), own.T @ own, tolerance)
    some = W.few_rows(90, generator)
    assert some.shape == (90, 12)
    assert abs(some.squared_norm() - W.squared_norm() / 10) <= tolerance
