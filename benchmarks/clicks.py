"""Generated clicks and ratings with power-law activity and popularity."""

from typing import Any

import numpy as np

SIZES = {
    "1M": (6_040, 3_706, 1_000_000),
    "20M": (138_000, 27_000, 20_000_000),
    "100M": (480_000, 100_000, 100_000_000),
}


def clicks(rows: int, columns: int, count: int, seed: int = 0) -> tuple[Any, Any]:
    """Distinct places (row, column): P(row) ~ (10 + place)^-0.6, P(column) ~ (10 + place)^-0.8."""
    generator = np.random.default_rng(seed)
    down = np.cumsum((np.arange(rows) + 10.0) ** -0.6)
    across = np.cumsum((np.arange(columns) + 10.0) ** -0.8)
    keys = np.empty(0, np.int64)
    while len(keys) < count:
        size = int((count - len(keys)) * 1.3) + 1000
        row = np.searchsorted(down, generator.random(size) * down[-1])
        column = np.searchsorted(across, generator.random(size) * across[-1])
        keys = np.unique(np.concatenate([keys, row * columns + column]))
    keys = np.sort(generator.choice(keys, count, replace=False))
    row, column = np.divmod(keys, columns)
    return (
        generator.permutation(rows)[row].astype(np.int32),
        generator.permutation(columns)[column].astype(np.int32),
    )


def ratings(row: Any, column: Any, seed: int = 1) -> Any:
    """Ratings 1 to 5 in halves: biases, eight factors and noise."""
    generator = np.random.default_rng(seed)
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    B, A = generator.standard_normal((rows, 8)), generator.standard_normal((columns, 8))
    bias, other = 0.4 * generator.standard_normal(rows), 0.5 * generator.standard_normal(columns)
    said = 3.5 + bias[row] + other[column] + generator.normal(0, 0.8, len(row))
    for c in range(8):
        said += 0.2 * B[row, c] * A[column, c]
    return np.clip(np.round(2 * said) / 2, 1, 5).astype(np.float32)
