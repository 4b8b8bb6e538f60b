"""Known entries with a known truth, and what an objective says of them by dense arrays."""

import numpy as np

import eckart


def known(rows=30, columns=20, density=0.4, seed=0, weighted=False):
    """Ratings from biases and three factors, with noise."""
    generator = np.random.default_rng(seed)
    B, A = generator.standard_normal((rows, 3)), generator.standard_normal((3, columns))
    bias = 3 + generator.standard_normal(rows)[:, None] + generator.standard_normal(columns)
    W = B @ A + bias + 0.3 * generator.standard_normal((rows, columns))
    row, column = np.nonzero(generator.random((rows, columns)) < density)
    weights = generator.uniform(0.5, 3, len(row)) if weighted else None
    return eckart.Entries.of(row, column, W[row, column], weights, (rows, columns))


def clicks(rows=30, columns=20, density=0.3, seed=0, counted=False):
    """What was seen, and how often."""
    generator = np.random.default_rng(seed)
    row, column = np.nonzero(generator.random((rows, columns)) < density)
    counts = generator.integers(1, 5, len(row)) if counted else np.ones(len(row))
    return eckart.Entries.of(row, column, counts, shape=(rows, columns))


def dense_parts(entries, objective):
    """Target, weight of the squared error, and penalties of rows and columns, as dense float64."""
    shape = entries.shape
    W, M, C = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    places = entries.rows, entries.columns
    M[places] = 1
    values = entries.values.astype(np.float64)
    alpha = objective.unobserved_weight
    if alpha > 0 and entries.weights is None:
        W[places], C[places] = 1, values
    else:
        W[places] = values
        C[places] = 1 if entries.weights is None else entries.weights
    power, strength = objective.count_exponent, objective.strength
    down = strength * np.maximum(M.sum(axis=1) + alpha * shape[1], 1) ** power
    across = strength * np.maximum(M.sum(axis=0) + alpha * shape[0], 1) ** power
    return W, C, down, across


def said(offset):
    """Every prediction, in float64."""
    B, A = offset.factors.B.astype(np.float64), offset.factors.A.astype(np.float64)
    return offset.mean + offset.row_bias[:, None].astype(np.float64) + offset.column_bias + B @ A


def loss(entries, objective, offset):
    """The objective by brute force."""
    W, C, down, across = dense_parts(entries, objective)
    Y = said(offset)
    B, A = offset.factors.B.astype(np.float64), offset.factors.A.astype(np.float64)
    rows = np.square(B).sum(axis=1) + np.square(offset.row_bias.astype(np.float64))
    columns = np.square(A).sum(axis=0) + np.square(offset.column_bias.astype(np.float64))
    total = (C * (W - Y) ** 2).sum() + objective.unobserved_weight * (Y**2).sum()
    total += down @ rows + across @ columns
    if objective.implicit_features > 0:
        M = (C > 0).astype(np.float64)
        w, power = objective.implicit_features, objective.count_exponent
        X, D = offset.extra_columns.astype(np.float64), offset.extra_rows.astype(np.float64)
        total += w * ((M - B @ X) ** 2).sum() + w * ((M - D @ A) ** 2).sum()
        counts = np.maximum(M.sum(axis=0), 1), np.maximum(M.sum(axis=1), 1)
        total += objective.strength * counts[0] ** power @ np.square(X).sum(axis=0)
        total += objective.strength * counts[1] ** power @ np.square(D).sum(axis=1)
    return total


def systems(entries, objective, offset, side="columns"):
    """(H, b) of each column (or row) while the other side is held fixed, with its bias last."""
    W, C, down, across = dense_parts(entries, objective)
    B, A = offset.factors.B.astype(np.float64), offset.factors.A.T.astype(np.float64)
    table, held, ridge = B, offset.row_bias, across
    extra = offset.extra_rows
    if side == "rows":
        W, C, table, held, ridge = W.T, C.T, A, offset.column_bias, down
        extra = None if offset.extra_columns is None else offset.extra_columns.T
    biased = objective.row_biases if side == "rows" else True
    own = np.full((len(table), 1), float(biased))
    design = np.hstack([table, own]) if objective.has_biases else table
    for j in range(W.shape[1]):
        w = C[:, j]
        H = (design * w[:, None]).T @ design + ridge[j] * np.eye(design.shape[1])
        b = design.T @ (w * (W[:, j] - offset.mean - held))
        k = table.shape[1]
        H[:k, :k] += objective.unobserved_weight * table.T @ table
        if extra is not None:
            H[:k, :k] += objective.implicit_features * extra.T @ extra
            b[:k] += objective.implicit_features * extra.T @ (w > 0)
        yield H, b
