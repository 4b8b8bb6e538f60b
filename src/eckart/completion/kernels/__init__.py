"""Inner loops over known entries, compiled by Numba on first use and cached on disk.

A kernel works on one piece of the rows and releases Python's global lock, so that pieces run in
parallel in `eckart.threads.in_threads`; each row is computed the same way in any piece. Nothing
here is imported before it is needed, so that `import eckart` does not load Numba. A notice comes
before a compilation of seconds.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any, Final, final

from numba import njit

LOGGER: Final = logging.getLogger("eckart")
NOTICE: Final = "Compiling the inner loops; this happens once and takes a few seconds."
UNWRITABLE: Final = (
    "The compiled inner loops cannot be kept on this disk, so every run compiles them again; "
    "NUMBA_CACHE_DIR may name a folder that can be written."
)
FAST: Final = frozenset({"reassoc", "contract", "nsz", "arcp"})
"""Compiler flags: sums may be reordered for vector units; NaN and infinity keep their meaning."""
_SAY: Final[ContextVar[Callable[[str], None]]] = ContextVar("say", default=LOGGER.info)
_SAID: Final[set[str]] = set()
_COMPILING: Final = Lock()


@contextmanager
def compiling_noted_by(say: Callable[[str], None]) -> Generator[None, None, None]:
    """Send notices of a compilation to `say` while the block runs."""
    token = _SAY.set(say)
    try:
        yield
    finally:
        _SAY.reset(token)


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that only kernels call; it becomes part of each of them."""
    return _dispatcher(function, forceinline=True)


@final
class Kernel:
    """A function that Numba compiles when it is first called, unless it is cached on disk."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._compiled = _dispatcher(function)
        self._name = function.__name__

    def __call__(self, *arguments: Any) -> Any:
        """Run on arrays and numbers, without Python's global lock."""
        if not self._compiled.signatures:
            with _COMPILING:  # one thread compiles, and the others wait for its result
                if not self._compiled.signatures and not self._is_on_disk():
                    _say_once(NOTICE)
                return self._compiled(*arguments)
        return self._compiled(*arguments)

    def _is_on_disk(self) -> bool:
        folder = self._compiled.stats.cache_path
        # Numba names the index of its cache after the function: *.name-*.nbi
        return folder is not None and any(Path(folder).glob(f"*.{self._name}-*.nbi"))


def _dispatcher(function: Callable[..., Any], **options: Any) -> Any:
    # error_model="numpy": division by zero gives inf, and no check in every loop
    options |= {"nogil": True, "fastmath": set(FAST), "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # Numba found no folder that it may write to
        _say_once(UNWRITABLE)
        return njit(**options)(function)


def _say_once(notice: str) -> None:
    if notice not in _SAID:
        _SAID.add(notice)
        _SAY.get()(notice)
