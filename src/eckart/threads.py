"""The number of threads that may work, and independent pieces of work spread over them."""

import os
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_LIMIT: Final[ContextVar[int | None]] = ContextVar("threads", default=None)


@contextmanager
def limited_threads(threads: int | None) -> Generator[None, None, None]:
    """Limit the threads of BLAS and `in_threads` while the block runs; None sets no limit."""
    if threads is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    # a context variable: threads of other runs keep their own limit
    token = _LIMIT.set(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        _LIMIT.reset(token)


_alone: Final = threading.Lock()
_working: Final[list[Any]] = []


@contextmanager
def one_thread_each() -> Generator[None, None, None]:
    """Limit BLAS to one thread while any such block runs, in whatever thread of the process.

    Blocks of several threads overlap, and each would restore what it found: the limit is set when
    the first begins, and taken back when the last ends.
    """
    from threadpoolctl import threadpool_limits

    token = _LIMIT.set(1)
    with _alone:
        _working.append(threadpool_limits(1) if not _working else None)
    try:
        yield
    finally:
        _LIMIT.reset(token)
        with _alone:
            limits = _working.pop(0)
            if _working:
                _working[0] = _working[0] or limits
            else:
                limits.restore_original_limits()


@contextmanager
def one_blas_thread() -> Generator[None, None, None]:
    """Limit BLAS to one thread while the block runs, for work that `in_threads` spreads."""
    with thread_pools().limit(limits=1, user_api="blas"):
        yield


@cache
def thread_pools() -> Any:
    """The loaded thread pools; kept, because looking for them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def thread_count() -> int:
    """Number of threads that may work at once: the limit, else OMP_NUM_THREADS, else the cores."""
    limit = _LIMIT.get()
    if limit is not None:
        return limit
    try:
        named = int(os.environ.get("OMP_NUM_THREADS", ""))
    except ValueError:
        named = 0
    if named > 0:
        return named
    # cpu_count counts the whole machine, the affinity what this process may use
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(function: Callable[[T], R], pieces: Iterable[T]) -> list[R]:
    """Apply the function to each piece and return the results in the order of the pieces.

    It pays for work that releases Python's global lock, as products of arrays do.
    """
    listed = list(pieces)
    count = min(thread_count(), len(listed))
    # a pool of one thread costs its start and gains nothing
    if count <= 1:
        return [function(piece) for piece in listed]
    # map returns results in the order of the pieces, and raises the first exception
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, listed))
