"""A search space of given directions, and the sampled Gram matrix that learns from it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eckart.matrices import Dense
from eckart.subspaces import PowerProbes, SampledGram, SearchSpace, gaussian_columns
from tolerances import SQUARED, close

SHAPES = st.tuples(st.integers(30, 60), st.integers(8, 20))


def drawn(shape, seed):
    """Rows with a spectrum that falls, and WᵀW."""
    generator = np.random.default_rng(seed)
    W = generator.standard_normal(shape) / np.arange(1, shape[1] + 1)
    return generator, W, W.T @ W


def given_space(W):
    """A space of W without directions."""
    return SearchSpace(Dense(W), PowerProbes(gaussian_columns(Dense(W), 4)))


@given(shape=SHAPES, seed=st.integers(0, 100), counts=st.lists(st.integers(1, 4), max_size=3))
def test_a_space_knows_the_products_with_all_its_directions(shape, seed, counts):
    generator, W, G = drawn(shape, seed)
    space = given_space(W)
    for count in counts:
        space.add(generator.standard_normal((shape[1], count)))
    V = space.V
    assert close(V.T @ V, np.eye(space.width), SQUARED)
    assert close(space.H, V.T @ G @ V, SQUARED * np.trace(G))
    assert close(G @ V, V @ space.H + space.rest, SQUARED * np.trace(G))
    if counts:
        evidence = space.evidence()
        rest = evidence.tail.T @ evidence.rest @ evidence.tail
        assert close(rest, space.rest.T @ space.rest, SQUARED * np.trace(G) ** 2)
        assert close(evidence.ritz()[0], np.linalg.eigvalsh(space.H)[::-1], SQUARED * np.trace(G))


@given(shape=SHAPES, seed=st.integers(0, 100))
def test_what_is_learnt_is_right_and_what_is_not_is_left(shape, seed):
    generator, W, G = drawn(shape, seed)
    guess = G + 0.1 * np.diag(generator.random(shape[1]))
    sampled, space = SampledGram(guess), given_space(W)
    space.add(generator.standard_normal((shape[1], 3)))
    sampled.learn(space, 2)
    V, M = space.V, sampled._M
    outside = np.eye(shape[1]) - V @ V.T
    assert close(M @ V, G @ V, SQUARED * np.trace(G))
    assert close(M, M.T, SQUARED * np.trace(G))
    assert close(outside @ M @ outside, outside @ guess @ outside, SQUARED * np.trace(G))


@given(shape=SHAPES, seed=st.integers(0, 100))
def test_its_directions_are_its_leading_eigenvectors(shape, seed):
    generator, _, G = drawn(shape, seed)
    near = generator.standard_normal((shape[1], 4))
    X = SampledGram(G).directions(near)
    assert close(X.T @ X, np.eye(X.shape[1]), SQUARED)
    values, E = np.linalg.eigh(G)
    # five blocks of four hold all of up to twenty columns
    leading = E[:, ::-1][:, :4]
    gap = values[-4] - values[-5]
    assert np.linalg.norm(X - leading @ (leading.T @ X)) <= 1e-10 * values[-1] / gap


def test_a_second_sample_is_weighed_by_its_rows():
    one, other = np.diag([4.0, 2.0]), np.diag([1.0, 5.0])
    sampled = SampledGram(one)
    sampled.join(other, 1 / 3)
    assert close(sampled._M, (2 * one + other) / 3, 1e-15)


def test_a_sample_of_more_rows_is_predicted_to_leave_less_and_is_right_about_it():
    """The second residuals of samples of many sizes are what the spectrum alone foretells."""
    generator = np.random.default_rng(0)
    rows, columns, rank = 20_000, 120, 6
    W = generator.standard_normal((rows, columns)) / np.sqrt(np.arange(1, columns + 1))
    G = W.T @ W
    for count in (1_000, 4_000):
        few = W[generator.choice(rows, count, replace=False)]
        sampled = SampledGram(few.T @ few * (rows / count))
        X = sampled.directions(generator.standard_normal((columns, 20)))
        predicted = sampled.predict_second_residual(X, rank, count)
        space = given_space(W)
        space.add(X)
        sampled.learn(space, rank)
        least = np.linalg.eigvalsh(G)[-rank]
        X = sampled.directions(space.V @ space.ritz()[1][:, :20])
        also = sampled.predict_residual(space, X, rank) / least
        V = X[:, :rank]
        residual = np.linalg.norm(G @ V - V @ (V.T @ G @ V), axis=0).max() / least
        assert residual / 4 <= also <= 4 * residual
        assert residual / 4 <= predicted <= 4 * residual
