"""Sketches of a matrix whose rows are read once, and the solver with factors from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np
import scipy.sparse

from eckart.arguments import check_whole
from eckart.arrays import FLOAT64, Array, DType, Randomness, as_dtype, as_randomness, working_dtype
from eckart.backends import HOST, Namespace, as_working, namespace_of
from eckart.errors import ArgumentError, MatrixError
from eckart.factors import Factors, check_rank
from eckart.matrices import Sparse
from eckart.matrices.protocol import block_rows
from eckart.solvers.base import DirectSolver, Problem, Step, check_count

DIRECTIONS_PER_RANK: Final = 5
"""Directions of a sketch for each column of the factors."""
EXTRA_DIRECTIONS: Final = 8
"""Directions of a sketch beyond those."""
CORE_RATIO: Final = 3
"""Rows and columns of the core for each direction: two suffice, three are closer for the bytes."""


@final
class Sketch:
    """Three random products of W, kept while its rows arrive in any number at a time.

    With Gaussian Ω (columns × k), Υ (k × rows), Φ (s × rows) and Ψ (columns × s), s = 3k + 1:

        Y = W·Ω,   X = Υ·W,   Z = Φ·W·Ψ

    Orthonormal bases Q of Y and P of Xᵀ span most of the columns and of the rows of W, and the
    small C that solves (ΦQ)·C·(PᵀΨ) = Z by least squares joins them: W ≈ Q·C·Pᵀ. Neither the rows
    nor their number need be known beforehand.

    Args:
        columns: Number of columns of W.
        rank: Rank of the factors that will be formed.
        width: k; by default 5·rank + 8. A wider sketch is more accurate.
        dtype: Dtype of the sketches and the factors, float32 or float64, whatever that of the rows.
        seed: Seed of the random matrices: an int, a `Generator` or a `RandomState`.

    Raises:
        ArgumentError: If the rank is below 1, or the width below the rank.
        MatrixError: If the rank is above the number of columns.

    Cost:
        10·k·columns operations for each row; memory k·(rows + 5·columns) + 9·k² numbers, and
        3·k·rows more while factors are formed.

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
        check_whole("number of columns", columns)
        check_rank(rank, most=columns, what=f"a matrix of {columns} columns")
        wide = DIRECTIONS_PER_RANK * rank + EXTRA_DIRECTIONS
        wide = wide if width is None else check_whole("width", width)
        if wide < rank:
            raise ArgumentError(
                f"A sketch of width {wide} is narrower than the rank {rank}.",
                hint=f"Give a width of at least {rank}.",
                code="sketch-too-narrow",
            )
        self.rank = rank
        self.width = min(wide, columns)
        self.columns = columns
        self.dtype: DType = as_dtype(dtype)
        self._core = CORE_RATIO * self.width + 1
        # a key instead of a stream: Φ can be drawn again, whatever was drawn since
        self._key = int.from_bytes(as_randomness(seed).bytes(8))
        try:
            drawn = self._stream(0).standard_normal((columns, self.width + self._core))
        except (ValueError, MemoryError):
            raise MatrixError(
                f"A sketch of {columns} columns does not fit into memory.",
                hint="Give a smaller rank, or fewer columns.",
                code="too-large",
            ) from None
        self._right = drawn.astype(self.dtype)  # Ω and Ψ side by side
        self._rows = self._stream(1)  # draws a column of Υ and of Φ for each row that arrives
        self._seen: list[Array] = []  # blocks of Y
        self._X: Array | None = None
        self._Z = np.zeros((self._core, self._core))
        self._namespace: Namespace = HOST

    @property
    def rows(self) -> int:
        """Number of rows that were added."""
        return sum(block.shape[0] for block in self._seen)

    def add(self, rows: Any) -> None:
        """Add the next rows of W; rows that are refused change nothing.

        Args:
            rows: One row of shape (columns,), or an array or SciPy sparse block of shape
                (any, columns). All rows must be arrays of one library, on one device.

        Raises:
            MatrixError: If the rows have another length, are complex, belong to another library or
                device than those before them, or hold a number that is not finite.
        """
        block, namespace = self._block(rows)
        if not self._seen:
            self._namespace, self._right = namespace, namespace.put(self._right, self.dtype)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            Y = block @ self._right[:, : self.width]
            across = block @ self._right[:, self.width :]
            # every number of a row takes part in its products
            if not (namespace.is_finite(Y) and namespace.is_finite(across)):
                raise MatrixError(
                    f"A number in the rows from {self.rows} on (counted from 0) is not finite, or "
                    f"beyond {self.dtype}.",
                    hint="Fill or remove the entries that are not finite numbers.",
                    code="not-finite",
                )
            left = namespace.put(self._drawn(self._rows, block.shape[0]), self.dtype)
            X = (block.T @ left[:, : self.width]).T
            self._X = X if self._X is None else self._X + X
        # after the checks, so that refused rows change nothing
        self._Z += namespace.gram(left[:, self.width :], across)
        self._seen.append(Y)

    def factors(self, rank: int | None = None) -> Factors:
        """Return factors of the rows up to now; more rows may be added afterwards.

        Args:
            rank: Rank of the factors; by default the one that the sketch was made for.

        Raises:
            MatrixError: If there are no rows, the rank is too large for the sketch, or its sums
                have left the range of its dtype.

        Cost:
            Two thin QR factorisations of width k, and least squares of size s.
        """
        rank, X = self.rank if rank is None else rank, self._X
        if X is None or self.rows == 0:
            raise MatrixError("No rows were added.", hint="Add the rows of W.", code="empty")
        namespace, counted = self._namespace, "1 row" if self.rows == 1 else f"{self.rows} rows"
        most = min(self.rows, self.width)
        check_rank(rank, most=most, what=f"a sketch of {counted} and width {self.width}")
        if not namespace.is_finite(X):
            raise MatrixError(
                f"Sums over the rows leave the range of {self.dtype}.",
                hint="Make the sketch with dtype float64, or multiply the rows by a power of ten.",
                code="out-of-range",
            )
        self._seen = [namespace.concatenate(self._seen)]
        Q, P = namespace.qr(self._seen[0])[0], namespace.qr(X.T)[0]
        U, S, Vt = np.linalg.svd(self._middle(Q, P))
        B = Q @ namespace.put(U[:, :rank] * S[:rank], self.dtype)
        return Factors(B, namespace.put(Vt[:rank], self.dtype) @ P.T)

    def _block(self, rows: Any) -> tuple[Any, Namespace]:
        """Return rows as a block (any, columns) in the dtype of the sketch, and its namespace."""
        sparse = scipy.sparse.issparse(rows)
        block: Any = rows if sparse else as_working(rows)
        if sparse:
            working_dtype(block.dtype)
        if block.ndim == 1:
            block = block.reshape(1, -1)
        if block.ndim != 2 or block.shape[1] != self.columns:
            raise MatrixError(
                f"Rows of shape {tuple(block.shape)} were added to a sketch of {self.columns} "
                "columns.",
                hint=f"Give rows of {self.columns} numbers.",
                code="shapes-differ",
            )
        namespace = HOST if sparse else namespace_of(block)
        if self._seen and namespace != self._namespace:
            raise MatrixError(
                "These rows live elsewhere than those before them.",
                hint="Give all rows as arrays of one library, on one device.",
                code="mixed-arrays",
            )
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is found
            if sparse:
                return scipy.sparse.csr_array(block, dtype=self.dtype), namespace
            return namespace.astype(block, self.dtype), namespace

    def _middle(self, Q: Array, P: Array) -> Array:
        """Solve (ΦQ)·C·(PᵀΨ) = Z for C by least squares, in float64."""
        namespace, stream = self._namespace, self._stream(1)
        left, height = np.zeros((self._core, Q.shape[1])), block_rows(self.width + self._core)
        # Φ is drawn again, because it would take three times the memory of Y
        for start in range(0, Q.shape[0], height):
            part = Q[start : start + height]
            drawn = self._drawn(stream, part.shape[0])[:, self.width :]
            left += namespace.gram(namespace.put(drawn, self.dtype), part)
        right = namespace.gram(self._right[:, self.width :], P)
        # two small least-squares problems, one for each side of C
        half = np.linalg.lstsq(left, self._Z)[0]
        return np.linalg.lstsq(right, half.T)[0].T

    def _drawn(self, stream: np.random.Generator, rows: int) -> Array:
        return stream.standard_normal((rows, self.width + self._core)).astype(self.dtype)

    def _stream(self, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._key, number]))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SinglePass(DirectSolver):
    """Factors from three sketches of W, for data that can be read only once.

    W is read once, from its first row to its last. The error is a small multiple of the best
    possible one, and is near it if singular values decay fast or the sketch is wide. If W can be
    read again, `BlockKrylov` is closer in less time. `factorize` reads W once more to check it,
    once to measure the error, and as often as the certificate needs; for rows that cannot be read
    again at all, use `Sketch`.

    Fields:
        width: Number of directions of the sketches, by default 5·rank + 8; a wider sketch is more
            accurate.

    Raises:
        ArgumentError: If the width is below 1.

    Cost:
        One pass; 10·rows·columns·width operations and memory width·(rows + 5·columns) + 9·width²
        numbers. A sparse W stays sparse: 10·width operations for each stored entry.

    Example:
        >>> import numpy as np
        >>> from eckart.matrices import Dense
        >>> W = Dense(np.outer([1.0, 2.0, 2.0], [3.0, 4.0]))
        >>> step = next(SinglePass().steps(Problem(W=W, rank=1, start=None)))
        >>> bool(np.allclose(step.factors().dense(), W.array)), W.passes
        (True, 1)

    Reference:
        Tropp, Yurtsever, Udell, Cevher (2019), SIAM Journal on Scientific Computing 41(4).
    """

    name: ClassVar[str] = "single-pass"

    width: int | None = None

    def __post_init__(self) -> None:
        if self.width is not None:
            check_count("width", self.width)

    def steps(self, problem: Problem, /) -> Iterator[Step]:
        """Yield one step; its loss is not known, because that would take another pass."""
        W, rank = problem.W, problem.rank
        sketch = Sketch(W.shape[1], rank, width=self.width, dtype=W.dtype, seed=problem.randomness)
        # blocks of a sparse W stay sparse
        for rows in W.stored_blocks() if isinstance(W, Sparse) else W.row_blocks():
            sketch.add(rows)
        yield Step(number=0, loss=None, factors=sketch.factors)
