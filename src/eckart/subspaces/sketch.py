"""Sketches of a matrix whose rows are seen once, and the factors that they hold."""

from typing import Any, Final, final

import numpy as np

from eckart.arrays import FLOAT64, Array, DType, Randomness, as_randomness, working_dtype
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, check_rank
from eckart.namespaces import HOST, Namespace, as_working, namespace_of

ROOM: Final = 5
"""Directions of a sketch for each column of the factors that are wanted of it, and some more."""
MORE: Final = 8


@final
class Sketch:
    """Three random products of W, kept while its rows arrive in any number at a time.

    With Gaussian Ω (columns × k), Υ (k × rows), Φ (s × rows) and Ψ (columns × s), s = 2k + 1:

        Y = W·Ω,   X = Υ·W,   Z = Φ·W·Ψ

    Orthonormal Q of Y and P of Xᵀ span most of the columns and of the rows of W, and the small C
    with (ΦQ)·C·(PᵀΨ) = Z in the least squares puts them together: W ≈ Q·C·Pᵀ. The rows need not
    be known beforehand, not even their number.

    Args:
        columns: Of W.
        rank: Of the factors that will be wanted.
        width: k; by default 5·rank + 8. A wider sketch is closer.
        dtype: float32 or float64, of the sketches and the factors.
        seed: An int, a `Generator` or a `RandomState`.

    Raises:
        ArgumentError: If the rank is below 1, or the width below the rank.
        MatrixError: If the rank is above the columns.

    Cost:
        2·columns·(2·k + s) operations for each row; memory k·(rows + columns) + (k + s)·columns.

    Example:
        >>> W = np.outer(np.arange(1.0, 7.0), [1.0, 2.0, 0.0, 1.0])
        >>> sketch = Sketch(columns=4, rank=1)
        >>> for row in W:
        ...     sketch.add(row)
        >>> bool(np.allclose(sketch.factors().dense(), W))
        True

    Reference:
        Tropp, Yurtsever, Udell, Cevher (2019), Streaming low-rank matrix approximation, SIAM
        Journal on Scientific Computing 41(4), algorithms 4.1 to 4.4.
    """

    def __init__(
        self,
        columns: int,
        rank: int,
        *,
        width: int | None = None,
        dtype: Any = FLOAT64,
        seed: int | Randomness = 0,
    ) -> None:
        check_rank(rank, most=columns, what=f"a matrix of {columns} columns")
        wide = ROOM * rank + MORE if width is None else width
        if wide < rank:
            raise ArgumentError(
                f"A sketch of width {wide} is narrower than the rank {rank}.",
                hint=f"Give a width of at least {rank}.",
                code="sketch-too-narrow",
            )
        self.rank = rank
        self.width = min(wide, columns)
        self.columns = columns
        self.dtype: DType = working_dtype(np.dtype(dtype))
        self._core = 2 * self.width + 1
        self._key = int.from_bytes(as_randomness(seed).bytes(8))
        drawn = self._stream(0).standard_normal((columns, self.width + self._core))
        self._right = drawn.astype(self.dtype)  # Ω and Ψ beside one another
        self._rows = self._stream(1)  # draws a column of Υ and of Φ for each row that arrives
        self._seen: list[Array] = []  # blocks of Y
        self._X: Array | None = None
        self._Z = np.zeros((self._core, self._core))
        self._namespace: Namespace = HOST

    @property
    def rows(self) -> int:
        """Rows that were added."""
        return sum(block.shape[0] for block in self._seen)

    def add(self, rows: Any) -> None:
        """Take in the next rows of W.

        Args:
            rows: One row of shape (columns,), or an array or SciPy sparse block of shape
                (any, columns).

        Raises:
            MatrixError: If they have another length, or a number in them is not finite.
        """
        block: Any = rows if hasattr(rows, "tocsr") else as_working(rows)
        block = block.reshape(1, -1) if block.ndim == 1 else block
        if block.shape[1] != self.columns:
            raise MatrixError(
                f"Rows of {block.shape[1]} numbers were added to a sketch of {self.columns} "
                "columns.",
                hint="Give rows of one length.",
                code="shapes-differ",
            )
        namespace = self._namespace = HOST if hasattr(block, "tocsr") else namespace_of(block)
        products = block @ namespace.put(self._right, self.dtype)
        Y, across = products[:, : self.width], products[:, self.width :]
        if not namespace.is_finite(products):
            raise MatrixError(
                f"A number in the rows from {self.rows} on is not finite.",
                hint="Fill or remove the entries that are not finite numbers.",
                code="not-finite",
            )
        left = namespace.put(self._drawn(self._rows, block.shape[0]), self.dtype)
        X = (block.T @ left[:, : self.width]).T
        self._X = X if self._X is None else self._X + X
        self._Z += namespace.gram(left[:, self.width :], across)
        self._seen.append(Y)

    def factors(self, rank: int | None = None) -> Factors:
        """The factors of the rows up to now; more may be added afterwards.

        Args:
            rank: Of the factors; by default the one that the sketch was made for.

        Raises:
            MatrixError: If there are no rows, or the rank is above what the sketch can hold.

        Cost:
            Two thin QR factorisations of width k, and least squares of size s.
        """
        rank = self.rank if rank is None else rank
        most = min(self.rows, self.width)
        check_rank(rank, most=most, what=f"a sketch of {self.rows} rows and width {self.width}")
        assert self._X is not None
        namespace = self._namespace
        Q = namespace.qr(namespace.concatenate(self._seen))[0]
        P = namespace.qr(self._X.T)[0]
        U, S, Vt = np.linalg.svd(self._middle(Q, P))
        B = Q @ namespace.put(U[:, :rank] * S[:rank], self.dtype)
        return Factors(B, namespace.put(Vt[:rank], self.dtype) @ P.T)

    def _middle(self, Q: Array, P: Array) -> Array:
        """C of the least squares (ΦQ)·C·(PᵀΨ) = Z, in float64."""
        namespace, rows = self._namespace, self._stream(1)
        left, start = np.zeros((self._core, Q.shape[1])), 0
        for block in self._seen:  # Φ is drawn again rather than kept: it is twice as large as Y
            stop = start + block.shape[0]
            drawn = self._drawn(rows, stop - start)[:, self.width :]
            left += namespace.gram(namespace.put(drawn, self.dtype), Q[start:stop])
            start = stop
        right = namespace.gram(namespace.put(self._right[:, self.width :], self.dtype), P)
        half = np.linalg.lstsq(left, self._Z)[0]
        return np.linalg.lstsq(right, half.T)[0].T

    def _drawn(self, stream: np.random.Generator, rows: int) -> Array:
        return stream.standard_normal((rows, self.width + self._core)).astype(self.dtype)

    def _stream(self, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._key, number]))
