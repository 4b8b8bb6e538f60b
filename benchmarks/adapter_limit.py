"""What no extraction can be faster than: reading both checkpoints, and its products with ΔW.

Prints a document of seconds. The products that the extraction takes are written down in a run of
its own, then repeated with random arrays of the same shapes.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eckart.adapters import extract_adapter
from eckart.matrices import Dense

Call = tuple[int, int, bool, int]
"""Rows and columns of W, whether it is W·X, and the columns of X."""
BUFFER = 2**24


def main() -> None:
    base, tuned, rank = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    reading = min(read_through([base, tuned]) for _ in range(2))
    calls = recorded(base, tuned, rank)
    seconds = bare(calls)
    print(json.dumps({"reading": reading, "products": seconds, "calls": sum(calls.values())}))


def read_through(folders: list[Path]) -> float:
    """Seconds to read all bytes into one buffer."""
    buffer = bytearray(BUFFER)
    began = time.perf_counter()
    for folder in folders:
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
    return time.perf_counter() - began


def recorded(base: Path, tuned: Path, rank: int) -> Counter[Call]:
    """The products with ΔW of one extraction."""
    calls: Counter[Call] = Counter()

    def noting(product: Callable[[Dense, Any], Any], forward: bool) -> Callable[[Dense, Any], Any]:
        def noted(W: Dense, X: Any) -> Any:
            calls[(*W.shape, forward, X.shape[1])] += 1
            return product(W, X)

        return noted

    Dense.times = noting(Dense.times, forward=True)  # type: ignore[method-assign]
    Dense.transposed_times = noting(Dense.transposed_times, forward=False)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        extract_adapter(base, tuned, Path(folder) / "adapter", rank=rank)
    return calls


def bare(calls: Counter[Call]) -> float:
    """Seconds of the products alone, each kind measured at its best of three."""
    generator, total = np.random.default_rng(0), 0.0
    W = np.empty((0, 0), np.float32)
    for (rows, columns, forward, width), count in sorted(calls.items()):
        if W.shape != (rows, columns):
            W = generator.standard_normal((rows, columns), np.float32)
        X = generator.standard_normal((columns if forward else rows, width), np.float32)
        total += count * min(product(W, X, forward=forward) for _ in range(3))
    return total


def product(W: Any, X: Any, *, forward: bool) -> float:
    began = time.perf_counter()
    _ = W @ X if forward else (X.T @ W).T
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
