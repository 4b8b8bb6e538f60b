"""Rows of an array of Dask, of which any part can be computed in any process."""

import itertools
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from eckart.arrays import Array, DType, working_dtype
from eckart.cluster.tree import Segment
from eckart.errors import MatrixError
from eckart.matrices.derived import check_shape
from eckart.matrices.streamed import RowReader


def is_dask(W: object) -> bool:
    """Whether W is an array of Dask, which is not imported for the question."""
    return type(W).__module__.startswith("dask.array") and hasattr(W, "__dask_graph__")


@final
@dataclass(frozen=True, slots=True)
class DaskRows:
    """An array of Dask as `PartedRows` and `RowSource`.

    Fields:
        array: The array, of shape (rows, columns), whose lengths are known.
    """

    array: Any

    @staticmethod
    def of(array: Any) -> "DaskRows":
        """The rows of an array.

        Raises:
            MatrixError: If it is no matrix of real numbers, or its lengths are not known.
        """
        if any(length != length for length in array.shape):  # NaN
            raise MatrixError(
                "The lengths of the chunks of this array are not known.",
                hint="Call its method compute_chunk_sizes() first.",
                code="unknown-lengths",
            )
        check_shape(array.shape)
        working_dtype(np.dtype(array.dtype))
        return DaskRows(array)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        return self.array.shape

    @property
    def dtype(self) -> DType:
        """Dtype of the rows as they are read."""
        return working_dtype(np.dtype(self.array.dtype))

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        rows, columns = self.shape
        return rows * columns * self.dtype.itemsize

    @property
    def held(self) -> int:
        """Bytes of the largest strip of chunks, which a reader keeps."""
        return max(self.array.chunks[0]) * self.shape[1] * self.dtype.itemsize

    @property
    def lead(self) -> int:
        """Bytes before the first row in its page: there is no file."""
        return 0

    @property
    def is_persisted(self) -> bool:
        """Whether chunks are results of tasks already, which another process cannot compute."""
        return any(hasattr(one, "add_done_callback") for one in dict(self.array.dask).values())

    def part(self, first: int, last: int, turn: str = "") -> "DaskRows":
        """The rows from one place up to another; an array does not change between two passes."""
        del turn
        return DaskRows(self.array[first:last])

    def placed(self, send: Any, segment: Segment, at: str) -> Any:
        """A task that has the rows of a segment in the memory of a worker."""
        rows = send.computed(self.array[segment.first : segment.last], at=at)
        return send.task(_placed, rows, str(self.dtype), segment.first, at=at)

    def open(self) -> RowReader:
        """Open a reader at the first row."""
        return _Reader(self.array, self.dtype)


def _placed(rows: Array, dtype: str, first: int) -> tuple[Array, int]:
    return np.ascontiguousarray(rows, dtype=dtype), first


@final
class _Reader:
    """Computes strips of chunks, one after the other, in this process."""

    def __init__(self, array: Any, dtype: DType) -> None:
        self._array, self._dtype = array, dtype
        edges = np.cumsum([0, *array.chunks[0]])
        self._strips = list(itertools.pairwise(edges))
        self._rows: Array | None = None

    def read(self, out: Array, /) -> int:
        """Fill `out` from its top."""
        done = 0
        while done < len(out):
            if self._rows is None or not len(self._rows):
                if not self._strips:
                    break
                first, last = self._strips.pop(0)
                # this thread alone, since the worker has other tasks for the others
                found = self._array[first:last].compute(scheduler="synchronous")
                self._rows = np.asarray(found, dtype=self._dtype)
            count = min(len(out) - done, len(self._rows))
            out[done : done + count] = self._rows[:count]
            self._rows = self._rows[count:]
            done += count
        return done

    def close(self) -> None:
        """Release the rows."""
        self._rows, self._strips = None, []
