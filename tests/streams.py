"""A source of rows that are in memory, for tests of what is streamed."""

import numpy as np


class InMemory:
    """An array as a source; it may end too early, or fail in the middle."""

    def __init__(self, array, ends_at=None, fails_at=None):
        self.array = array
        self.shape, self.dtype, self.nbytes = array.shape, array.dtype, array.nbytes
        self.held = 0
        self.lead = 0
        self.ends_at = len(array) if ends_at is None else ends_at
        self.fails_at = fails_at
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        return Reader(self)


class Reader:
    def __init__(self, source):
        self.source, self.start = source, 0

    def read(self, out):
        source = self.source
        if source.fails_at is not None and self.start >= source.fails_at:
            raise OSError(5, "Input/output error")
        rows = source.array[self.start : min(self.start + len(out), source.ends_at)]
        out[: len(rows)] = rows
        self.start += len(rows)
        return len(rows)

    def close(self):
        self.source.closed += 1


def numbers(rows=500, columns=20, seed=0):
    """Rows around a mean, with a spectrum that falls."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.standard_normal((columns, columns)))[0]
    return generator.standard_normal((rows, columns)) / np.arange(1, columns + 1) @ turn + 2.0
