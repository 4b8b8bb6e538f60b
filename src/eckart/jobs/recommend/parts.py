"""The parts of a long job: who is told of each, and how long it took."""

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

OnPart: TypeAlias = Callable[[str, int | None], AbstractContextManager[Callable[..., None] | None]]
"""Given what is done and how many steps it has at most, what is entered around it: it gives what is
called with each step, or None."""


def unwatched(_what: str, _total: int | None) -> AbstractContextManager[None]:
    """Tells nobody."""
    return nullcontext()


def timed(watch: OnPart, seconds: dict[str, float]) -> OnPart:
    """The same watch, which also enters the seconds of each part, in lower case, once it is done.

    Example:
        >>> seconds = {}
        >>> with timed(unwatched, seconds)("Reading", None):
        ...     pass
        >>> list(seconds)
        ['reading']
    """

    @contextmanager
    def part(what: str, total: int | None) -> Generator[Callable[..., None] | None, None, None]:
        began = time.perf_counter()
        with watch(what, total) as on_step:
            yield on_step
        seconds[what.lower()] = time.perf_counter() - began

    return part
