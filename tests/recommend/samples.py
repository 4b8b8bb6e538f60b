"""Ratings and interactions with a known low-rank truth."""

import numpy as np

from eckart.recommend import Feedback, Interactions, Settings, read_interactions
from eckart.recommend.fitting import fit_model
from eckart.recommend.predictions import Explanation
from tolerances import FLOAT32_SOLUTION, agree, close


def ratings(users: int = 60, items: int = 40, share: float = 0.4, seed: int = 0) -> dict:
    """A mapping of columns: ratings from 1 to 5 of a matrix of rank 2 with some noise."""
    drawn = np.random.default_rng(seed)
    W = drawn.standard_normal((users, 2)) @ drawn.standard_normal((2, items))
    W = 3 + 0.8 * W + 0.2 * drawn.standard_normal(W.shape)
    rows, columns = np.nonzero(drawn.random(W.shape) < share)
    return {
        "user": rows + 1000,
        "item": [f"item {column}" for column in columns],
        "rating": np.clip(np.round(2 * W[rows, columns]) / 2, 1, 5),
        "time": drawn.integers(0, 10**9, len(rows)),
    }


def read(**arguments) -> Interactions:
    """The same as interactions."""
    return read_interactions(ratings(**arguments))


def fitted(data: Interactions | None = None, **settings):
    """A model of them."""
    chosen = Settings(**{"rank": 4, "regularization": 0.05, **settings})
    return fit_model(read() if data is None else data, chosen).model


def implicit(**arguments) -> Interactions:
    """Interactions without ratings: the high ratings."""
    return read_interactions(ratings(**arguments), None, Feedback(at_least=3.5))


def bits(model) -> list[bytes]:
    """Of factors and biases."""
    offset = model.offset
    return [array.tobytes() for array in (offset.factors.B, offset.factors.A, offset.row_bias)]


def sums_to_score(found: Explanation) -> bool:
    """Whether the terms of an explanation sum to the score, and that is the one of the fit."""
    total = found.base + (found.attributes or 0.0) + sum(reason.adds for reason in found.reasons)
    own, fitted = np.array([found.score]), np.array([found.fitted])
    return agree(total, found.score) and close(own, fitted, FLOAT32_SOLUTION)
