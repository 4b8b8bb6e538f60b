"""Matrices larger than memory: rows are read in blocks, the next while one is used."""

import math
import threading
from collections.abc import Iterator
from queue import Empty, Queue
from typing import Any, Final, Protocol, final

import numpy as np

from eckart.arrays import PAGE, Array, DType, own_pages
from eckart.backends import HOST
from eckart.errors import MatrixError
from eckart.matrices.derived import check_shape
from eckart.matrices.protocol import Products, transposed_by_blocks

BUFFERS: Final = 2
"""Number of blocks in memory: one is filled while the other is used."""
MOST_BLOCK_BYTES: Final = 64 * 2**20
"""Bytes of the largest block; a larger one is no faster."""
MEMORY_SHARE: Final = 0.5
"""Share of the memory for the buffers and the bytes that a reader keeps."""
LEAST_SHARE: Final = 0.125
"""Least share of the memory for the buffers alone, whatever a reader keeps."""


class RowReader(Protocol):
    """A file opened at its first row."""

    def read(self, out: Array, /) -> int:
        """Fill `out` from its top with the next rows and return their number, 0 at the end."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class RowSource(Protocol):
    """A source of rows: one file or several."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        ...

    @property
    def dtype(self) -> DType:
        """Dtype of the rows as they are read, float32 or float64."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers in the files."""
        ...

    @property
    def held(self) -> int:
        """Bytes that a reader keeps in memory, beside the buffer it fills."""
        ...

    @property
    def lead(self) -> int:
        """Bytes before the first row in its page, for a file that is read page by page."""
        ...

    def open(self) -> RowReader:
        """Open a reader at the first row."""
        ...


@final
class Streamed(Products):
    """Rows of one file or several as a `Matrix`, of which two blocks are in memory.

    Args:
        source: Source of the rows.
        memory: Bytes of memory to use; half of them hold the two blocks and the data of a reader.

    Raises:
        MatrixError: If the memory is not enough for a few rows.

    Cost:
        Each product, and each iteration over the blocks, reads every row once, in a thread of its
        own. A block is overwritten when the next but one is read, and may be written into.
    """

    def __init__(self, source: RowSource, *, memory: int = 2**30) -> None:
        rows, columns = self.shape = check_shape(source.shape)
        self.source, self.memory = source, memory
        self.dtype, self.nbytes, self.namespace = source.dtype, source.nbytes, HOST
        self.passes, self.is_streamed = 0, True
        row = columns * source.dtype.itemsize
        buffers = max(int(MEMORY_SHARE * memory) - source.held, int(LEAST_SHARE * memory))
        share = min(MOST_BLOCK_BYTES, buffers // BUFFERS)
        self.height = min(rows, _whole_pages(share // row, row))
        if self.height < min(rows, 16):
            raise MatrixError(
                f"A memory of {memory / 1e6:.0f} MB holds {self.height} rows of {columns} columns.",
                hint=f"Allow at least {math.ceil(64 * row / MEMORY_SHARE * BUFFERS / 1e6)} MB.",
                code="memory-too-small",
            )

    @property
    def most_columns(self) -> int:
        """Number of columns for which WᵀW and its decomposition take under half of the memory."""
        # six float64 arrays of columns × columns
        return int(math.sqrt(self.memory * (1 - MEMORY_SHARE) / 6 / 8))

    def times(self, X: Array, /) -> Array:
        """W·X, of shape (rows, k)."""
        own = X.astype(self.dtype, copy=False)
        return np.concatenate([block @ own for block in self.row_blocks()])

    def transposed_times(self, Y: Array, /) -> Array:
        """Wᵀ·Y, of shape (columns, k)."""
        return transposed_by_blocks(self, self.row_blocks(), Y)

    def gram_times(self, X: Array, /) -> Array:
        """Wᵀ·(W·X), of shape (columns, k). One pass."""
        own = X.astype(self.dtype, copy=False)
        total = np.zeros((X.shape[1], self.shape[1]))
        for block in self.row_blocks():
            total += (block @ own).T @ block
        return total.T.astype(self.dtype)

    def row_blocks(self, rows: int | None = None, /) -> Iterator[Array]:
        """Iterate over blocks; each may be written into, and is valid until the next but one."""
        height = min(rows or self.height, self.height)
        self.passes += 1
        blocks = _read_ahead(self.source, height)
        # taller blocks than the buffers are joined in memory of their own
        yield from _join_blocks(blocks, rows) if rows and rows > height else blocks


def _whole_pages(height: int, row: int) -> int:
    """Lower the height of a block, so that all blocks begin at the same byte of a page."""
    # the least number of rows that is a whole number of pages
    step = PAGE // math.gcd(PAGE, row)
    return height - height % step if height > step else height


def _read_ahead(source: RowSource, height: int) -> Iterator[Array]:
    """Iterate over blocks of a source, which a thread reads one block ahead."""
    free: Queue[Array] = Queue()
    full: Queue[Any] = Queue()
    stop = threading.Event()
    for _ in range(BUFFERS):
        free.put(own_pages((height, source.shape[1]), source.dtype, source.lead))
    # a daemon, so that an unfinished read does not keep the process alive
    thread = threading.Thread(target=_read, args=(source, free, full, stop), daemon=True)
    thread.start()
    try:
        while True:
            got = full.get()
            if got is None:
                return
            if isinstance(got, BaseException):
                raise got
            buffer, count = got
            yield buffer[:count]
            # only now: the caller may have used the block until it asked for the next
            free.put(buffer)
    finally:
        # also if the caller leaves the loop early: the thread would wait for a buffer
        stop.set()
        thread.join()


def _read(source: RowSource, free: Queue[Array], full: Queue[Any], stop: threading.Event) -> None:
    """Fill free buffers until the rows end; an exception is passed to the consumer."""
    left = source.shape[0]
    try:
        reader = source.open()
        try:
            while left > 0:
                buffer = _next_free(free, stop)
                if buffer is None:
                    return
                # no further than the rows promised, even if the file has grown
                count = reader.read(buffer[: min(left, len(buffer))])
                if count <= 0:
                    raise MatrixError(
                        f"The file ends {left} rows before the {source.shape[0]} it promises.",
                        hint="Check that it was copied or downloaded whole.",
                        code="damaged-file",
                    )
                left -= count
                full.put((buffer, count))
            full.put(None)
        finally:
            reader.close()
    except BaseException as error:  # of any kind: without it the consumer waits for ever
        full.put(error)


def _next_free(free: Queue[Array], stop: threading.Event) -> Array | None:
    while not stop.is_set():
        try:
            return free.get(timeout=0.2)  # seconds after which `stop` is looked at again
        except Empty:
            continue
    return None


def _join_blocks(blocks: Iterator[Array], rows: int) -> Iterator[Array]:
    """Iterate over blocks of `rows` rows each, joined from lower blocks."""
    pending: list[Array] = []
    count = 0
    for block in blocks:
        start = 0
        while start < len(block):
            piece = block[start : start + rows - count]
            pending.append(piece.copy())  # the reader overwrites the block
            count += len(piece)
            start += len(piece)
            if count == rows:
                yield np.concatenate(pending)
                pending, count = [], 0
    if pending:
        yield np.concatenate(pending)
