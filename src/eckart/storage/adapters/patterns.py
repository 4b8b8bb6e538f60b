"""Regular expressions of adapters that others wrote: none that could take for ever is tried."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

MOST: Final = 4
"""Repetitions without an end that one pattern may have: names are short, so their cost is small."""
LONG: Final = 16
"""Times that something may be repeated before it counts as without an end."""


def check_cost(pattern: str) -> None:
    r"""Refuse a pattern whose search can grow exponentially with the length of a name.

    Python tries every way to split a name between a repetition and what is repeated in it.

    Raises:
        re.error: If a repetition holds another or a choice, or there are many.

    Example:
        >>> check_cost(r"model\.layers\.(0|1)\..*q_proj")
    """
    parsed = import_module("re._parser").parse(pattern)
    repeated = list(_repetitions(parsed))
    if len(repeated) > MOST:
        raise re.error(f"it has more than {MOST} repetitions")
    for inner in repeated:
        if any(True for _ in _repetitions(inner)) or _has_choice(inner):
            raise re.error("it repeats a repetition or a choice")


def _repetitions(parsed: Any) -> Iterator[Any]:
    """What is repeated without an end, at any depth."""
    for operation, argument in parsed:
        if str(operation) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, inner = argument
            if int(most) > LONG:
                yield inner
        for below in _parts(argument):
            yield from _repetitions(below)


def _has_choice(parsed: Any) -> bool:
    return any(
        str(operation) in ("BRANCH", "GROUPREF") or any(map(_has_choice, _parts(argument)))
        for operation, argument in parsed
    )


def _parts(argument: Any) -> Iterator[Any]:
    """The patterns that the argument of an operation holds."""
    kind = import_module("re._parser").SubPattern
    if isinstance(argument, kind):
        yield argument
    elif isinstance(argument, list | tuple):
        for part in argument:
            yield from _parts(part)
